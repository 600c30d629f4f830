"""[start] base_weights: LoRAs that the base takes in first, and whole runs that start from files."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from renma import assets
from renma.config.adapter import Lora
from renma.config.model import ModelConfig
from renma.config.run_tasks import TrainOptions
from renma.config.start import StartConfig
from renma.core.events import Silent, read_events
from renma.engine.begin import apply_base_weights
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.formats import safetensors
from renma.train import task
from testbed.moved_networks import CONFIGS, PARTS, moved, output, save


@pytest.fixture
def own():
    """A model of the test's own, to be changed for good."""
    return load_family(ModelConfig(), device="cpu")


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
