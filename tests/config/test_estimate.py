"""Arithmetic without torch beside what LyCORIS, PEFT, our own adapters and the papers count."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from renma.config.adapter import IA3, DyLora, Full, GLora, LoHa, LoKr, Lora, LoraFA, Mora, Oft
from renma.config.estimate import factorization, file_bytes, file_numbers, numbers, stored, trained
from renma.config.layer_table import Slot, choose
from renma.config.targets import TargetConfig

LAYERS = {
    "linear": nn.Linear(48, 80),
    "square": nn.Linear(64, 64, bias=False),
    "prime": nn.Linear(13, 96),
    "conv1x1": nn.Conv2d(48, 96, 1),
    "conv3x3": nn.Conv2d(48, 96, 3, padding=1),
    "strided": nn.Conv2d(32, 32, 3, stride=2, padding=1),
}


def slot_of(layer: nn.Module) -> Slot:
    shape = tuple(layer.weight.shape)
    return Slot("unet", "x", shape, "lora_unet_x", "BASE", 0, "resnet", layer.bias is not None)


RANKED = {"rank": 4, "alpha": 2.0}
# our options, LyCORIS' algorithm and its options
PEERS = {
    "lora": (Lora(**RANKED), "lora", {}),
    "lora tucker": (Lora(**RANKED, tucker=True), "lora", {"use_tucker": True}),
    "lora dora out": (Lora(**RANKED, dora="output"), "lora", {"weight_decompose": True}),
    "lora dora in": (Lora(**RANKED, dora="input"), "lora", {"weight_decompose": True, "wd_on_out": False}),
    "loha": (LoHa(**RANKED), "loha", {}),
    "loha tucker": (LoHa(**RANKED, tucker=True), "loha", {"use_tucker": True}),
    "loha dora": (LoHa(**RANKED, dora="output"), "loha", {"weight_decompose": True}),
    "lokr": (LoKr(**RANKED), "lokr", {}),
    "lokr 1": (LoKr(rank=1), "lokr", {}),
    "lokr factor": (LoKr(rank=1, factor=4), "lokr", {"factor": 4}),
    "lokr odd factor": (LoKr(rank=2, factor=5), "lokr", {"factor": 5}),
    "lokr both": (LoKr(rank=1, decompose_both=True), "lokr", {"decompose_both": True}),
    "lokr full": (LoKr(factor=8, full_matrix=True), "lokr", {"factor": 8, "full_matrix": True}),
    "lokr dora": (LoKr(rank=1, dora="output"), "lokr", {"weight_decompose": True}),
    "ia3": (IA3(), "ia3", {}),
    "ia3 input": (IA3(on_input=True), "ia3", {"train_on_input": True}),
    "full": (Full(), "full", {}),
    "glora": (GLora(**RANKED), "glora", {}),
    "oft": (Oft(rank=4), "diag-oft", {"constraint": 0}),
    "oft 16": (Oft(rank=16), "diag-oft", {"constraint": 0}),
}  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("peer", PEERS)
def test_as_many_numbers_as_lycoris(peer, layer):
    from lycoris.wrapper import network_module_dict

    config, algo, options = PEERS[peer]
    module = type(LAYERS[layer])(*_shape(LAYERS[layer]), bias=LAYERS[layer].bias is not None)
    rank = getattr(config, "rank", 4)
    theirs = network_module_dict[algo]("x", module, 1.0, rank, 2.0, **options)
    slot = slot_of(LAYERS[layer])
    if isinstance(config, Full):
        config = config.model_copy(update={"bias": slot.bias})
    assert numbers(slot, config) == sum(p.numel() for p in theirs.parameters())


def _shape(layer: nn.Module) -> tuple:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0]


OURS = {name: config for name, (config, _, _) in PEERS.items()} | {
    "lora_fa": LoraFA(**RANKED),
    "lora_fa tucker": LoraFA(**RANKED, tucker=True),
    "lora_fa dora": LoraFA(**RANKED, dora="output"),
    "dylora": DyLora(**RANKED, unit=2),
    "pissa": Lora(**RANKED, start="pissa"),
    "olora": Lora(**RANKED, start="olora"),
    "mora sharing": Mora(rank=4, kind="sharing"),
    "mora rotation": Mora(rank=4),
    "mora dora": Mora(rank=2, dora="output"),
    "full dora": Full(dora="output"),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", OURS)
def test_adapters_train_and_store_what_is_estimated(name, layer):
    from renma import adapters
    from renma.adapters._base import LayerSpec

    module, slot = LAYERS[layer], slot_of(LAYERS[layer])
    config = OURS[name]
    if isinstance(config, Full):
        config = config.model_copy(update={"bias": slot.bias})
    adapter = adapters.build(LayerSpec.of(module), config, torch.Generator())
    adapter.start(module.weight.detach())
    held = sorted(p.numel() for p in adapter.parameters() if p.requires_grad)
    assert held == sorted(math.prod(s) for s in trained(slot, config).values())
    files = sorted(t.numel() for t in adapter.tensors().values())
    assert files == sorted(math.prod(s) for s in stored(slot, config).values())
    assert file_numbers(slot, config) == sum(files)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("layer", ["linear", "square", "conv1x1", "conv3x3"])
def test_as_many_numbers_as_peft(layer, dora):
    from peft import LoraConfig, get_peft_model

    network = nn.Sequential()
    network.add_module("x", LAYERS[layer])
    peft = get_peft_model(network, LoraConfig(r=3, target_modules=["x"], use_dora=dora))
    try:
        theirs = sum(p.numel() for p in peft.parameters() if p.requires_grad)
    finally:
        LAYERS[layer] = peft.unload().x.requires_grad_(True)
    config = Lora(rank=3, dora="output" if dora else "off")
    assert numbers(slot_of(LAYERS[layer]), config) == theirs


def test_whole_unet_as_peft_counts_it(published):
    """PEFT on the full SD 1.5 U-Net without weights; its patterns name the modules themselves."""
    from copy import deepcopy

    from peft import LoraConfig, inject_adapter_in_model

    names = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
    unet = deepcopy(published["sd1"].modules["unet"]).requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=4, target_modules=names), unet, low_cpu_mem_usage=True)
    theirs = sum(p.numel() for p in unet.parameters() if p.requires_grad)
    choice = choose(Lora(rank=4), published["sd1"].table)
    assert sum(numbers(s, c) for s, c, _ in choice if s.part == "unet") == theirs == 1_695_744


@given(st.integers(1, 5000), st.one_of(st.just(-1), st.integers(1, 64)))
def test_factorization_is_lycoris(size, factor):
    from lycoris.functional.general import factorization as theirs

    assert factorization(size, factor) == theirs(size, factor)


# LyCORIS paper (arXiv 2309.14859), table 5: Stable Diffusion 1.5, fp16, sizes in MB
PAPER = [
    (Lora(rank=8), "attention", 4.4),
    (Lora(rank=8), "transformer", 9.2),
    (Lora(rank=8), "full", 20),
    (Lora(rank=32), "transformer", 37),
    (LoHa(rank=4), "attention", 4.4),
    (LoHa(rank=4), "transformer", 9.3),
    (LoHa(rank=4), "full", 20),
    (LoHa(rank=16), "transformer", 37),
    (LoKr(factor=12, full_matrix=True), "transformer", 6.4),
    (LoKr(factor=8, full_matrix=True), "attention", 3.8),
    (LoKr(factor=8, full_matrix=True), "transformer", 11),
    (LoKr(factor=8, full_matrix=True), "full", 29),
    (LoKr(factor=4, full_matrix=True), "transformer", 43),
]


@pytest.mark.parametrize(("config", "preset", "megabytes"), PAPER)
def test_file_sizes_of_the_lycoris_paper(published, config, preset, megabytes):
    targets = TargetConfig(preset=preset)
    choice = choose(config.model_copy(update={"targets": targets}), published["sd1"].table)
    assert file_bytes(choice, "fp16") / 1e6 == pytest.approx(megabytes, rel=0.03)


@pytest.mark.parametrize(
    ("preset", "mebibytes"), [("attention", 233), ("transformer", 672), ("full", 1.76 * 1024)]
)
def test_native_sizes_of_the_paper_are_binary(published, preset, mebibytes):
    targets = TargetConfig(preset=preset)
    choice = choose(Full(targets=targets, bias=False), published["sd1"].table)
    assert file_bytes(choice, "fp16") / 2**20 == pytest.approx(mebibytes, rel=0.03)


# model, preset, part, base parameters (millions), LoRA per rank, LoRA-FA, LoKr f=8 whole, (IA)3
TABLE = [
    ("sd1", "transformer", "unet", 266.98, 423_936, 237_120, 4.18, 237_120),
    ("sd1", "conv", "unet", 857.01, 1_050_816, 315_520, 13.41, 315_520),
    ("sd1", "attention", "unet", 93.51, 199_296, 99_840, 1.47, 99_840),
    ("sd1", "transformer", "text_encoder", 84.93, 165_888, 82_944, 1.33, 82_944),
    ("sdxl", "transformer", "unet", 2207.7, 2_659_840, 1_436_160, 34.5, 1_436_160),
    ("sdxl", "conv", "unet", 2558.6, 3_074_240, 1_488_960, 40.0, 1_488_960),
    ("sdxl", "attention", "unet", 955.2, 1_451_520, 665_600, 15.0, 665_600),
    ("sdxl", "transformer", "text_encoder_2", 629.2, 737_280, 368_640, 9.84, 368_640),
]


@pytest.mark.parametrize(("model", "preset", "part", "base", "lora", "fa", "lokr", "ia3"), TABLE)
def test_counts_on_the_published_models(published, model, preset, part, base, lora, fa, lokr, ia3):
    """The guide's 93 M of SD 1.5 is the base's attention, not a LoRA; SDXL's is 955 M, not 200 M."""
    table = [slot for slot in published[model].table if slot.part == part]

    def total(config, **targets):
        config = config.model_copy(update={"targets": TargetConfig(preset=preset, **targets)})
        return sum(numbers(slot, own) for slot, own, _ in choose(config, table))

    assert total(Full(bias=False)) / 1e6 == pytest.approx(base, abs=0.06)
    assert total(Lora(rank=1)) == lora
    assert total(Lora(rank=128)) == 128 * lora
    assert total(LoHa(rank=3)) == 6 * lora
    assert total(DyLora(rank=8)) == 8 * lora
    assert total(LoraFA(rank=1)) == fa
    assert total(Lora(rank=1, dora="output")) == lora + fa
    assert total(LoKr(factor=8, full_matrix=True)) / 1e6 == pytest.approx(lokr, rel=0.003)
    assert total(IA3(), on_input=()) == ia3


def test_tucker_form_on_the_published_models(published):
    for model, millions in (("sd1", 19.9), ("sdxl", 89.5)):
        config = Lora(rank=32, tucker=True, targets=TargetConfig(preset="conv"))
        choice = choose(config, published[model].table)
        count = sum(numbers(s, c) for s, c, _ in choice if s.part == "unet")
        assert count / 1e6 == pytest.approx(millions, abs=0.06)


def test_file_is_as_long_as_its_tensors(published, tmp_path):
    """Written by safetensors itself with the shapes that are estimated."""
    from safetensors.torch import save

    choice = choose(Lora(rank=2), published["mame"].table)
    for precision, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
        tensors = {
            f"{s.name}.{n}": torch.zeros(shape, dtype=dtype)
            for s, c, _ in choice
            for n, shape in stored(s, c).items()
        }
        raw = save(tensors)
        header = 8 + int.from_bytes(raw[:8], "little")
        assert file_bytes(choice, precision) == len(raw) - header
        assert 60 < header / len(tensors) < 200
