"""Which layers are trained: counted on the published models, named as other programs name them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from renma.config.adapter import IA3, Full, LoKr, Lora, LoraFA
from renma.config.estimate import numbers
from renma.config.layer_table import Slot, choose, slots
from renma.config.targets import TargetConfig
from renma.core.errors import UserError

# kohya's own numbers: modules and LoRA parameters per rank of U-Net and text encoders
COUNTS = [
    ("sd1", "transformer", 192, 423_936, 72, 165_888),
    ("sd1", "conv", 278, 1_050_816, 72, 165_888),
    ("sd1", "attention", 128, 199_296, 48, 73_728),
    ("sd2", "transformer", 192, 432_128, 138, 423_936),
    ("sd2", "conv", 278, 432_128 + 626_880, 138, 423_936),
    ("sdxl", "transformer", 722, 2_659_840, 264, 903_168),
    ("sdxl", "conv", 788, 3_074_240, 264, 903_168),
    ("sdxl", "attention", 560, 1_451_520, 176, 401_408),
    ("mame", "transformer", 120, None, 18, None),
]


def chosen(table, **targets) -> list[Slot]:
    return [slot for slot, _, _ in choose(Lora(rank=1, targets=TargetConfig(**targets)), table)]


@pytest.mark.parametrize(("model", "preset", "unet", "unet_rank", "text", "text_rank"), COUNTS)
def test_counts_of_modules_and_parameters(
    published, model, preset, unet, unet_rank, text, text_rank
):
    layers = chosen(published[model].table, preset=preset)
    parts = [[s for s in layers if (s.part == "unet") == on] for on in (True, False)]
    assert [len(part) for part in parts] == [unet, text]
    if unet_rank is not None:
        sums = [sum(numbers(s, Lora(rank=1)) for s in part) for part in parts]
        assert sums == [unet_rank, text_rank]


@pytest.mark.parametrize("model", ["sd1", "sd2", "sdxl", "mame"])
def test_headers_and_modules_give_the_same_table(published, model):
    from renma.families import _base

    modules = published[model].modules
    layers = {part: _base.adaptable(module) for part, module in modules.items()}
    table = slots(*(_base.shapes(found) for found in layers.values()))
    assert table == [slot for slot in table if slot in set(published[model].table)]
    assert {s.name for s in table} == {s.name for s in published[model].table}
    assert len({s.name for s in table}) == len(table)


def test_family_and_file_headers_agree_on_mame(mame):
    from renma.formats.diffusers_folder import weight_file
    from renma.formats.safetensors import read_header

    headers = [
        {n: tuple(row["shape"]) for n, row in read_header(weight_file(mame.path / p))[0].items()}
        for p in ("unet", "text_encoder")
    ]
    by_name = {slot.name: slot for slot in slots(*headers)}
    targets = mame.targets()
    assert {name: target.slot for name, target in targets.items()} == by_name
    assert all(tuple(t.layer.weight.shape) == t.slot.shape for t in targets.values())


def test_sets_of_lycoris_and_their_layers(published):
    """Counted by walking the modules by class, as LyCORIS does."""
    import torch

    unet = published["sd1"].modules["unet"]

    def walked(classes, *, convolutions=True, norms=False, names=()):
        found = set(names)
        for outer, module in unet.named_modules():
            if type(module).__name__ not in classes:
                continue
            for inner, layer in module.named_modules():
                small = isinstance(layer, torch.nn.Linear) or (
                    isinstance(layer, torch.nn.Conv2d)
                    and (convolutions or layer.kernel_size == (1, 1))
                )
                if small or (norms and "Norm" in type(layer).__name__):
                    found.add(f"{outer}.{inner}".strip("."))
        return found

    blocks = {"Transformer2DModel", "ResnetBlock2D", "Downsample2D", "Upsample2D"}
    time = {"time_embedding.linear_1", "time_embedding.linear_2"}
    ends = {"conv_in", "conv_out", *time}
    table = published["sd1"].table

    def ours(**targets):
        return {s.path for s in chosen(table, **targets) if s.part == "unet"}

    assert ours(preset="transformer") == walked({"Transformer2DModel"})
    assert ours(preset="attn-mlp") == ours(preset="unet-transformer-only")
    assert ours(preset="attn-mlp") == ours(preset="transformer")
    assert ours(preset="conv") == walked(blocks)
    assert ours(preset="full") == walked(blocks, names=ends)
    assert ours(preset="unet-only") == ours(preset="full")
    assert ours(preset="full-lin") == walked(
        blocks - {"Downsample2D", "Upsample2D"}, convolutions=False, names=time
    )
    assert ours(preset="unet-convblock-only") == walked(
        blocks - {"Transformer2DModel"}, names={"conv_in", "conv_out"}
    )
    assert ours(preset="transformer", norms=True) == walked({"Transformer2DModel"}, norms=True)
    assert ours(preset="full", norms=True) == walked(blocks, norms=True, names=ends)
    for preset in ("unet-only", "unet-transformer-only", "unet-convblock-only", "blora"):
        layers = chosen(published["sdxl"].table, preset=preset)
        assert {s.part for s in layers} == {"unet"}


def test_blora_is_two_blocks_of_sdxl(published):
    layers = chosen(published["sdxl"].table, preset="blora")
    assert len(layers) == 2 * 10 * 8
    assert {s.block for s in layers} == {"OUT00", "OUT01"}
    assert {s.name.split("_transformer")[0] for s in layers} == {
        "lora_unet_output_blocks_0_1",
        "lora_unet_output_blocks_1_1",
    }
    with pytest.raises(UserError, match="no layer of this model would be trained"):
        chosen(published["sd1"].table, preset="blora")


def test_names_in_files_are_kohyas(published):
    """A real file's 264 names; the digest was taken from sd-scripts' output, not from ours."""
    layers = chosen(published["sd1"].table)
    digest = hashlib.sha256("\n".join(sorted(s.name for s in layers)).encode()).hexdigest()
    assert digest == "3b0b58f74c4028ff0a5fc6dced3aca89994271e636ccb8378589702b85067cc4"


def test_names_and_bytes_of_a_real_kohya_file(published):
    from renma.config.estimate import file_bytes, stored

    folder = Path(os.environ.get("RENMA_REFERENCE", "/nonexistent"))
    if not (folder / "spec" / "kohya_header.json").exists():
        pytest.skip("RENMA_REFERENCE names no folder with spec/kohya_header.json")
    facts = json.loads((folder / "spec" / "kohya_header.json").read_text())
    choice = choose(Lora(rank=4, alpha=4), published["sd1"].table)
    assert {s.name for s, _, _ in choice} == {name.split(".")[0] for name in facts["tensors"]}
    assert sum(len(stored(s, c)) for s, c, _ in choice) == len(facts["tensors"])
    assert file_bytes(choice, "fp32") == facts["file_bytes"] - facts["header_bytes"] - 8


def test_sdxl_names_lead_back_to_diffusers_paths(published):
    """diffusers' own converter of Stability's names is the judge."""
    import torch
    from diffusers.loaders import lora_conversion_utils as theirs

    unet = published["sdxl"].modules["unet"]
    layers = chosen(published["sdxl"].table, preset="full")
    layers = {s.name: s.path for s in layers if s.part == "unet"}
    parts = ("lora_down.weight", "lora_up.weight", "alpha")
    file = {f"{name}.{part}": torch.ones(1) for name in layers for part in parts}
    mapped = theirs._maybe_map_sgm_blocks_to_diffusers(file, unet.config)
    keys, _ = theirs._convert_non_diffusers_lora_to_diffusers(mapped)
    plain = (k.removeprefix("unet.").replace(".processor", "") for k in keys)
    found = {re.split("[._]lora", k.replace("to_out_lora", "to_out.0.lora"))[0] for k in plain}
    assert len(layers) == 792
    assert found == set(layers.values())


def test_labels_and_indices_count_blocks_as_tools_do(published):
    sd1 = {s.path: s for s in published["sd1"].table}
    sdxl = {s.path: s for s in published["sdxl"].table}

    def place(table, path):
        return table[path].block, table[path].index

    assert place(sd1, "conv_in") == ("IN00", 0)
    assert place(sd1, "down_blocks.0.attentions.0.proj_in") == ("IN01", 1)
    assert place(sd1, "down_blocks.0.downsamplers.0.conv") == ("IN03", 3)
    assert place(sd1, "down_blocks.3.resnets.1.conv1") == ("IN11", 11)
    assert place(sd1, "mid_block.resnets.1.conv2") == ("M00", 12)
    assert place(sd1, "up_blocks.1.upsamplers.0.conv") == ("OUT05", 18)
    assert place(sd1, "up_blocks.3.attentions.2.proj_out") == ("OUT11", 24)
    assert place(sdxl, "down_blocks.1.attentions.0.proj_in") == ("IN04", 5)
    assert place(sdxl, "mid_block.attentions.0.proj_in") == ("M00", 11)
    assert place(sdxl, "mid_block.resnets.1.conv1") == ("M00", 12)
    assert place(sdxl, "up_blocks.2.resnets.2.conv1") == ("OUT08", 21)
    assert place(sdxl, "add_embedding.linear_1") == ("BASE", 0)
    # 17 blocks of SD and 11 of SDXL hold transformers: those of LBW's short lists
    assert len({s.block for s in chosen(published["sd1"].table)}) == 17
    assert len({s.block for s in chosen(published["sdxl"].table)}) == 12


def test_patterns_keep_and_leave_out(published):
    table = published["sd1"].table
    cross = chosen(table, only=("*.attn2.*",))
    assert len(cross) == 16 * 4
    assert chosen(table, only=("lora_unet_*attn2*",)) == cross
    rest = chosen(table, skip=("*.attn2.*", "text_model.*"))
    assert len(rest) == 192 - 64
    with pytest.raises(UserError, match=r"targets.only: 'attn2' fits no layer.*'\*attn2\*'"):
        chosen(table, only=("attn2",))
    with pytest.raises(UserError, match="no layer of this model would be trained"):
        chosen(table, only=("*.resnets.*",))
    with pytest.raises(UserError, match="norm layers"):
        chosen(table, preset="attention", norms=True)


def test_ia3_scales_inputs_of_feed_forward_outputs(published):
    choice = choose(IA3(targets=TargetConfig(preset="ia3")), published["sd1"].table)
    unet = [(s, c) for s, c, _ in choice if s.part == "unet"]
    assert len(unet) == 16 * 5
    assert {s.path.split(".")[-1] for s, c in unet if not c.on_input} == {"to_k", "to_v"}
    assert all(s.path.endswith(("ff.net.2", "mlp.fc2")) == c.on_input for s, c, _ in choice)
    assert sum(c.on_input for _, c, _ in choice) == 16 + 12
    everything = choose(IA3(on_input=True), published["sd1"].table)
    assert all(c.on_input for _, c, _ in everything)


def test_norms_and_biases_are_trained_where_there_are_some(published):
    choice = choose(Full(targets=TargetConfig(norms=True)), published["sd1"].table)
    norms = [(s, c) for s, c, _ in choice if s.is_norm]
    assert len(norms) == 16 * 4
    assert all(isinstance(c, Full) and numbers(s, c) == 2 * s.outputs for s, c in norms)
    assert all(c.bias == s.bias for s, c, _ in choice)
    assert {s.bias for s, c, _ in choice} == {True, False}
    others = choose(Lora(targets=TargetConfig(norms=True)), published["sd1"].table)
    assert {type(c) for s, c, _ in others if s.is_norm} == {Full}


PRESET = """
enable_conv = true
unet_target_module = ["Transformer2DModel", "ResnetBlock2D", "SingleStreamBlock"]
unet_target_name = ["conv_in", "time_embedding.*"]
text_encoder_target_module = ["CLIPMLP"]
exclude_name = ["down_blocks.0.*"]
[module_algo_map.CrossAttention]
algo = "lokr"
factor = 8
[module_algo_map.ResnetBlock2D]
dim = 2
alpha = 3
[name_algo_map.conv_in]
algo = "full"
"""


@pytest.fixture
def preset(tmp_path: Path):
    def write(text: str = PRESET) -> TargetConfig:
        (tmp_path / "preset.toml").write_text(text)
        return TargetConfig(preset_file="preset.toml")

    return write


@pytest.fixture(scope="module")
def copy_of_mame():
    """mame's modules with random weights; LyCORIS takes weights out of layers."""
    import torch
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from renma import assets

    read = {
        p: json.loads((assets.MAME / p / "config.json").read_text())
        for p in ("unet", "text_encoder")
    }
    torch.manual_seed(0)
    return CLIPTextModel(CLIPTextConfig(**read["text_encoder"])), UNet2DConditionModel.from_config(
        read["unet"]
    )


def lycoris(modules, text: str, **options) -> dict:
    """What lycoris-lora makes of the same preset: file key to module."""
    import toml
    from lycoris.kohya import LycorisNetworkKohya

    keep = {k: v for k, v in vars(LycorisNetworkKohya).items() if k.isupper()}
    try:
        LycorisNetworkKohya.apply_preset(toml.loads(text))
        network = LycorisNetworkKohya(*modules, **options)
    finally:
        for name, value in keep.items():
            setattr(LycorisNetworkKohya, name, value)
    # transformers 5 dropped the prefix that the names in files have
    prefixes = {"lora_te_encoder": "lora_te_text_model_encoder"}
    return {
        next((new + n[len(old) :] for old, new in prefixes.items() if n.startswith(old)), n): lora
        for lora in network.loras
        for n in [lora.lora_name]
    }


@pytest.mark.parametrize("norms", [False, True])
def test_preset_file_means_what_it_means_to_lycoris(
    published, copy_of_mame, preset, tmp_path, norms
):
    # LyCORIS' class for attention in this U-Net is Attention; kohya's was CrossAttention
    text = PRESET.replace("CrossAttention", "Attention")
    theirs = lycoris(
        copy_of_mame, text, lora_dim=4, alpha=1, conv_lora_dim=8, conv_alpha=2, train_norm=norms
    )
    targets = preset(text).model_copy(update={"norms": norms})
    config = Lora(rank=4, alpha=1, conv_rank=8, conv_alpha=2, targets=targets)
    ours = {s.name: (s, c) for s, c, _ in choose(config, published["mame"].table, tmp_path)}
    assert ours.keys() == theirs.keys()
    for name, (slot, own) in ours.items():
        module = theirs[name]
        assert numbers(slot, own) == sum(p.numel() for p in module.parameters()), name
        if isinstance(own, Lora):
            assert own.alpha / own.rank == pytest.approx(module.scale), name


def test_preset_file_old_class_names_and_algorithms(published, preset, tmp_path):
    config = LoraFA(rank=4, targets=preset())
    by_path = {s.path: c for s, c, _ in choose(config, published["sd1"].table, tmp_path)}
    assert isinstance(by_path["mid_block.attentions.0.proj_in"], LoraFA)
    attention = by_path["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"]
    assert isinstance(attention, LoKr)
    assert (attention.factor, attention.rank) == (8, 4)
    assert isinstance(by_path["conv_in"], Full)


WRONG = {
    'unet_target_module = ["ResnetBlok2D"]': "Did you mean 'ResnetBlock2D'",
    'unet_target_name = ["conv_inn"]': "'conv_inn' fits no layer",
    'unet_target_name = ["conv_["]': "no regular expression",
    'lora_prefix = "x"': "'lora_prefix' cannot be followed here",
    "enable_cnv = true": "Did you mean 'enable_conv'",
    'unet_target_module = ["ResnetBlock2D"]\nmodule_algo_map.ResnetBlock2D.algo = "boft"': "no algorithm 'boft'",
    'unet_target_module = ["ResnetBlock2D"]\nmodule_algo_map.ResnetBlock2D.dropout = 0.1': "'dropout' cannot differ",
    'unet_target_module = ["ResnetBlock2D"]\nmodule_algo_map.ResnetBlock2D.factor = 4': "'factor' means nothing to 'lora'",
    'unet_target_module = ["ResnetBlock2D"]\nmodule_algo_map.ResnetBlock2D.dim = -1': "greater than or equal",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG)
def test_preset_file_mistakes(published, preset, tmp_path, text):
    with pytest.raises(UserError, match=WRONG[text]) as caught:
        choose(Lora(targets=preset(text)), published["sd1"].table, tmp_path)
    assert "preset.toml" in caught.value.line()
