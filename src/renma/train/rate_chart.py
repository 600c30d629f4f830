"""The learning rates of a run as a small chart of block characters, before anything is trained.

No torch: schedules are functions of the step. Terminal lines of at most 72 characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from renma import schedules
from renma.config.optimizer import Adafactor
from renma.config.run import Run
from renma.config.schedule import JaggedCosine, PiecewiseConstant, stairs

WIDTH = 72
_HEIGHT = 4
_BLOCKS = " ▁▂▃▄▅▆▇█"
_LABEL = 9
"""Characters left of the columns: a rate and a space."""
_DRAWN = 3
"""Charts drawn; of further groups only the figures are told."""
_POINTS = 8
"""Steps looked at for each character of the width: a check must not take longer for longer runs."""
_TOP, _TOPS, _FINE = 0.9, 16, 32
"""How high beside the highest a top is to be looked at closely, how many tops, in how many steps.
"""
_JUMP = 0.5
"""A rise by this share of the highest rate from one step to the next is a restart."""
Rate = Callable[[int], float]
"""The learning rate of a step, counted from 0."""


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
        own = run.optimizer.relative_rate
        told = [f"learning rate: adafactor's own (relative step), {_steps(steps)}"]
        told += _chart(names, lambda step: own(step + 1), steps, width)
        if run.optimizer.scale_parameter:
            told.append("  a factor: each tensor's size multiplies it (scale_parameter).")
        return told
    together: dict[float, list[str]] = {}
    for name, rate in groups:
        together.setdefault(rate, []).append(name)
    for number, (rate, names) in enumerate(together.items()):
        factor = schedules.of_run(run, steps, rate)
        bends, dips = _bends(run, steps), _dips(run, steps)
        chart = _chart(", ".join(names), _scaled(rate, factor), steps, width, bends, dips)
        told += chart if number < _DRAWN else chart[: -_HEIGHT - 1]
    if run.optimizer.traits.finds_rate:
        told.append(f"  a factor: {run.optimizer.name} finds the step size and multiplies it.")
    if run.optimizer.traits.own_schedule == "schedule_free":
        told.append(f"  {run.optimizer.name} averages its way instead of lowering the rate.")
    return told


def _scaled(rate: float, factor: Callable[[int], float]) -> Rate:
    return lambda step: rate * factor(step)


def _title(run: Run, steps: int) -> str:
    warmup = getattr(run.schedule, "warmup", None)
    rising = warmup(steps) if warmup else 0
    first = f", warm-up {rising}" if rising else ""
    return f"learning rate: {run.optimizer.name}, {run.schedule.name}{first}, {_steps(steps)}"


def _steps(steps: int) -> str:
    return f"{steps} step" if steps == 1 else f"{steps} steps"


def _chart(
    names: str, rate: Rate, steps: int, width: int, bends: Iterable[int] = (),
    dips: Sequence[int] = (),
) -> list[str]:  # fmt: skip
    """Returns a head with the figures, the columns, and the steps below."""
    columns = min(width - _LABEL - 1, steps)
    looked = sorted({*_looked_at(steps, columns * _POINTS), *bends, *dips})
    rates = [rate(step) for step in looked]
    highest = _first_highest(rate, looked, rates)
    peak = rate(highest)
    heights = _columns(looked, rates, columns, peak)
    for step in dips:  # a few steps long, they would be lost among the highest of a column
        heights[step * columns // steps] = 0
    facts = f"peak {peak:.3g} at step {highest + 1}, end {rates[-1]:.3g}"
    if restarts := [step + 1 for step in dips] or _restarts(rate, looked, rates, peak):
        shown = ", ".join(map(str, restarts[:5])) + (" ..." if len(restarts) > 5 else "")
        facts += f", restarts at {shown}"
    told = _wrapped(names, facts, width)
    for row in range(_HEIGHT, 0, -1):
        label = f"{peak:.2g}" if row == _HEIGHT else ("0" if row == 1 else "")
        cells = [_BLOCKS[max(0, min(8, height - 8 * (row - 1)))] for height in heights]
        told.append(f"{label:>{_LABEL - 1}} {''.join(cells)}".rstrip())
    last = str(steps)
    gap = max(1, columns - 1 - len(last))
    told.append(f"{'':{_LABEL}}1{' ' * gap}{last}")
    return told


def _wrapped(names: str, facts: str, width: int) -> list[str]:
    """Returns names and figures on one line if they fit."""
    one = f"  {names}: {facts}"
    return [one] if len(one) <= width else [_cut(f"  {names}", width - 1) + ":", f"    {facts}"]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _looked_at(steps: int, most: int) -> Sequence[int]:
    """Returns all steps, or at most so many of them: evenly spread, first and last among them."""
    if steps <= most:
        return range(steps)
    return [place * (steps - 1) // (most - 1) for place in range(most)]


def _bends(run: Run, steps: int) -> Iterator[int]:
    """Yields the steps at which a schedule's course changes at once, and those before them."""
    schedule = run.schedule
    ends = [getattr(schedule, "warmup", lambda _: 0)(steps)]
    if isinstance(schedule, PiecewiseConstant):
        ends += [end for end, _ in stairs(schedule.step_rules)[0]]
    yield from (step for end in ends for step in (end - 1, end) if 0 <= step < steps)


def _dips(run: Run, steps: int) -> Sequence[int]:
    """Returns the steps, from 0, in which the rate begins at 0 again for a short rise."""
    schedule = run.schedule
    if not isinstance(schedule, JaggedCosine) or not schedule.restart_warmup_steps:
        return ()
    return range(schedule.cycle_steps, steps, schedule.cycle_steps)


def _first_highest(rate: Rate, looked: Sequence[int], rates: Sequence[float]) -> int:
    """Returns the first step with the highest rate, to the very step.

    It lies beside one of the highest of the steps looked at; what is between is looked at again.
    """
    last, peak = len(looked) - 1, max(rates)
    tops = [
        n
        for n, found in enumerate(rates)
        if found >= _TOP * peak
        and (n == 0 or rates[n - 1] < found)
        and (n == last or rates[n + 1] <= found)
    ]
    near = [(looked[max(0, n - 1)], looked[min(last, n + 1)]) for n in tops[:_TOPS]]
    found = [_highest_between(rate, *ends) for ends in near]
    return max(found, key=lambda step: (rate(step), -step))


def _highest_between(rate: Rate, first: int, last: int) -> int:
    """Returns the first of the highest steps between two, where the rate rises and then falls."""
    while True:
        looked = _looked_at(last - first + 1, _FINE)
        rates = [rate(first + step) for step in looked]
        best = rates.index(max(rates))
        if last - first < _FINE:
            return first + looked[best]
        before, after = looked[max(0, best - 1)], looked[min(_FINE - 1, best + 1)]
        first, last = first + before, first + after


def _columns(looked: Sequence[int], rates: Sequence[float], columns: int, peak: float) -> list[int]:
    """Returns the height of each column in eighths of a row: the highest of its steps.

    A rate above 0 is never drawn as nothing, so that the smallest is told from none.
    """
    highest = [0.0] * columns
    for step, found in zip(looked, rates, strict=True):
        column = step * columns // (looked[-1] + 1)
        highest[column] = max(highest[column], found)
    heights = [round(8 * _HEIGHT * each / peak) if peak else 0 for each in highest]
    return [
        max(height, 1) if each > 0 else 0 for height, each in zip(heights, highest, strict=True)
    ]


def _restarts(rate: Rate, looked: Sequence[int], rates: Sequence[float], peak: float) -> list[int]:
    """Returns the 1-based steps at which the rate jumps up; of several close together one."""
    found = []
    for (first, low), (last, high) in pairwise(zip(looked, rates, strict=True)):
        if high - low <= _JUMP * peak / 2:
            continue
        before, after = first, last
        while after - before > 1:
            middle = (before + after) // 2
            if rate(middle) > (low + high) / 2:
                after = middle
            else:
                before = middle
        if rate(after) - rate(before) > _JUMP * peak and after > 1:
            found.append(after + 1)
    return found
