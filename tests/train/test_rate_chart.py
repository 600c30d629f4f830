"""The learning rates drawn before the start (issue 4, "learning-rate plan"; rows E4, E5)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from renma import schedules
from renma.config import Run, validate
from renma.train import rate_chart

GROUPS = [("unet", 1e-4), ("text_encoder", 5e-5)]


def chart(steps=400, groups=GROUPS, width=rate_chart.WIDTH, **raw) -> list[str]:
    return rate_chart.lines(validate(Run, raw, "test"), steps, groups, width)


def columns(lines: list[str]) -> list[int]:
    """Heights in eighths of the first chart, read back from its characters."""
    rows = [line for line in lines if any(c in line for c in "▁▂▃▄▅▆▇█")][:4]
    width = max(map(len, rows))
    cells = [row.ljust(width)[9:] for row in rows]
    return [sum(" ▁▂▃▄▅▆▇█".index(row[i]) for row in cells) for i in range(width - 9)]


def test_constant_is_full_everywhere_and_equal_groups_share_a_chart():
    lines = chart(groups=[("unet", 1e-4), ("text_encoder", 1e-4)])
    assert set(columns(lines)) == {32}
    assert sum("peak" in line for line in lines) == 1
    assert "unet, text_encoder: peak 0.0001 at step 1, end 0.0001" in lines[1]


def test_linear_falls_in_a_straight_line():
    heights = columns(chart(schedule={"name": "linear"}))
    assert heights[0] == 32
    assert heights[-1] == 1  # above 0 is never drawn as nothing
    assert all(abs(h - 32 * (1 - (i + 0.5) / len(heights))) <= 1 for i, h in enumerate(heights))


def test_warm_up_restarts_peak_and_end_are_told():
    lines = chart(schedule={"name": "cosine_with_restarts", "num_cycles": 3, "warmup_steps": "10%"})
    text = "\n".join(lines)
    assert "warm-up 40" in lines[0]
    assert "peak 0.0001 at step 41" in text
    assert text.count("restarts at 161, 281") == 2
    assert "5e-05" in text
    heights = columns(lines)
    rises = [i for i in range(1, len(heights)) if heights[i] > heights[i - 1] + 8]
    found = [400 * i / len(heights) for i in rises if i > 10]
    assert found == pytest.approx([160, 280], abs=7)  # a column is 6.5 steps


@pytest.mark.parametrize("steps", [577, 5000, 99_999])
@pytest.mark.parametrize(
    "schedule",
    [
        {"name": "cosine_with_restarts", "num_cycles": 4, "warmup_steps": "3%"},
        {"name": "constant_with_warmup", "warmup_steps": 37},
        {"name": "piecewise_constant", "step_rules": "0.2:123,1:200,0.1:400,0.9:550,0.01"},
        {"name": "warmup_stable_decay", "warmup_steps": 400},
    ],
    ids=lambda schedule: schedule["name"],
)
def test_figures_of_long_runs_are_exact(steps: int, schedule: dict[str, object]):
    """Few steps are looked at; peak, end and restarts are those of looking at each."""
    factor = schedules.build(validate(Run, {"schedule": schedule}, "t").schedule, steps, 1e-4)
    rates = [1e-4 * factor(step) for step in range(steps)]
    peak = max(rates)
    jumps = [n + 1 for n in range(2, steps) if rates[n] - rates[n - 1] > 0.5 * peak]
    asked = []

    def asking(*given):
        return lambda step: asked.append(step) or factor(step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_chart.schedules, "build", asking)
        head = "".join(chart(steps, [("unet", 1e-4)], 80, schedule=schedule)[:3])
    assert f"peak {peak:.3g} at step {rates.index(peak) + 1}, end {rates[-1]:.3g}" in head
    assert ("restarts at " + ", ".join(map(str, jumps)) in head) if jumps else "restart" not in head
    assert len(asked) < 2000


def test_optimizers_that_find_the_scale_say_so():
    assert "prodigy finds the step size" in chart(optimizer={"name": "prodigy"})[-1]
    assert "averages its way" in chart(optimizer={"name": "adamwschedulefree"})[-1]
    own = chart(optimizer={"name": "adafactor", "warmup_init": True})
    assert "adafactor's own" in own[0]
    assert "peak 0.0004 at step 400" in own[1]  # 1e-6 a step
    assert "each tensor's size" in own[-1]


@pytest.mark.parametrize("steps", [1, 2, 7, 61, 62, 63, 1600, 30_000])
@pytest.mark.parametrize("width", [40, 72])
def test_no_line_is_too_long(steps, width):
    groups = [(f"unet x{n}", 1e-4 * n) for n in range(1, 9)] + [("text_encoder " * 9, 3.33e-7)]
    for schedule in ({"name": "cosine"}, {"name": "cosine_with_restarts", "num_cycles": 40}):
        lines = chart(steps, groups, width, schedule=schedule)
        assert max(map(len, lines)) <= width
        assert sum("peak" in line for line in lines) == 9
        assert sum(line.lstrip().startswith("1 ") for line in lines) <= 3  # three are drawn


def test_a_rate_of_zero_is_drawn_as_nothing():
    lines = chart(schedule={"name": "piecewise_constant", "step_rules": "0:200,1"})
    heights = columns(lines)
    assert heights[:30] == [0] * 30
    assert heights[-30:] == [32] * 30


def test_it_does_without_torch():
    code = (
        "import sys; from renma.config import Run; from renma.train import rate_chart;"
        "from renma.config.optimizer_rules import problems;"
        "rate_chart.lines(Run(), 100, [('unet', 1e-4)]); problems(Run(), ('unet',), 100);"
        "import renma.optimizers; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_dips_of_a_jagged_cosine_are_seen_however_short():
    """A rise of 10 of 1000 steps is less than a column (row A9)."""
    schedule = {"name": "jagged_cosine", "cycle_steps": 250, "warmup_steps": 20}
    lines = chart(1000, schedule=schedule, relora={"every_steps": 250, "rate_factor": 0.5})
    heights = columns(lines)
    dips = [i for i in range(1, len(heights)) if heights[i] == 0]
    assert [round(1000 * i / len(heights), -1) for i in dips] == pytest.approx(
        [250, 500, 750], abs=16
    )
    assert "restarts at 251, 501, 751" in "\n".join(lines)
    assert heights[dips[0] - 1] > 1.8 * heights[dips[0] + 2]
