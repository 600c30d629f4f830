"""X/Y/Z grids: the same seeds in every cell, one thing changed along each axis.

``renma grid RUN`` draws checkpoints against LoRA weights, the trigger prompts on the left and the
class prompts on the right, so that likeness and leakage are seen side by side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renma.config.prompts import prompts as preview_prompts
from renma.config.run_tasks import GridOptions
from renma.core import keyed
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_atomic
from renma.drawing.sheet import join, missing_signs, sheet
from renma.engine.sample import Shot
from renma.judge import axes
from renma.judge.axes import Axis
from renma.judge.folder import Checkpoint, RunRecord
from renma.judge.paint import Cell, Painter, open_painter

MOST_CHECKPOINTS = 6
"""Rows of the standard grid; of more checkpoints, evenly spaced ones and the last are shown."""
MOST_PROMPTS = 2
"""Prompts of each kind in the standard grid."""
ABOUT = "renma"
"""Name of the text chunk in the PNG that tells prompts and axes as JSON."""

Page = list[list[Image.Image]]


def run(options: GridOptions, report: Report) -> None:
    """Draws the grid of a run and writes it as PNG.

    Raises:
        UserError: no run's folder, no checkpoint, nothing to draw.
    """
    folder = RunRecord.open(options.folder)
    folder.need_checkpoints()
    pairs = _prompts(folder, options.prompts)
    painter = open_painter(folder, report)
    checkpoint_grid(folder, painter, report, options.weights, pairs, options.out)


def draw(painter: Painter, start: Cell, x: Axis, y: Axis, z: Axis) -> list[Page]:
    """Returns pictures as [z][y][x]; all are asked of the painter at once.

    Args:
        painter: draws.
        start: what the axes change.
        x: columns.
        y: rows.
        z: pages.
    """
    cells = [
        b.change(a.change(c.change(start))) for c in z.values for b in y.values for a in x.values
    ]
    pictures = iter(painter.paint(cells))
    return [[[next(pictures) for _ in x.values] for _ in y.values] for _ in z.values]


def checkpoint_grid(
    folder: RunRecord,
    painter: Painter,
    report: Report,
    weights: Sequence[float] = (),
    pairs: Sequence[tuple[str, str]] = (),
    out: Path | None = None,
) -> Image.Image:
    """Draws and writes the standard grid: checkpoints down, LoRA weights across.

    Args:
        folder: the run.
        painter: draws.
        report: told what is left out and where the picture lies.
        weights: LoRA weights (default: those of the run); the base model is always shown.
        pairs: (kind, prompt) of each page (default: the run's own prompts).
        out: the picture (default: ``grid.png`` in the run's folder).
    """
    run = folder.run
    pairs = pairs or _prompts(folder, ())
    x = axes.weight(sorted({0.0, *(weights or run.judge.weights)}))
    y = axes.checkpoint(_rows(folder.need_checkpoints(), report))
    z = axes.prompt([text for _, text in pairs])
    start = Cell(shot(folder, "", keyed.key(run.train.seed, "grid") % 2**31))
    pages = draw(painter, start, x, y, z)
    sheets = [
        sheet(
            page,
            row_labels=[value.label for value in y.values],
            column_labels=[value.label for value in x.values],
            title=f"{kind}: {text}" if kind else text,
        )
        for (kind, text), page in zip(pairs, pages, strict=True)
    ]
    name = run.output.title or run.output.name
    whole = join(sheets, columns=2, title=f"{name}: checkpoint × LoRA weight")
    about = {
        "title": name,
        "seed": start.shot.seed,
        "x": [value.label for value in x.values],
        "y": [value.label for value in y.values],
        "prompts": [{"kind": kind, "text": text} for kind, text in pairs],
    }
    target = out or folder.path / "grid.png"
    _write(whole, target, about)
    if boxes := missing_signs("".join(text for _, text in pairs)):
        report.line(f"labels in {target.name} show a box for each of {boxes[:20]}")
    report.line(f"grid: {target}")
    return whole


def shot(folder: RunRecord, prompt: str, seed: int) -> Shot:
    """Returns a picture to draw with the run's own sampler, steps and guidance."""
    sample = folder.run.sample
    return Shot(prompt, seed=seed, steps=sample.steps, scale=sample.scale, sampler=sample.sampler)


def _prompts(folder: RunRecord, given: Sequence[str]) -> list[tuple[str, str]]:
    """Returns (kind, prompt) in the order of the pages: with and without trigger in turn.

    Raises:
        UserError: the run has neither judge nor preview prompts, and none is given.
    """
    judge, trigger = folder.run.judge, folder.run.output.trigger
    if given:
        return [(_kind(text, trigger), text) for text in given]
    with_trigger = [("with trigger", text) for text in judge.trigger_prompts[:MOST_PROMPTS]]
    without = [("without trigger", text) for text in judge.class_prompts[:MOST_PROMPTS]]
    longest = max(len(with_trigger), len(without))
    pairs = [p for i in range(longest) for p in (*with_trigger[i : i + 1], *without[i : i + 1])]
    if not pairs:
        previews = preview_prompts(folder.run.sample, folder.path)[: 2 * MOST_PROMPTS]
        pairs = [(_kind(p.text, trigger), p.text) for p in previews]
    if not pairs:
        raise UserError(
            "names no prompt to draw",
            where=folder.path / "run.toml",
            remedy="Fill judge.trigger_prompts and judge.class_prompts, or give --prompts.",
        )
    return pairs


def _kind(text: str, trigger: str) -> str:
    if not trigger:
        return ""
    return "with trigger" if trigger in text else "without trigger"


def _rows(found: list[Checkpoint], report: Report) -> list[Checkpoint]:
    if len(found) <= MOST_CHECKPOINTS:
        return found
    last = len(found) - 1
    places = sorted({round(i * last / (MOST_CHECKPOINTS - 1)) for i in range(MOST_CHECKPOINTS)})
    report.line(f"the grid shows {len(places)} of {len(found)} checkpoints")
    return [found[i] for i in places]


def _write(picture: Image.Image, target: Path, about: dict[str, object]) -> None:
    info = PngInfo()
    info.add_itxt(ABOUT, json.dumps(about, ensure_ascii=False))
    write_atomic(target, lambda path: picture.save(path, format="PNG", pnginfo=info, optimize=True))
