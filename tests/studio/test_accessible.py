"""C3: axe finds no serious defect on any page or in any dialog, light and dark, wide and narrow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save_file

from renma.config.run_tasks import InitOptions
from renma.core.events import Silent
from renma.studio.jobs.job import Job
from renma.studio.pages import PAGES
from renma.use import init
from testbed.studio_run import STEPS, made_run, picture, score

Open = Callable[..., Any]
RUN = "mine/runs/001"
LORA = f"{RUN}/lora/aa12.safetensors"
SEEN = {
    "": [("/", "#runs h3")],
    "data": [("/data", "#found a"), ("/data?path=mine", ".cell img:not(.empty)")],
    "new": [("/new?path=mine", "#rates svg")],
    "run": [(f"/run?path={RUN}", "#previews img")],
    "queue": [("/queue", "#runs tbody tr")],
    "compare": [(f"/compare?path={RUN}", "#parts > li")],
    "files": [
        ("/files", "#files tbody tr"),
        (f"/files?file={LORA}", "#texts > li"),
        ("/files?tool=merge", "#tool button"),
    ],
    "methods": [("/methods", "#cards > *")],
    "report": [("/report", "#all tbody tr"), (f"/report?run={RUN}", "#shown:not([hidden])")],
    "tools": [("/tools?task=judge", "#form form")],
}
"""Addresses of each page with something on it, and what is there once it is drawn."""
LOOKS = ((1280, "light"), (390, "dark"))
"""Colours do not depend on the width, nor what is cut off on the colours."""


@pytest.fixture
def filled(workspace: Path) -> Iterator[None]:
    """A sample project, two runs with all that a run can have, jobs in every state."""
    init.run(InitOptions(folder=workspace / "mine", sample="character"), Silent())
    for name in ("001", "002"):
        run = made_run(workspace / f"mine/runs/{name}")
        trained(run)
    for number, (task, code) in enumerate([("judge", 0), ("grid", 2), ("train", 0)], 1):
        job = Job(workspace / f".renma-studio/jobs/{number:05d}", task, {}, task, number, RUN)
        job.write()
        job.log.write_text("sampling 8/8\nrenma: something is missing\n")
        (job.folder / "started.json").write_text('{"pid": 1, "time": 1}')
        (job.folder / "ended.json").write_text(json.dumps({"code": code, "time": 2}))
    working = Job(workspace / ".renma-studio/jobs/00004", "report", {}, "report", 4, RUN)
    working.write()
    with FileLock(working.folder / "lock"):
        (working.folder / "started.json").write_text('{"pid": 1, "time": 1}')
        Job(workspace / ".renma-studio/jobs/00005", "judge", {}, "waits", 5, RUN).write()
        yield
        (working.folder / "ended.json").write_text('{"code": 0, "time": 2}')
        (workspace / ".renma-studio/jobs/00005/cancelled").touch()


def trained(run: Path) -> None:
    """Gives a run curves, previews, a verdict, a grid, a drawing, an analysis of blocks."""
    rows: list[dict[str, Any]] = [{"kind": "warned", "text": "odd"}]
    rows += [
        {
            "kind": "step", "step": step, "steps": STEPS[-1], "loss": 1 / step, "seconds": 1.0,
            "loss_average": 1 / step, "lr": {"unet": 0.1, "text_encoder": 0.2}, "grad_norm": 1.0,
        }
        for step in range(1, STEPS[-1] + 1)
    ]  # fmt: skip
    for step in STEPS:
        picture(run / f"samples/{step}.png")
        rows.append({"kind": "sample", "step": step, "path": f"samples/{step}.png", "prompt": "aa"})
        rows.append({"kind": "validated", "step": step, "loss": 0.5})
    rows.append({"kind": "finished", "steps": STEPS[-1]})
    with (run / "events.jsonl").open("a") as file:
        file.writelines(json.dumps({"time": 1.0, **row}) + "\n" for row in rows)
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    save_file(
        {
            f"{name}.lora_down.weight": np.ones((4, 16), np.float32),
            f"{name}.lora_up.weight": np.ones((16, 4), np.float32),
            f"{name}.alpha": np.array(4.0, np.float32),
        },
        run / "lora/aa12.safetensors",
        {"ss_tag_frequency": '{"10_aa12": {"smile": 3, "hat": 1}}', "ss_network_dim": "4"},
    )
    (run / "score.json").write_text(json.dumps(score()))
    picture(run / "grids/first.png")
    picture(run / "blocks.png")
    picture(run / "drawn/both/0001-0-abc.png")
    asked = {"parts": [{"prompt": "aa12", "lora": f"{RUN}/lora/aa12.safetensors"}]}
    (run / "drawn/both/asked.json").write_text(json.dumps(asked))
    (run / "report.html").write_text("<!doctype html><title>x</title><h1>A report</h1>")


OPTIONS = {"resultTypes": ["violations"], "iframes": False}
"""A report in its sandbox answers nobody."""


def defects(page: Any, what: str) -> list[str]:
    """Returns what axe finds serious or critical, in every look."""
    from axe_playwright_python.sync_playwright import Axe

    found = []
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        for row in Axe().run(page, options=OPTIONS).response["violations"]:
            if row["impact"] in ("serious", "critical"):
                where = "; ".join(f"{node['target']} {node['html'][:120]}" for node in row["nodes"])
                found.append(f"{what} {width} {scheme}: {row['id']}: {row['help']}: {where}")
    return found


def test_every_page_is_looked_at():
    assert SEEN.keys() == PAGES.keys()


@pytest.mark.parametrize("name", PAGES)
def test_pages(filled: None, opened: Open, name: str):
    pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    found = []
    for address, ready in SEEN[name]:
        page = opened(address)
        page.locator(ready).first.wait_for()
        page.evaluate("document.querySelectorAll('main details').forEach(e => (e.open = true))")
        found += defects(page, address)
    assert not found, "\n".join(found)


TOOLS = {
    "Edit captions": "data.tool.edit", "Edit one": "data.tool.one", "Tag": "data.tool.tag",
    "Maruzen": "data.tool.maruzen", "Check": "data.tool.lint", "Prepare": "data.tool.prepare",
    "Add pictures": "data.tool.upload",
}  # fmt: skip


def test_dialogs_over_pictures(filled: None, opened: Open):
    page = opened("/data?path=mine")
    page.locator(".cell img:not(.empty)").first.wait_for()
    buttons = page.locator("#tools button.quiet-button, #tools button").all_inner_texts()
    assert {*TOOLS, "Undo", "Redo"} == {*buttons}
    found = []
    for name in TOOLS:
        page.set_viewport_size({"width": 1280, "height": 900})
        page.get_by_role("button", name=name, exact=True).click()
        dialog = page.get_by_role("dialog")
        dialog.wait_for()
        if name == "Edit captions":
            dialog.get_by_label("Remove tags").fill("smile")
            dialog.locator("del").first.wait_for()
        if name == "Edit one":
            page.get_by_text("1 / 14").wait_for()
        found += defects(page, name)
        if name == "Edit one":
            for mode in ("Crop", "Training mask"):
                page.set_viewport_size({"width": 1280, "height": 900})
                dialog.get_by_role("button", name=mode, exact=True).click()
                dialog.get_by_role("button", name="Keep", exact=True).wait_for()
                found += defects(page, mode)
        page.keyboard.press("Escape")
        dialog.wait_for(state="detached")
    assert not found, "\n".join(found)


KOHYA = "python train_network.py --pretrained_model_name_or_path=mame --train_data_dir=train --network_module=networks.lora --dataset_class=x.Y"


def test_other_dialogs_and_mistakes(filled: None, opened: Open):
    page = opened("/new?path=mine")
    page.locator("#rates svg").wait_for()
    page.get_by_role("button", name="Take over from kohya").click()
    page.get_by_label("Paste it here").fill(KOHYA)
    page.get_by_role("button", name="Read", exact=True).click()
    page.locator("#read-result li, #read-result p").first.wait_for()
    found = defects(page, "kohya")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator('#first [data-key="adapter.rank"] input').fill("0")
    page.locator("#first .error").wait_for()
    found += defects(page, "a mistake in a field")
    page.get_by_role("button", name="Browse").first.click()
    page.get_by_role("dialog").locator("li").first.wait_for()
    found += defects(page, "choosing a file")
    assert not found, "\n".join(found)
