"""LoRA files in every naming: there and back bit-equal, and loaded by other libraries."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lycoris import create_lycoris_from_weights
from safetensors.torch import save_file

import renma
from renma import assets
from renma.core.errors import UserError
from renma.formats import lora_file, safetensors
from renma.formats.lora_file import LoraFile
from renma.formats.model_weights import ModelWeights

KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
PATH = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.fixture(scope="module")
def weights() -> ModelWeights:
    return ModelWeights("mame")


def made_for(
    weights: ModelWeights, *, mixed: bool, dora: bool = False, text: bool = True
) -> LoraFile:
    """A LoRA for mame; mixed: ranks and alphas differ between layers, some have no alpha."""
    generator = torch.Generator().manual_seed(1)
    layers = {}
    for i, (key, slot) in enumerate(weights.layers.items()):
        if slot.group not in {"attention", "feed_forward"} or (slot.part != "unet" and not text):
            continue
        rank = 4 if mixed and i % 2 else 2
        ones = [1, 1] if len(slot.shape) == 4 else []
        row = {
            "lora_down.weight": torch.randn(rank, *slot.shape[1:], generator=generator) / 4,
            "lora_up.weight": torch.randn(slot.outputs, rank, *ones, generator=generator) / 4,
        }
        if not (mixed and i % 3 == 0):
            row["alpha"] = torch.tensor(3.0 if mixed and i % 5 else 1.0)
        if dora:
            row["dora_scale"] = torch.rand(slot.outputs, *[1] * (len(slot.shape) - 1)) + 0.5
        layers[key] = row
    return LoraFile(layers, {"ss_v2": "False"})


def same(a: LoraFile, b: LoraFile) -> bool:
    return a.layers.keys() == b.layers.keys() and all(
        a.layers[key].keys() == b.layers[key].keys()
        and all(
            t.dtype == b.layers[key][s].dtype and torch.equal(t, b.layers[key][s])
            for s, t in row.items()
        )
        for key, row in a.layers.items()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("naming", ["diffusers", "lycoris", "kohya"])
def test_there_and_back_is_bit_equal(tmp_path: Path, weights, dtype, dora, naming):
    file = made_for(weights, mixed=True, dora=dora)
    first, other, back = (tmp_path / f"{n}.safetensors" for n in "abc")
    lora_file.write(first, file, "kohya", dtype)
    lora_file.write(other, lora_file.read(first), naming)
    read = lora_file.read(other)
    assert read.naming == naming
    lora_file.write(back, read, "kohya")
    assert back.read_bytes() == first.read_bytes()
    assert same(lora_file.read(first), read)


def test_hashes_are_recomputed(tmp_path: Path, weights):
    file = made_for(weights, mixed=False)
    file.metadata |= {"sshs_model_hash": "old", "sshs_legacy_hash": "old"}
    path = tmp_path / "x.safetensors"
    lora_file.write(path, file)
    _, metadata = safetensors.read_header(path)
    assert metadata["sshs_model_hash"] == safetensors.payload_hash(safetensors.read_tensors(path))
    assert metadata["sshs_legacy_hash"] != "old"
    assert file.metadata["sshs_model_hash"] == "old"  # what is written is not changed


@pytest.fixture(scope="module")
def pipeline() -> Any:
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
            StableDiffusionPipeline,
        )

        return StableDiffusionPipeline.from_pretrained(
            assets.MAME, safety_checker=None, torch_dtype=torch.float32
        )


@pytest.mark.parametrize(
    ("naming", "mixed", "dora"),
    # diffusers' own reading of kohya's names loses alphas that differ between layers
    [("diffusers", True, False), ("diffusers", False, True), ("kohya", False, False)],
)
def test_diffusers_loads_what_we_mean(tmp_path: Path, weights, pipeline, naming, mixed, dora):
    file = made_for(weights, mixed=mixed, dora=dora)
    path = tmp_path / "x.safetensors"
    lora_file.write(path, file, naming)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline.load_lora_weights(path)
        pipeline.fuse_lora()
    try:
        for key, row in file.layers.items():
            slot = weights.layers[key]
            modules = dict(getattr(pipeline, slot.part).named_modules())
            name = slot.path if slot.path in modules else slot.path.removeprefix("text_model.")
            expected, _ = renma.merged_weight(weights.layer(key)[0].float(), None, row)
            assert torch.allclose(modules[name].base_layer.weight, expected, atol=1e-5), key
    finally:
        pipeline.unfuse_lora()
        pipeline.unload_lora_weights()


def test_lycoris_loads_what_we_mean(tmp_path: Path, weights, mame):
    file = made_for(weights, mixed=True, text=False)
    path = tmp_path / "x.safetensors"
    lora_file.write(path, file, "lycoris")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network, _ = create_lycoris_from_weights(1.0, str(path), mame.unet)
    changes = {module.lora_name: module.get_diff_weight(1.0)[0] for module in network.loras}
    assert len(changes) == len(file.layers)
    for key, row in file.layers.items():
        weight, _ = weights.layer(key)
        expected, _ = renma.merged_weight(torch.zeros(weight.shape), None, row)
        change = changes[key.replace("lora_unet", "lycoris")]
        assert torch.allclose(change.reshape(expected.shape), expected, atol=1e-5), key


def lora(rank: int = 4, width: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rank, width), torch.randn(width, rank)


SPELLINGS = {
    "kohya": (f"{KEY}.lora_down.weight", f"{KEY}.lora_up.weight"),
    "lycoris": (f"{KEY.replace('lora_unet', 'lycoris')}.lora_down.weight",
                f"{KEY.replace('lora_unet', 'lycoris')}.lora_up.weight"),
    "diffusers": (f"unet.{PATH}.lora_A.weight", f"unet.{PATH}.lora_B.weight"),
    "peft": (f"base_model.model.{PATH}.lora_A.weight", f"base_model.model.{PATH}.lora_B.weight"),
    "peft with a part": (f"base_model.model.unet.{PATH}.lora_A.default.weight",
                         f"base_model.model.unet.{PATH}.lora_B.default.weight"),
    "older diffusers": (f"unet.{PATH}.lora.down.weight", f"unet.{PATH}.lora.up.weight"),
    "linear layer": (f"unet.{PATH}.lora_linear_layer.down.weight",
                     f"unet.{PATH}.lora_linear_layer.up.weight"),
    "processor": (f"{PATH.replace('.to_q', '.processor.to_q_lora')}.down.weight",
                  f"{PATH.replace('.to_q', '.processor.to_q_lora')}.up.weight"),
    "dots": (f"unet.{PATH}.lora_down.weight", f"unet.{PATH}.lora_up.weight"),
}  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_same_layer(tmp_path: Path, spelling):
    down, up = lora()
    path = tmp_path / "x.safetensors"
    save_file(dict(zip(SPELLINGS[spelling], (down, up), strict=True)), path, {"format": "pt"})
    file = lora_file.read(path)
    assert list(file.layers) == [KEY]
    assert torch.equal(file.layers[KEY]["lora_down.weight"], down)
    assert torch.equal(file.layers[KEY]["lora_up.weight"], up)
    again = tmp_path / "again.safetensors"
    lora_file.write(again, file, file.naming)
    names = {n for n in safetensors.read_tensors(again) if not n.endswith(".alpha")}
    assert names == set(SPELLINGS[spelling])


def test_old_text_encoder_names(tmp_path: Path):
    path, (down, up) = tmp_path / "x.safetensors", lora()
    head = "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora"
    save_file({f"{head}.down.weight": down, f"{head}.up.weight": up}, path)
    assert list(lora_file.read(path).layers) == [
        "lora_te_text_model_encoder_layers_0_self_attn_out_proj"
    ]


def test_sdxl_in_any_words_becomes_kohyas(tmp_path: Path):
    path, (down, up) = tmp_path / "x.safetensors", lora()
    inner = "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q"
    names = {
        "unet." + inner: "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q",
        "text_encoder_2.text_model.encoder.layers.1.mlp.fc1": "lora_te2_text_model_encoder_layers_1_mlp_fc1",
        "text_encoder.text_model.encoder.layers.1.mlp.fc1": "lora_te1_text_model_encoder_layers_1_mlp_fc1",
    }
    tensors = {}
    for name in names:
        tensors |= {f"{name}.lora_A.weight": down.clone(), f"{name}.lora_B.weight": up.clone()}
    save_file(tensors, path)
    file = lora_file.read(path)
    assert set(file.layers) == set(names.values())
    again, kohya = tmp_path / "again.safetensors", tmp_path / "kohya.safetensors"
    lora_file.write(again, file, "diffusers")
    assert safetensors.read_tensors(again).keys() == tensors.keys()
    flat = {f"lora_unet_{inner.replace('.', '_')}.lora_down.weight": down,
            f"lora_unet_{inner.replace('.', '_')}.lora_up.weight": up}  # fmt: skip
    save_file(flat, kohya)
    assert list(lora_file.read(kohya).layers) == [names["unet." + inner]]
    with pytest.raises(UserError, match="two text encoders"):
        lora_file.write(again, file, "lycoris")


def test_configuration_of_peft_gives_alpha(tmp_path: Path):
    path, (down, up) = tmp_path / "adapter_model.safetensors", lora()
    other = PATH.replace("to_q", "to_k")
    save_file(
        {
            f"base_model.model.{p}.{n}.weight": t.clone()
            for p in (PATH, other)
            for n, t in (("lora_A", down), ("lora_B", up))
        },
        path,
    )
    config = {"r": 4, "lora_alpha": 8, "alpha_pattern": {"attn1.to_k": 2}, "use_rslora": True}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    file = lora_file.read(path)
    assert float(file.layers[KEY]["alpha"]) == 8 * 2  # times the root of the rank
    assert float(file.layers[KEY.replace("to_q", "to_k")]["alpha"]) == 2 * 2
    (tmp_path / "adapter_config.json").write_text("[" * 5000)
    with pytest.raises(UserError, match=r"adapter_config.json"):
        lora_file.read(path)


def test_dora_beside_plain_lora_is_refused_for_diffusers(tmp_path: Path, weights):
    file = made_for(weights, mixed=False, dora=True)
    next(iter(file.layers.values())).pop("dora_scale")
    with pytest.raises(UserError, match="DoRA"):
        lora_file.write(tmp_path / "x.safetensors", file, "diffusers")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({}, "no tensors"),
        ({"conv.weight": torch.ones(2)}, "no LoRA"),
        ({"model.diffusion_model.out.2.weight": torch.ones(2)}, "no LoRA"),
        ({f"{KEY}.lora_down.weight": torch.ones(0, 4)}, "no numbers"),
        ({f"{KEY}.surprise": torch.ones(2)}, "surprise"),
        ({f"{KEY}.lora_down.weight": torch.ones(2, 2), "other": torch.ones(1)}, "'other'"),
        ({f"{KEY}.surprise": torch.ones(2)}, "file extract BASE MERGED"),
        ({f"{KEY}.lora_up.bias": torch.ones(2)}, "a bias inside.*file extract"),
        ({f"unet.{PATH}.lora_B.bias": torch.ones(2)}, "a bias inside.*file extract"),
        ({"bundle_emb.cat.emb_params": torch.ones(2)}, "embeddings alone"),
        ({"unet.single_blocks.0.linear.lora_A.weight": torch.ones(2, 2)}, "single_blocks"),
        ({f"unet.{PATH}.lora_A.weight": torch.ones(2, 3), f"unet.{PATH}.lora.down.weight": torch.ones(2, 3)}, "twice"),
    ],
)  # fmt: skip
def test_what_is_no_lora_is_said(tmp_path: Path, tensors, words):
    path = tmp_path / "x.safetensors"
    save_file(tensors, path)
    with pytest.raises(UserError, match=words) as caught:
        lora_file.read(path)
    assert "x.safetensors" in caught.value.line()


def test_damaged_alpha_note(tmp_path: Path, weights):
    path = tmp_path / "x.safetensors"
    lora_file.write(path, made_for(weights, mixed=True), "diffusers")
    tensors, metadata = safetensors.read_tensors(path), safetensors.read_header(path)[1]
    safetensors.save(path, tensors, metadata | {"renma_alpha": '[["F99",1,"*"]]'})
    with pytest.raises(UserError, match="renma_alpha"):
        lora_file.read(path)
    del metadata["renma_alpha"]  # as if diffusers had written it: alphas are then float32
    safetensors.save(path, tensors, metadata)
    file = lora_file.read(path)
    for key, row in made_for(weights, mixed=True).layers.items():
        rank = row["lora_down.weight"].shape[0]
        assert float(file.layers[key]["alpha"]) == float(row.get("alpha", rank)), key


def test_real_files_go_there_and_back(reference: Path, tmp_path: Path):
    files = sorted((reference / "real-loras").glob("*.safetensors"))
    assert files
    for path in files:
        file = lora_file.read(path)
        assert len(file.layers) == 128
        found, kohya, modern, back = (tmp_path / f"{n}.safetensors" for n in "abcd")
        lora_file.write(found, file, file.naming)
        assert found.read_bytes() == path.read_bytes()
        lora_file.write(kohya, file, "kohya")
        lora_file.write(modern, lora_file.read(kohya), "diffusers")
        lora_file.write(back, lora_file.read(modern), "kohya")
        assert back.read_bytes() == kohya.read_bytes()
        assert same(file, lora_file.read(modern))


def beside(folder: Path, config: object, name: str, metadata: dict | None = None) -> LoraFile:
    path, (down, up) = folder / name, lora()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    names = {f"unet.{PATH}.lora_A.weight": down.clone(), f"unet.{PATH}.lora_B.weight": up.clone()}
    save_file(names, path, metadata)
    return lora_file.read(path)


def test_a_configuration_beside_another_file_is_left_alone(tmp_path: Path):
    rank = lora()[0].shape[0]
    fits, other = {"r": rank, "lora_alpha": 8}, {"r": rank + 1, "lora_alpha": 8}
    patterned = {**other, "rank_pattern": {"attn1.to_q": rank}}
    kohya = {"ss_network_alpha": "1"}
    for config, name, metadata, used in (
        (fits, "x.safetensors", None, True),
        (patterned, "x.safetensors", None, True),
        (other, "x.safetensors", None, False),
        ({"lora_alpha": 8}, "x.safetensors", None, False),
        (fits, "x.safetensors", kohya, False),
        (["no configuration"], "x.safetensors", None, False),
        (other, "adapter_model.safetensors", None, True),
        (fits, "adapter_model-1.safetensors", kohya, True),
    ):
        file = beside(tmp_path, config, name, metadata)
        assert ("alpha" in file.layers[KEY]) == used, (config, name, metadata)
        assert bool(file.notes) == used
        assert not used or "adapter_config.json" in file.notes[0]


def test_a_scalar_in_a_file_is_multiplied_in(tmp_path: Path):
    path, (down, up) = tmp_path / "x.safetensors", lora()
    for head, a, b in ((KEY, "lora_down", "lora_up"), (f"unet.{PATH}", "lora_A", "lora_B")):
        scalar = {f"{head}.scalar": torch.tensor(0.5)}
        save_file({f"{head}.{a}.weight": down, f"{head}.{b}.weight": up, **scalar}, path)
        file = lora_file.read(path)
        assert torch.equal(file.layers[KEY]["lora_up.weight"], up / 2)
        assert "scalar" not in file.layers[KEY]
        lora_file.write(path, file)
        assert torch.equal(lora_file.read(path).layers[KEY]["lora_up.weight"], up / 2)
