"""``renma sample`` beside diffusers' pipelines: the same noise, scheduler and LoRA. Rows E8 and F2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import (
    StableDiffusionImg2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from PIL import Image
from torch import nn

from renma import assets
from renma.cli.app import main
from renma.config.adapter import Lora
from renma.config.targets import TargetConfig
from renma.diffusion.samplers import ROWS
from renma.engine.course import Course, follow
from renma.engine.network import Network
from renma.engine.sample import Shot, denoise
from renma.families import _twins
from renma.formats import safetensors
from testbed.every_algorithm import quiet

PARTS = ("unet", "text_encoder", "text_encoder_2")
HOW = {"num_inference_steps": 3, "guidance_scale": 5.0, "output_type": "pil"}


def noise(width: int, height: int, seed: int = 5) -> torch.Tensor:
    shape = (1, 4, height // 8, width // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def levels(one: Path, other: Any) -> int:
    with Image.open(one) as picture:
        return int(np.abs(np.asarray(picture, int) - np.asarray(other, int)).max())


def sample(out: Path, model: object, *words: str) -> Path:
    how = ("--seed", "5", "--steps", "3", "--cfg", "5", "--width", "64", "--height", "96")
    prompt = ("--prompt", "aa12, smile", "--negative", "blurry", "--device", "cpu")
    assert main(["sample", str(model), *prompt, *how, *words, "-o", str(out)]) == 0
    (path,) = out.glob("0*.png")
    return path


@pytest.mark.parametrize("kind", ["sd1", "sd2-v", "sdxl"])
def test_pictures_with_and_without_a_lora_are_those_of_diffusers(tmp_path: Path, kind, capsys):
    """The LoRA is loaded by diffusers and PEFT, from a file that `renma file convert` wrote."""
    family = _twins.tiny(kind, tmp_path, seed=3, layout="folder")
    path, converted = tmp_path / "x.safetensors", tmp_path / "d.safetensors"
    network = Network.fresh(
        family, Lora(rank=4, alpha=2, targets=TargetConfig(preset="conv")), 0, PARTS
    )
    generator = torch.Generator().manual_seed(1)
    for part in PARTS:
        for p in network.parameters(part):
            p.data.add_(torch.randn(p.shape, generator=generator) * 0.1)
    safetensors.save(path, network.tensors(), {})
    assert main(["file", "convert", str(path), str(converted), "--to", "diffusers"]) == 0
    maker = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    with quiet():
        pipeline: Any = maker.from_pretrained(tmp_path / kind)
    pipeline.scheduler = DDIMScheduler.from_config(family.scheduler_config)
    pipeline.set_progress_bar_config(disable=True)

    def theirs() -> Any:
        given = {"negative_prompt": "blurry", "width": 64, "height": 96, **HOW}
        return pipeline("aa12, smile", latents=noise(64, 96), **given).images[0]

    plain = theirs()
    assert levels(sample(tmp_path / "a", tmp_path / kind), plain) <= 1
    with quiet():
        pipeline.load_lora_weights(converted)
    changed = theirs()
    assert levels(sample(tmp_path / "b", tmp_path / kind, "--lora", str(path)), changed) <= 1
    assert int(np.abs(np.asarray(plain, int) - np.asarray(changed, int)).max()) > 20
    capsys.readouterr()


@pytest.mark.parametrize(
    ("sampler", "scheduler"), [("ddim", DDIMScheduler), ("heun", HeunDiscreteScheduler)]
)
def test_the_second_pass_is_that_of_image_to_image(
    mame, tmp_path: Path, sampler, scheduler, capsys
):
    """Latents made larger by torch, gone over by diffusers' pipeline with the seed's noise."""
    shot = Shot("aa12, smile", "blurry", 64, 96, 5, 3, 5.0, sampler)
    first = denoise(mame, [shot])
    larger = nn.Upsample(size=(18, 12), mode="bilinear")(first)
    pipeline: Any = StableDiffusionImg2ImgPipeline.from_pretrained(assets.MAME, safety_checker=None)
    pipeline.scheduler = scheduler.from_config(mame.scheduler_config)
    pipeline.set_progress_bar_config(disable=True)
    how = {**HOW, "num_inference_steps": 4, "strength": 0.5, "negative_prompt": "blurry"}
    generator = torch.Generator().manual_seed(5)
    # four channels are taken for latents
    (theirs,) = pipeline("aa12, smile", image=larger, generator=generator, **how).images
    words = (
        "--hires",
        "1.5",
        "--hires-steps",
        "4",
        "--hires-strength",
        "0.5",
        "--sampler",
        sampler,
    )
    ours = sample(tmp_path / "o", "mame", *words)
    assert levels(ours, theirs) <= 1
    lanczos = sample(tmp_path / "p", "mame", *words, "--hires-upscaler", "lanczos")
    with Image.open(lanczos) as picture:
        assert picture.size == (96, 144)
    assert levels(lanczos, theirs) > 3
    capsys.readouterr()


@pytest.mark.parametrize("sampler", ROWS)
def test_every_sampler_goes_the_last_part_of_its_way_home(mame, sampler: str):
    """A model that knows the noise exactly leads back to where the second pass began."""
    start = noise(64, 64, 1)
    how = mame.scheduler_config
    abar = DDIMScheduler.from_config(how).alphas_cumprod
    seen: list[int] = []

    def exact(scaled: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        seen.append(int(timestep))
        signal = abar[int(timestep.round())]
        return (scaled - signal.sqrt() * start) / (1 - signal).sqrt()

    course = Course(64, 64, sampler, 20, strength=0.4)
    found = follow(mame, course, [3], exact, start=start)
    assert max(seen) < 0.5 * 1000
    assert len(seen) >= 8
    assert (found - start).abs().mean() < 0.1
