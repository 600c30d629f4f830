"""Previews drawn while a run trained: prompts down, steps across (no torch)."""

from __future__ import annotations

from dataclasses import dataclass

from renma.judge.folder import Event, RunRecord
from renma.judge.inline import Picture, from_file
from renma.judge.numbers import is_step

MOST_STEPS = 8
"""Columns; of more, evenly spaced ones, the first and the last."""
MOST_PROMPTS = 10
"""Rows."""
_SIDE, _BYTES = 256, 16_000


@dataclass(frozen=True)
class PreviewRow:
    """One preview prompt over the steps."""

    prompt: str
    pictures: tuple[Picture | None, ...]


@dataclass(frozen=True)
class Previews:
    """The table; ``all_prompts`` counts those left out, too."""

    steps: tuple[int, ...]
    rows: tuple[PreviewRow, ...]
    all_steps: int
    all_prompts: int


def previews(folder: RunRecord) -> Previews:
    """Returns the previews that are still in the run's folder."""
    found: dict[int, dict[int, Event]] = {}
    for event in folder.all("sample"):
        step, index = event.get("step"), event.get("index", 0)
        if is_step(step) and is_step(index) and folder.inside(event.get("path")):
            found.setdefault(index, {})[step] = event
    every = sorted({step for row in found.values() for step in row})
    steps = every
    if len(every) > MOST_STEPS:
        last = len(every) - 1
        steps = [every[round(i * last / (MOST_STEPS - 1))] for i in range(MOST_STEPS)]
    rows = [
        PreviewRow(_words(row), tuple(_picture(folder, row.get(step)) for step in steps))
        for _, row in sorted(found.items())[:MOST_PROMPTS]
    ]
    return Previews(tuple(steps), tuple(rows), len(every), len(found))


def _words(row: dict[int, Event]) -> str:
    event = next(iter(row.values()))
    prompt, weight = str(event.get("prompt", "")), event.get("weight", 1.0)
    return prompt if weight == 1 else f"{prompt} (weight {weight})"


def _picture(folder: RunRecord, event: Event | None) -> Picture | None:
    path = folder.inside(event.get("path")) if event else None
    return from_file(path, _SIDE, _BYTES) if path else None
