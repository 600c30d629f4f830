"""Networks that are merged again and again: the laws of ReLoRA's merges (rows A9, E7)."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from renma import adapters
from renma.adapters._base import LayerSpec
from renma.adapters._product import ONEDNN
from renma.config.adapter import DyLora, LoHa, Lora, LoraFA
from renma.config.layer_table import Slot
from renma.config.relora import ReLoraConfig
from renma.core.errors import UserError
from renma.engine import lean
from renma.engine.attach import Host
from renma.engine.cycles import CycledNetwork
from renma.engine.network import Member, Network
from renma.engine.quantize import quantize_layer
from renma.families._base import Target
from testbed.moved_adapters import FEW, forward, moved, sample

STORAGES = ("float32", "bfloat16", "float16", "fp8", "int8", "nf4", "fp4")
WIDE = STORAGES[:4]
"""In which convolutions are stored too."""
LORA = Lora(rank=3, alpha=2.0)


def layer(kind: str, storage: str = "float32") -> Any:
    """A frozen layer, its weights of a size as trained models have them."""
    torch.manual_seed(4)
    made: Any = nn.Conv2d(64, 32, 3, padding=1) if kind == "conv" else nn.Linear(192, 128)
    made.requires_grad_(False)
    if storage in {"bfloat16", "float16"}:
        return made.to(getattr(torch, storage))
    return made if storage == "float32" else quantize_layer(made, storage)  # pyright: ignore


def one(made: Any, config: Any = LORA, **options: Any) -> CycledNetwork:
    """A network of one layer."""
    adapter = adapters.build(LayerSpec.of(made), config, torch.Generator().manual_seed(1))
    slot = Slot("unet", "layer", tuple(made.weight.shape), "layer", "M00", None, "attention", True)
    network = Network({"layer": Member(Target(made, slot), adapter)})
    return CycledNetwork.of(network, ReLoraConfig(every_steps=1, **options))


def cycle(network: CycledNetwork, number: int, size: float = 0.02) -> None:
    """Trains, as it were, and merges."""
    for member in network.members.values():
        generator = torch.Generator().manual_seed(number)
        for parameter in member.adapter.parameters():
            parameter.data += size * torch.randn(parameter.shape, generator=generator)
    network.merge()
    network.restart(LORA, 0)


def inputs(made: Any) -> torch.Tensor:
    shape = (2, 64, 5, 5) if isinstance(made, nn.Conv2d) else (2, 9, 192)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    return x if getattr(made, "codes", None) else x.to(made.weight.dtype)


def weight(made: Any) -> torch.Tensor:
    restore = getattr(made, "dequantized", None)
    return (restore(torch.float32) if restore else made.weight).float().clone()


@pytest.mark.parametrize(
    ("kind", "storage"),
    [*(("linear", storage) for storage in STORAGES), *(("conv", storage) for storage in WIDE)],
)
@pytest.mark.parametrize("config", [LORA, LoraFA(rank=3, alpha=6.0)], ids=["lora", "lora_fa"])
def test_a_merge_changes_no_output_and_a_low_precision_base_is_only_read(kind, storage, config):
    """A9: in float32 by less than 1e-5; elsewhere by no more than the arithmetic rounds."""
    made = layer(kind, storage)
    before, network = weight(made), one(made, config)
    network.attach()
    x = inputs(made)
    output = torch.zeros(())
    for _ in range(3):
        for parameter in network.members["layer"].adapter.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
        output = made.forward(x).float()
        network.merge()
        network.restart(config, 0)
        rounding = {"bfloat16": 2e-2, "float16": 3e-3}.get(storage, 1e-5)
        assert (made.forward(x).float() - output).abs().max() < rounding
    assert (output - nn.Module.__call__(layer(kind, storage), x).float()).abs().max() > 0.05
    assert torch.equal(weight(made), before) == (storage != "float32")
    network.detach()
    assert torch.equal(weight(made), before)


def test_merged_weights_are_the_base_and_the_plain_sum_of_all_cycles():
    made = layer("linear")
    base, network = weight(made), one(made)
    network.attach()
    total = torch.zeros(128, 192)
    for number in range(4):
        adapter: Any = network.members["layer"].adapter
        adapter.up.data.copy_(
            torch.randn(adapter.up.shape, generator=torch.Generator().manual_seed(number))
        )
        total += (adapter.up @ adapter.down).detach() * (2 / 3)
        network.merge()
        network.restart(LORA, 0)
    torch.testing.assert_close(weight(made), base + total, rtol=1e-5, atol=1e-5)


def test_restarts_are_fresh_keyed_and_never_both_zero():
    """The authors' wrapper zeroes A beside a zero B: then nothing learns until the next merge."""
    network, starts = one(layer("linear")), []
    adapter: Any = network.members["layer"].adapter
    first = adapter.down.detach().clone()
    for number in range(3):
        cycle(network, number)
        assert not adapter.up.any()
        assert adapter.down.detach().abs().min() > 0
        assert adapter.down.abs().max() <= 192**-0.5
        starts.append(adapter.down.detach().clone())
    other = one(layer("linear"))
    for number in range(3):
        cycle(other, 10 + number)
    again: Any = other.members["layer"].adapter
    assert torch.equal(again.down, starts[-1])
    every = [first, *starts]
    assert all(not torch.equal(a, b) for i, a in enumerate(every) for b in every[:i])


@pytest.mark.parametrize(("storage", "half"), [("bfloat16", 2**-8), ("float16", 2**-11)])
def test_ten_merges_into_few_bits_are_off_by_one_rounding_and_naive_ones_by_more(storage, half):
    """`where = "weights"`: off by half a unit in the last place of the sum, however many merges.

    The changes are small and of one direction, as those of a training are.
    """
    made = layer("linear", storage)
    naive, exact = weight(made).to(made.weight.dtype), weight(made).double()
    network = one(made, where="weights")
    network.attach()
    direction = torch.randn(128, 3, generator=torch.Generator().manual_seed(3))
    adapter: Any = network.members["layer"].adapter
    kept = adapter.down.detach().clone()
    for _ in range(10):
        adapter.up.data.copy_(0.002 * direction)
        adapter.down.data.copy_(kept)
        change = (adapter.up.double() @ adapter.down.double()).detach() * 2 / 3
        exact += change
        naive = (naive.float() + change.float()).to(naive.dtype)
        network.merge()
        network.restart(LORA, 0)
    ours = (weight(made).double() - exact).abs()
    smallest = torch.finfo(made.weight.dtype).tiny  # below it numbers are evenly spaced
    assert (ours <= 1.001 * half * exact.abs().clamp_min(smallest)).all()
    assert (naive.double() - exact).norm() > 2 * ours.norm()


def test_four_bits_lose_a_small_change_and_beside_them_it_acts():
    """Why `where = "auto"` leaves few bits alone: the file would have what the model has not."""
    kept = {}
    for where in ("weights", "auto"):
        made = layer("linear", "nf4")
        x, network = inputs(made), one(made, where=where)
        network.attach()
        before = made.forward(x)
        adapter: Any = network.members["layer"].adapter
        adapter.up.data.copy_(
            0.002 * torch.randn(adapter.up.shape, generator=torch.Generator().manual_seed(2))
        )
        wanted = made.forward(x) - before
        network.merge()
        network.restart(LORA, 0)
        got = made.forward(x) - before
        kept[where] = ((got * wanted).sum() / wanted.square().sum()).item()
    assert kept["auto"] == pytest.approx(1, abs=1e-3)
    assert abs(kept["weights"] - 1) > 0.3


@pytest.mark.parametrize("rank", [0, 4])
def test_the_file_is_the_exact_sum_or_the_best_of_its_rank(rank):
    """The best approximation is that of a full singular value decomposition (Eckart, Young)."""
    made = layer("conv")
    base, network = weight(made), one(made, file_rank=rank)
    network.attach()
    for number in range(3):
        cycle(network, number, 0.1)
    adapter: Any = network.members["layer"].adapter
    adapter.up.data.normal_(generator=torch.Generator().manual_seed(9))
    total = (weight(made) - base).flatten(1) + (adapter.up @ adapter.down).detach() * 2 / 3
    tensors = network.tensors()
    held = tensors["layer.lora_down.weight"].shape[0]
    assert held == (rank or 12)
    assert tensors["layer.lora_down.weight"].shape == (held, 64, 3, 3)
    assert tensors["layer.lora_up.weight"].shape == (32, held, 1, 1)
    scale = float(tensors["layer.alpha"]) / held
    got = (
        scale
        * tensors["layer.lora_up.weight"].flatten(1)
        @ tensors["layer.lora_down.weight"].flatten(1)
    )
    values = torch.linalg.svdvals(total)
    assert (values > 1e-4 * values[0]).sum() == 12
    least = values[held:].square().sum().sqrt()
    assert (got - total).norm() == pytest.approx(least.item(), abs=1e-4 * total.norm().item())


def test_more_cycles_than_the_layer_has_ranks_need_no_more_than_it_has():
    made = nn.Linear(6, 5).requires_grad_(False)
    base, network = weight(made), one(made)
    network.attach()
    for number in range(4):
        cycle(network, number, 0.3)
    held = network.past["layer"].factors
    assert held is not None
    assert held.rank == 5  # nor does what acts and is kept in states grow for ever
    up, down = (network.tensors()[f"layer.lora_{side}.weight"] for side in ("up", "down"))
    assert down.shape == (5, 6)
    torch.testing.assert_close(up @ down, weight(made) - base, rtol=1e-4, atol=1e-5)


def test_before_the_first_merge_files_are_the_adapters_own():
    network = one(layer("linear"))
    moved(network.members["layer"].adapter)
    own = network.members["layer"].adapter.tensors()
    assert {name.removeprefix("layer."): t.shape for name, t in network.tensors().items()} == {
        name: t.shape for name, t in own.items()
    }


@pytest.mark.parametrize("where", ["weights", "beside"])
def test_strengths_scale_all_cycles_together(where, mame):
    """Previews at a weight, and the model without LoRA, mean the file at that weight."""
    config = Lora(rank=2, alpha=2.0, targets=FEW)
    x, times = sample()
    network = Network.fresh(mame, config, 0, ("unet", "text_encoder"))
    cycled = CycledNetwork.of(network, ReLoraConfig(every_steps=1, where=where))
    with torch.no_grad():
        plain = forward(mame, x, times)
        cycled.attach()
        try:
            for number in range(2):
                for index, member in enumerate(cycled.members.values()):
                    moved(member.adapter, 10 * number + index)
                cycled.merge()
                cycled.restart(config, 0)
            found = {}
            for strength in (0.0, 0.5, 1.0):
                with cycled.at(unet=strength, text_encoder=strength):
                    found[strength] = forward(mame, x, times)
            tensors = cycled.tensors()
        finally:
            cycled.detach()
        torch.testing.assert_close(found[0.0], plain, rtol=1e-4, atol=1e-5)
        assert torch.equal(forward(mame, x, times), plain)
        for strength in (0.5, 1.0):
            with of_tensors(mame, tensors).at(unet=strength, text_encoder=strength):
                expected = forward(mame, x, times)
            torch.testing.assert_close(found[strength], expected, rtol=1e-3, atol=1e-4)
            assert (expected - plain).abs().max() > 0.01


def of_tensors(mame, tensors) -> Network:
    """The network that a file would make."""
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        key, _, suffix = name.partition(".")
        layers.setdefault(key, {})[suffix] = tensor
    targets = mame.targets()
    return Network(
        {
            key: Member(targets[key], adapters.restore(LayerSpec.of(targets[key].layer), found))
            for key, found in layers.items()
        }
    )


def test_convolutions_in_another_order_see_the_merge():
    """Packed weights (frozen_conv) of a layer that was merged into are packed again."""
    if not ONEDNN:
        pytest.skip("weights are packed for x86 with oneDNN alone")
    made: Any = nn.Conv2d(352, 352, 3, padding=1).requires_grad_(False)
    done = lean.apply(nn.Sequential(made), pack_mib=64)
    network = one(made)
    network.attach()
    x = torch.randn(1, 352, 4, 4, generator=torch.Generator().manual_seed(1))
    made.forward(x)
    assert done.convolutions["0"].forward_weight is not None
    moved(network.members["layer"].adapter)
    before = made.forward(x)
    network.merge()
    network.restart(LORA, 0)
    assert (made.forward(x) - before).abs().max() < 1e-5 * before.abs().max()


@pytest.mark.parametrize("where", ["weights", "beside"])
def test_a_restored_past_is_the_same_bit_by_bit(where):
    first = layer("linear")
    network = one(first, where=where)
    network.attach()
    for number in range(3):
        cycle(network, number)
    second = layer("linear")
    again = one(second, where=where)
    again.attach()
    again.load_past(copy.deepcopy(network.past_state()))
    again.load_state(copy.deepcopy(network.state()))
    x = inputs(first)
    assert torch.equal(first.forward(x), second.forward(x))
    assert torch.equal(first.weight, second.weight)
    for made, one_more in ((network, 5), (again, 5)):
        cycle(made, one_more)
    assert torch.equal(first.forward(x), second.forward(x))
    assert all(
        torch.equal(a, b)
        for a, b in zip(network.tensors().values(), again.tensors().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (LoHa(rank=2), "only LoRA"),
        (DyLora(rank=2), "only LoRA"),
        (Lora(rank=2, dora="output"), "DoRA"),
        (Lora(rank=2, start="pissa"), "PiSSA"),
    ],
    ids=["loha", "dylora", "dora", "pissa"],
)
def test_what_cannot_begin_again_is_refused(config, why):
    with pytest.raises(UserError, match=why):
        one(layer("linear"), config)


def test_in_the_weights_nothing_may_depend_on_them():
    """DoRA of start.base_weights beside bfloat16 would take the merged weight for the base's."""
    made = layer("linear", "bfloat16")
    other = adapters.build(LayerSpec.of(made), Lora(rank=2, dora="output"), torch.Generator())
    Host.of(made).add(other, lambda: 1.0)
    with pytest.raises(UserError, match="depends on it"):
        one(made, where="weights")
    one(made)  # beside it, anything goes
