"""`renma demo`: from pictures to a judged LoRA, nothing to download."""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING

from renma.config.grid_task import GridOptions
from renma.config.judge_task import JudgeOptions
from renma.config.load import load_run
from renma.config.prepare.lint import LintOptions
from renma.config.run_tasks import (
    CheckOptions,
    DemoOptions,
    InitOptions,
    ReportOptions,
    TrainOptions,
)
from renma.core.store import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from renma.config._base import Section
    from renma.core.events import Report


def run(options: DemoOptions, report: Report) -> None:
    """Prepares the character set, examines it, plans, trains, draws the grid, scores, reports.

    Called again on the same folder, it continues where it was stopped.
    """
    folder = options.out
    begun = (folder / "events.jsonl").exists()
    if not begun:
        _task("renma.use.init", InitOptions(folder=folder, sample="character"), report)
    values = (f"train.seed={options.seed}",)
    if options.steps:
        values += (f"train.max_steps={options.steps}",)
    toml = folder / "run.toml"
    _lint(folder, report)
    _task("renma.train.check", CheckOptions(run=toml, set=values), report)
    train = TrainOptions(run=toml, set=values, out=folder, resume=begun)
    _task("renma.cli.train", train, report)
    _task("renma.judge.grid", GridOptions(sources=(folder,)), report)
    _task("renma.judge.score", JudgeOptions(folder=folder), report)
    _task("renma.judge.report", ReportOptions(folder=folder), report)
    score = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    report.line("")
    for sentence in score["verdict"]:
        report.line(sentence)
    report.line("")
    for name in (score["best"], "grid.png", "report.html"):
        report.line(f"  {folder / name}")
    report.line("")
    report.line("Try next:")
    report.line("  renma init my-lora                       your own pictures")
    report.line("  renma init my-style --sample style       a drawing style instead of a character")
    report.line(f"  renma train {toml} --set adapter.rank=32 --out {folder}-rank32")


def _lint(folder: Path, report: Report) -> None:
    """Examines the pictures, and keeps for the report what ``--json`` would print."""
    lint = import_module("renma.prepare.lint")
    data = load_run(folder / "run.toml").data
    options = LintOptions(
        folder=folder / data.train_folder, resolution=data.resolution[0], executor="serial"
    )
    found = lint.examine(options, report)
    for line in lint.table(options, found):
        report.line(line)
    text = json.dumps(lint.as_data(options, found), indent=2)
    write_text(folder / "lint.json", f"{text}\n")


def _task(module: str, options: Section, report: Report) -> None:
    import_module(module).run(options, report)
