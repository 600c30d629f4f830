"""The loss at fixed timesteps and noise, beside its formula in plain torch (G3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from PIL import Image

from renma import assets
from renma.diffusion import noise
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.network import Network
from renma.judge.scoring.losses import Losses, Real
from testbed.lora_files import TEXT, Q, lora, write


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Real]:
    folder = tmp_path_factory.mktemp("real")
    rows = []
    for number, colour in enumerate(("teal", "maroon")):
        picture = Image.radial_gradient("L").resize((128, 128)).convert("RGB")
        picture.paste(colour, (20 * number, 30, 100, 90))
        path = folder / f"{colour}.png"
        picture.save(path)
        rows.append(Real(path, f"aa12, {colour}"))
    return rows


def plain_loss(mame: Any, one: Real, prediction: str = "epsilon") -> float:
    """|| target - unet(sqrt(abar) x + sqrt(1 - abar) e, t, text) ||^2, mean of four timesteps."""
    scheduler = DDIMScheduler.from_pretrained(assets.MAME, subfolder="scheduler")
    parts: dict[str, Any] = mame.parts()
    vae, unet = parts["vae"], parts["unet"]
    pixels = torch.from_numpy(np.array(Image.open(one.path), np.float32)) / 127.5 - 1
    errors = []
    with torch.no_grad():
        clean = vae.encode(pixels.permute(2, 0, 1)[None]).latent_dist.mean
        clean = clean * vae.config.scaling_factor
        states = mame.encode_text([one.caption]).states
        for time in (100, 300, 500, 700):
            e = noise.normal(tuple(clean.shape[1:]), 0, "judge loss", time)[None]
            left = scheduler.alphas_cumprod[time]
            noisy = left.sqrt() * clean + (1 - left).sqrt() * e
            found = unet(noisy, torch.tensor([time]), states, return_dict=False)[0]
            target = e if prediction == "epsilon" else left.sqrt() * e - (1 - left).sqrt() * clean
            errors.append(((found - target) ** 2).mean())
    return float(torch.stack(errors).mean())


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_losses_follow_the_formula(mame: Any, real: list[Real], prediction: str) -> None:
    schedule = NoiseSchedule.of({**mame.scheduler_config, "prediction_type": prediction})
    found = Losses(mame, real, schedule).measure()
    expected = [plain_loss(mame, one, prediction) for one in real]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[0] != pytest.approx(found[1], rel=1e-3)


def test_what_is_on_the_model_is_measured_and_twice_the_same(
    mame: Any, real: list[Real], tmp_path: Path
) -> None:
    """A LoRA of text encoder and U-Net both counts, also after the base model was measured."""
    losses = Losses(mame, real, NoiseSchedule.of(mame.scheduler_config))
    base = losses.measure()
    found = []
    for key in (Q, TEXT):
        path = write(tmp_path / f"{key}.safetensors", {key: lora(key, 4, 2000.0, 1)})
        with Network.from_file(mame, path).at():
            found.append(losses.measure())
            expected = [plain_loss(mame, one) for one in real]
            np.testing.assert_allclose(found[-1], expected, rtol=1e-4)
    assert np.abs(found[0] - base).min() > 1e-6
    assert np.abs(found[1] - base).min() > 1e-6
    np.testing.assert_array_equal(losses.measure(), base)
