"""[start]: networks that go on from a file, and LoRAs that the base takes in first."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from renma import assets
from renma.config.adapter import DyLora, LoHa, LoKr, Lora, LoraFA
from renma.config.blocks import BlockConfig
from renma.config.model import ModelConfig
from renma.config.start import StartConfig
from renma.config.targets import TargetConfig
from renma.config.tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.engine.begin import apply_base_weights, begin
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.formats import lora_file, safetensors
from renma.train import task

PARTS = ("unet", "text_encoder")


class Told(Silent):
    """A report that remembers."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def event(self, kind: str, **data: Any) -> None:
        assert kind == "warned"
        self.texts.append(data["text"])


def moved(family, config, seed: int = 3, parts=PARTS) -> Network:
    """A network whose adapters do something."""
    network = Network.fresh(family, config, seed, parts)
    generator = torch.Generator().manual_seed(seed)
    for member in network.members.values():
        for parameter in member.adapter.parameters():
            parameter.data += torch.randn(parameter.shape, generator=generator) * 0.05
    return network


def save(network: Network, path: Path, change=None) -> Path:
    tensors = {name: tensor.clone() for name, tensor in network.tensors().items()}
    safetensors.save(path, change(tensors) if change else tensors, {})
    return path


@torch.no_grad()
def output(family, *networks: Network) -> torch.Tensor:
    """What the whole model computes from words and noise, networks acting beside one another."""
    for network in networks:
        network.attach()
    try:
        states = family.encode_text(["aa12, smile", ""]).states
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, 4, 8, 8, generator=generator).to(states.dtype)
        return family.unet(x, torch.tensor([700, 30]), states).sample
    finally:
        for network in networks:
            network.detach()


@pytest.fixture
def own():
    """A model of the test's own, to be changed for good."""
    return load_family(ModelConfig(), device="cpu")


CONFIGS = {
    "lora": Lora(rank=4, alpha=3),
    "rs": Lora(rank=4, alpha=3, rank_stabilized=True),
    "conv": Lora(rank=4, alpha=3, conv_rank=2, conv_alpha=1, targets=TargetConfig(preset="conv")),
    "tucker": Lora(rank=2, tucker=True, targets=TargetConfig(preset="conv", norms=True)),
    "dora": Lora(rank=4, alpha=3, dora="output"),
    "lora_fa": LoraFA(rank=4, alpha=3),
    "dylora": DyLora(rank=4, alpha=3, unit=2),
    "loha": LoHa(rank=2, alpha=1),
    "lokr": LoKr(rank=2, alpha=1, factor=4),
}


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


def test_base_weights_are_merged_as_the_file_acts(mame, own, tmp_path: Path):
    """Three algorithms one after another, strengths given and left out."""
    names, networks = [], []
    for name in ("lora", "conv", "loha"):
        path = save(moved(mame, CONFIGS[name], seed=len(names)), tmp_path / f"{name}.safetensors")
        names.append(path.name)
        networks.append(Network.from_file(mame, path))
    start = StartConfig(base_weights=tuple(names), base_strengths=(0.5, -0.7))
    plain = output(own)
    apply_base_weights(own, start, tmp_path)
    for network, strength in zip(networks, (0.5, -0.7, 1.0), strict=True):
        network.strength = dict.fromkeys(network.strength, strength)
    wanted = output(mame, *networks)
    merged = output(own)
    assert (wanted - plain).abs().max() > 1e-2
    torch.testing.assert_close(merged, wanted, rtol=1e-3, atol=2e-5)
    hosted = [m for m in own.unet.modules() if "forward" in vars(m)]
    assert not hosted  # merged for good: nothing stands beside


@pytest.mark.parametrize("strength", [1.0, 0.3])
def test_merged_base_equals_the_file_at_its_strength(mame, own, tmp_path: Path, strength):
    path = save(moved(mame, CONFIGS["dora"]), tmp_path / "x.safetensors")
    start = StartConfig(base_weights=(str(path),), base_strengths=(strength,))
    apply_base_weights(own, start, Path("/nowhere"))
    network = Network.from_file(mame, path)
    with network.at(unet=strength, text_encoder=strength):
        wanted = output(mame)
    torch.testing.assert_close(output(own), wanted, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", ["bf16", "nf4"])
def test_in_low_precision_they_stay_beside_the_weights(mame, tmp_path: Path, kind):
    """A small update would be rounded away: 2^-9 of a bf16 number is lost."""
    model = ModelConfig(quantize="nf4" if kind == "nf4" else "none")
    family = load_family(model, device="cpu", precision="bf16" if kind == "bf16" else "fp32")
    path = save(moved(mame, CONFIGS["lora"]), tmp_path / "x.safetensors")
    state = copy.deepcopy({n: t for part in family.parts().values() for n, t in _weights(part)})
    plain = output(family)
    apply_base_weights(family, StartConfig(base_weights=(path.name,)), tmp_path)
    after = {n: t for part in family.parts().values() for n, t in _weights(part)}
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items())
    kept = output(family)
    assert (kept - plain).abs().max() > 1e-2
    other = load_family(model, device="cpu", precision="bf16" if kind == "bf16" else "fp32")
    assert torch.equal(kept, output(other, Network.from_file(other, path)))
    # a network that is trained on top acts beside it, and alone goes into the file
    network = Network.fresh(family, Lora(rank=2), 0, PARTS)
    assert torch.equal(output(family, network), kept)
    assert len(network.tensors()) == 3 * 138


def _weights(part):
    return [*part.named_parameters(), *part.named_buffers()]


def run(folder: Path, out: str, *values: str) -> Path:
    (folder / "run.toml").write_text(
        f'data.train_folder = "{(assets.SAMPLES / "character" / "train").as_posix()}"\n'
        "data.resolution = 64\ndata.batch_size = 2\nadapter.rank = 2\nadapter.alpha = 2\n"
        "optimizer.learning_rate = 3e-3\ntrain.max_steps = 3\ntrain.threads = 1\n"
        'train.tensorboard = false\noutput.precision = "fp32"\n'
    )
    options = TrainOptions(run=folder / "run.toml", set=values, out=folder / out)
    task.run(options, Silent())
    return folder / out


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in read_events(out / "events.jsonl") if row["kind"] == "step"]


FINAL = "lora/lora.safetensors"


def test_first_loss_is_that_of_the_network_it_came_from(mame, tmp_path: Path):
    """Gone on from, or merged into the base: the same model, so the same loss at the same draws."""
    first = run(tmp_path, "first")
    path = (first / FINAL).as_posix()
    one = "train.max_steps=1"
    on = losses(run(tmp_path, "on", f"start.weights={path}", one))
    from_file = f"start.weights={path}", "start.ranks_from_file=true", "adapter.rank=9"
    wide = losses(run(tmp_path, "wide", *from_file, one))
    merged = losses(run(tmp_path, "merged", f"start.base_weights=['{path}']", one))
    plain = losses(run(tmp_path, "plain", one))
    half = "start.base_strengths=[0.5]"
    weaker = losses(run(tmp_path, "weaker", f"start.base_weights=['{path}']", half, one))
    assert on == wide
    assert on == pytest.approx(merged, rel=1e-5)
    assert abs(on[0] - plain[0]) > 1e-3 * plain[0]
    assert abs(weaker[0] - plain[0]) > 1e-4 * plain[0]
    assert weaker != on


def test_trained_file_holds_only_the_increment(mame, own, tmp_path: Path):
    path = save(moved(mame, CONFIGS["conv"]), tmp_path / "base.safetensors")
    given = f"start.base_weights=['{path.as_posix()}']"
    still = run(tmp_path, "still", given, "optimizer.learning_rate=1e-30", "train.max_steps=1")
    ups = {k: v for k, v in safetensors.read_tensors(still / FINAL).items() if "lora_up" in k}
    assert len(ups) == 138
    assert max(up.abs().max() for up in ups.values()) < 1e-25  # nothing of the base's LoRA
    trained = run(tmp_path, "trained", given)
    moved_on = Network.from_file(own, trained / FINAL)
    apply_base_weights(own, StartConfig(base_weights=(path.name,)), tmp_path)
    both = output(own, moved_on)
    together = output(mame, Network.from_file(mame, path), Network.from_file(mame, trained / FINAL))
    torch.testing.assert_close(both, together, rtol=1e-3, atol=2e-5)
    assert (both - output(own)).abs().max() > 1e-3


@pytest.mark.parametrize("values", [("adapter.alpha=1",), ("start.ranks_from_file=true",)])
def test_metadata_tell_the_alpha_and_rank_in_force(mame, tmp_path: Path, values):
    path = save(moved(mame, Lora(rank=4, alpha=4)), tmp_path / "x.safetensors")
    rank = () if "start.ranks_from_file=true" in values else ("adapter.rank=4",)
    more = f"start.weights={path.as_posix()}", "train.max_steps=1", *values, *rank
    out = run(tmp_path, "a", *more)
    tensors = safetensors.read_tensors(out / FINAL)
    assert {float(t) for name, t in tensors.items() if name.endswith("alpha")} == {4.0}
    _, facts = safetensors.read_header(out / FINAL)
    assert (facts["ss_network_dim"], float(facts["ss_network_alpha"])) == ("4", 4.0)


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
