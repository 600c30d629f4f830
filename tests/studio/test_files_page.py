"""The page of LoRA files in a real browser (row C3): look, edit with a preview, undo, tools, hostile text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed import lora_bytes
from testbed.studio_run import made_run, picture

Open = Callable[..., Any]
FILE = "mine/runs/001/lora/aa12-step00000010.safetensors"
ALL = len(lora_bytes.METADATA)
SCRIPT = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"


@pytest.fixture
def file(workspace: Path) -> Path:
    """A LoRA of a run, with a picture of the run."""
    run = made_run(workspace / "mine/runs/001")
    picture(run / "samples/a.png")
    row = {"time": 2.0, "kind": "sample", "step": 10, "path": "samples/a.png"}
    with (run / "events.jsonl").open("a") as events:
        events.write(json.dumps(row) + "\n")
    (run / "lora/aa12.safetensors").unlink()
    return lora_bytes.lora(workspace / FILE)


def entries(path: Path) -> dict[str, str]:
    data = path.read_bytes()
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]


def test_a_file_is_found_and_seen(workspace: Path, file: Path, opened: Open):
    lora_bytes.lora(workspace / "loras/other.safetensors", note="walrus")
    page = opened("/files")
    page.locator("#files tbody tr").nth(1).wait_for()
    page.get_by_label("Search names and metadata").fill("walrus")
    page.get_by_text("1 files").wait_for()
    assert "other.safetensors" in page.locator("#files tbody").inner_text()
    page.get_by_label("Search names and metadata").fill("aa12-step")
    page.get_by_role("link", name=file.name).click()
    page.locator("#facts .title").wait_for()
    told = page.locator("#facts").inner_text()
    for part in ("U-Net: 2 layers, text encoder: 1 layers", "20 / 30", "mine/runs/001", "sd_v1"):
        assert part in told
    assert page.locator("#facts img").evaluate("e => e.decode().then(() => e.naturalWidth)") == 96
    page.get_by_role("button", name="Compute from the file").click()
    page.get_by_text("SHA-256").wait_for()
    with page.expect_download() as kept:
        page.get_by_role("link", name="Download").click()
    assert kept.value.path().read_bytes() == file.read_bytes()


def test_tags_are_searched_and_become_a_prompt(file: Path, opened: Open):
    page = opened(f"/files?file={FILE}")
    page.locator(".tag-bars li").nth(2).wait_for()
    assert page.locator(".tag-bars li").first.inner_text().split() == ["aa12", "40"]
    widths = page.locator(".tag-bars rect").evaluate_all(
        "e => e.map(r => +r.getAttribute('width'))"
    )
    assert widths == pytest.approx([100, 100 * 35 / 40, 50])
    page.get_by_label("Search tags").fill("hair")
    page.get_by_text("1 of 1 tags").wait_for()
    page.get_by_label("Commonest tags").fill("2")
    page.get_by_role("button", name="Make a prompt of them").click()
    prompt = page.get_by_label("Prompt", exact=True).input_value()
    assert prompt == f"aa12 person, aa12, smile <lora:{file.stem}:1>"


def test_metadata_is_changed_with_a_preview_and_taken_back(file: Path, opened: Open):
    before = file.read_bytes()
    page = opened(f"/files?file={FILE}")
    write = page.get_by_role("button", name="Write", exact=True)
    page.get_by_label("Search keys and values").fill("line two")
    page.get_by_text(f"1 of {ALL} entries").wait_for()
    page.get_by_role("button", name="Remove: note").click()
    page.get_by_label("Search keys and values").fill("title")
    page.get_by_role("button", name="Edit: modelspec.title").click()
    page.get_by_label("Value modelspec.title").fill("Mine")
    page.get_by_role("button", name="Add an entry").click()
    page.get_by_label("Name of the entry").last.fill("mine")
    assert write.is_disabled()
    page.get_by_role("button", name="Show the differences").click()
    page.get_by_text(f"3 differences; {ALL} entries before, {ALL} after.").wait_for()
    assert page.locator(".differences del").all_inner_texts() == ["A title", "line one\nline two"]
    assert file.read_bytes() == before
    write.click()
    undo = page.get_by_role("button", name="Take the last change back")
    undo.wait_for()
    assert entries(file)["modelspec.title"] == "Mine"
    assert "note" not in entries(file)
    undo.click()
    page.get_by_text(f"{ALL} of {ALL} entries").wait_for()
    undo.wait_for(state="detached")
    assert entries(file) == lora_bytes.METADATA


def test_scrubbing_into_a_copy_says_what_remains(workspace: Path, file: Path, opened: Open):
    page = opened(f"/files?file={FILE}")
    page.locator("#change select").select_option("minimal")
    page.get_by_label("write a copy").check()
    page.get_by_label("Name of the copy").fill("clean.safetensors")
    page.get_by_role("button", name="Show the differences").click()
    page.get_by_text("What remains: modelspec.title, ss_base_model_version").wait_for()
    page.get_by_role("button", name="Write", exact=True).click()
    page.get_by_text("5 of 5 entries").wait_for()
    assert "file=clean.safetensors" in page.url
    assert len(entries(workspace / "clean.safetensors")) == 5
    assert entries(file) == lora_bytes.METADATA


def test_a_tool_works_as_a_job_and_its_file_is_opened(workspace: Path, file: Path, opened: Open):
    """The one test here that loads torch: measuring and resizing, done by real jobs."""
    page = opened(f"/files?file={FILE}")
    page.get_by_role("button", name="Measure").click()
    form = page.locator("#tool")
    form.get_by_label("Rank", exact=True).fill("1")
    out = FILE.replace(".safetensors", "-rank1.safetensors")
    page.locator("#tool pre", has_text=f"renma file resize {FILE} {out} --rank 1").wait_for()
    form.get_by_role("button", name="Resize").click()
    page.locator(".heat").wait_for(timeout=90_000)
    # ones in both factors of rank 2 at scale 1/2: every number of the update is 1
    cells = page.locator(".heat tbody tr", has_text="M00").locator("td").all_inner_texts()
    assert f"{(8 * 768) ** 0.5:.1f}" in cells
    page.get_by_text("Every number is finite").wait_for()
    page.get_by_role("link", name="Open the new file").click(timeout=90_000)
    page.locator("#facts .title", has_text="-rank1").wait_for()
    assert (workspace / out).exists()


def test_a_sum_is_put_together_with_weights(workspace: Path, file: Path, opened: Open):
    lora_bytes.lora(workspace / "loras/b.safetensors")
    page = opened(f"/files?file={FILE}&tool=merge")
    page.get_by_label("LoRA file 2").fill("loras/b.safetensors")
    page.get_by_label("Weight as a number 2").fill("-0.5")
    page.get_by_label("Weight 1").fill("0.7")
    page.locator(
        "#tool pre", has_text=f"renma file merge {FILE}:0.7 loras/b.safetensors:-0.5"
    ).wait_for()
    page.get_by_label("New file").fill("../x.safetensors")
    page.locator("#tool .bad", has_text="is no path inside the workspace").wait_for()
    assert form_is_stopped(page)


def form_is_stopped(page: Any) -> bool:
    return page.locator("#tool").get_by_role("button", name="Merge", exact=True).is_disabled()


def test_hostile_text_is_text(workspace: Path, opened: Open):
    """The group "metadata view": nothing of a file runs or turns text around."""
    more = {"ss_tag_frequency": json.dumps({"1_" + SCRIPT: {SCRIPT: 3, "\u202egnp": 2}}),
            "modelspec.trigger_phrase": SCRIPT, SCRIPT: SCRIPT, "modelspec.title": SCRIPT,
            "note": "x" * 3_000_000, "deep": "[" * 50_000 + "]" * 50_000}  # fmt: skip
    lora_bytes.lora(workspace / "a&b=<i>.safetensors", **more)
    (workspace / "broken.safetensors").write_bytes(b"\xff" * 64)
    page = opened("/files")
    page.get_by_role("link", name="a&b=<i>.safetensors").click()
    page.locator(".tag-bars li").nth(1).wait_for()
    assert page.locator(".tag-bars b").first.inner_text() == SCRIPT
    assert "\\u202egnp" in page.locator(".tag-bars").inner_text()
    page.get_by_role("button", name="Whole: note").click()
    page.get_by_text("cut; it has 3,000,000 characters").wait_for()
    page.get_by_role("button", name="Whole: deep").click()
    page.locator("[data-key=deep] pre").wait_for()
    assert page.locator("main img[src=x], main i, main script").count() == 0
    assert page.title().startswith("a&b=<i>.safetensors")


def test_a_broken_file_is_told(workspace: Path, opened: Open):
    (workspace / "broken.safetensors").write_bytes(b"12345678" * 8)
    page = opened("/files")
    row = page.locator("#files tr.broken")
    assert "is not a safetensors file" in row.inner_text()


@pytest.mark.parametrize("address", ["/files", f"/files?file={FILE}", "/files?tool=extract"])
def test_on_a_phone_in_the_dark_nothing_is_cut_off(file: Path, opened: Open, address: str):
    page = opened(address, width=390, height=800, color_scheme="dark", locale="ja-JP")
    page.locator("#files tbody tr, #texts li, #tool pre").first.wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = page.evaluate(
        "[...document.querySelectorAll('input,select,textarea,button')].filter(e => "
        "e.offsetParent && !e.labels?.length && !e.ariaLabel && !e.textContent.trim()).length"
    )
    assert nameless == 0
    assert "files." not in page.locator("main").inner_text()
