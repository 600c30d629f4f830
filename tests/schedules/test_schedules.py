"""Learning-rate schedules against diffusers, transformers and torch, step by step (row E4)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from diffusers import optimization as diffusers
from hypothesis import given
from hypothesis import strategies as st
from transformers import optimization

from renma import schedules
from renma.config import Run, validate
from renma.config.schedule import (
    AdafactorOwn,
    Constant,
    ConstantWithWarmup,
    Cosine,
    CosineWithMinLr,
    CosineWithRestarts,
    CustomSchedule,
    InverseSqrt,
    JaggedCosine,
    Linear,
    PiecewiseConstant,
    Polynomial,
    Rex,
    ScheduleConfig,
    WarmupStableDecay,
)
from renma.core.errors import UserError

TOTAL = 50
RATE = 2e-3


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)


def transformed(name: str, **options):
    """transformers' schedule by its name, as sd-scripts asks for it."""
    warmup = options.pop("warmup", None)
    return lambda o: optimization.get_scheduler(
        name, o, warmup, TOTAL, scheduler_specific_kwargs=options or None
    )


def diffused(name: str, **options):
    return lambda o: diffusers.get_scheduler(name, o, num_training_steps=TOTAL, **options)


def stable(**options):
    """As sd-scripts asks for it: a warm-up of 5 steps, a fall of 12."""
    return lambda o: optimization.get_wsd_schedule(o, 5, 12, num_stable_steps=TOTAL - 17, **options)


CASES = [
    (Constant(), transformed("constant")),
    (Constant(), diffused("constant")),
    (ConstantWithWarmup(warmup_steps=7), transformed("constant_with_warmup", warmup=7)),
    (ConstantWithWarmup(warmup_steps=7), diffused("constant_with_warmup", num_warmup_steps=7)),
    (Linear(warmup_steps=5), transformed("linear", warmup=5)),
    (Linear(warmup_steps=5), diffused("linear", num_warmup_steps=5)),
    (Cosine(warmup_steps=5), transformed("cosine", warmup=5)),
    (Cosine(), diffused("cosine", num_warmup_steps=0)),
    (CosineWithRestarts(num_cycles=3, warmup_steps=4), transformed("cosine_with_restarts", warmup=4, num_cycles=3)),
    (CosineWithRestarts(num_cycles=1), diffused("cosine_with_restarts", num_warmup_steps=0, num_cycles=1)),
    (Polynomial(power=2, warmup_steps=5), transformed("polynomial", warmup=5, power=2)),
    (Polynomial(power=1), diffused("polynomial", num_warmup_steps=0, power=1)),
    (InverseSqrt(warmup_steps=6), transformed("inverse_sqrt", warmup=6)),
    (InverseSqrt(), transformed("inverse_sqrt", warmup=0)),
    (InverseSqrt(warmup_steps=6, timescale=20), transformed("inverse_sqrt", warmup=6, timescale=20)),
    (CosineWithMinLr(warmup_steps=5, min_lr_ratio=0.2), transformed("cosine_with_min_lr", warmup=5, min_lr_rate=0.2)),
    (CosineWithMinLr(min_lr_ratio=0.2, num_cycles=3), transformed("cosine_with_min_lr", warmup=0, min_lr_rate=0.2, num_cycles=1.5)),
    (WarmupStableDecay(warmup_steps=5, decay_steps=12, min_lr_ratio=0.1), stable(min_lr_ratio=0.1)),
    (WarmupStableDecay(warmup_steps=5, decay_steps=12, decay_type="linear"), stable(decay_type="linear")),
    (WarmupStableDecay(warmup_steps=5, decay_steps=12, decay_type="1-sqrt"), stable(decay_type="1-sqrt")),
    (WarmupStableDecay(warmup_steps=5, decay_steps=12, num_cycles=2), stable(num_cycles=1.0)),
    (PiecewiseConstant(step_rules="1:10,0.1:20,0.01:30,0.005"), diffused("piecewise_constant", step_rules="1:10,0.1:20,0.01:30,0.005")),
    (CustomSchedule(class_path="torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", args={"T_0": 12, "eta_min": 1e-5}),
     lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 12, eta_min=1e-5)),
    (CustomSchedule(class_path="torch.optim.lr_scheduler.StepLR", args={"step_size": 9, "gamma": 0.3}),
     lambda o: torch.optim.lr_scheduler.StepLR(o, 9, 0.3)),
]  # fmt: skip


@pytest.mark.parametrize(("config", "reference"), CASES, ids=lambda c: getattr(c, "name", ""))
def test_equals_the_library_at_every_step(config, reference):
    stepped = optimizer()
    scheduler = reference(stepped)
    factor = schedules.build(config, TOTAL, RATE)
    for step in range(TOTAL + 1):
        assert RATE * factor(step) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9, abs=1e-12)
        stepped.step()
        scheduler.step()


def test_every_schedule_is_compared_or_computed_here():
    union = get_args(get_args(ScheduleConfig)[0])
    elsewhere = {AdafactorOwn, Rex, JaggedCosine}  # the last in test_jagged_cosine.py
    assert {type(config) for config, _ in CASES} | elsewhere == set(union)


def test_rex_is_the_papers_curve():
    """(1 - z) / (1 - z / 2) of arXiv 2107.04197, here between the full rate and a tenth."""
    factor = schedules.build(Rex(warmup_steps=10, min_lr_ratio=0.1), 110, 1.0)
    assert [factor(0), factor(5), factor(10)] == [0.0, 0.5, 1.0]
    assert factor(60) == pytest.approx(0.1 + 0.9 * 0.5 / 0.75)
    assert factor(110) == pytest.approx(0.1)


def test_adafactors_own_leaves_the_rate_alone():
    factor = schedules.build(AdafactorOwn(), TOTAL, 1.0)
    assert {factor(step) for step in range(TOTAL + 1)} == {1.0}


@pytest.mark.parametrize(
    "config", [c for c, _ in CASES] + [Rex(), AdafactorOwn()], ids=lambda c: c.name
)
def test_stays_in_range_and_past_the_end(config):
    factor = schedules.build(config, TOTAL, RATE)
    values = [factor(step) for step in range(2 * TOTAL)]
    assert all(0 <= value <= 1 for value in values)
    assert values[TOTAL:] == [values[TOTAL]] * TOTAL
    again = schedules.build(config, TOTAL, RATE)
    assert [again(step) for step in reversed(range(TOTAL))] == values[:TOTAL][::-1]  # no state


def read(**schedule):
    return validate(Run, {"schedule": schedule}, "test").schedule


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        (7, 7),
        (0.1, 20),
        ("10%", 20),
        ("2.5 %", 5),
        (1.0, 200),
        ("100%", 200),
        (1, 1),
        (16.0, 16),
        (0, 0),
        (0.0, 0),
    ],
)
def test_warmup_in_steps_as_a_share_or_in_per_cent(written, steps):
    """kohya.md 5.3; 1.0 is no argparse error here, and not one step either."""
    assert read(name="linear", warmup_steps=written).warmup(200) == steps
    assert read(name="warmup_stable_decay", decay_steps=written).decay(200) == steps


@pytest.mark.parametrize("written", ["ten", "10", -1, -0.5, 1.5, "150.5%", "%", [1]])
def test_a_warmup_that_is_neither_is_refused(written):
    with pytest.raises(UserError, match="schedule.warmup_steps"):
        read(name="cosine", warmup_steps=written)


@given(st.integers(1, 300), st.integers(0, 400), st.integers(0, 400), st.floats(0, 1))
def test_warmup_stable_decay_never_leaves_its_range(total, warmup, decay, low):
    config = WarmupStableDecay(warmup_steps=warmup, decay_steps=decay, min_lr_ratio=low)
    factor = schedules.build(config, total, 1.0)
    values = [factor(step) for step in range(total + 1)]
    assert all(low - 1e-9 <= value <= 1 + 1e-9 for value in values)
    begin = total - min(decay, max(0, total - warmup))
    assert all(b >= a for a, b in pairwise(values[:begin]))
    assert all(b <= a + 1e-9 for a, b in pairwise(values[begin:]))


@pytest.mark.parametrize(
    "rules", ["", "1:10", "1:10,x", "1:20,0.1:10,0", "10:1:2,0", "-1:10,0", "1:0,1", "1:5,nan"]
)
def test_stairs_that_cannot_be_climbed_are_refused(rules):
    with pytest.raises(UserError, match="step_rules"):
        read(name="piecewise_constant", step_rules=rules)


def test_restarts_need_their_number():
    """kohya's default of 1 is the plain cosine, which nobody means by the name."""
    with pytest.raises(UserError, match=r"'schedule.num_cycles' is missing"):
        read(name="cosine_with_restarts")


@pytest.mark.parametrize(
    ("path", "args", "what"),
    [
        ("torch.optim.lr_scheduler.ReduceLROnPlateau", {}, "cannot be foreseen"),
        ("transformers.optimization.GreedyLR", {}, "cannot be foreseen"),
        ("torch.optim.lr_scheduler.StepLR", {"size": 3}, "cannot be foreseen"),
        ("torch.optim.lr_scheduler.StepLR", {"step_size": 0}, "ZeroDivisionError"),
        ("torch.optim.lr_scheduler.OneCycleLR", {"max_lr": 1e-3, "total_steps": 2}, "cannot be"),
        (
            "torch.optim.lr_scheduler.SequentialLR",
            {"schedulers": [], "milestones": [1]},
            "cannot be",
        ),
        ("torch.optim.lr_scheduler.StepLr", {}, "no scheduler class.*Did you mean 'StepLR'"),
        ("nosuch.Scheduler", {}, "cannot import 'nosuch'"),
    ],
)
def test_a_foreign_class_that_needs_more_than_the_step_is_refused(path, args, what):
    config = CustomSchedule(class_path=path, args=args)
    with pytest.raises(UserError, match=what):
        schedules.build(config, TOTAL, RATE)(0)


def test_a_resumed_run_has_the_rates_of_the_straight_one():
    """A longer run stretches what follows; the same run gives the same rates from any step."""
    for config, _ in CASES:
        straight = schedules.build(config, TOTAL, RATE)
        resumed = schedules.build(config.model_copy(), TOTAL, RATE)
        assert [resumed(step) for step in range(20, TOTAL)] == [
            straight(step) for step in range(20, TOTAL)
        ]
        assert math.isfinite(resumed(10**9))
