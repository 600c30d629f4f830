"""The page of a folder of pictures, as people use it (C3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renma.studio.pages import words
from testbed.studio import Served, call

COUNT = 400


@pytest.fixture
def many(workspace: Path) -> Path:
    """400 pictures; a third of them smile, every tenth has a hat."""
    folder = workspace / "many"
    folder.mkdir()
    for number in range(COUNT):
        name = folder / f"{number:03d}.png"
        Image.new("RGB", (16, 16), (number % 256, 90, 0)).save(name)
        tags = ["aa12"] + ["smile"] * (number % 3 == 0) + ["red hat"] * (number % 10 == 0)
        name.with_suffix(".txt").write_text(", ".join(tags), encoding="utf-8")
    return folder


def captions(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.txt")}


def dialog_text(page: Any) -> str:
    return page.get_by_role("dialog").get_by_label("Caption", exact=True).input_value()


def press(page: Any, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def said(page: Any, text: str) -> None:
    page.locator("#status").get_by_text(text).wait_for()


def test_three_tags_over_a_filtered_set_and_back(many: Path, opened: Callable[..., Any]):
    before = captions(many)
    page = opened("/data?path=many")
    said(page, f"0 selected, {COUNT} of {COUNT} shown")
    tag = page.locator("#tags button")
    tag.filter(has_text="smile").click()
    tag.filter(has_text="red hat").click(modifiers=["Alt"])
    said(page, "0 selected, 120 of 400 shown")
    press(page, "Edit captions")
    page.get_by_label("Add tags").fill("grin, happy")
    page.get_by_label("Replace a tag").fill("aa12")
    page.get_by_label("by these tags").fill("bb34")
    preview = page.get_by_role("region", name="What changes")
    preview.get_by_text("120 captions will change").wait_for()
    assert preview.locator("del").first.inner_text() == "aa12"
    assert captions(many) == before
    press(page, "Change captions")
    page.get_by_text("120 captions changed").wait_for()
    page.keyboard.press("Escape")
    assert (many / "003.txt").read_text() == "bb34, smile, grin, happy"
    assert (many / "000.txt").read_text() == "aa12, smile, red hat"
    tag.filter(has_text="bb34").wait_for()
    press(page, "Undo")
    page.get_by_text("120 captions are as before").wait_for()
    assert captions(many) == before


def test_pictures_are_chosen_by_mouse_and_by_keyboard(many: Path, opened: Callable[..., Any]):
    page = opened("/data?path=many")
    said(page, "0 selected")
    cell = page.locator(".cell")
    cell.nth(1).click()
    cell.nth(4).click(modifiers=["Shift"])
    said(page, "4 selected")
    cell.nth(2).click(modifiers=["Control"])
    said(page, "3 selected")
    grid = page.get_by_role("listbox", name="Pictures")
    grid.focus()
    page.keyboard.press("Control+a")
    said(page, f"{COUNT} selected")
    page.keyboard.press("Escape")
    said(page, "0 selected")
    for key in ("Home", "Space", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowDown"):
        page.keyboard.press(key)
    assert grid.get_attribute("aria-activedescendant") == _id_below(page, 2)
    page.keyboard.press("End")
    assert grid.get_attribute("aria-activedescendant") == f"picture-{COUNT - 1}"
    page.locator(f"#picture-{COUNT - 1}").wait_for()


def _id_below(page: Any, place: int) -> str:
    tops = page.locator(".cell").evaluate_all("all => all.map(e => e.style.transform)")
    row = tops[0].split(",")[1]
    return f"picture-{place + sum(top.split(',')[1] == row for top in tops)}"


def test_only_what_is_in_sight_is_in_the_document(many: Path, opened: Callable[..., Any]):
    page = opened("/data?path=many")
    page.locator(".cell img:not(.empty)").first.wait_for()
    grid = page.locator("#grid")
    for top in (0, 3000, 8000):
        grid.evaluate("(box, top) => (box.scrollTop = top)", top)
        page.locator(".cell").nth(10).wait_for()
        assert page.locator(".cell").count() < 80
    assert page.locator("#picture-0").count() == 0


def test_a_condition_with_a_mistake_is_told(many: Path, opened: Callable[..., Any]):
    page = opened("/data?path=many")
    box = page.get_by_label("Condition on tags")
    box.fill("smile and not /hat/")
    said(page, "120 of 400 shown")
    box.fill("smile and")
    alert = page.get_by_role("alert")
    alert.get_by_text("a tag is expected").wait_for()
    assert box.get_attribute("aria-invalid") == "true"
    box.fill("")
    said(page, "400 of 400 shown")


def test_one_caption_by_chips_and_autocomplete(many: Path, opened: Callable[..., Any]):
    before = captions(many)
    page = opened("/data?path=many")
    page.locator(".cell").nth(1).dblclick()
    dialog = page.get_by_role("dialog", name="001.png")
    field = dialog.get_by_role("combobox")
    field.fill("hat")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert dialog_text(page) == "aa12, red hat"
    dialog.get_by_label("Take out aa12").click()
    page.keyboard.press("Alt+ArrowRight")
    page.get_by_role("dialog", name="002.png").wait_for()
    page.get_by_text("16 × 16 · 3 / 400").wait_for()
    assert dialog_text(page) == "aa12"
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Undo", disabled=False).wait_for()
    assert (many / "001.txt").read_text() == "red hat"
    press(page, "Undo")
    page.get_by_text("1 captions are as before").wait_for()
    assert captions(many) == before


def test_a_frame_and_a_mask_are_drawn_by_mouse(many: Path, opened: Callable[..., Any]):
    pictures = {p.name: p.read_bytes() for p in many.glob("*.png")}
    page = opened("/data?path=many")
    page.locator(".cell").nth(0).dblclick()
    page.get_by_text("16 × 16").wait_for()
    dialog = page.get_by_role("dialog")
    for mode in ("Crop", "Training mask"):
        dialog.get_by_role("group").get_by_role("button", name=mode, exact=True).click()
        dialog.get_by_role("button", name="Keep", exact=True).wait_for()
        box = dialog.locator("canvas").bounding_box()
        near, far = box["width"] / 16 * 2, box["width"] / 16 * 12
        page.mouse.move(box["x"] + near, box["y"] + near)
        page.mouse.down()
        page.mouse.move(box["x"] + far, box["y"] + far, steps=3)
        page.mouse.up()
        dialog.get_by_role("button", name="Keep", exact=True).click()
        dialog.get_by_text("Kept beside the folder.").first.wait_for()
        page.get_by_role("button", name="Close").last.click()
    frames = (many.parent / "many-frames.csv").read_text().splitlines()
    assert frames == ["name,left,top,width,height", "000.png,2,2,10,10"]
    with Image.open(many.parent / "many-masks" / "000.png") as mask:
        assert mask.size == (16, 16)
        assert mask.getpixel((7, 7)) == 255
        assert mask.getpixel((14, 1)) == 0
    assert {p.name: p.read_bytes() for p in many.glob("*.png")} == pictures


def test_text_of_captions_and_names_is_text(workspace: Path, opened: Callable[..., Any]):
    folder = workspace / "odd"
    folder.mkdir()
    name = "<img src=x onerror=alert(1)>"
    Image.new("RGB", (16, 16)).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text("<script>alert(2)</script>, ‮evil", encoding="utf-8")
    page = opened("/data?path=odd")
    page.locator("#tags button").get_by_text("<script>alert(2)</script>").wait_for()
    assert page.locator(".cell .name").inner_text() == f"{name}.png"
    page.locator(".cell").dblclick()
    page.get_by_role("dialog").get_by_text("16 × 16").wait_for()


def test_scores_are_tried_and_written_on_the_sample(
    served: Served, workspace: Path, opened: Callable[..., Any]
):
    call(served, "projects", {"name": "mine", "sample": "character"})
    page = opened("/data?path=mine")
    press(page, "Tag")
    press(page, "Look at the pictures")
    page.get_by_text("14 of 14 pictures looked at").wait_for(timeout=60_000)
    facts = page.get_by_text("pictures looked at")
    counts = []
    for step in ("5", "99"):
        page.get_by_label("Threshold").fill(step)
        counts.append(int(facts.inner_text().split()[0]))
    assert counts[0] > counts[1] > 0
    page.get_by_label("Where a caption is").select_option("append")
    press(page, "Write captions")
    page.get_by_text("Captions are written.").wait_for(timeout=60_000)
    page.keyboard.press("Escape")
    page.locator("#tags button", has_text="glasses").wait_for()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_and_speaks_both_languages(
    many: Path, opened: Callable[..., Any], width: int
):
    page = opened("/data?path=many", width=width, locale="ja-JP")
    page.get_by_role("button", name=words("ja")["data.tool.edit"]).wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
