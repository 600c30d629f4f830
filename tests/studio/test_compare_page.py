"""The page that compares, in a real browser (row C3); what jobs leave behind is written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from PIL import Image

from renma.studio.jobs.job import Job
from testbed.studio_run import made_run, picture, score

Open = Callable[..., Any]
RUN = "mine/runs/001"


@pytest.fixture
def busy(workspace: Path) -> Iterator[None]:
    """A job that works as long as the test does, so that the queue begins no other."""
    job = Job(workspace / ".renma-studio/jobs/00001", "train", {}, "another", 1.0)
    job.write()
    with FileLock(job.folder / "lock"):
        (job.folder / "started.json").write_text('{"pid": 1, "time": 1}')
        yield
        for folder in job.folder.parent.iterdir():
            (folder / "cancelled").touch()  # nothing that a test asked for begins after it


def test_what_jobs_left_behind_is_shown(workspace: Path, opened: Open):
    run = made_run(workspace / RUN)
    picture(run / "grids/first.png", (400, 300))
    picture(run / "blocks.png")
    (run / "blocks.html").write_text("x")
    picture(run / "drawn/both/0001-0-abc.png")
    asked = {"parts": [{"prompt": "<b>aa12</b>", "lora": f"{RUN}/lora/aa12.safetensors"}]}
    (run / "drawn/both/asked.json").write_text(json.dumps(asked))
    (run / "score.json").write_text(json.dumps(score()))
    page = opened(f"/compare?path={RUN}")
    best = page.locator("#score tr.best")
    best.wait_for()
    assert "0.875 ± 0.031" in best.inner_text()
    assert "0.110" in best.inner_text()
    assert "well trained" in page.locator("#score").inner_text()
    assert page.locator("#score tbody tr").count() == 3  # the base model's too
    assert page.locator("#score svg path").count() == 3
    page.locator("#grids img").scroll_into_view_if_needed()
    assert page.locator("#grids img").evaluate("e => e.decode().then(() => e.naturalWidth)") == 400
    assert page.locator("#blocks-found a", has_text="blocks.html").is_visible()
    assert page.locator("#drawn figcaption li").inner_text() == "<b>aa12</b> · aa12.safetensors"


def test_a_grid_is_built_and_put_into_the_queue(workspace: Path, busy: None, opened: Open):
    made_run(workspace / RUN)
    page = opened(f"/compare?path={RUN}")
    plan = page.locator("#grid-plan")
    page.locator("#grid-plan b", has_text="10 pictures").wait_for()  # 5 weights, 2 checkpoints
    page.get_by_label("Sheets", exact=True).select_option("seed")
    page.locator("#grid-plan b", has_text="40 pictures").wait_for()
    page.get_by_label("Sheets: values").fill("1, 2, x")
    page.get_by_text("'x' is no number").wait_for()
    assert page.locator("#draw-grid").is_disabled()
    page.get_by_label("Sheets: values").fill("7")
    page.locator("#grid-plan b", has_text="10 pictures").wait_for()
    assert "5 × 2 × 1" in plan.inner_text()
    page.locator("#draw-grid").click()
    page.locator("#work li", has_text="grid grid-01").wait_for()
    job = json.loads((workspace / ".renma-studio/jobs/00002/job.json").read_text())
    assert job["options"]["z"] == "seed=7"
    page.locator("#work").get_by_role("button", name="Stop").click()
    page.locator("#work .state.cancelled").wait_for()


def test_regions_are_painted_and_prompts_joined(workspace: Path, busy: None, opened: Open):
    run = made_run(workspace / RUN)
    page = opened(f"/compare?path={RUN}")
    parts = page.locator("#parts > li")
    parts.nth(1).wait_for()
    parts.nth(0).get_by_label("Paint with").check()
    page.get_by_role("button", name="left", exact=True).click()
    parts.nth(1).get_by_label("Paint with").check()
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.1 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.9 * box["height"])
    page.mouse.up()
    parts.nth(0).get_by_label("Prompt", exact=True).fill("aa12, smile")
    parts.nth(1).get_by_label("Prompt", exact=True).fill("person")
    parts.nth(1).get_by_label("LoRA", exact=True).select_option("")
    page.locator("#draw").get_by_role("button", name="Draw").click()
    page.locator("#work li", has_text="sample drawing-01").wait_for()
    with Image.open(run / "drawn/drawing-01/regions.png") as found:
        colours = found.convert("RGBA")
    at = [colours.getpixel((int(x * 511), 256)) for x in (0.25, 0.55, 0.75, 0.95)]
    assert at == [(0xE6, 0x19, 0x4B, 255), (0, 0, 0, 0), (0x3C, 0xB4, 0x4B, 255), (0, 0, 0, 0)]
    page.get_by_label("joined with AND").check()
    assert not page.locator("canvas").is_visible()
    page.locator("#draw [name=name]").fill("both")
    page.locator("#draw").get_by_role("button", name="Draw").click()
    page.locator("#work li", has_text="sample both").wait_for()
    job = json.loads((workspace / ".renma-studio/jobs/00003/job.json").read_text())
    (prompt,) = job["options"]["prompt"]
    assert prompt.startswith("aa12, smile <lora:")
    assert prompt.endswith(" AND person")


def test_on_a_phone_in_the_dark_nothing_is_cut_off(workspace: Path, opened: Open):
    run = made_run(workspace / RUN)
    (run / "score.json").write_text(json.dumps(score()))
    page = opened("/compare", width=390, height=800, color_scheme="dark", locale="ja-JP")
    page.locator("#score tr.best").wait_for()
    page.locator("#parts > li").nth(1).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = page.evaluate(
        "[...document.querySelectorAll('input,select,textarea,button')].filter(e => "
        "e.offsetParent && !e.labels?.length && !e.ariaLabel && !e.textContent.trim()).length"
    )
    assert nameless == 0
