"""Parameter counts and file sizes of whole models beside LyCORIS, PEFT and kohya-ss/sd-scripts.

Each library's own module is built once for every layer shape; what it trains is summed over the
layers of the model.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from renma import assets
from renma.adapters._base import LayerSpec
from renma.config.adapter import (
    IA3,
    AdapterSection,
    DyLora,
    Full,
    GLora,
    LoHa,
    LoKr,
    Lora,
    LoraFA,
    Mora,
    Oft,
)  # fmt: skip
from renma.config.estimate import file_bytes, numbers
from renma.config.layer_table import Slot, choose, slots
from renma.config.targets import TargetConfig
from renma.core import registry
from renma.engine.network import Network
from renma.formats import safetensors

ARCHITECTURES = Path(__file__).parents[1] / "config" / "architectures.json"
MODELS = ("mame", "sd1", "sd2", "sdxl")
PRESETS = ("transformer", "conv", "full", "attention")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Published:
    """A model on the meta device, and its layers."""

    modules: dict[str, Any]
    table: list[Slot]


@cache
def published(model: str) -> Published:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    encoders = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    if model == "mame":
        folders = [assets.MAME / part for part in ("unet", "text_encoder")]
        parts = {f.name: json.loads((f / "config.json").read_text()) for f in folders}
    else:
        parts = json.loads(ARCHITECTURES.read_text())[model]
    with torch.device("meta"):
        modules: dict[str, Any] = {
            part: encoders[part](CLIPTextConfig(**config))
            if part in encoders
            else UNet2DConditionModel.from_config(config)
            for part, config in parts.items()
        }
    shapes = [{k: tuple(v.shape) for k, v in m.state_dict().items()} for m in modules.values()]
    return Published(modules, slots(*shapes))


def layer_of(shape: Shape, bias: bool = True) -> Any:
    """A layer of a shape whose weight is one number seen everywhere: no memory, but a norm."""
    with torch.device("meta"):
        if len(shape) == 1:
            layer: Any = nn.LayerNorm(shape[0])
        elif len(shape) == 2:
            layer = nn.Linear(shape[1], shape[0], bias=bias)
        else:
            layer = nn.Conv2d(shape[1], shape[0], shape[2], padding=shape[2] // 2, bias=bias)
    layer.weight = nn.Parameter(torch.ones(1).expand(shape), requires_grad=False)
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.zeros(shape[0]), requires_grad=False)
    return layer


def chosen(model: str, config: AdapterSection, preset: Any, **targets):
    config = config.model_copy(update={"targets": TargetConfig(preset=preset, **targets)})
    return choose(config, published(model).table)


def ours(choice) -> int:
    """By arithmetic, and by what each adapter says of itself: they have to agree."""
    total = 0
    for slot, own, _ in choice:
        count = numbers(slot, own)
        module = registry.load("renma.adapters", own.algorithm)
        spec = LayerSpec.of_weight(torch.Size(slot.shape))
        assert module.parameters(spec, own) == count, (slot.name, own)
        total += count
    return total


def theirs(choice, count: Callable[..., int], *args) -> int:
    return sum(count(slot.shape, slot.bias, *args) for slot, _, _ in choice)


# our options, LyCORIS' algorithm and its options
LYCORIS: dict[str, tuple[AdapterSection, str, dict[str, Any]]] = {
    "lora": (Lora(rank=8), "lora", {"lora_dim": 8}),
    "lora 128": (Lora(rank=128), "lora", {"lora_dim": 128}),
    "lora tucker": (Lora(rank=8, tucker=True), "lora", {"lora_dim": 8, "use_tucker": True}),
    "loha": (LoHa(rank=4), "loha", {"lora_dim": 4}),
    "loha tucker": (LoHa(rank=4, tucker=True), "loha", {"lora_dim": 4, "use_tucker": True}),
    "lokr": (LoKr(rank=4), "lokr", {"lora_dim": 4}),
    "lokr 8": (LoKr(rank=4, factor=8), "lokr", {"lora_dim": 4, "factor": 8}),
    "lokr both": (
        LoKr(rank=2, factor=16, decompose_both=True),
        "lokr",
        {"lora_dim": 2, "factor": 16, "decompose_both": True},
    ),
    "lokr whole": (
        LoKr(factor=12, full_matrix=True),
        "lokr",
        {"lora_dim": 4, "factor": 12, "full_matrix": True},
    ),
    "ia3": (IA3(), "ia3", {}),
    "ia3 input": (IA3(on_input=True), "ia3", {"train_on_input": True}),
    "glora": (GLora(rank=4), "glora", {"lora_dim": 4}),
    "oft": (Oft(rank=8), "diag-oft", {"lora_dim": 8}),
}


@cache
def lycoris_count(shape: Shape, bias: bool, algo: str, options: tuple) -> int:
    from lycoris.modules import NormModule
    from lycoris.wrapper import network_module_dict

    logging.getLogger("LyCORIS").setLevel(logging.ERROR)
    given = {"lora_dim": 4, "alpha": 1, **dict(options)}
    kind, given = (NormModule, {}) if len(shape) == 1 else (network_module_dict[algo], given)
    module = kind("x", layer_of(shape, bias), 1.0, **given)
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", LYCORIS)
def test_as_many_as_lycoris(name, model):
    config, algo, options = LYCORIS[name]
    for preset in PRESETS:
        choice = chosen(model, config, preset, on_input=())
        assert ours(choice) == theirs(choice, lycoris_count, algo, tuple(options.items())) > 0


DORAS = {
    "lora out": (Lora(rank=4, dora="output"), "lora", {}),
    "lora in": (Lora(rank=4, dora="input"), "lora", {"wd_on_out": False}),
    "loha out": (LoHa(rank=4, dora="output"), "loha", {}),
    "lokr in": (LoKr(rank=4, dora="input"), "lokr", {"wd_on_out": False}),
}


@pytest.mark.parametrize("name", DORAS)
def test_dora_as_lycoris_counts_it(name):
    config, algo, options = DORAS[name]
    choice = chosen("sd1", config, "attention")
    given = tuple((options | {"weight_decompose": True}).items())
    assert ours(choice) == theirs(choice, lycoris_count, algo, given)


@pytest.mark.parametrize("model", MODELS)
def test_norm_layers_and_whole_weights(model):
    """LyCORIS takes a Full layer's weight for its own: counted on the empty model itself."""
    for preset in ("transformer", "conv"):
        choice = chosen(model, Full(), preset, norms=True)
        held = 0
        for slot, _, _ in choice:
            module = published(model).modules[slot.part]
            path = slot.path
            if slot.part != "unet" and not hasattr(module, "text_model"):
                path = path.removeprefix("text_model.")
            held += sum(p.numel() for p in module.get_submodule(path).parameters())
        assert ours(choice) == held
        plain = chosen(model, Lora(rank=4), preset, norms=True)
        norms = [row for row in plain if row[0].is_norm]
        assert ours(norms) == theirs(norms, lycoris_count, "lora", ()) > 0


# our options, and PEFT's configuration; its LoKr does not sort an uneven split
PEFT: dict[str, tuple[AdapterSection, str, dict[str, Any]]] = {
    "lora": (Lora(rank=8), "LoraConfig", {"r": 8}),
    "dora": (Lora(rank=4, dora="output"), "LoraConfig", {"r": 4, "use_dora": True}),
    "loha": (LoHa(rank=4), "LoHaConfig", {"r": 4}),
    "loha tucker": (
        LoHa(rank=4, tucker=True),
        "LoHaConfig",
        {"r": 4, "use_effective_conv2d": True},
    ),
    "lokr": (LoKr(rank=4), "LoKrConfig", {"r": 4}),
    "ia3": (IA3(), "IA3Config", {"feedforward_modules": []}),
    "ia3 input": (IA3(on_input=True), "IA3Config", {"feedforward_modules": ["x"]}),
}


@cache
def peft_count(shape: Shape, bias: bool, kind: str, options: tuple) -> int:
    import peft

    given = {k: list(v) if isinstance(v, tuple) else v for k, v in options}
    config = getattr(peft, kind)(target_modules=["x"], **given)
    model = nn.ModuleDict({"x": layer_of(shape, bias)})
    model = peft.inject_adapter_in_model(config, model, low_cpu_mem_usage=not given.get("use_dora"))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", PEFT)
def test_as_many_as_peft(name, model):
    config, kind, options = PEFT[name]
    given = tuple((k, tuple(v) if isinstance(v, list) else v) for k, v in options.items())
    presets = ("attention",) if name == "dora" else PRESETS  # PEFT multiplies DoRA out at once
    for preset in presets:
        choice = chosen(model, config, preset, on_input=())
        assert ours(choice) == theirs(choice, peft_count, kind, given) > 0


# modules and LoRA numbers per rank of networks.lora, without and with conv_dim: U-Net, encoders
KOHYA = {
    "sd1": (192, 278, 423_936, 1_050_816, 72, 165_888),
    "sd2": (192, 278, 432_128, None, 138, 423_936),
    "sdxl": (722, 788, 2_659_840, 3_074_240, 264, 903_168),
}


@pytest.mark.parametrize("model", KOHYA)
def test_as_many_as_kohya(model):
    modules, with_conv, per_rank, conv_per_rank, text, text_per_rank = KOHYA[model]
    for preset, count, each in (
        ("transformer", modules, per_rank),
        ("conv", with_conv, conv_per_rank),
    ):
        for rank in (1, 4):
            choice = chosen(model, Lora(rank=rank), preset)
            unet = [row for row in choice if row[0].part == "unet"]
            encoders = [row for row in choice if row[0].part != "unet"]
            assert (len(unet), len(encoders)) == (count, text)
            assert each is None or ours(unet) == rank * each
            assert ours(encoders) == rank * text_per_rank
            dylora = chosen(model, DyLora(rank=rank), preset)
            assert ours(dylora) == ours(choice)  # networks.dylora: as LoRA
            outputs = sum(slot.outputs for slot, _, _ in choice)
            fa = chosen(model, LoraFA(rank=rank), preset)
            assert ours(fa) == rank * outputs  # networks.lora_fa: only lora_up is trained


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", ["sharing", "rotation"])
def test_mora_has_as_many_as_lora_of_its_rank(kind, model):
    """arXiv 2405.12130: the square matrix is as large as LoRA's two; rounded to whole (even) sides."""
    lora = ours(chosen(model, Lora(rank=8), "full"))
    mora = ours(chosen(model, Mora(rank=8, kind=kind), "full"))
    assert mora == pytest.approx(lora, rel=0.02 if model != "mame" else 0.05)


# LyCORIS' own table of file sizes on SD 1.5 (docs/Guidelines.md of its repository), MiB and KiB,
# rounded, kohya's metadata of 0.1 to 0.2 MiB included; rows that contradict its paper's left out
GUIDELINES: list[tuple[AdapterSection, str, float, float]] = [
    (Lora(rank=32), "transformer", 37, 1),
    (Lora(rank=32), "full", 75, 1),
    (Lora(rank=64), "transformer", 73, 1),
    (LoHa(rank=16), "transformer", 37, 1),
    (LoHa(rank=16), "full", 75, 1),
    (LoHa(rank=32), "transformer", 73, 1),
    (LoKr(factor=4, full_matrix=True), "attention", 15, 1),
    (LoKr(factor=4, full_matrix=True), "transformer", 43, 1),
    (LoKr(factor=4, full_matrix=True), "full", 113, 1),
    (LoKr(rank=8, factor=4), "transformer", 2.8, 0.3),
    (Full(bias=False), "attention", 233, 1),
    (Full(bias=False), "transformer", 673, 1.5),
]


@pytest.mark.parametrize(("config", "preset", "mebibytes", "slack"), GUIDELINES)
def test_file_sizes_of_lycoris_guidelines(config, preset, mebibytes, slack):
    size = file_bytes(chosen("sd1", config, preset), "fp16") / 2**20
    assert mebibytes - slack - 0.5 < size < mebibytes


WRITTEN: dict[str, AdapterSection] = {
    name: config for name, (config, _, _) in (LYCORIS | DORAS).items() if "128" not in name
} | {
    "pissa": Lora(rank=2, start="pissa"),
    "lora_fa": LoraFA(rank=4),
    "dylora": DyLora(rank=4, unit=2),
    "mora": Mora(rank=4),
    "mora sharing": Mora(rank=4, kind="sharing"),
    "full": Full(),
}  # fmt: skip


def test_every_algorithm_is_counted_and_written():
    names = set(registry.names("renma.adapters"))
    assert {config.algorithm for config in WRITTEN.values()} == names


@pytest.mark.parametrize("name", WRITTEN)
def test_written_files_are_as_large_as_estimated(mame, name, tmp_path: Path):
    """A whole network of mame, saved: bytes of the file after its header."""
    config = WRITTEN[name].model_copy(update={"targets": TargetConfig(preset="conv", norms=True)})
    network = Network.fresh(mame, config, 0, ("unet", "text_encoder"))
    trained = [p for part in ("unet", "text_encoder") for p in network.parameters(part)]
    choice = choose(config, published("mame").table)
    assert sum(p.numel() for p in trained) == ours(choice)
    for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        path = tmp_path / f"{precision}.safetensors"
        safetensors.save(path, network.tensors(dtype), {})
        with path.open("rb") as file:
            header = 8 + int.from_bytes(file.read(8), "little")
        assert path.stat().st_size - header == file_bytes(choice, precision)
