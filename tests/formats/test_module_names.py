"""Layer names against the models of diffusers, its own converter, and kohya's real file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from renma.core.errors import UserError
from renma.formats import module_names

SD1: dict = {"cross_attention_dim": 8, "block_out_channels": (8, 8, 8, 8), "norm_num_groups": 2}
SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (8, 8, 8),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 8,
    "norm_num_groups": 2,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 16,
    "use_linear_projection": True,
}


def paths(config: dict) -> list[str]:
    with torch.device("meta"):
        unet = UNet2DConditionModel(attention_head_dim=4, sample_size=8, **config)
    return [name.rpartition(".")[0] for name in unet.state_dict() if name.endswith(".weight")]


@pytest.fixture(scope="module")
def sd1() -> list[str]:
    return paths(SD1)


@pytest.fixture(scope="module")
def sdxl() -> list[str]:
    return paths(SDXL)


def test_every_layer_of_sd1_and_sdxl_goes_there_and_back(sd1, sdxl):
    assert len(sd1) > 250
    assert len(sdxl) > 700
    for path in sd1:
        key = module_names.layer_key("unet", path)
        assert key == "lora_unet_" + path.replace(".", "_")
        assert module_names.module_path(key) == ("unet", path)
    keys = [module_names.layer_key("unet", path, sdxl=True) for path in sdxl]
    assert [module_names.module_path(key)[1] for key in keys] == sdxl
    assert not any("down_blocks" in key or "up_blocks" in key for key in keys)
    # diffusers' names of SDXL, which kohya reads too
    assert [module_names.module_path(module_names.layer_key("unet", p))[1] for p in sdxl] == sdxl


def test_sdxl_names_are_those_that_diffusers_converts(sdxl):
    """diffusers turns the block numbers of kohya's names into its own."""

    class Config:
        layers_per_block = 2

    inside = [p for p in sdxl if p.startswith(("down_blocks", "mid_block", "up_blocks"))]
    keys = {module_names.layer_key("unet", p, sdxl=True): p for p in inside}
    for key, path in keys.items():
        (converted,) = _maybe_map_sgm_blocks_to_diffusers({key: 0}, Config())
        # it leaves the inner names of ResNet blocks, and says `input_blocks` for `down_blocks`
        block = ".".join(path.split(".")[1:4] if "mid_block" not in path else path.split(".")[1:3])
        assert f"_{block.replace('.', '_')}_" in converted, (key, converted)


def test_text_encoders(mame):
    for key, target in mame.targets().items():
        part, path = module_names.module_path(key)
        assert (part, path.removeprefix("text_model.")) == (
            target.part,
            target.path.removeprefix("text_model."),
        )
        assert module_names.layer_key(part, path) == key
    key = "lora_te2_text_model_encoder_layers_31_mlp_fc1"
    assert module_names.module_path(key) == (
        "text_encoder_2",
        "text_model.encoder.layers.31.mlp.fc1",
    )
    assert module_names.layer_key("text_encoder_2", "encoder.layers.31.mlp.fc1", sdxl=True) == key
    assert module_names.layer_key("text_encoder", "encoder.layers.0.mlp.fc1", sdxl=True).startswith(
        "lora_te1_text_model_"
    )


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_double_blocks_0_img_attn_proj",
        "unet_x",
        "lora_te_",
        "lora_unet_",
        "lora_unet_a__b",
    ],
)
def test_unknown_names_are_named(key):
    with pytest.raises(UserError, match=key):
        module_names.module_path(key)


def test_names_of_a_file_that_kohya_wrote(reference: Path):
    header = json.loads((reference / "spec" / "kohya_header.json").read_text())
    text = json.dumps(header)
    keys = {
        word
        for word in text.replace('"', " ").replace(".", " ").split()
        if word.startswith("lora_")
    }
    keys = {k for k in keys if k.startswith(("lora_unet_", "lora_te_"))}
    assert len(keys) == 264
    for key in keys:
        part, path = module_names.module_path(key)
        assert module_names.layer_key(part, path) == key
