"""What a run says of its file before it writes it, and what the file says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from renma.config.adapter import Lora, LoraFA, Oft
from renma.config.estimate import file_bytes
from renma.config.layer_table import choose
from renma.config.run_tasks import TrainOptions
from renma.config.targets import TargetConfig
from renma.core.events import Silent, read_events
from renma.engine.network import Network
from renma.formats import lora_file, safetensors
from renma.formats.lora_file import LoraFile
from renma.train import task
from renma.train.save import portability_of


def train(project: Path, *values: str) -> tuple[list[dict], Path]:
    out = project / "out"
    short = ("train.max_steps=1", "train.save_every_steps=0", "train.text_encoder=false")
    task.run(TrainOptions(run=project / "run.toml", set=(*short, *values), out=out), Silent())
    return list(read_events(out / "events.jsonl")), out / "lora" / "lora.safetensors"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("adapter.algo=loha",), ["loha: diffusers refuses it", "--to diffusers --as lora"]),
        (("adapter.dora=output",), ["dora: ", "ComfyUI", "OUT --to diffusers`"]),
        (("adapter.algo=mora", "adapter.alpha"), ["mora: ComfyUI has no loader", "LyCORIS"]),
        ((), []),
        (("adapter.rank_stabilized=true",), []),
    ],
)
def test_a_run_says_once_at_its_start_who_cannot_load_its_file(project: Path, values, words):
    if "adapter.alpha" in values:  # MoRA has none
        run = project / "run.toml"
        run.write_text(run.read_text().replace("alpha = 2\n", ""))
        values = values[:1]
    events, _ = train(project, *values)
    said = [
        (place, row["text"])
        for place, row in enumerate(events)
        if row["kind"] == "warned" and "not every program" in row["text"]
    ]
    assert len(said) == bool(words)
    for place, text in said:
        assert all(word in text for word in words), text
        assert place < [row["kind"] for row in events].index("started")


def test_what_is_said_follows_the_network(mame):
    """Tucker cores are named only where a layer has one."""
    few = TargetConfig(only=("*mid_block*",))
    conv = few.model_copy(update={"preset": "conv"})
    for config, word in (
        (Lora(tucker=True, targets=few), ""),
        (Lora(tucker=True, targets=conv), "tucker: "),
    ):
        text = portability_of(Network.fresh(mame, config, 0, ("unet",)))
        assert word in text
        assert bool(word) == bool(text)
    assert portability_of(Network.fresh(mame, LoraFA(targets=conv), 0, ("unet",))) == ""


@pytest.mark.parametrize("level", ["full", "minimal", "none"])
def test_metadata_levels(project: Path, level):
    _, path = train(project, f"output.metadata={level}", "output.trigger=aa12", "output.author=me")
    with safe_open(path, "pt") as file:
        found = file.metadata() or {}
    about = {"full": {"ss_tag_frequency", "modelspec.author"}, "minimal": set(), "none": set()}
    needed = {"ss_network_dim", "modelspec.architecture", "sshs_model_hash", "sshs_legacy_hash"}
    personal = {"ss_tag_frequency", "modelspec.author", "renma_run", "ss_dataset_dirs"}
    assert found.keys() & personal >= about[level]
    if level == "none":
        assert found == {}
        assert b"aa12" not in path.read_bytes()
    else:
        assert needed <= found.keys()
        assert bool(found.keys() & personal) == (level == "full")


ALPHAS = {
    "exact": Lora(rank=4, alpha=2),
    "rslora": Lora(rank=8, alpha=1, rank_stabilized=True),  # sqrt(8)
    "third": Lora(rank=3, alpha=0.1, conv_alpha=1),
    "bf16 only": Lora(rank=2, alpha=257),
    "pissa": Lora(rank=2, alpha=0.3, start="pissa"),
    "constraint": Oft(rank=4, constraint=1e-4),
}


@pytest.mark.parametrize("name", ALPHAS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_scale_survives_the_files_precision(mame, tmp_path: Path, name, precision):
    """An alpha that 16 bits cannot hold stays in 32; the size of the file is known before."""
    dtype = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    targets = TargetConfig(preset="conv", only=("*mid_block*",))
    config = ALPHAS[name].model_copy(update={"targets": targets})
    network = Network.fresh(mame, config, 0, ("unet",))
    first, second = tmp_path / "x.safetensors", tmp_path / "y.safetensors"
    safetensors.save(first, network.tensors(dtype), {})
    exact = {k: t for k, t in network.tensors().items() if k.endswith(".alpha")}
    # converting says the same as saving
    layers = {}
    for key, tensor in network.tensors().items():
        layers.setdefault(key.partition(".")[0], {})[key.partition(".")[2]] = tensor
    lora_file.write(second, LoraFile(layers), "kohya", dtype)
    for path in (first, second):
        found = load_file(path)
        assert exact.keys() == {k for k in found if k.endswith(".alpha")}
        for key, alpha in exact.items():
            assert float(found[key]) == float(alpha)
            narrow = float(alpha.to(dtype)) == float(alpha)
            assert found[key].dtype == (dtype if narrow else torch.float32)
        assert {t.dtype for k, t in found.items() if k not in exact} == {dtype}
    table = [target.slot for target in mame.targets().values() if target.part == "unet"]
    with first.open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
    assert first.stat().st_size - header == file_bytes(choose(config, table), precision)
