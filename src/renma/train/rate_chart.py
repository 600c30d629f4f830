"""The learning rates of a run as a small chart of block characters, before anything is trained.

No torch: schedules are functions of the step. Terminal lines of at most 72 characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from renma import schedules
from renma.config.optimizer import Adafactor
from renma.config.run import Run

WIDTH = 72
_HEIGHT = 4
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LABEL = 9
"""Characters left of the columns: a rate and a space."""
_DRAWN = 3
"""Charts drawn; of further groups only the figures are told."""
_JUMP = 0.5
"""A rise by this share of the highest rate from one step to the next is a restart."""


def lines(
    run: Run, steps: int, groups: Sequence[tuple[str, float]], width: int = WIDTH
) -> list[str]:
    """Returns the chart of each learning rate, groups with the same one together.

    Args:
        run: the run.
        steps: its optimizer steps.
        groups: name and full learning rate of each trained group, as
            ``[("unet", 1e-4), ("text_encoder", 5e-5)]``.
        width: characters of a line.
    """
    return [_cut(line, width) for line in _told(run, steps, groups, width)]


def _told(run: Run, steps: int, groups: Sequence[tuple[str, float]], width: int) -> list[str]:
    told = [_title(run, steps)]
    if isinstance(run.optimizer, Adafactor) and run.optimizer.relative_step:
        names = ", ".join(name for name, _ in groups)
        rates = [run.optimizer.relative_rate(step + 1) for step in range(steps)]
        told = [f"learning rate: adafactor's own (relative step), {_steps(steps)}"]
        told += _chart(names, rates, width)
        if run.optimizer.scale_parameter:
            told.append("  a factor: each tensor's size multiplies it (scale_parameter).")
        return told
    together: dict[float, list[str]] = {}
    for name, rate in groups:
        together.setdefault(rate, []).append(name)
    for number, (rate, names) in enumerate(together.items()):
        factor = schedules.build(run.schedule, steps, rate)
        rates = [rate * factor(step) for step in range(steps)]
        chart = _chart(", ".join(names), rates, width)
        told += chart if number < _DRAWN else chart[: -_HEIGHT - 1]
    if run.optimizer.traits.finds_rate:
        told.append(f"  a factor: {run.optimizer.name} finds the step size and multiplies it.")
    if run.optimizer.traits.own_schedule == "schedule_free":
        told.append(f"  {run.optimizer.name} averages its way instead of lowering the rate.")
    return told


def _title(run: Run, steps: int) -> str:
    warmup = getattr(run.schedule, "warmup", None)
    rising = warmup(steps) if warmup else 0
    first = f", warm-up {rising}" if rising else ""
    return f"learning rate: {run.optimizer.name}, {run.schedule.name}{first}, {_steps(steps)}"


def _steps(steps: int) -> str:
    return f"{steps} step" if steps == 1 else f"{steps} steps"


def _chart(names: str, rates: Sequence[float], width: int) -> list[str]:
    """Returns a head with the figures, the columns, and the steps below."""
    peak, end = max(rates), rates[-1]
    columns = min(width - _LABEL - 1, len(rates))
    heights = _columns(rates, columns, peak)
    facts = f"peak {peak:.3g} at step {rates.index(peak) + 1}, end {end:.3g}"
    if restarts := _restarts(rates, peak):
        shown = ", ".join(map(str, restarts[:5])) + (" ..." if len(restarts) > 5 else "")
        facts += f", restarts at {shown}"
    told = _wrapped(names, facts, width)
    for row in range(_HEIGHT, 0, -1):
        label = f"{peak:.2g}" if row == _HEIGHT else ("0" if row == 1 else "")
        cells = [_BLOCKS[max(0, min(8, height - 8 * (row - 1)))] for height in heights]
        told.append(f"{label:>{_LABEL - 1}} {''.join(cells)}".rstrip())
    last = str(len(rates))
    gap = max(1, columns - 1 - len(last))
    told.append(f"{'':{_LABEL}}1{' ' * gap}{last}")
    return told


def _wrapped(names: str, facts: str, width: int) -> list[str]:
    """Returns names and figures on one line if they fit."""
    one = f"  {names}: {facts}"
    return [one] if len(one) <= width else [_cut(f"  {names}", width - 1) + ":", f"    {facts}"]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _columns(rates: Sequence[float], columns: int, peak: float) -> list[int]:
    """Returns the height of each column in eighths of a row: the highest of its steps.

    A rate above 0 is never drawn as nothing, so that the smallest is told from none.
    """
    heights = []
    for column in range(columns):
        first = column * len(rates) // columns
        part = rates[first : max(first + 1, (column + 1) * len(rates) // columns)]
        highest = max(part)
        height = round(8 * _HEIGHT * highest / peak) if peak else 0
        heights.append(max(height, 1) if highest > 0 else 0)
    return heights


def _restarts(rates: Sequence[float], peak: float) -> list[int]:
    """Returns the 1-based steps at which the rate jumps up."""
    return [n for n, (a, b) in enumerate(pairwise(rates), 2) if b - a > _JUMP * peak and n > 2]
