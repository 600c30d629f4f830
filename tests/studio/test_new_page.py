"""The page about new runs, in a real browser (row C3)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from renma.config.run_tasks import InitOptions
from renma.core.events import Silent
from renma.use import init

Open = Callable[..., Any]


@pytest.fixture
def page(workspace: Path, opened: Open) -> Any:
    """The page of a sample project, its plan worked out."""
    init.run(InitOptions(folder=workspace / "mine", sample="character"), Silent())
    made = opened("/new?path=mine")
    made.locator("#plan dl").wait_for()
    return made


def option(page: Any, key: str, where: str = "#first") -> Any:
    return page.locator(f'{where} [data-key="{key}"]')


def says(page: Any, what: str, value: str) -> None:
    """Waits until a field holds, or an element shows, some words."""
    from playwright.sync_api import expect

    found = page.locator(what)
    if found.evaluate("e => 'value' in e && e.tagName !== 'BUTTON'"):
        expect(found).to_have_value(re.compile(value))
    else:
        expect(found).to_have_text(re.compile(value))


def test_form_text_and_plan_say_the_same(page: Any):
    rank = option(page, "adapter.rank")
    rank.locator("input").fill("8")
    says(page, "#text", r"\nrank = 8\n")
    text = page.locator("#text").input_value()
    page.locator("#text").fill(text.replace("max_steps = 400", "max_epochs = 3"))
    says(page, "#brief", "^210 ")
    length = option(page, "train.max_steps")
    assert length.locator("input").input_value() == "3"
    assert length.locator("select").input_value() == "max_epochs"
    changes = page.locator("#changes").inner_text()
    assert "adapter.rank" in changes
    assert "train.max_epochs" in changes
    assert "128x128" in page.locator("#plan").inner_text()
    assert page.locator("#rates path").count() == 2
    # a mistake stands at its field and stops training
    rank.locator("input").fill("0")
    rank.locator(".said .error").wait_for()
    assert rank.locator("input").get_attribute("aria-invalid") == "true"
    assert page.locator("#train").is_disabled()
    back = rank.get_by_role("button", name="Back to the default")
    back.click()
    assert not back.is_visible()
    page.locator("#train:enabled").wait_for()
    assert "rank =" not in page.locator("#text").input_value()


def test_an_algorithm_brings_its_own_options_and_takes_the_others_away(page: Any):
    page.get_by_label("Search by name").fill("d_coef")
    own = option(page, "optimizer.d_coef", "#all")
    assert own.count() == 0
    option(page, "optimizer.name").locator("select").select_option(label="prodigy")
    own.wait_for()
    page.get_by_label("Search by name").fill("network_dim")
    assert option(page, "adapter.rank", "#all").is_visible()
    option(page, "schedule.name").locator("select").select_option(label="constant")
    says(page, "#text", r"\nname = .constant.\n")
    assert "warmup_steps" not in page.locator("#text").input_value()
    assert option(page, "schedule.warmup_steps").count() == 0


def test_settings_of_kohya_are_taken_over_and_trained(page: Any, workspace: Path):
    page.get_by_role("button", name="Take over from kohya").click()
    page.get_by_label("Paste it here").fill(
        "python train_network.py --pretrained_model_name_or_path=mame --train_data_dir=train "
        "--resolution=128,128 --network_module=networks.lora --network_dim=5 --enable_bucket "
        "--min_bucket_reso=64 --bucket_reso_steps=32 --caption_extension=.txt "
        "--output_name=aa --max_train_steps=2 --learning_rate=1e-4 --dataset_class=x.Y"
    )
    page.get_by_role("button", name="Read", exact=True).click()
    page.get_by_text("1 options cannot be had here").wait_for()
    page.get_by_role("button", name="Use these settings").click()
    says(page, "#text", r"\nrank = 5\n")
    assert option(page, "adapter.rank").locator("input").input_value() == "5"
    says(page, "#brief", "^2 steps")
    with page.expect_response("**/api/settings/train"):
        page.get_by_role("button", name="Train", exact=True).click()
    asked = tomllib.loads((workspace / "mine/runs/001.toml").read_text())
    assert asked["adapter"]["rank"] == 5
    assert asked["train"]["max_steps"] == 2
    assert asked["output"]["name"] == "aa"


def test_on_a_phone_in_the_dark_nothing_is_cut_off(workspace: Path, opened: Open):
    init.run(InitOptions(folder=workspace / "mine", sample="character"), Silent())
    page = opened("/new?path=mine", width=390, height=800, color_scheme="dark", locale="ja-JP")
    page.locator("#plan dl").wait_for()
    page.locator("#all details").nth(2).locator("summary").click()
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    nameless = page.evaluate(
        "[...document.querySelectorAll('input,select,textarea,button')].filter(e => "
        "e.offsetParent && !e.labels?.length && !e.ariaLabel && !e.textContent.trim()).length"
    )
    assert nameless == 0
