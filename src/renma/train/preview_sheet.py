"""The overview of a run's previews: a row for each prompt, a column for each time of drawing.

It is laid out from the files in ``samples/``, so a resumed run goes on with it.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from renma.core.store import write_atomic

FILE = "previews.png"
CHUNK = "renma"
"""Name of the text chunk in a preview's PNG that tells all about it as JSON."""
CELL = 160
"""Longest side of a picture in the overview, in pixels."""
MOST_STEPS, MOST_ROWS = 12, 24
LABEL, HEAD, GAP = 132, 22, 4
"""Pixels: width of the label column, height of the head row, between cells."""
LINE, LETTERS = 18, 18
"""Height of a label's line in pixels, and the letters that fit into one."""
_PAPER, _INK = "#ffffff", "#1b2130"


@dataclass(frozen=True)
class Drawn:
    """One preview on disk.

    Attributes:
        step: steps trained before it.
        row: number of the prompt, and LoRA weight.
        label: says the row in words.
        drawn_with: seed and sampler, a line each.
        picture: small, at most :data:`CELL` a side.
    """

    step: int
    row: tuple[int, float]
    label: str
    drawn_with: tuple[str, str]
    picture: Image.Image


class Overview:
    """Keeps ``previews.png`` of a run.

    Args:
        folder: the run's folder; previews lie in its ``samples/``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # a preview is read once, for 1,024 pixels a side take a while to shrink
        self._known: dict[tuple[Path, int], Drawn | None] = {}

    def write(self) -> Path | None:
        """Lays out what is in ``samples/`` and returns the file, or None if nothing is.

        Raises:
            UserError: it cannot be written.
        """
        found = self.scan()
        if not found:
            return None
        page = sheet(found)
        target = self.folder / FILE
        write_atomic(target, lambda path: page.save(path, format="PNG"))
        return target

    def scan(self) -> list[Drawn]:
        """Returns the previews in order of their steps; other people's pictures are left out."""
        paths = sorted((self.folder / "samples").glob("step-*.png"))
        keys = [(path, path.stat().st_mtime_ns) for path in paths]
        self._known = {
            key: self._known[key] if key in self._known else _read(key[0]) for key in keys
        }
        return [drawn for drawn in self._known.values() if drawn]


def sheet(found: Sequence[Drawn]) -> Image.Image:
    """Returns the overview; of more than :data:`MOST_STEPS` times evenly spaced ones."""
    steps = _spread(sorted({drawn.step for drawn in found}))
    labels = {drawn.row: drawn for drawn in found}  # the newest label of a row counts
    rows = sorted(labels)[:MOST_ROWS]
    cells = {(drawn.row, drawn.step): drawn.picture for drawn in found}
    wide = max(picture.width for picture in cells.values())
    high = max(picture.height for picture in cells.values())
    page = Image.new(
        "RGB", (LABEL + len(steps) * (wide + GAP), HEAD + len(rows) * (high + GAP)), _PAPER
    )
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for c, step in enumerate(steps):
        left = LABEL + c * (wide + GAP)
        draw.text((left + wide // 2, 3), f"step {step}", _INK, font, anchor="ma")
        for r, row in enumerate(rows):
            if picture := cells.get((row, step)):
                page.paste(picture, (left, HEAD + r * (high + GAP)))
    for r, row in enumerate(rows):
        lines = _lines(labels[row], max(1, high // LINE))
        draw.multiline_text((4, HEAD + r * (high + GAP)), "\n".join(lines), _INK, font)
    return page


def _lines(drawn: Drawn, room: int) -> list[str]:
    """Returns a row's label in as many lines as there is room for; a long prompt is cut first."""
    below = [line for text in drawn.drawn_with for line in textwrap.wrap(text, LETTERS)]
    words = textwrap.wrap(
        drawn.label, LETTERS, max_lines=max(1, room - len(below)), placeholder=" ..."
    )
    return [*words, *below][:room]


def _read(path: Path) -> Drawn | None:
    try:
        with Image.open(path) as picture:
            about = json.loads(picture.info[CHUNK])
            row = (int(about["number"]), float(about["weight"]))
            small = picture.convert("RGB")
        small.thumbnail((CELL, CELL), Image.Resampling.LANCZOS)
        return Drawn(int(about["step"]), row, _label(about), _drawn_with(about), small)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _label(about: dict[str, object]) -> str:
    weight = f" at {about['weight']:g}" if about["several_weights"] else ""
    # the font inside Pillow has ASCII signs only
    text = str(about["prompt"]).encode("ascii", "replace").decode()
    return f"{about['number']}{weight}: {text}"


def _drawn_with(about: dict[str, object]) -> tuple[str, str]:
    """Returns the lines below a label: what else decides how the picture looks."""
    return (f"seed {about['seed']}", f"{about['sampler']}, {about['steps']} steps")


def _spread(steps: list[int]) -> list[int]:
    if len(steps) <= MOST_STEPS:
        return steps
    last = len(steps) - 1
    return sorted({steps[round(i * last / (MOST_STEPS - 1))] for i in range(MOST_STEPS)})
