"""Which ranks a batch trains: DyLoRA's groups, T-LoRA's first ranks by timestep."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from renma.config.adapter import DyLora, Lora
from renma.config.targets import TargetConfig
from testbed.moved_adapters import (
    FEW,
    PARTS,
    convolution,
    forward,
    linear,
    network_of,
    on_layer,
    sample,
)


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("unit", [1, 2])
def test_dylora_trains_one_group_of_the_leading_ranks(kind, unit):
    rank, alpha = 6, 3.0
    layer = linear(8, 7) if kind == "linear" else convolution()
    x = torch.randn(2, 9, 8) if kind == "linear" else torch.randn(2, 4, 5, 5)
    adapter = on_layer(DyLora(rank=rank, alpha=alpha, unit=unit), layer)
    tensors = adapter.tensors()
    down, up = (tensors[f"lora_{side}.weight"].flatten(1) for side in ("down", "up"))
    for first in range(0, rank, unit):
        end = first + unit
        adapter.zero_grad(set_to_none=True)
        adapter.window = (first, end)
        y = adapter.run(x, layer.forward, layer)
        delta = (up[:, :end] @ down[:end]) * (alpha / end)
        weight = layer.weight + delta.reshape(layer.weight.shape)
        torch.testing.assert_close(
            y, adapter.spec.apply(x, weight, layer.bias), rtol=1e-4, atol=1e-5
        )
        y.square().sum().backward()
        learnt = [group.grad is not None for group in adapter.downs]
        assert learnt == [group.grad is not None for group in adapter.ups]
        assert [n for n, on in enumerate(learnt) if on] == [first // unit]
    adapter.reset_draws()
    whole = (up @ down) * (alpha / rank)
    weight = layer.weight + whole.reshape(layer.weight.shape)
    torch.testing.assert_close(
        adapter.run(x, layer.forward, layer), adapter.spec.apply(x, weight, layer.bias),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("frozen", [False, True])
def test_dylora_draws_one_group_for_all_layers_evenly(mame, frozen):
    targets = TargetConfig(preset="conv", only=("*mid_block*", "*layers.0.*"))
    config = DyLora(rank=6, unit=2, conv_rank=4, targets=targets, frozen=frozen)
    network = network_of(mame, config)
    seen: dict[int, int] = {}
    for batch in range(600):
        with network.training_draws(config, 5, batch):
            by_rank: dict[int, set[Any]] = {}
            for member in network.members.values():
                adapter: Any = member.adapter
                by_rank.setdefault(adapter.rank, set()).add(adapter.window)
            assert {len(windows) for windows in by_rank.values()} == {1}
            ((first, end),) = by_rank[6]
            assert first == (end - 2 if frozen else 0)
            seen[end - 2] = seen.get(end - 2, 0) + 1
    sigma = math.sqrt(600 * (1 / 3) * (2 / 3))
    assert set(seen) == {0, 2, 4}
    assert all(abs(count - 200) < 5 * sigma for count in seen.values())


@pytest.mark.parametrize("frozen", [False, True])
def test_dylora_leaves_other_groups_and_their_state_untouched(mame, frozen):
    """A group without its turn keeps its weights in spite of momentum and decay."""
    config = DyLora(rank=4, unit=2, targets=FEW, frozen=frozen)
    network, (x, times) = network_of(mame, config), sample()
    parameters = [p for part in PARTS for p in network.parameters(part)]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5)
    turns = []
    for batch in range(6):
        before = {n: [g.clone() for g in m.adapter.ups] for n, m in network.members.items()}  # pyright: ignore
        with network.at(), network.training_draws(config, 3, batch):
            ((_, end),) = {m.adapter.window for m in network.members.values()}  # pyright: ignore
            forward(mame, x, times).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.append(end // 2 - 1)
        for name, member in network.members.items():
            adapter: Any = member.adapter
            still = [torch.equal(a, b) for a, b in zip(adapter.ups, before[name], strict=True)]
            moved = {turns[-1]} if frozen else set(range(turns[-1] + 1))
            assert still == [group not in moved for group in range(2)], (name, batch)
    assert set(turns) == {0, 1}


@pytest.mark.parametrize(("rank", "least", "power"), [(8, 1, 1.0), (10, 4, 2.0), (3, 3, 1.0)])
def test_tlora_shows_the_first_ranks_of_each_sample(mame, rank, least, power):
    """LyCORIS counts them: int(((T - t) / T)^power (R - least)) + least."""
    from lycoris.modules.tlora import compute_timestep_mask

    config = Lora(rank=rank, alpha=rank, min_timestep_rank=least, targets=FEW)
    network = network_of(mame, config)
    times = torch.arange(0, 1000, 7)
    visible = ((1000 - times) / 1000) ** power
    with network.training_draws(config, 0, 0, visible):
        for member in network.members.values():
            adapter: Any = member.adapter
            if member.part == "text_encoder":
                assert adapter.visible is None  # words have no timestep
                continue
            for mask, timestep in zip(adapter.visible, times.tolist(), strict=True):
                theirs = compute_timestep_mask(timestep, 1000, rank, least, power)
                assert torch.equal(mask, theirs[0]), timestep
    layer = linear(8, 7)
    adapter = on_layer(config.model_copy(update={"targets": TargetConfig()}), layer)
    down, up = adapter.down.detach(), adapter.up.detach()
    x, counts = torch.randn(3, 5, 8), (least, rank, max(least, rank - 1))
    adapter.visible = torch.stack([(torch.arange(rank) < count).float() for count in counts])
    with torch.no_grad():
        y = adapter.run(x, layer.forward, layer)
        for row, count in enumerate(counts):
            cut = layer(x[row]) + x[row] @ (up[:, :count] @ down[:count]).t()
            torch.testing.assert_close(y[row], cut, rtol=1e-4, atol=1e-5)
    adapter.visible = torch.stack([(torch.arange(rank) < least).float()] * 3)
    adapter.run(x, layer.forward, layer).square().sum().backward()
    assert not adapter.up.grad[:, least:].any()
    assert adapter.up.grad[:, :least].any()
