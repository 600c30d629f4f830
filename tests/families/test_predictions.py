"""E1: a loaded family predicts what diffusers' U-Net predicts with plain transformers' states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from renma.config.model import ModelConfig
from renma.core.errors import UserError
from renma.engine.model import load_family
from renma.families import _twins

PROMPTS = ["a photo of a cat", "1girl, solo, (red hair)"]
SIZES = torch.tensor([[640, 512, 0, 32, 512, 512], [512, 768, 16, 0, 512, 512]])
TIMES = torch.tensor([20, 801])


def load(place: Path, **options):
    skip, precision = options.pop("skip", ()), options.pop("precision", "fp32")
    model = ModelConfig(path=str(place), **options)
    return load_family(model, device="cpu", precision=precision, skip=skip)


def noise(seed: int = 0) -> Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def predict(family) -> Tensor:
    condition = family.encode_text(PROMPTS)
    if family.wants_sizes:
        condition = condition.with_sizes(SIZES)
    return family.predict(noise(), TIMES, condition)


def token_rows(family, pad: int) -> Tensor:
    rows = []
    for prompt in PROMPTS:
        ids = [49406, *family.tokens[0].numbers(prompt), 49407]
        rows.append(ids + [pad] * (77 - len(ids)))
    return torch.tensor(rows)


def plain(folder: Path, family) -> Tensor:
    """The prediction of diffusers and transformers alone, as each family's paper has it."""
    text = CLIPTextModel.from_pretrained(folder / "text_encoder")
    rows = token_rows(family, 0 if family.name == "sd2" else 49407)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    if family.name != "sdxl":
        return unet(noise(), TIMES, text(rows).last_hidden_state).sample
    second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")
    one = text(rows, output_hidden_states=True).hidden_states
    two = second(token_rows(family, 0), output_hidden_states=True)
    states = torch.cat([one[2], two.hidden_states[2]], dim=-1)  # of three layers the second
    added = {"text_embeds": two.text_embeds, "time_ids": SIZES.float()}
    return unet(noise(), TIMES, states, added_cond_kwargs=added).sample


@torch.no_grad()
def test_predictions_are_those_of_diffusers(twin):
    family = load(twin.folder)
    ours, theirs = predict(family), plain(twin.folder, family)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    moved = predict_with_other_words(family)
    assert (ours - moved).abs().max() > 1e-2  # the words reach the U-Net


def predict_with_other_words(family) -> Tensor:
    condition = family.encode_text(["dog", "dog"])
    if family.wants_sizes:
        condition = condition.with_sizes(SIZES)
    return family.predict(noise(), TIMES, condition)


@torch.no_grad()
def test_file_and_folder_are_the_same_model(twin):
    one, other = load(twin.file), load(twin.folder)
    assert one.name == other.name == twin.family
    assert one.scheduler_config["prediction_type"] == other.scheduler_config["prediction_type"]
    assert (one.base_version, one.architecture) == (other.base_version, other.architecture)
    assert (one.native_size, one.latent_factor) == (other.native_size, other.latent_factor)
    for name, part in one.parts().items():
        there = other.parts()[name].state_dict()
        assert {n: t.shape for n, t in part.state_dict().items()} == {
            n: t.shape for n, t in there.items()
        }
        assert all(torch.equal(tensor, there[n]) for n, tensor in part.state_dict().items())
        # where numbers lie in a mapped file changes the last bits of what a CPU computes with them
        for parameter in (*part.parameters(), *other.parts()[name].parameters()):
            parameter.data = parameter.data.clone()
    assert torch.equal(predict(one), predict(other))
    assert list(one.targets()) == list(other.targets())
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    assert torch.equal(one.encode_image(pixels)[0], other.encode_image(pixels)[0])


@torch.no_grad()
def test_the_vae_is_scaled_and_always_float32(twin):
    family = load(twin.file, precision="bf16")
    assert {p.dtype for p in family.parts()["vae"].parameters()} == {torch.float32}
    assert {p.dtype for p in family.parts()["unet"].parameters()} == {torch.bfloat16}
    vae = AutoencoderKL.from_pretrained(twin.folder / "vae")
    factor = 0.13025 if twin.kind == "sdxl" else 0.18215
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    posterior = vae.encode(pixels).latent_dist
    mean, deviation = family.encode_image(pixels)
    torch.testing.assert_close(mean, posterior.mean * factor, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(deviation, posterior.std * factor, rtol=1e-5, atol=1e-6)
    theirs = (vae.decode(mean / factor).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(family.decode_image(mean), theirs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_shift_of_the_latents_is_undone(twins):
    family = load(twins["sd1"].file)
    pixels = torch.rand(1, 3, 32, 32) * 2 - 1
    mean, deviation = family.encode_image(pixels)
    picture = family.decode_image(mean)
    family.vae.register_to_config(shift_factor=0.5)
    moved, same = family.encode_image(pixels)
    torch.testing.assert_close(moved, mean - 0.5 * 0.18215, rtol=1e-5, atol=1e-5)
    assert torch.equal(same, deviation)
    torch.testing.assert_close(family.decode_image(moved), picture, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_half_files_load_in_every_precision(twins, tmp_path: Path):
    file = _twins.write_file("sdxl", tmp_path / "half.safetensors", seed=3, dtype=torch.float16)
    full, half = load(twins["sdxl"].file), load(file)
    for name, part in half.parts().items():
        for (key, ours), theirs in zip(
            part.state_dict().items(), full.parts()[name].state_dict().values(), strict=True
        ):
            assert ours.dtype == torch.float32
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4, msg=key)
    stored = load(file, precision="fp16")
    assert {p.dtype for p in stored.parts()["text_encoder_2"].parameters()} == {torch.float16}
    torch.testing.assert_close(predict(half), predict(full), rtol=0.02, atol=0.02)


def test_skipped_and_released_parts(twins):
    family = load(twins["sdxl"].file, skip=("vae", "text_encoder", "text_encoder_2"))
    assert set(family.parts()) == {"unet"}
    assert {t.part for t in family.targets().values()} == {"unet"}
    whole = load(twins["sdxl"].file)
    assert set(whole.parts()) == {"vae", "text_encoder", "text_encoder_2", "unet"}
    expected = [n for n, t in whole.targets().items() if t.part == "unet"]
    assert list(family.targets()) == expected
    assert family.latent_factor == 8
    assert dict(family.hashes) == dict(whole.hashes)
    for part in ("vae", *whole.text_parts):
        whole.release(part)
    assert set(whole.parts()) == {"unet"}


def test_targets_of_both_text_encoders_have_kohyas_names(twins):
    parts = {name: t.part for name, t in load(twins["sdxl"].file).targets().items()}
    assert parts["lora_te1_text_model_encoder_layers_0_self_attn_q_proj"] == "text_encoder"
    assert parts["lora_te2_text_model_encoder_layers_2_mlp_fc1"] == "text_encoder_2"
    assert parts["lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k"] == "unet"
    assert "lora_te_text_model_encoder_layers_0_mlp_fc1" in load(twins["sd2"].file).targets()


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_checkpointing_changes_no_gradient(twins, kind: str):
    family = load(twins[kind].file, clip_skip=2)
    texts = ["text_encoder", "text_encoder_2"] if kind == "sdxl" else ["text_encoder"]
    watched = [
        next(
            p for n, p in family.parts()[part].named_parameters() if n.endswith("0.mlp.fc1.weight")
        )
        for part in texts
    ]
    watched.append(family.unet.mid_block.attentions[0].proj_in.weight)
    gradients = []
    for on in (False, True):
        family.checkpoint_gradients(on)
        for weight in watched:
            weight.requires_grad_(True)
        loss = predict(family).square().mean()
        gradients.append(torch.autograd.grad(loss, watched))
        for weight in watched:
            weight.requires_grad_(False)
    for plain_gradient, again in zip(*gradients, strict=True):
        assert plain_gradient.abs().max() > 0
        torch.testing.assert_close(plain_gradient, again, rtol=1e-4, atol=1e-8)


def test_hashes_are_of_the_files(twins):
    import hashlib

    folder, file = load(twins["sd1"].folder), load(twins["sd1"].file)
    path = twins["sd1"].folder / "unet" / "diffusion_pytorch_model.safetensors"
    assert folder.hashes["unet"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(file.hashes.values()) == {hashlib.sha256(twins["sd1"].file.read_bytes()).hexdigest()}
    assert set(file.hashes) == {"vae", "text_encoder", "unet"}


def test_sdxl_without_sizes_is_a_defect_that_says_so(twins):
    family = load(twins["sdxl"].file)
    with pytest.raises(ValueError, match="needs sizes"):
        family.predict(noise(), TIMES, family.encode_text(PROMPTS))


def test_lacking_weights_are_named(twins, tmp_path: Path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(twins["sd1"].file)
    del tensors["model.diffusion_model.input_blocks.1.1.proj_in.bias"]
    save_file(tensors, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=r"lacks 1 tensors of the unet.*proj_in\.bias"):
        load(tmp_path / "m.safetensors")
