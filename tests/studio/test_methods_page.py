"""The pages about methods and about runs that have not begun, in a real browser (rows C3, E12)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renma.config.run_tasks import InitOptions
from renma.core.events import Silent
from renma.use import init
from testbed.studio_run import made_run

Open = Callable[..., Any]


@pytest.fixture
def page(opened: Open) -> Any:
    """The page of methods, its cards drawn."""
    made = opened("/methods")
    made.locator("#method-dylora").wait_for()
    return made


def card(page: Any, name: str, *, form: bool = False) -> Any:
    found = page.locator(f"#method-{name}")
    if form:
        found.locator("details.make > summary").click()
    return found


def test_a_recipe_is_tried_with_its_plan(page: Any):
    assert page.locator(".method").count() == 7
    quality = card(page, "quality")
    assert re.search(r"about \d+:\d\d, 80 steps", quality.inner_text())
    quality.get_by_role("button", name="Try it on the sample").click()
    page.wait_for_url("**/new?path=quality-up")
    page.locator("#plan dl").wait_for()
    page.locator("#train:enabled").wait_for()
    assert page.locator("#brief").inner_text().startswith("80 steps")


def test_a_mistake_stands_at_its_field_until_it_is_mended(page: Any, workspace: Path):
    erase = card(page, "erase", form=True)
    target = erase.get_by_label("Prompts with the concept")
    assert "sunglasses" in target.get_attribute("placeholder")
    target.fill("a man, hat")
    erase.get_by_label("The same prompts without it").fill("a man\na dog")
    erase.get_by_label("Strength").fill("99")
    erase.get_by_label("Name of the new project").fill("less")
    erase.get_by_role("button", name="Make it").click()
    without = erase.locator('[data-key="erase.prompts.neutral"]')
    without.locator(".error").wait_for()
    assert "2 lines" in without.inner_text()
    assert not (workspace / "less").exists()
    erase.get_by_label("The same prompts without it").fill("a man")
    assert without.locator(".error").count() == 0
    erase.get_by_role("button", name="Make it").click()
    strength = erase.locator('[data-key="erase.prompts.guidance_scale"]')
    strength.locator(".error").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
    strength.get_by_role("button", name="Back to the default").click()
    erase.get_by_label("What is taken away").fill("hat")
    page.keyboard.press("Enter")
    page.wait_for_url("**/new?path=less")
    text = (workspace / "less/run.toml").read_text()
    assert 'target = "a man, hat"' in text
    assert 'positive = "hat"' in text


def test_another_recipe_of_a_method_has_its_own_fields(page: Any):
    erase = card(page, "erase", form=True)
    erase.get_by_label("Recipe").select_option("leco-file")
    field = erase.locator('[data-key="erase.prompts_file"] input')
    assert field.get_attribute("placeholder") == "leco-prompts.yaml"
    erase.get_by_text("What the recipe says").click()
    assert "mustache and freckles" in erase.locator("pre").inner_text()


def test_a_taken_name_is_said_beside_the_button(page: Any, workspace: Path):
    (workspace / "mine").mkdir()
    copier = card(page, "copier", form=True)
    copier.get_by_label("Name of the new project").fill("mine")
    copier.get_by_role("button", name="Make it").click()
    copier.get_by_role("alert").get_by_text("is taken").wait_for()


def test_another_adapter_opens_a_new_run_with_it(page: Any, workspace: Path):
    init.run(InitOptions(folder=workspace / "mine", sample="character"), Silent())
    page.get_by_role("link", name="New run: mora").click()
    page.locator("#plan dl").wait_for()
    assert '\nalgo = "mora"\n' in page.locator("#text").input_value()
    assert "adapter.algo" in page.locator("#changes").inner_text()
    # what a link asks for is only taken where such an option is
    page.goto(
        page.url.partition("/new")[0] + "/new?set=__proto__.bad%3D1&set=adapter.dora%3Doutput"
    )
    page.locator("#plan dl").wait_for()
    assert 'dora = "output"' in page.locator("#text").input_value()
    assert page.evaluate("({}).bad") is None


def test_phone_and_japanese(opened: Open):
    page = opened("/methods", width=390, locale="ja-JP", color_scheme="dark")
    page.get_by_role("heading", name="概念の消去と強調").wait_for()
    for summary in page.locator("details.make > summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_first_stage_of_a_run_is_followed(workspace: Path, opened: Open):
    run = workspace / "mine/runs/001"
    made_run(run / "copier")
    (run / "run.toml").write_text((run / "copier/run.toml").read_text())
    page = opened("/run?path=mine/runs/001")
    first = page.locator("#first-box")
    first.wait_for()
    assert first.get_by_text("finished").is_visible()
    assert "stopped" in page.locator("#facts").inner_text()
    assert page.get_by_role("button", name="Go on").is_visible()


def test_a_run_waits_on_its_page_until_it_is_there(workspace: Path, opened: Open):
    """The jobs are written by hand: one that works for ever, one behind it."""
    from filelock import FileLock

    jobs = workspace / ".renma-studio/jobs"
    for number, links in ((1, {}), (2, {"run": "mine/runs/001"})):
        folder = jobs / f"{number:05d}"
        folder.mkdir(parents=True)
        row = {"task": "train", "options": {}, "title": "train", "order": number, "links": links}
        (folder / "job.json").write_text(json.dumps(row))
    (jobs / "00001/started.json").write_text('{"pid": 99999999, "time": 1}')
    with FileLock(jobs / "00001/lock"):
        page = opened("/run?path=mine/runs/001")
        page.get_by_text("Waiting; jobs before it: 1").wait_for()
        assert page.get_by_role("button", name="Cancel").is_visible()
        made_run(workspace / "mine/runs/001")
        page.get_by_role("button", name="Judge the checkpoints").wait_for()
        assert not page.locator("#waiting").is_visible()
