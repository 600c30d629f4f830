"""ReLoRA's schedule, against the authors' rule written out here (rows A9, E4)."""

from __future__ import annotations

import math

import pytest

from renma import schedules
from renma.config import Run, validate
from renma.config.schedule import JaggedCosine


def authors(step: int, total: int, first: int, again: int, every: int, least: float) -> float:
    """`get_cosine_schedule_with_multiple_warmups` of their code, as a formula."""

    def wave(at: int) -> float:
        return least + (1 - least) * 0.5 * (1 + math.cos(math.pi * (at - first) / (total - first)))

    if step < first:
        return step / first
    cycle, since = divmod(step, every)
    if cycle and since < again:
        return since / again * wave(cycle * every + again)
    return wave(step)


@pytest.mark.parametrize(
    ("total", "first", "again", "every", "least"),
    [
        (1000, 50, 10, 200, 0.1),
        (600, 0, 25, 100, 0.0),
        (400, 100, 1, 100, 0.3),
        (90, 5, 0, 30, 0.5),
    ],
)
def test_is_the_authors_rule_at_every_step(total, first, again, every, least):
    config = JaggedCosine(
        cycle_steps=every, warmup_steps=first, restart_warmup_steps=again, min_lr_ratio=least
    )
    factor = schedules.build(config, total)
    for step in range(total):
        expected = authors(step, total, first, again, every, least)
        assert factor(step) == pytest.approx(expected, abs=1e-12)


def test_every_cycle_of_a_run_has_its_factor_on_top():
    """`relora.rate_factor`, whatever the schedule; the guide's "lower the learning rate"."""
    raw = {"relora": {"every_steps": 30, "rate_factor": 0.5}, "schedule": {"name": "linear"}}
    factor = schedules.of_run(validate(Run, raw, "test"), 100)
    for step in range(100):
        assert factor(step) == pytest.approx((1 - step / 100) * 0.5 ** (step // 30), abs=1e-12)


def test_without_relora_a_runs_factor_is_the_schedules():
    run = validate(Run, {"schedule": {"name": "cosine", "warmup_steps": 4}}, "test")
    plain, of_run = schedules.build(run.schedule, 40), schedules.of_run(run, 40)
    assert [plain(step) for step in range(41)] == [of_run(step) for step in range(41)]
