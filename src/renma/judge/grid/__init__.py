"""X/Y/Z grids: the same noise in every cell, one thing changed along each axis.

``renma grid RUN`` draws checkpoints against LoRA weights, the trigger prompts on the left and the
class prompts on the right, so that likeness and leakage are seen side by side. ``--x``, ``--y`` and
``--z`` name other axes. Pictures are kept, so a second run draws only what changed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from renma.config.grid_task import GridOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import probe
from renma.drawing.painter import Cells
from renma.drawing.sheet import missing_signs
from renma.judge.grid.drawn import drawn
from renma.judge.grid.facts import labels, page_title
from renma.judge.grid.plan import Plan, planned

if TYPE_CHECKING:
    from renma.drawing.painter import Painter

_OURS = b'<meta name="generator" content="renma">'


def run(options: GridOptions, report: Report) -> None:
    """Draws a grid and writes it as one picture or page.

    Raises:
        UserError: whatever is wrong with runs, files, axes, prompts, the model or the disk.
    """
    plan = planned(options, report)
    _keep(plan.out)
    probe(plan.out.parent)
    cells = Cells(plan.cells, report, device=plan.device, batch_size=options.batch_size)
    draw_grid(plan, cells, report)


def draw_grid(plan: Plan, painter: Painter, report: Report) -> None:
    """Draws and writes a plan.

    Args:
        plan: what is drawn.
        painter: draws.
        report: told where the file lies, and which signs its labels lack.

    Raises:
        UserError: a recipe or a LoRA is wrong, or the disk is full.
    """
    done = drawn(plan, painter)
    if plan.out.suffix.lower() == ".html":
        from renma.judge.grid import page

        page.write(done, plan.out)
    else:
        from renma.judge.grid import sheets

        sheets.write(done, plan.out)
        texts = [
            *labels(plan.x),
            *labels(plan.y),
            *(page_title(done, n) for n in range(len(done.pages))),
        ]
        if boxes := missing_signs("".join(texts)):
            report.line(f"labels in {plan.out.name} show a box for each of {boxes[:20]}")
    report.line(f"grid: {plan.out}")


def _keep(path: Path) -> None:
    """Refuses to write over what is no grid.

    Raises:
        UserError: something else lies there.
    """
    if not path.exists():
        return
    ours = False
    if path.is_file() and path.suffix.lower() == ".html":
        with path.open("rb") as file:
            ours = _OURS in file.read(4096)
    elif path.is_file():
        with suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            with Image.open(path) as picture:
                told = json.loads(picture.info.get("renma", "{}"))
            ours = {"title", "x", "y"} <= told.keys()
    if not ours:
        raise UserError(
            "is there already and is no grid of renma's", where=path, remedy="Name another file."
        )
