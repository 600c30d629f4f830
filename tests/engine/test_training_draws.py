"""What is left out of adapters at random while they are trained, and only then."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import AdapterSection, DyLora, Full, GLora, LoHa, LoKr, Lora, LoraFA, Mora
from renma.core import keyed
from renma.engine.network import Network
from testbed.moved_adapters import (
    FEW,
    PARTS,
    RANKED,
    convolution,
    forward,
    linear,
    network_of,
    on_layer,
    sample,
)

DROPPED: dict[str, AdapterSection] = {
    "lora dropout": Lora(**RANKED, dropout=0.3),
    "lora rank": Lora(**RANKED, rank_dropout=0.3),
    "lora both": Lora(**RANKED, dropout=0.2, rank_dropout=0.2),
    "dora dropout": Lora(**RANKED, dora="output", dropout=0.3),
    "dora output rank": Lora(**RANKED, dora="output", rank_dropout=0.3),
    "dora input rank": Lora(**RANKED, dora="input", rank_dropout=0.3),
    "tucker rank": Lora(**RANKED, tucker=True, rank_dropout=0.3),
    "lora_fa dropout": LoraFA(**RANKED, dropout=0.3),
    "dylora dropout": DyLora(**RANKED, dropout=0.3, rank_dropout=0.2),
    "loha dropout": LoHa(**RANKED, dropout=0.3),
    "loha rank": LoHa(**RANKED, rank_dropout=0.3),
    "lokr dropout": LoKr(rank=1, alpha=0.5, factor=2, dropout=0.3),
    "lokr rank": LoKr(rank=1, alpha=0.5, factor=2, rank_dropout=0.3),
    "mora dropout": Mora(rank=1, dropout=0.3),
    "glora dropout": GLora(**RANKED, dropout=0.3),
    "full dropout": Full(dropout=0.3),
}


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("name", DROPPED)
def test_left_out_shares_are_made_up_for_in_the_mean(name, kind):
    """Inverted dropout: the mean over many batches is what previews compute."""
    layer, x = (linear(12, 8), torch.randn(40, 3, 12)) if kind == "linear" else (
        convolution(), torch.randn(40, 4, 4, 4)
    )  # fmt: skip
    adapter = on_layer(DROPPED[name], layer)
    with torch.no_grad():
        x = x[:1].expand(x.shape)  # as many draws in a batch where masks are per sample
        wanted = adapter.run(x, layer.forward, layer)[0]
        outputs = []
        for batch in range(120):
            adapter.chance = keyed.key(0, "dropout", batch, "x")
            outputs.append(adapter.run(x, layer.forward, layer).mean(0))
        seen = torch.stack(outputs)
    assert seen.std(0).max() > 0
    deviation = seen.std(0) / len(outputs) ** 0.5
    assert ((seen.mean(0) - wanted).abs() <= 5 * deviation + 1e-5).all()


@pytest.mark.parametrize("kind", ["linear", "conv", "tucker"])
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_rank_dropout_leaves_whole_ranks_of_a_sample_out(kind, share):
    """B hands the ranks out one by one: each is there at 1 / (1 - p), or not at all."""
    torch.manual_seed(0)
    rank, samples = 5, 64
    layer = nn.Linear(6, rank) if kind == "linear" else nn.Conv2d(4, rank, 3, padding=1)
    layer.requires_grad_(False)
    config = Lora(rank=rank, alpha=rank, rank_dropout=share, tucker=kind == "tucker")
    adapter: Any = adapters.build(LayerSpec.of(layer), config, torch.Generator().manual_seed(5))
    adapter.up.data.copy_(torch.eye(rank))
    x = torch.randn(samples, 7, 6) if kind == "linear" else torch.randn(samples, 4, 5, 5)
    with torch.no_grad():
        base = layer(x)
        whole = adapter.run(x, layer.forward, layer) - base
        adapter.chance = keyed.key(3, "dropout", 0, "x")
        dropped = adapter.run(x, layer.forward, layer) - base
    if kind == "linear":
        whole, dropped = whole.transpose(1, 2), dropped.transpose(1, 2)
    share_of = (dropped * whole).flatten(2).sum(-1) / whole.square().flatten(2).sum(-1)
    mask = share_of.round(decimals=3)  # (samples, ranks)
    kept = mask > 0
    expected = torch.where(kept, 1 / (1 - share), 0.0)
    torch.testing.assert_close(share_of, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        dropped, whole * expected.reshape(samples, rank, *[1] * (whole.dim() - 2)),
        rtol=1e-3, atol=1e-4,
    )  # fmt: skip
    assert len({tuple(row.tolist()) for row in kept}) > 4  # samples differ
    sigma = math.sqrt(share * (1 - share) / kept.numel())
    assert abs((~kept).float().mean().item() - share) < 5 * sigma


@pytest.mark.parametrize(
    ("config", "draw"),
    [
        pytest.param(Lora(**RANKED, dora="output", rank_dropout=0.5), "chance"),
        pytest.param(Lora(**RANKED, dora="output"), "visible"),
        (Lora(**RANKED, rank_dropout=0.5), "chance"),
        (Lora(**RANKED), "visible"),
    ],
)
def test_ranks_are_left_out_beside_another_adapter_too(config, draw):
    """As over base weights that stay beside a base in low precision."""
    layer, x = linear(12, 8), torch.randn(6, 3, 12)
    below, adapter = on_layer(Lora(rank=2), layer), on_layer(config, layer)

    def base(x):
        return below.run(x, layer.forward, layer)

    with torch.no_grad():
        whole = adapter.run(x, base, layer)
        setattr(adapter, draw, 5 if draw == "chance" else torch.eye(6, 3))
        assert not torch.allclose(adapter.run(x, base, layer), whole, atol=1e-3)


def test_module_dropout_leaves_layers_out_as_often_as_told(mame):
    network = network_of(mame, config := Lora(**RANKED, module_dropout=0.4, targets=FEW))
    layer = linear()
    out: dict[str, list[bool]] = {name: [] for name in network.members}
    for batch in range(250):
        with network.training_draws(config, 7, batch):
            for name, member in network.members.items():
                out[name].append(member.adapter.left_out)
    drawn = torch.tensor(list(out.values())).float()
    sigma = math.sqrt(0.4 * 0.6 / drawn.numel())
    assert abs(drawn.mean().item() - 0.4) < 5 * sigma
    each = math.sqrt(0.4 * 0.6 / drawn.shape[1])
    assert ((drawn.mean(1) - 0.4).abs() < 5 * each).all()
    assert len({tuple(row.tolist()) for row in drawn}) == len(drawn)  # no two layers alike
    # what left out means: the bare layer, and no gradient
    adapter = on_layer(Lora(**RANKED, module_dropout=0.999999), layer)
    adapter.chance = keyed.key(0, "dropout", 0, "x")
    x = torch.randn(2, 6)
    assert torch.equal(adapter.run(x, layer.forward, layer), layer(x))
    adapter.reset_draws()
    assert not torch.equal(adapter.run(x, layer.forward, layer), layer(x))


ALL: dict[str, AdapterSection] = {
    "lora": Lora(**RANKED, dropout=0.2, rank_dropout=0.2, module_dropout=0.2),
    "dora": Lora(**RANKED, dora="output", dropout=0.2, rank_dropout=0.2),
    "dylora": DyLora(rank=4, alpha=2, unit=2, dropout=0.2, module_dropout=0.2),
    "loha": LoHa(**RANKED, dropout=0.2, rank_dropout=0.2, module_dropout=0.2),
    "lokr": LoKr(rank=1, factor=4, dropout=0.2, rank_dropout=0.2),
}


@pytest.mark.parametrize("name", ALL)
def test_draws_are_told_by_seed_and_batch_alone_and_end_with_the_batch(mame, name):
    config = ALL[name]
    network, (x, times) = network_of(mame, config), sample()

    @torch.no_grad()
    def output(seed: int, batch: int) -> torch.Tensor:
        with network.at(), network.training_draws(config, seed, batch):
            return forward(mame, x, times)

    first = output(1, 0)
    assert torch.equal(output(1, 0), first)
    assert not torch.allclose(output(1, 1), first, atol=1e-4)
    assert not torch.allclose(output(2, 0), first, atol=1e-4)
    for member in network.members.values():
        assert member.adapter.chance is None
    with pytest.raises(KeyError), network.training_draws(config, 1, 0):
        raise KeyError
    with torch.no_grad(), network.at():
        preview = forward(mame, x, times)
    plain = {n: m.adapter.tensors() for n, m in network.members.items()}
    bare = Network.fresh(mame, config.model_copy(update=dict.fromkeys(DROPOUTS, 0.0)), 0, PARTS)
    for key, member in bare.members.items():
        member.adapter.load_tensors(plain[key])
    with torch.no_grad(), bare.at():
        assert torch.equal(forward(mame, x, times), preview)


DROPOUTS = ("dropout", "rank_dropout", "module_dropout")


@pytest.mark.parametrize("name", ALL)
def test_gradient_checkpointing_draws_the_same_again(mame, name):
    """Blocks run twice; the second time must leave out what the first one did."""
    config = ALL[name]
    network, (x, times) = network_of(mame, config), sample()
    grads = []
    for recomputing in (False, True):
        mame.checkpoint_gradients(recomputing)
        try:
            with network.at(), network.training_draws(config, 1, 4):
                forward(mame, x, times).square().sum().backward()
        finally:
            mame.checkpoint_gradients(False)
        parameters = [p for part in PARTS for p in network.parameters(part)]
        grads.append([None if p.grad is None else p.grad.clone() for p in parameters])
        for parameter in parameters:
            parameter.grad = None
    assert any(grad is not None and grad.any() for grad in grads[0])
    for plain, again in zip(*grads, strict=True):
        if plain is None or again is None:
            # left out: no gradient, or none but zeros
            assert not any(g is not None and g.any() for g in (plain, again))
        else:
            limit = 1e-5 * (plain.abs().max() + 1)
            assert (again - plain).abs().max() <= limit
