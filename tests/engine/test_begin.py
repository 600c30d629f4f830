"""[start] weights: networks that go on from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from renma.config.adapter import DyLora, LoHa, LoKr, Lora, LoraFA
from renma.config.blocks import BlockConfig
from renma.config.start import StartConfig
from renma.config.targets import TargetConfig
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.engine.begin import apply_base_weights, begin
from renma.engine.network import Network
from renma.formats import lora_file
from testbed.moved_networks import CONFIGS, PARTS, moved, output, save


class Told(Silent):
    """A report that remembers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def event(self, kind: str, **data: Any) -> None:
        assert kind == "warned"
        self.texts.append(data["text"])


@pytest.mark.parametrize("name", CONFIGS)
def test_goes_on_exactly_where_the_file_ends(mame, tmp_path: Path, name):
    config = CONFIGS[name]
    first = moved(mame, config)
    path = save(first, tmp_path / "x.safetensors")
    wanted = output(mame, first)
    assert (wanted - output(mame)).abs().max() > 1e-3
    for ranks_from_file in (False, True):
        start = StartConfig(weights=path.name, ranks_from_file=ranks_from_file)
        told = Told()
        again = begin(mame, config, start, 9, PARTS, tmp_path, told)
        assert not told.texts
        assert again.members.keys() == first.members.keys()
        assert torch.equal(output(mame, again), wanted)
        written = first.tensors()
        for key, tensor in again.tensors().items():
            assert torch.equal(tensor, written[key]), key
        trained = [sum(p.numel() for p in n.parameters("unet")) for n in (first, again)]
        assert trained[0] == trained[1]


@pytest.mark.parametrize("ranks_from_file", [False, True])
def test_alpha_of_the_file_stays_in_force(mame, tmp_path: Path, ranks_from_file):
    first = moved(mame, Lora(rank=4, alpha=4))
    path = save(first, tmp_path / "x.safetensors")
    for alpha in (1.0, 0.0, 16.0):
        start = StartConfig(weights=str(path), ranks_from_file=ranks_from_file)
        again = begin(mame, Lora(rank=4, alpha=alpha), start, 0, PARTS, tmp_path, Silent())
        assert torch.equal(output(mame, again), output(mame, first))
        alphas = {float(t) for name, t in again.tensors().items() if name.endswith("alpha")}
        assert alphas == {4.0}


def test_a_missing_alpha_means_the_rank(mame, tmp_path: Path):
    def without(tensors):
        return {name: t for name, t in tensors.items() if not name.endswith("alpha")}

    first = moved(mame, Lora(rank=4, alpha=4))
    path = save(first, tmp_path / "x.safetensors", without)
    start = StartConfig(weights=str(path))
    again = begin(mame, Lora(rank=4, alpha=1), start, 0, PARTS, tmp_path, Silent())
    assert torch.equal(output(mame, again), output(mame, first))


MISFITS = {
    "rank": (Lora(rank=4), Lora(rank=8)),
    "algorithm": (LoHa(rank=4), Lora(rank=4)),
    "dora": (Lora(rank=4), Lora(rank=4, dora="output")),
    "dylora": (Lora(rank=4), DyLora(rank=8, unit=4)),
    "lokr": (LoKr(rank=2, factor=4), LoKr(rank=2, factor=2)),
}


@pytest.mark.parametrize("kind", MISFITS)
def test_what_does_not_fit_is_one_line_that_names_the_way_out(mame, tmp_path: Path, kind):
    written, wanted = MISFITS[kind]
    path = save(moved(mame, written), tmp_path / "x.safetensors")
    with pytest.raises(UserError) as caught:
        begin(mame, wanted, StartConfig(weights=path.name), 0, PARTS, tmp_path, Silent())
    line = caught.value.line()
    assert "\n" not in line
    assert str(path) in line
    assert "lora_" in line  # the layer
    assert "start.ranks_from_file = true" in line
    assert len(line) < 500
    start = StartConfig(weights=path.name, ranks_from_file=True)
    again = begin(mame, wanted, start, 0, PARTS, tmp_path, Silent())
    assert torch.equal(output(mame, again), output(mame, Network.from_file(mame, path)))


def test_ranks_and_alphas_layer_by_layer(mame, tmp_path: Path):
    ranks = tuple(1 + n % 5 for n in range(25))
    alphas = tuple(0.5 + n % 3 for n in range(25))
    blocks = BlockConfig(ranks=ranks, alphas=alphas)
    first = moved(mame, Lora(rank=7, alpha=2, blocks=blocks))
    path = save(first, tmp_path / "x.safetensors")
    expected = {n: _rank_and_scale(m.adapter) for n, m in first.members.items()}
    assert len(set(expected.values())) > 5
    start = StartConfig(weights=path.name, ranks_from_file=True)
    for config in (Lora(rank=2), LoraFA(rank=2), DyLora(rank=2)):
        again = begin(mame, config, start, 0, PARTS, tmp_path, Silent())
        got = {n: _rank_and_scale(m.adapter) for n, m in again.members.items()}
        assert got.keys() == expected.keys()
        for name, (rank, scale) in expected.items():
            assert got[name] == (rank, pytest.approx(scale)), name
        assert {type(m.adapter).__module__ for m in again.members.values()} == {
            f"renma.adapters.{config.algorithm}"
        }
        torch.testing.assert_close(output(mame, again), output(mame, first))
    fa = begin(mame, LoraFA(rank=2), start, 0, PARTS, tmp_path, Silent())
    count = sum(p.numel() for part in PARTS for p in fa.parameters(part))
    ups = [t for name, t in fa.tensors().items() if name.endswith("lora_up.weight")]
    assert count == sum(up.numel() for up in ups)


def _rank_and_scale(adapter: Any) -> tuple[int, float]:
    return adapter.rank, adapter.scale


def test_options_that_the_file_does_not_tell_stay(mame, tmp_path: Path):
    path = save(moved(mame, Lora(rank=4, dora="output")), tmp_path / "x.safetensors")
    start = StartConfig(weights=path.name, ranks_from_file=True)
    config = Lora(
        rank=2, dropout=0.1, rank_dropout=0.2, module_dropout=0.3, dora_norm_gradient=True
    )
    for member in begin(mame, config, start, 0, PARTS, tmp_path, Silent()).members.values():
        adapter: Any = member.adapter
        assert (adapter.dropout, adapter.rank_dropout, adapter.module_dropout) == (0.1, 0.2, 0.3)
        assert adapter.norm_gradient
        assert adapter.dora == "output"


@pytest.mark.parametrize("kind", ["pissa", "olora"])
def test_starts_from_the_weight_give_way_to_the_file(mame, tmp_path: Path, kind):
    """Or are refused: what is trained must be the file's network."""
    path = save(moved(mame, Lora(rank=4)), tmp_path / "x.safetensors")
    wanted = output(mame, Network.from_file(mame, path))
    try:
        config = Lora(rank=4, start=kind)
        again = begin(mame, config, StartConfig(weights=path.name), 0, PARTS, tmp_path, Silent())
    except UserError:
        return
    torch.testing.assert_close(output(mame, again), wanted, rtol=1e-3, atol=1e-5)


def test_unit_of_dylora_stays(mame, tmp_path: Path):
    path = save(moved(mame, Lora(rank=4)), tmp_path / "x.safetensors")
    start = StartConfig(weights=path.name, ranks_from_file=True)
    network = begin(mame, DyLora(rank=8, unit=2), start, 0, PARTS, tmp_path, Silent())
    assert {m.adapter.unit for m in network.members.values()} == {2}


def test_block_rates_stay(mame, tmp_path: Path):
    """kohya's dim_from_weights keeps them too."""
    blocks = BlockConfig(up_rates=0.5)
    path = save(moved(mame, Lora(rank=4)), tmp_path / "x.safetensors")
    start = StartConfig(weights=path.name, ranks_from_file=True)
    told = Told()
    network = begin(mame, Lora(rank=4, blocks=blocks), start, 0, PARTS, tmp_path, told)
    fresh = Network.fresh(mame, Lora(rank=4, blocks=blocks), 0, PARTS)
    rates = {n: m.rate for n, m in fresh.members.items()}
    assert set(rates.values()) == {0.5, 1.0}
    assert {n: m.rate for n, m in network.members.items()} == rates or told.texts


def test_what_is_not_trained_or_not_in_the_file_is_told(mame, tmp_path: Path):
    path = save(moved(mame, Lora(rank=4)), tmp_path / "x.safetensors")
    told = Told()
    start = StartConfig(weights=path.name)
    unet = begin(mame, Lora(rank=4), start, 0, ("unet",), tmp_path, told)
    (text,) = told.texts
    encoder = 138 - len(unet.members)
    assert text.startswith(f"{encoder} layers of x.safetensors are not trained here")
    attention = Lora(rank=4, targets=TargetConfig(preset="attention"))
    path = save(moved(mame, attention), tmp_path / "x.safetensors")
    told = Told()
    whole = begin(mame, Lora(rank=4), start, 0, PARTS, tmp_path, told)
    (text,) = told.texts
    named = lora_file.read(path).layers
    assert text.startswith(f"{138 - len(named)} trained layers are not in x.safetensors")
    torch.testing.assert_close(output(mame, whole), output(mame, Network.from_file(mame, path)))


def test_a_file_without_a_layer_of_this_run_is_refused(mame, tmp_path: Path):
    path = save(moved(mame, Lora(rank=4), parts=("unet",)), tmp_path / "x.safetensors")
    start = StartConfig(weights=path.name, ranks_from_file=True)
    with pytest.raises(UserError, match=r"x\.safetensors.*no layer that this run trains"):
        begin(mame, Lora(), start, 0, ("text_encoder",), tmp_path, Silent())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"base_strengths": (1.0,)}, "1 base_strengths for 0 base_weights"),
        ({"ranks_from_file": True}, "needs weights"),
    ],
)
def test_contradictions_are_refused(values, text):
    with pytest.raises(ValidationError, match=text):
        StartConfig(**values)


def test_a_missing_file_is_named(mame, tmp_path: Path):
    lost = "no.safetensors"
    with pytest.raises(UserError) as caught:
        begin(mame, Lora(), StartConfig(weights=lost), 0, PARTS, tmp_path, Silent())
    assert str(tmp_path / lost) in caught.value.line()
    with pytest.raises(UserError) as caught:
        apply_base_weights(mame, StartConfig(base_weights=(lost,)), tmp_path)
    assert str(tmp_path / lost) in caught.value.line()
