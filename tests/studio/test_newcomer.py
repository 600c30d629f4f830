"""C3: a newcomer's whole way through the studio, by clicks and keys alone.

From the printed address to a downloaded LoRA that was judged; what the pages say is compared with
what lies on the disk.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from safetensors.numpy import load_file

from testbed.studio import Served

STEPS, EVERY = 6, 3
PATIENCE = 90_000
"""Milliseconds that a job may take, on a machine that does other things too."""


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def told(page: Any, text: str) -> None:
    page.get_by_text(text).first.wait_for(timeout=PATIENCE)


def shown(page: Any, text: str) -> None:
    page.locator("#status", has_text=text).wait_for(timeout=PATIENCE)


def captions(workspace: Path) -> dict[str, list[str]]:
    """Returns the tags of every training picture of the project."""
    found = sorted((workspace / "first/train").rglob("*.txt"))
    return {p.stem: [t.strip() for t in p.read_text("utf-8").split(",")] for p in found}


def test_from_the_sample_pictures_to_a_judged_lora(
    served: Served, workspace: Path, opened: Callable[..., Any], tmp_path: Path
):
    page = opened("/", accept_downloads=True)
    page.set_default_timeout(20_000)
    make_project(page)
    tag_pictures(page, workspace)
    edit_three_tags(page, workspace)
    look_at_plan(page)
    watch_training(page, workspace)
    judge(page, workspace)
    draw_grid(page, workspace)
    take_best(page, workspace, tmp_path)


def make_project(page: Any) -> None:
    page.get_by_label("Name").fill("first")
    page.get_by_label("Pictures").select_option(label="the sample character")
    press(page, "Make a project")
    card = page.locator("#projects li", has_text="first")
    card.get_by_text("14 pictures").wait_for()
    card.get_by_role("link", name="Pictures").click()
    shown(page, "0 selected, 14 of 14 shown")


def tag_pictures(page: Any, workspace: Path) -> None:
    """The tagger looks at the pictures; its tags are added to the captions that are there."""
    before = captions(workspace)
    press(page, "Tag")
    press(page, "Look at the pictures")
    told(page, "14 of 14 pictures looked at")
    assert captions(workspace) == before
    page.get_by_label("Where a caption is").select_option("append")
    press(page, "Write captions")
    told(page, "Captions are written.")
    page.get_by_role("dialog").get_by_role("button", name="Close").first.click()
    after = captions(workspace)
    assert all(after[name][: len(tags)] == tags for name, tags in before.items())
    assert all(len(after[name]) > len(tags) for name, tags in before.items())


def edit_three_tags(page: Any, workspace: Path) -> None:
    """Adds, removes and replaces a tag where another one stands, sees it first, takes it back."""
    before = captions(workspace)
    smiling = [name for name, tags in before.items() if "smile" in tags]
    assert 1 < len(smiling) < 14
    page.get_by_label("Find a tag").fill("smile")
    page.locator('#tags button[data-tag="smile"]').click()
    shown(page, f"{len(smiling)} of 14 shown")
    press(page, "Select all")
    shown(page, f"{len(smiling)} selected")
    press(page, "Edit captions")
    dialog = page.get_by_role("dialog", name="Edit many captions")
    dialog.get_by_label("Add tags").fill("portrait")
    dialog.get_by_label("Remove tags").fill("adventurer style")
    dialog.get_by_label("Replace a tag").fill("smile")
    dialog.get_by_label("by these tags").fill("grin")
    preview = dialog.get_by_role("region", name="What changes")
    preview.get_by_text(f"{len(smiling)} captions will change").wait_for()
    for element, tag in (("ins", "portrait"), ("del", "adventurer style"), ("del", "smile")):
        assert preview.locator(element, has_text=tag).count() == len(smiling)
    assert captions(workspace) == before
    press(page, "Change captions")
    told(page, f"{len(smiling)} captions changed")
    after = captions(workspace)
    for name, tags in before.items():
        left = [tag for tag in tags if tag not in ("adventurer style", "smile", "grin")]
        wanted = {*left, "grin", "portrait"} if name in smiling else set(tags)
        assert set(after[name]) == wanted, name
    dialog.get_by_role("button", name="Close").first.click()
    press(page, "Undo")
    told(page, f"{len(smiling)} captions are as before")
    assert captions(workspace) == before


def look_at_plan(page: Any) -> None:
    """Makes the run short and reads what will happen, before anything is trained."""
    page.get_by_role("link", name="New run").last.click()
    plan = page.locator("#plan")
    plan.get_by_text("400 steps").wait_for()
    for label, value in (("Length", STEPS), ("Checkpoint every", EVERY), ("Previews every", EVERY)):
        page.locator("#first").get_by_role("textbox", name=label).fill(str(value))
    page.get_by_label("Search by name").fill("judge.pictures")
    page.locator('#all [data-key="judge.pictures"] input').fill("2")
    plan.get_by_text(f"{STEPS} steps").wait_for()
    sizes = plan.locator("ul.bars").last.locator("li span:first-child").all_inner_texts()
    assert sizes == ["96x160", "128x128", "160x96"]
    assert plan.locator("dd", has_text="regularisation").inner_text().startswith("14 + 24 ")
    assert plan.locator("dl div", has_text="Previews").locator("dd").inner_text() == "2 × 4"
    told(page, f"6 of 14 pictures never shown in {STEPS} steps")
    assert page.locator("#messages .error").count() == 0


def watch_training(page: Any, workspace: Path) -> None:
    """Trains; pictures appear on the page before the run is over."""
    press(page, "Train")
    page.wait_for_url("**/run?path=first%2Fruns%2F001", timeout=PATIENCE)
    page.locator("#previews img").nth(3).wait_for(timeout=PATIENCE)
    assert page.locator(".state.training").is_visible()
    assert page.locator("#previews thead th").last.inner_text() == f"step {EVERY}"
    page.locator(".state.finished").wait_for(timeout=PATIENCE)
    page.locator("#previews img").nth(7).wait_for()
    size = page.locator("#previews img").last.evaluate("e => e.decode().then(() => e.naturalWidth)")
    run = workspace / "first/runs/001"
    with Image.open(run / f"samples/step-{STEPS:08d}-00.png") as drawn:
        assert size == drawn.width
    assert page.locator("#facts b").first.inner_text() == str(STEPS)
    listed = page.locator("#saved li .grow").all_inner_texts()
    assert sorted(listed) == sorted(f"lora/{p.name}" for p in (run / "lora").iterdir())
    assert len(listed) == 2


def judge(page: Any, workspace: Path) -> None:
    """Measures both checkpoints; the verdict comes by itself."""
    assert page.locator("#verdict").inner_text() == "Not judged yet."
    press(page, "Judge the checkpoints")
    verdict = page.locator("#verdict")
    verdict.get_by_text("best: lora/").wait_for(timeout=PATIENCE)
    score = json.loads((workspace / "first/runs/001/score.json").read_text())
    assert len(score["checkpoints"]) == 2
    for line in (score["best"], *score["verdict"], *score["advice"]):
        assert line in verdict.inner_text()


def draw_grid(page: Any, workspace: Path) -> None:
    """Draws two weights of both checkpoints on one sheet."""
    page.locator("#verdict").get_by_role("link", name="Grid").click()
    page.locator("#grid-plan b").wait_for()
    page.get_by_label("Columns: values").fill("0, 1")
    page.locator("#grid-plan b", has_text="4 pictures").wait_for()
    page.locator("#draw-grid").click()
    picture = page.locator("#grids img")
    picture.wait_for(timeout=PATIENCE)
    picture.scroll_into_view_if_needed()
    assert picture.evaluate("e => e.decode().then(() => e.naturalWidth)") > 128
    assert (workspace / "first/runs/001/grids/grid-01.png").is_file()
    assert "2 × 2 × 1" in page.locator("#grid-plan").inner_text()
    page.get_by_role("link", name="Run", exact=True).click()


def take_best(page: Any, workspace: Path, folder: Path) -> None:
    """The file that the browser saves has the weights of the one that was judged best."""
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download the best").click()
    target = folder / waiting.value.suggested_filename
    waiting.value.save_as(target)
    run = workspace / "first/runs/001"
    best = run / json.loads((run / "score.json").read_text())["best"]
    assert target.suffix == ".safetensors"
    got, kept = load_file(target), load_file(best)
    assert got.keys() == kept.keys()
    assert all(got[name].tobytes() == kept[name].tobytes() for name in kept)
    assert any(weights.any() for name, weights in got.items() if "lora_up" in name)
