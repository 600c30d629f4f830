"""Optimizers that begin again at ReLoRA's merges: all forgotten, or the largest kept (row A9)."""

from __future__ import annotations

import pytest
import torch

from renma import optimizers
from renma.config.optimizer import (
    AdamW,
    AdamW8bit,
    AdEMAMix,
    Custom,
    DAdaptLion,
    StableAdamW,
    sections,
)
from renma.config.relora import MOMENTS
from renma.formats import state as states
from renma.optimizers._restart import restart

EVERY = [s for s in sections() if s is not Custom and not s().traits.paged]
TABLES = {"qmap1", "qmap2"}


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = ((64, 80), (16, 4))  # the smaller one stays float32 in 8-bit optimizers
    return [torch.nn.Parameter(0.1 * torch.randn(s, generator=generator)) for s in shapes]


def built(section, mine):
    config = section()
    groups = [{"params": mine, "lr": config.learning_rate, "name": "unet"}]
    return optimizers.build(groups, config)


def steps(optimizer, mine, first: int, count: int) -> None:
    for number in range(first, first + count):
        generator = torch.Generator().manual_seed(number)
        for parameter in mine:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


@pytest.mark.parametrize("section", EVERY, ids=lambda s: s.__name__)
def test_all_forgotten_goes_on_as_a_new_optimizer_would(section):
    """Moments, counts, estimates of a step size, averages: nothing of the past is left."""
    mine = parameters()
    optimizer = built(section, mine)
    fresh = states.to_cpu(optimizers.state(optimizer))
    steps(optimizer, mine, 0, 5)
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in mine]
    unforgetting = [torch.nn.Parameter(p.detach().clone()) for p in mine]
    other = built(section, unforgetting)
    optimizers.load_state(other, states.to_cpu(optimizers.state(optimizer)))

    optimizers.restart(optimizer, fresh)
    steps(optimizer, mine, 50, 4)
    steps(built(section, theirs), theirs, 50, 4)
    steps(other, unforgetting, 50, 4)
    assert all(map(torch.equal, mine, theirs))
    if section is not DAdaptLion:  # its library's momentum weighs 1e-6 of a gradient at first
        assert not all(map(torch.equal, mine, unforgetting))


def numbers(state, name: str) -> torch.Tensor:
    """A moment's numbers, codes of 8 bits worked out block by block as bitsandbytes does."""
    value = state[name]
    if value.dtype != torch.uint8:
        return value.flatten()
    from bitsandbytes import functional as bnb

    which = name.removeprefix("state")
    found = bnb.dequantize_blockwise(
        value, absmax=state[f"absmax{which}"].flatten(), code=state[f"qmap{which}"], blocksize=256
    )
    return found.flatten()


@pytest.mark.parametrize(
    "section", [s for s in EVERY if s.model_fields["name"].default in MOMENTS],
    ids=lambda s: s.__name__,
)  # fmt: skip
def test_the_largest_share_of_the_moments_stays_in_proportion_and_the_count_begins_anew(section):
    mine = parameters()
    optimizer = built(section, mine)
    fresh = states.to_cpu(optimizers.state(optimizer))
    steps(optimizer, mine, 0, 5)
    before = states.to_cpu(dict(optimizer.state[mine[0]]))
    restart(optimizer, fresh, 0.1)
    after = optimizer.state[mine[0]]
    moments = [
        name for name, value in before.items()
        if isinstance(value, torch.Tensor) and value.numel() >= 64 * 80 and name not in TABLES
    ]  # fmt: skip
    assert moments
    count = 64 * 80
    first = numbers(before, moments[0])[:count]  # AdEMAMix: the fast one is first
    largest = torch.zeros(count, dtype=torch.bool)
    largest[first.abs().topk(count // 10).indices] = True
    for name in moments:
        old, new = numbers(before, name).reshape(-1, count), numbers(after, name).reshape(-1, count)
        assert not new[:, ~largest].any()
        factor = new[:, largest] / old[:, largest]
        for row in factor[:, (old[:, largest] != 0).all(0)]:  # of 0 there is no share
            assert torch.allclose(row, row[0].expand_as(row), rtol=1e-5)
        assert (new[:, largest] != 0).float().mean() > 0.9
    counts = [*(g["step"] for g in optimizer.param_groups if "step" in g), after.get("step", 0)]
    assert max(map(float, counts)) <= 1
    steps(optimizer, mine, 50, 2)
    assert all(p.isfinite().all() for p in mine)


@pytest.mark.parametrize("section", [AdamW, AdamW8bit])
def test_the_first_steps_after_a_reset_are_no_longer_than_adams_ever_are(section):
    """Second moments at 0 beside first ones that are not would make single steps endlessly long."""
    mine = parameters()
    optimizer = built(section, mine)
    fresh = states.to_cpu(optimizers.state(optimizer))
    steps(optimizer, mine, 0, 40)
    restart(optimizer, fresh, 0.1)
    before = mine[0].detach().clone()
    steps(optimizer, mine, 90, 1)
    rate = optimizer.param_groups[0]["lr"]
    assert (mine[0] - before).abs().max() < 3 * rate


@pytest.mark.parametrize("section", [AdamW, AdamW8bit, StableAdamW, AdEMAMix])
def test_what_was_kept_moves_on_as_fast_as_what_was_forgotten(section):
    """Old averages beside a young count would pass for a thousand times what they are."""
    mine = parameters()
    optimizer = built(section, mine)
    fresh = states.to_cpu(optimizers.state(optimizer))
    steps(optimizer, mine, 0, 200)
    first = next(n for n in ("exp_avg", "state1") if n in optimizer.state[mine[0]])
    size = numbers(optimizer.state[mine[0]], first)[: 64 * 80].abs()
    restart(optimizer, fresh, 0.1)
    rate, kept = optimizer.param_groups[0]["lr"], size >= size.sort().values[-64 * 8]
    for number in range(10):
        before = mine[0].detach().clone()
        for parameter in mine:
            parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        moved = (mine[0].detach() - before).abs().flatten() / rate
        assert 0.3 < moved[kept].mean() < 3, number
        assert 0.3 < moved[~kept].mean() < 3, number
