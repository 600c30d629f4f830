"""E1: ways a model comes: pickled files, folders of older versions, another autoencoder."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from renma.config.model import ModelConfig
from renma.core.errors import UserError
from renma.engine.model import load_family
from renma.families import _twins

VAE = "diffusion_pytorch_model.safetensors"


def load(place: Path, base: Path | None = None, **options):
    skip = options.pop("skip", ())
    model = ModelConfig(path=str(place), **options)
    return load_family(model, device="cpu", base=base, skip=skip)


def same(one, other) -> bool:
    states = [part.state_dict() for part in (one, other)]
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("nested", [False, True])
def test_a_pickled_checkpoint_is_the_same_model(twins, tmp_path: Path, nested: bool):
    tensors = load_file(twins["sdxl"].file)
    path = tmp_path / "m.ckpt"
    torch.save({"state_dict": tensors, "epoch": 3} if nested else tensors, path)
    one, other = load(path), load(twins["sdxl"].file)
    assert one.name == "sdxl"
    assert all(same(part, other.parts()[name]) for name, part in one.parts().items())


def test_a_folder_with_pickled_weights_and_the_vaes_old_names(twins, tmp_path: Path):
    folder = shutil.copytree(twins["sd1"].folder, tmp_path / "m")
    for part in ("vae", "unet", "text_encoder"):
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        state = load_file(folder / part / f"{stem}.safetensors")
        (folder / part / f"{stem}.safetensors").unlink()
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        if part == "vae":
            for new, name in old.items():
                state = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): t for key, t in state.items()}  # fmt: skip
            assert any(".query." in key for key in state)
        name = "pytorch_model.bin" if part == "text_encoder" else "diffusion_pytorch_model.bin"
        torch.save(state, folder / part / name)
    one, other = load(folder), load(twins["sd1"].folder)
    assert all(same(part, other.parts()[name]) for name, part in one.parts().items())


def test_a_folder_without_a_tokenizer_takes_the_shipped_one(twins, tmp_path: Path):
    folder = shutil.copytree(twins["sd2"].folder, tmp_path / "m")
    shutil.rmtree(folder / "tokenizer")
    (folder / "model_index.json").unlink()
    one, other = (load(place, skip=("vae", "unet")) for place in (folder, twins["sd2"].folder))
    with torch.no_grad():
        found = [family.encode_text(["a photo of a cat"]).states for family in (one, other)]
    assert torch.equal(*found)


@pytest.fixture
def vaes(twins, tmp_path: Path) -> dict[str, Path]:
    """The same other autoencoder in every layout."""
    folder = _twins.write_folder("sd1", tmp_path / "other", seed=9)
    whole = _twins.write_file("sd1", tmp_path / "whole.safetensors", seed=9)
    tensors = {n: t for n, t in load_file(whole).items() if n.startswith("first_stage_model.")}
    bare = {name.removeprefix("first_stage_model."): t for name, t in tensors.items()}
    save_file(tensors, tmp_path / "first_stage.safetensors")
    save_file(bare, tmp_path / "bare.safetensors")
    torch.save({"state_dict": bare}, tmp_path / "bare.vae.pt")
    alone = shutil.copy(folder / "vae" / VAE, tmp_path / "alone.safetensors")
    return {
        "model's folder": folder,
        "folder": folder / "vae",
        "its weights": folder / "vae" / VAE,
        "weights alone": Path(alone),
        "checkpoint": whole,
        "prefix": tmp_path / "first_stage.safetensors",
        "bare": tmp_path / "bare.safetensors",
        "pickled": tmp_path / "bare.vae.pt",
    }


def test_another_autoencoder_in_every_layout(twins, vaes: dict[str, Path], tmp_path: Path):
    own = load(twins["sdxl"].file, skip=("text_encoder", "text_encoder_2", "unet"))
    weights = load_file(vaes["its weights"])
    assert not torch.equal(own.vae.quant_conv.weight, weights["quant_conv.weight"])
    for how, path in vaes.items():
        model = twins["sdxl"].folder if how == "bare" else twins["sdxl"].file
        skip = ("text_encoder", "text_encoder_2", "unet")
        family = load(model, tmp_path, vae=str(path.relative_to(tmp_path)), skip=skip)
        state = family.vae.state_dict()
        assert all(torch.equal(tensor, weights[name]) for name, tensor in state.items()), how
        # a folder says its factor, a file has that of the model's family
        told = "folder" in how or how == "its weights"
        assert family.vae.config.scaling_factor == (0.18215 if told else 0.13025), how
        read = vaes["its weights"] if "folder" in how else path
        assert family.hashes["vae"] == hashlib.sha256(read.read_bytes()).hexdigest(), how


def test_the_factor_that_a_vae_names_is_taken(vaes: dict[str, Path], twins):
    path = vaes["folder"] / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "scaling_factor": 0.5}))
    family = load(twins["sd1"].file, vae=str(vaes["folder"]), skip=("text_encoder", "unet"))
    plain = load(twins["sd1"].file, vae=str(vaes["bare"]), skip=("text_encoder", "unet"))
    pixels = torch.rand(1, 3, 16, 16)
    mean, other = family.encode_image(pixels)[0], plain.encode_image(pixels)[0]
    torch.testing.assert_close(mean / 0.5, other / 0.18215)


def test_a_file_without_an_autoencoder_is_refused(twins, tmp_path: Path):
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="holds no autoencoder"):
        load(twins["sd1"].file, vae=str(tmp_path / "x.safetensors"))
    with pytest.raises(UserError, match=r"model\.vae = .*no\.safetensors.*no such file"):
        load(twins["sd1"].file, vae=str(tmp_path / "no.safetensors"))


def test_a_refused_model_says_why_in_one_line(twins, tmp_path: Path):
    shutil.copy(twins["sd2"].file, tmp_path / "m.safetensors")
    save_file(load_file(twins["sd2"].file), tmp_path / "m.safetensors")  # without metadata
    with pytest.raises(UserError, match=r"Set model\.prediction") as caught:
        load(tmp_path / "m.safetensors")
    assert str(tmp_path) in caught.value.line()
    assert len(caught.value.line().splitlines()) == 1
    chosen = load(tmp_path / "m.safetensors", prediction="v_prediction")
    assert chosen.scheduler_config["prediction_type"] == "v_prediction"
    assert chosen.native_size == 768
