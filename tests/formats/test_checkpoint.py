"""Single-file checkpoints told apart and read by name; values: tests/use/test_single_file.py."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from renma.core.errors import UserError
from renma.formats import checkpoint, safetensors
from renma.formats.safetensors import Header

UNET = "model.diffusion_model."
CLIP, OPEN_CLIP = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
FIRST, SECOND = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
CONV_IN = {f"{UNET}input_blocks.0.0.weight": (320, 4, 3, 3)}
CONVOLUTION = {f"{UNET}input_blocks.1.1.proj_in.weight": (320, 320, 1, 1)}
MATRIX = {f"{UNET}input_blocks.1.1.proj_in.weight": (320, 320)}
DEEP = {f"{UNET}input_blocks.4.1.transformer_blocks.1.attn1.to_q.weight": (640, 640)}


def header(shapes: dict[str, tuple[int, ...]]) -> Header:
    return {
        name: {"dtype": "F16", "shape": list(shape), "data_offsets": [0, 0]}
        for name, shape in shapes.items()
    }


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        (CONV_IN | CONVOLUTION, "sd1"),
        (CONV_IN | MATRIX, "sd2"),
        (CONV_IN | MATRIX | DEEP, "sdxl"),
        (CONV_IN | {f"{CLIP}final_layer_norm.weight": (768,)}, "sd1"),
        (CONV_IN | {f"{OPEN_CLIP}ln_final.weight": (1024,)}, "sd2"),
        (CONV_IN | {f"{FIRST}final_layer_norm.weight": (768,)}, "sdxl"),
        (CONV_IN, None),
        (MATRIX, None),
        ({"double_blocks.0.img_attn.qkv.weight": (9, 3)}, None),
    ],
)
def test_family(shapes, family):
    assert checkpoint.family_of(header(shapes)) == family


# tensor in the file, kohya's key of the layer, its shape, rows of the tensor, turned
KNOWN = [
    ("sd1", f"{UNET}input_blocks.1.1.proj_in.weight", (320, 320, 1, 1),
     [("lora_unet_down_blocks_0_attentions_0_proj_in", (320, 320, 1, 1), None, False)]),
    ("sd1", f"{UNET}input_blocks.3.0.op.weight", (320, 320, 3, 3),
     [("lora_unet_down_blocks_0_downsamplers_0_conv", (320, 320, 3, 3), None, False)]),
    ("sd1", f"{UNET}output_blocks.2.1.conv.weight", (1280, 1280, 3, 3),
     [("lora_unet_up_blocks_0_upsamplers_0_conv", (1280, 1280, 3, 3), None, False)]),
    ("sd1", f"{UNET}output_blocks.5.2.conv.weight", (1280, 1280, 3, 3),
     [("lora_unet_up_blocks_1_upsamplers_0_conv", (1280, 1280, 3, 3), None, False)]),
    ("sd1", f"{UNET}middle_block.2.out_layers.3.weight", (1280, 1280, 3, 3),
     [("lora_unet_mid_block_resnets_1_conv2", (1280, 1280, 3, 3), None, False)]),
    ("sd1", f"{CLIP}encoder.layers.3.self_attn.q_proj.weight", (768, 768),
     [("lora_te_text_model_encoder_layers_3_self_attn_q_proj", (768, 768), None, False)]),
    # some early files leave text_model out
    ("sd1", "cond_stage_model.transformer.encoder.layers.3.mlp.fc1.weight", (3072, 768),
     [("lora_te_text_model_encoder_layers_3_mlp_fc1", (3072, 768), None, False)]),
    ("sd1", f"{CLIP}embeddings.position_ids", (1, 77), []),
    ("sd1", "model_ema.diffusion_modelinput_blocks00weight", (320, 4, 3, 3), []),
    ("sd1", "first_stage_model.encoder.conv_in.weight", (128, 3, 3, 3), []),
    ("sd2", f"{OPEN_CLIP}transformer.resblocks.22.attn.in_proj_weight", (3072, 1024),
     [(f"lora_te_text_model_encoder_layers_22_self_attn_{n}_proj", (1024, 1024), rows, False)
      for n, rows in (("q", (0, 1024)), ("k", (1024, 2048)), ("v", (2048, 3072)))]),
    ("sd2", f"{OPEN_CLIP}transformer.resblocks.0.mlp.c_proj.weight", (1024, 4096),
     [("lora_te_text_model_encoder_layers_0_mlp_fc2", (1024, 4096), None, False)]),
    ("sd2", f"{OPEN_CLIP}transformer.resblocks.23.attn.in_proj_weight", (3072, 1024), []),
    ("sd2", f"{OPEN_CLIP}text_projection", (1024, 1024), []),
    ("sd2", f"{OPEN_CLIP}logit_scale", (), []),
    ("sdxl", f"{UNET}input_blocks.4.1.transformer_blocks.1.ff.net.0.proj.weight", (5120, 640),
     [("lora_unet_input_blocks_4_1_transformer_blocks_1_ff_net_0_proj", (5120, 640), None, False)]),
    ("sdxl", f"{UNET}label_emb.0.0.weight", (1280, 2816),
     [("lora_unet_label_emb_0_0", (1280, 2816), None, False)]),
    ("sdxl", f"{FIRST}encoder.layers.3.mlp.fc1.weight", (3072, 768),
     [("lora_te1_text_model_encoder_layers_3_mlp_fc1", (3072, 768), None, False)]),
    ("sdxl", f"{SECOND}transformer.resblocks.31.attn.out_proj.weight", (1280, 1280),
     [("lora_te2_text_model_encoder_layers_31_self_attn_out_proj", (1280, 1280), None, False)]),
    ("sdxl", f"{SECOND}text_projection", (1280, 1024),
     [("lora_te2_text_projection", (1024, 1280), None, True)]),
]  # fmt: skip


@pytest.mark.parametrize(("family", "tensor", "shape", "expected"), KNOWN)
def test_places_of_known_tensors(family, tensor, shape, expected):
    found = checkpoint.places(header(CONV_IN | {tensor: shape}), family, Path())
    rows = [(p.key, p.shape, p.rows, p.transposed) for p in found if p.tensor == tensor]
    assert rows == expected


def test_a_place_is_a_view_of_what_is_stored():
    stored = torch.arange(18.0).reshape(6, 3)
    place = checkpoint.Place("text_encoder", "x.weight", "x", "t", (2, 3), (2, 4))
    assert torch.equal(place.of(stored), stored[2:4])
    place.of(stored).zero_()
    assert stored.flatten().tolist() == [*range(6), *[0] * 6, *range(12, 18)]
    turned = checkpoint.Place("text_encoder", "x.weight", "x", "t", (3, 6), None, True)
    assert torch.equal(turned.of(stored), stored.t())


def test_fused_rows_that_do_not_come_apart_are_refused():
    name = f"{OPEN_CLIP}transformer.resblocks.0.attn.in_proj_weight"
    with pytest.raises(UserError, match="three parts"):
        list(checkpoint.places(header(CONV_IN | {name: (10, 4)}), "sd2", Path("m")))


@pytest.mark.parametrize("prefix", ["model.diffusion_model.", "diffusion_model.", ""])
def test_a_unet_alone(tmp_path: Path, prefix):
    names = {"input_blocks.0.0.weight": (4, 4, 3, 3), "middle_block.1.proj_in.weight": (4, 4, 1, 1)}
    path = tmp_path / "unet.safetensors"
    save_file({prefix + name: torch.zeros(shape) for name, shape in names.items()}, path)
    found = checkpoint.read(path)
    assert found.family == "sd1"
    assert [p.name for p in found.places if "proj" in p.name] == [
        "mid_block.attentions.0.proj_in.weight"
    ]
    assert found.header == safetensors.read_header(path)[0]


def test_a_unet_in_diffusers_names(tmp_path: Path):
    path = tmp_path / "unet.safetensors"
    save_file({"mid_block.attentions.0.proj_in.weight": torch.zeros(4, 4)}, path)
    (place,) = checkpoint.read(path).places
    assert place.key == "lora_unet_mid_block_attentions_0_proj_in"
    assert checkpoint.read(path).family == "sd2"


@pytest.mark.parametrize(
    ("name", "tensors", "words"),
    [
        ("x.ckpt", {}, "pickled"),
        ("x.PT", {}, "pickled"),
        ("x.safetensors", {"conditioner.embedders.0.model.ln_final.weight": 3}, "refiner"),
        ("x.safetensors", {"double_blocks.0.img_attn.qkv.weight": 3}, "no checkpoint of SD"),
        ("x.safetensors", {"first_stage_model.encoder.conv_in.weight": 3}, "no checkpoint of SD"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name, tensors, words):
    path = tmp_path / name
    save_file({key: torch.zeros(size) for key, size in tensors.items()}, path)
    with pytest.raises(UserError, match=words) as caught:
        checkpoint.read(path)
    assert len(caught.value.line().splitlines()) == 1
