"""What is random, masked or clamped about adapters while they are trained, and only then."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from renma import adapters
from renma.adapters._base import LayerSpec
from renma.config.adapter import AdapterSection, DyLora, Full, GLora, LoHa, LoKr, Lora, LoraFA, Mora
from renma.config.blocks import BlockConfig
from renma.config.targets import TargetConfig
from renma.core import keyed
from renma.engine.network import Network

PARTS = ("unet", "text_encoder")
FEW = TargetConfig(preset="attention", only=("*mid_block*", "*layers.0.self_attn.q_proj"))


def moved(adapter: Any, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        parameter.data += torch.randn(parameter.shape, generator=generator) * 0.3
    return adapter


def on_layer(config: AdapterSection, layer: Any) -> Any:
    adapter = adapters.build(LayerSpec.of(layer), config, torch.Generator().manual_seed(5))
    adapter.start(layer.weight)
    return moved(adapter)


def linear(inputs: int = 6, outputs: int = 4) -> Any:
    torch.manual_seed(1)
    return nn.Linear(inputs, outputs).requires_grad_(False)


def convolution() -> Any:
    torch.manual_seed(1)
    return nn.Conv2d(4, 6, 3, padding=1).requires_grad_(False)


def network_of(mame, config: AdapterSection) -> Network:
    network = Network.fresh(mame, config, 0, PARTS)
    for number, member in enumerate(network.members.values()):
        moved(member.adapter, number)
    return network


RANKED: dict[str, Any] = {"rank": 3, "alpha": 2.0}
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


def forward(mame, x, times):
    return mame.unet(x, times, mame.encode_text(["smile, aa12", "frown"]).states).sample


def sample():
    generator = torch.Generator().manual_seed(2)
    return torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([900, 40])


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


def test_dylora_draws_one_group_for_all_layers_evenly(mame):
    targets = TargetConfig(preset="conv", only=("*mid_block*", "*layers.0.*"))
    config = DyLora(rank=6, unit=2, conv_rank=4, targets=targets)
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
            assert end - first == 2
            seen[first] = seen.get(first, 0) + 1
    sigma = math.sqrt(600 * (1 / 3) * (2 / 3))
    assert set(seen) == {0, 2, 4}
    assert all(abs(count - 200) < 5 * sigma for count in seen.values())


def test_dylora_leaves_other_groups_and_their_state_untouched(mame):
    """A group without its turn keeps its weights in spite of momentum and decay."""
    config = DyLora(rank=4, unit=2, targets=FEW)
    network, (x, times) = network_of(mame, config), sample()
    parameters = [p for part in PARTS for p in network.parameters(part)]
    optimizer = torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5)
    turns = []
    for batch in range(6):
        before = {n: [g.clone() for g in m.adapter.ups] for n, m in network.members.items()}  # pyright: ignore
        with network.at(), network.training_draws(config, 3, batch):
            ((first, _),) = {m.adapter.window for m in network.members.values()}  # pyright: ignore
            forward(mame, x, times).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        turns.append(first // 2)
        for name, member in network.members.items():
            adapter: Any = member.adapter
            still = [torch.equal(a, b) for a, b in zip(adapter.ups, before[name], strict=True)]
            assert still == [group != turns[-1] for group in range(2)], (name, batch)
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


def kohya_max_norm(down: torch.Tensor, up: torch.Tensor, scale: float, limit: float):
    """networks.lora: both factors times sqrt of the ratio, nothing is made longer."""
    product = up.flatten(1) @ down.flatten(1) * scale
    norm = product.norm().clamp(min=limit / 2)
    wanted = norm.clamp(max=limit)
    ratio = (wanted / norm).item() ** 0.5
    return down * ratio, up * ratio, product.norm().item()


@pytest.mark.parametrize("limit", [0.5, 2.0])
def test_max_norm_is_kohyas(mame, limit):
    targets = TargetConfig(preset="conv", only=("*mid_block*",))
    network = network_of(mame, Lora(rank=3, alpha=2, targets=targets))
    for number, member in enumerate(network.members.values()):
        member.adapter.up.data *= 0.02 * (1 + number % 9)  # pyright: ignore
    expected, norms = {}, []
    for name, member in network.members.items():
        t = member.adapter.tensors()
        down, up, norm = kohya_max_norm(t["lora_down.weight"], t["lora_up.weight"], 2 / 3, limit)
        expected[name] = (down.clone(), up.clone())
        norms.append(norm)
    told = network.clamp_norms(limit)
    assert 0 < told.shortened == sum(norm > limit for norm in norms) < len(norms)
    assert told.mean == pytest.approx(sum(norms) / len(norms), rel=1e-4)
    assert told.largest == pytest.approx(max(norms), rel=1e-4)
    for name, member in network.members.items():
        t = member.adapter.tensors()
        torch.testing.assert_close(t["lora_down.weight"], expected[name][0], rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(t["lora_up.weight"], expected[name][1], rtol=1e-4, atol=1e-7)


def kohya_index(path: str) -> int:
    """kohya's table for Stable Diffusion 1: down 0 to 11, mid 12, up 13 to 24 (4 blocks of 3)."""
    words = path.split(".")
    if words[0] == "mid_block":
        return 12
    block, kind, layer = int(words[1]), words[2], int(words[3])
    if words[0] == "down_blocks":
        return 3 * block + (3 if kind == "downsamplers" else 1 + layer)
    return 13 + 3 * block + (2 if kind == "upsamplers" else layer)


def test_block_rates_and_lora_plus_make_groups(mame):
    """Rates of a block times LoRA+'s ratio for B; a rate of 0 leaves the block out."""
    down = tuple(0.1 * n for n in range(12))
    up = tuple(0.0 if n == 5 else 2.0 - 0.05 * n for n in range(12))
    blocks = BlockConfig(down_rates=down, mid_rates=0.25, up_rates=up)
    config = Lora(
        rank=2, blocks=blocks, lr_ratio=4, unet_lr_ratio=16, targets=TargetConfig(preset="conv")
    )
    network = Network.fresh(mame, config, 0, PARTS)
    by_index = [*down, 0.25, *up]
    expected: dict[float, int] = {}
    for name, target in mame.targets().items():
        slot = target.slot
        if slot.part != "unet" or slot.group not in {
            "attention", "feed_forward", "projection", "resnet", "sampler"
        }:  # fmt: skip
            continue
        rate = by_index[kohya_index(slot.path)]
        assert (name in network.members) == (rate > 0), slot.path
        if rate:
            member = network.members[name]
            assert member.rate == pytest.approx(rate)
            adapter: Any = member.adapter
            for factor, parameter in ((rate, adapter.down), (rate * 16, adapter.up)):
                key = round(factor, 9)
                expected[key] = expected.get(key, 0) + parameter.numel()
    groups = network.groups(config, "unet")
    got = {round(g.factor, 9): sum(p.numel() for p in g.parameters) for g in groups}
    assert got == expected
    held = [id(p) for g in groups for p in g.parameters]
    assert len(held) == len(set(held)) == len(network.parameters("unet"))
    layers = sum(m.part == "text_encoder" for m in network.members.values())
    text = {g.factor: len(g.parameters) for g in network.groups(config, "text_encoder")}
    assert text == {4.0: layers, 1.0: layers}
