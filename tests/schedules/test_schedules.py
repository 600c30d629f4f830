"""Learning-rate schedules against transformers' and by their ends."""

from __future__ import annotations

import pytest
import torch
from transformers import optimization

from renma import schedules
from renma.config.schedule import (
    Constant,
    ConstantWithWarmup,
    Cosine,
    CosineWithRestarts,
    Linear,
    Polynomial,
)

TOTAL = 50
CASES = [
    (Constant(), lambda o: optimization.get_constant_schedule(o)),
    (ConstantWithWarmup(warmup_steps=7), lambda o: optimization.get_constant_schedule_with_warmup(o, 7)),
    (Linear(warmup_steps=5), lambda o: optimization.get_linear_schedule_with_warmup(o, 5, TOTAL)),
    (Cosine(warmup_steps=5), lambda o: optimization.get_cosine_schedule_with_warmup(o, 5, TOTAL)),
    (CosineWithRestarts(num_cycles=3, warmup_steps=4), lambda o: optimization.get_cosine_with_hard_restarts_schedule_with_warmup(o, 4, TOTAL, 3)),
    (Polynomial(power=2, warmup_steps=5), lambda o: optimization.get_polynomial_decay_schedule_with_warmup(o, 5, TOTAL, power=2)),
]  # fmt: skip


@pytest.mark.parametrize(("config", "reference"), CASES, ids=lambda c: getattr(c, "name", ""))
def test_equals_transformers(config, reference):
    rate = 2e-3
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    scheduler = reference(optimizer)
    factor = schedules.build(config, TOTAL, rate)
    for step in range(TOTAL + 1):
        assert rate * factor(step) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9, abs=1e-12)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("config", [case[0] for case in CASES], ids=lambda c: c.name)
def test_stays_in_range_and_past_the_end(config):
    factor = schedules.build(config, TOTAL, 1e-3)
    values = [factor(step) for step in range(2 * TOTAL)]
    assert all(0 <= value <= 1 for value in values)
    assert values[TOTAL:] == [values[TOTAL]] * TOTAL


def test_warmup_as_a_share():
    factor = schedules.build(Linear(warmup_steps=0.1), 100, 1.0)
    assert [factor(0), factor(5), factor(10)] == [0.0, 0.5, 1.0]
