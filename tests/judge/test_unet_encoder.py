"""The base model's own features, beside diffusers' modules with forward hooks (G3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image
from transformers import CLIPTextModel, CLIPTokenizer

from renma import assets
from renma.config.model import ModelConfig
from renma.diffusion import noise
from renma.engine.model import load_family
from renma.families import _twins
from renma.judge.encoders.unet import UnetEncoder, pixels_of


def pictures(count: int, width: int = 128, height: int = 128, seed: int = 0) -> list[Image.Image]:
    """Soft blotches: alike enough to one another that features have to look closely."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, 5, 5, 3), np.uint8)
    sides = (width, height)
    return [Image.fromarray(one).resize(sides, Image.Resampling.BICUBIC) for one in small]


def plain_features(
    folder: Path, pixels: torch.Tensor, states: torch.Tensor, added: dict[str, Any]
) -> np.ndarray:
    """Mean and deviation of every channel behind middle and upper blocks, of diffusers' own."""
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    unet: Any = UNet2DConditionModel.from_pretrained(folder, subfolder="unet").eval()
    scheduler = DDIMScheduler.from_pretrained(folder, subfolder="scheduler")
    seen: dict[tuple[int, int], torch.Tensor] = {}
    blocks = [unet.mid_block, *unet.up_blocks][: len(unet.up_blocks)]
    with torch.no_grad():
        latents = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
        for time in (50, 200):
            for place, block in enumerate(blocks):
                block.register_forward_hook(
                    lambda _m, _i, out, key=(time, place): seen.setdefault(key, out)
                )
            drawn = noise.normal(tuple(latents.shape[1:]), 0, "judge", time)[None]
            noisy = scheduler.add_noise(latents, drawn, torch.tensor([time]))
            unet(noisy, torch.tensor(time), states, added_cond_kwargs=added)
            for block in blocks:
                block._forward_hooks.clear()
    rows = [seen[key][0].double() for key in sorted(seen)]
    return torch.cat([f(m.flatten(1)) for m in rows for f in (mean, deviation)]).numpy()


def mean(channels: torch.Tensor) -> torch.Tensor:
    return channels.sum(1) / channels.shape[1]


def deviation(channels: torch.Tensor) -> torch.Tensor:
    apart = channels - mean(channels)[:, None]
    return (apart.square().sum(1) / (channels.shape[1] - 1)).sqrt()


def test_features_are_those_of_a_plain_unet(mame: Any) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(assets.MAME, subfolder="tokenizer")
    encoder: Any = CLIPTextModel.from_pretrained(assets.MAME, subfolder="text_encoder")
    tokens = tokenizer("", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        states = encoder(tokens)[0]
    (picture,) = pictures(1)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    expected = plain_features(Path(assets.MAME), pixels, states, {})
    (found,) = UnetEncoder(mame).encode([picture])
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def test_sdxl_is_told_the_size_of_the_picture(tmp_path: Path) -> None:
    folder = _twins.write_folder("sdxl", tmp_path / "sdxl", seed=3)
    family = load_family(ModelConfig(path=str(folder)), device="cpu")
    family.native_size = 64  # a twin does not care, and 1024 takes a minute
    condition = family.encode_text([""])
    (picture,) = pictures(1, 128, 32)
    sizes = torch.tensor([[32, 128, 0, 0, 32, 128]], dtype=torch.float32)
    added = {"text_embeds": condition.pooled, "time_ids": sizes}
    expected = plain_features(folder, pixels_of(picture, 64)[None], condition.states, added)
    (found,) = UnetEncoder(family).encode([picture])
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-4)


def test_a_picture_has_the_same_features_in_any_company(mame: Any) -> None:
    """Other pictures, their number and their sizes change nothing."""
    encoder = UnetEncoder(mame)
    mixed = [*pictures(2), *pictures(2, 200, 90, seed=1), *pictures(1, 40, 300, seed=2)]
    mixed = [mixed[i] for i in (2, 0, 4, 1, 3)]
    together = encoder.encode(mixed)
    alone = np.concatenate([encoder.encode([one]) for one in mixed])
    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1e-4)
    reverse = encoder.encode(mixed[::-1])[::-1]
    np.testing.assert_allclose(together, reverse, rtol=1e-3, atol=1e-4)
    # and they are told apart: far more than by rounding
    assert np.abs(together[0] - together[4]).max() > 0.1
    assert np.isfinite(together).all()


def test_nothing_is_left_on_the_model(mame: Any) -> None:
    unet = mame.parts()["unet"]
    before = {name: value.clone() for name, value in unet.state_dict().items()}
    hooks = {module: dict(module._forward_hooks) for module in unet.modules()}
    # other tests share this model: what they left is theirs
    for parameter in unet.parameters():
        parameter.grad = None
    UnetEncoder(mame).encode(pictures(1))
    assert {module: dict(module._forward_hooks) for module in unet.modules()} == hooks
    assert all(torch.equal(before[n], value) for n, value in unet.state_dict().items())
    assert all(parameter.grad is None for parameter in unet.parameters())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((128, 128), (128, 128)),
        ((512, 512), (128, 128)),
        ((16, 16), (128, 128)),
        ((1000, 500), (192, 96)),
        ((100, 400), (64, 256)),
        ((3, 4000), (32, 4672)),
    ],
)
def test_pictures_keep_their_aspect_at_the_models_size(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    pixels = pixels_of(Image.new("RGB", size, (255, 0, 0)), 128)
    assert tuple(pixels.shape) == (3, *expected[::-1])
    assert torch.equal(pixels.amin((1, 2)), torch.tensor([1.0, -1, -1]))
    assert torch.equal(pixels.amax((1, 2)), torch.tensor([1.0, -1, -1]))
