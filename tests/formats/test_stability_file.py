"""E1: names of single files, both ways, against diffusers' own converters and published counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.loaders import single_file_utils as diffusers_own
from safetensors.torch import load_file

from renma.families import _twins
from renma.formats import checkpoint, vae_names
from renma.formats.safetensors import read_header

FAMILIES = ("sd1", "sd2", "sdxl")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    root = tmp_path_factory.mktemp("names")
    return {
        kind: (
            _twins.write_file(kind, root / f"{kind}.safetensors"),
            _twins.write_folder(kind, root / kind),
        )
        for kind in FAMILIES
    }


def part(folder: Path, name: str) -> dict[str, torch.Tensor]:
    stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
    return load_file(folder / name / f"{stem}.safetensors")


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Equal names and numbers; transformers before 5 wrote text_model."""
    found = {n.removeprefix("text_model."): t for n, t in found.items() if "position_ids" not in n}
    expected = {name.removeprefix("text_model."): tensor for name, tensor in expected.items()}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("kind", FAMILIES)
def test_diffusers_converters_find_every_weight(written, kind: str):
    file, folder = written[kind]
    tensors, configs = load_file(file), _twins.configurations(kind)
    unet = diffusers_own.convert_ldm_unet_checkpoint(dict(tensors), configs["unet"])
    same(unet, part(folder, "unet"))
    vae = diffusers_own.convert_ldm_vae_checkpoint(dict(tensors), configs["vae"])
    same(vae, part(folder, "vae"))
    if kind != "sd2":
        same(diffusers_own.convert_ldm_clip_checkpoint(tensors), part(folder, "text_encoder"))
    for name, prefix in {
        "sd2": [("text_encoder", "cond_stage_model.model.")],
        "sdxl": [("text_encoder_2", "conditioner.embedders.1.model.")],
    }.get(kind, []):
        model = _twins._empty(name, configs[name])
        found = diffusers_own.convert_open_clip_checkpoint(model, tensors, prefix)
        same(found, part(folder, name))


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_autoencoder_is_read_back_in_every_naming(written, kind: str):
    file, folder = written[kind]
    names = set(part(folder, "vae"))
    tensors = {n: t for n, t in load_file(file).items() if n.startswith("first_stage_model.")}
    assert len(tensors) == len(names)
    for prefix in ("first_stage_model.", "vae.", ""):
        header = {
            prefix + n.removeprefix("first_stage_model."): {"shape": list(t.shape)}
            for n, t in tensors.items()
        }
        found = {place.name: place.shape for place in checkpoint.vae_places(header)}
        assert found.keys() == names
        attention = "encoder.mid_block.attentions.0.to_q.weight"
        assert found[attention] == part(folder, "vae")[attention].shape == (64, 64)
    header, _ = read_header(folder / "vae" / "diffusion_pytorch_model.safetensors")
    assert {place.name for place in checkpoint.vae_places(header)} == names


PUBLISHED = [
    # Stability's name, diffusers' name in a model of four levels
    ("encoder.down.1.block.0.nin_shortcut.weight", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"),
    ("encoder.down.2.downsample.conv.bias", "encoder.down_blocks.2.downsamplers.0.conv.bias"),
    ("encoder.mid.block_2.norm1.weight", "encoder.mid_block.resnets.1.norm1.weight"),
    ("decoder.mid.attn_1.proj_out.bias", "decoder.mid_block.attentions.0.to_out.0.bias"),
    ("decoder.mid.attn_1.norm.weight", "decoder.mid_block.attentions.0.group_norm.weight"),
    ("decoder.up.3.block.2.conv2.weight", "decoder.up_blocks.0.resnets.2.conv2.weight"),
    ("decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"),
    ("decoder.norm_out.bias", "decoder.conv_norm_out.bias"),
    ("decoder.conv_in.weight", "decoder.conv_in.weight"),
    ("post_quant_conv.weight", "post_quant_conv.weight"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), PUBLISHED)
def test_names_of_the_autoencoder(old: str, new: str):
    assert vae_names.from_stability(old, 4) == new
    assert vae_names.to_stability(new, 4) == old


def test_names_from_before_diffusers_0_18():
    head = "decoder.mid_block.attentions.0"
    assert vae_names.renewed(f"{head}.query.weight") == f"{head}.to_q.weight"
    assert vae_names.renewed(f"{head}.proj_attn.bias") == f"{head}.to_out.0.bias"
    assert vae_names.renewed("decoder.conv_in.weight") == "decoder.conv_in.weight"
