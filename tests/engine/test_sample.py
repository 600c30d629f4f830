"""Drawing pictures: beside diffusers' own pipeline, alone and in batches, short of memory. Row E8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import (
    StableDiffusionPipeline,
    rescale_noise_cfg,
)
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import nn

from renma import assets
from renma.core.errors import UserError
from renma.engine.sample import Shot, denoise, draw, draw_batches, guided, rows_needed
from renma.families import _twins
from renma.families._base import Condition

SHOT = Shot("aa12, smile", "blurry", width=64, height=96, seed=5, steps=3)


def levels(one, other) -> int:
    """The largest difference of two pictures, of 255 levels."""
    return int(np.abs(np.asarray(one, int) - np.asarray(other, int)).max())


@pytest.mark.parametrize(
    ("sampler", "kind", "scale", "rescale"),
    [
        ("ddim", DDIMScheduler, 7.5, 0.0),
        ("ddim", DDIMScheduler, 7.5, 0.7),
        ("ddim", DDIMScheduler, 1.0, 0.0),
        ("k_euler", EulerDiscreteScheduler, 4.0, 0.0),
    ],
)
def test_pictures_are_those_of_diffusers_pipeline(mame, sampler, kind, scale, rescale):
    pipeline = StableDiffusionPipeline.from_pretrained(assets.MAME, safety_checker=None)
    pipeline.scheduler = kind.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(5))
    (theirs,) = pipeline(
        SHOT.prompt, negative_prompt=SHOT.negative, latents=noise, num_inference_steps=3,
        guidance_scale=scale, guidance_rescale=rescale, height=96, width=64, output_type="pil",
    ).images  # fmt: skip
    how = {"prompt": SHOT.prompt, "negative": SHOT.negative, "width": 64, "height": 96}
    shot = Shot(**how, seed=5, steps=3, sampler=sampler, scale=scale, rescale=rescale)
    (ours,) = draw(mame, [shot])
    assert ours.size == (64, 96)
    assert levels(ours, theirs) <= 1


@pytest.mark.parametrize("kind", ["sdxl", "sd2-v"])
def test_pictures_of_other_families_are_those_of_diffusers_pipelines(tmp_path: Path, kind):
    """SDXL with two text encoders, a summary and sizes; SD 2.x with v-prediction."""
    family = _twins.tiny(kind, tmp_path, seed=3, layout="folder")
    maker = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    pipeline = maker.from_pretrained(tmp_path / kind)
    pipeline.scheduler = DDIMScheduler.from_config(family.scheduler_config)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(5))
    (theirs,) = pipeline(
        SHOT.prompt, negative_prompt=SHOT.negative, latents=noise, num_inference_steps=3,
        guidance_scale=5, guidance_rescale=0.7, height=96, width=64, output_type="pil",
    ).images  # fmt: skip
    (ours,) = draw(family, [replace(SHOT, scale=5, rescale=0.7)])
    assert levels(ours, theirs) <= 1
    (longer,) = draw(family, [replace(SHOT, prompt="(aa12:1.4), smile, " * 30, scale=5)])
    assert levels(ours, longer) > 9


def test_rescaled_guidance_is_that_of_the_paper():
    """arXiv 2305.08891, equations 15 and 16; diffusers has the same as a function."""
    generator = torch.Generator().manual_seed(0)
    without, with_text = torch.randn(2, 3, 4, 8, 8, generator=generator, dtype=torch.float64)
    plain = without + 6 * (with_text - without)
    for share in (0.0, 0.3, 1.0):
        expected = rescale_noise_cfg(plain, with_text, share)
        torch.testing.assert_close(guided(without, with_text, 6, share), expected)
    full = guided(without, with_text, 6, 1.0)
    torch.testing.assert_close(full.std((1, 2, 3)), with_text.std((1, 2, 3)))


def test_a_picture_is_the_same_alone_and_among_others(mame):
    shots = [
        Shot(f"smile {i}", width=64, height=64, seed=i, steps=2, sampler="euler_a")
        for i in range(3)
    ]
    shots.insert(1, Shot("wide", width=96, height=64, steps=2))
    counts: list[tuple[int, int]] = []
    together = draw(mame, shots, progress=lambda *count: counts.append(count))
    assert counts == [(3, 4), (4, 4)]
    for shot, picture in zip(shots, together, strict=True):
        (alone,) = draw(mame, [shot])
        assert levels(alone, picture) <= 1
    assert levels(together[0], together[2]) > 9


def test_drawing_touches_no_random_state_no_mode_and_keeps_no_gradient(mame):
    unet = mame.parts()["unet"]
    dropouts = [m for m in unet.modules() if isinstance(m, nn.Dropout)]
    (expected,) = draw(mame, [SHOT])
    before = torch.get_rng_state()
    try:
        unet.train()
        for module in dropouts:
            module.p = 0.5
        dropouts[0].eval()
        (drawn,) = draw(mame, [SHOT])
        modes = {name for name, module in unet.named_modules() if not module.training}
    finally:
        for module in dropouts:
            module.p = 0.0
        unet.eval()
    assert levels(drawn, expected) == 0
    assert [unet.get_submodule(name) for name in modes] == [dropouts[0]]
    assert torch.equal(torch.get_rng_state(), before)


class Asked:
    """An encoder that notes what it is asked and answers with the family's own."""

    def __init__(self, family) -> None:
        self.family, self.calls = family, []

    def __call__(self, prompts: Sequence[str], *, chunks=None, weighted=None) -> Condition:
        self.calls.append((list(prompts), chunks, weighted))
        return self.family.encode_text(prompts)


def test_long_prompts_get_the_rows_they_need_on_both_sides_of_guidance(mame):
    """Row E8; 75 tokens a row, brackets that weigh are no tokens, as web UIs count."""
    long = "smile, " * 40
    assert mame.count_tokens(long) == 80
    shots = [
        Shot("a", long, width=64, height=64, steps=1),
        Shot(long, "b", width=64, height=64, steps=1, scale=1),
        Shot("(c:1.2)", "d", width=64, height=64, steps=1),
    ]
    asked = Asked(mame)
    draw(mame, shots, encode=asked)
    assert asked.calls == [([long, "a"], 2, True), ([long], 2, True), (["d", "(c:1.2)"], 1, True)]
    just = "(" * 9 + "smile " * 75 + ")" * 9
    assert rows_needed(mame, [Shot(just)]) == 1
    assert rows_needed(mame, [Shot(f"{just} smile")]) == 2


class Ideal:
    """A model of one single picture, with the exact prediction; knows sizes as SDXL does.

    Args:
        config: the noise schedule, as diffusers writes it.
        abar: cumulative alphas by timestep.
    """

    latent_factor, native_size, wants_sizes = 8, 64, True

    def __init__(self, config: dict, abar: torch.Tensor) -> None:
        self.scheduler_config, self.abar = config, abar
        self.point = torch.randn(4, 1, 1, generator=torch.Generator().manual_seed(9))
        unet = nn.Conv2d(1, 1, 1)
        unet.config = SimpleNamespace(in_channels=4)  # pyright: ignore
        self._parts = {"unet": unet}
        self.asked: list[tuple[int, Condition]] = []

    def parts(self):
        return self._parts

    def count_tokens(self, prompt: str) -> int:
        return len(prompt.split())

    def encode_text(self, prompts, *, chunks=None, weighted=None) -> Condition:
        rows = torch.arange(len(prompts)).float()
        return Condition(rows.view(-1, 1, 1), rows.view(-1, 1))

    def predict(self, noisy, timesteps, condition):
        self.asked.append((len(noisy), condition))
        signal = self.abar[timesteps.long()].sqrt().view(-1, 1, 1, 1)
        spread = (1 - signal**2).sqrt()
        noise = (noisy - signal * self.point) / spread
        if self.scheduler_config["prediction_type"] == "v_prediction":
            return signal * noise - spread * self.point
        return noise


def abar(zero_terminal: bool) -> torch.Tensor:
    """Stable Diffusion's schedule, and its form without signal at the end (arXiv 2305.08891)."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    signal = (1 - betas).cumprod(0).sqrt()
    if zero_terminal:
        signal = (signal - signal[-1]) * signal[0] / (signal[0] - signal[-1])
    return (signal**2).float()


PLAIN = {
    "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "prediction_type": "epsilon", "steps_offset": 1,
    "clip_sample": False, "set_alpha_to_one": False,
}  # fmt: skip
V_ZERO = {
    **PLAIN, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}  # fmt: skip


@pytest.mark.parametrize("config", [PLAIN, V_ZERO], ids=["eps", "v, zero terminal"])
@pytest.mark.parametrize("sampler", ["ddim", "euler"])
def test_the_schedule_handed_in_is_the_one_that_is_drawn_with(sampler: str, config: dict):
    """The exact prediction leads every sampler to the point; by another schedule it does not."""
    family = Ideal(config, abar(config is V_ZERO))
    shots = [Shot("a", seed=s, steps=20, sampler=sampler, scale=3) for s in (1, 2)]
    family.scheduler_config = {**config, "prediction_type": "sample"}  # must not be looked at
    predict, family.predict = family.predict, lambda *a: predict_as(config, family, predict, *a)
    for latents in denoise(family, shots, schedule_config=config):
        assert (latents - family.point).abs().max() < 0.15


def predict_as(config, family, predict, *arguments):
    """Predicts by ``config`` whatever the family says its schedule is."""
    before, family.scheduler_config = family.scheduler_config, config
    try:
        return predict(*arguments)
    finally:
        family.scheduler_config = before


def test_sdxl_is_told_the_size_on_both_sides_of_guidance():
    """arXiv 2307.01952, section 2.2: original height and width, crop, target height and width."""
    family = Ideal(PLAIN, abar(False))
    denoise(family, [Shot(x, width=64, height=128, steps=1) for x in "ab"])
    rows, condition = family.asked[0]
    assert rows == 4
    assert condition.sizes.tolist() == [[128, 64, 0, 0, 128, 64]] * 4
    assert condition.pooled.flatten().tolist() == [0, 1, 2, 3]


class Cramped:
    """A model that has room for few rows at once."""

    def __init__(self, family, room: int) -> None:
        self._family, self.room, self.rows = family, room, []

    def __getattr__(self, name):
        return getattr(self._family, name)

    def predict(self, noisy, timesteps, condition):
        self.rows.append(len(noisy))
        if len(noisy) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB.")
        return self._family.predict(noisy, timesteps, condition)


def test_where_memory_runs_out_smaller_batches_draw_all_pictures(mame):
    """kohya.md 8, item 13: out of memory only while sampling ended the training."""
    shots = [Shot(f"{i}", width=64, height=64, seed=i, steps=1) for i in range(5)]
    family, told = Cramped(mame, room=4), []
    pictures = draw(family, shots, warn=told.append)
    assert family.rows == [10, 6, 4, 2, 4]
    assert told == [
        "not enough memory to draw 5 pictures at once: drawing 3",
        "not enough memory to draw 3 pictures at once: drawing 2",
    ]
    for ours, plain in zip(pictures, draw(mame, shots), strict=True):
        assert levels(ours, plain) <= 1
    with pytest.raises(torch.OutOfMemoryError):
        draw(Cramped(mame, room=1), shots)


def test_other_failures_are_not_taken_for_a_lack_of_memory(mame, monkeypatch):
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(mame, "predict", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        draw(mame, [SHOT, SHOT])


def test_large_pictures_are_decoded_in_tiles_and_only_they(mame, monkeypatch):
    vae, tiled = mame.parts()["vae"], []
    decode = mame.decode_image

    def watched(latents):
        tiled.append((len(latents), vae.use_tiling))
        return decode(latents)

    monkeypatch.setattr(mame, "decode_image", watched)
    sizes = [(128, 192), (128, 200), (64, 64)]
    shots = [Shot("a", width=w, height=h, steps=1) for w, h in sizes]
    pictures = draw(mame, [*shots, shots[-1]])
    assert tiled == [(1, False), (1, True), (1, False), (1, False)]
    assert [picture.size for picture in pictures] == [*sizes, sizes[-1]]
    assert not vae.use_tiling


def test_a_picture_too_large_to_decode_at_once_is_decoded_in_tiles(mame, monkeypatch):
    """SDXL's decoder wants about 7 GB for 1024x1024 in float32, more than small cards have left."""
    vae, tried = mame.parts()["vae"], []
    decode = mame.decode_image

    def cramped(latents):
        tried.append(vae.tile_sample_min_size if vae.use_tiling else 0)
        if not 0 < tried[-1] <= 64:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents)

    shots = [Shot("a", width=128, height=192, steps=1, seed=s) for s in (1, 2)]
    whole = draw(mame, shots)
    before = vae.tile_sample_min_size, vae.tile_latent_min_size
    told: list[str] = []
    monkeypatch.setattr(mame, "decode_image", cramped)
    tiled = draw(mame, shots, warn=told.append)
    assert tried == [0, 96, 64, 64]
    assert [text.rpartition(" tiles of ")[2] for text in told] == ["96 pixels", "64 pixels"]
    assert (vae.tile_sample_min_size, vae.tile_latent_min_size, vae.use_tiling) == (*before, False)
    for one, other in zip(tiled, whole, strict=True):
        difference = np.abs(np.asarray(one, int) - np.asarray(other, int))
        assert difference.mean() < 12  # the same picture, a little different where tiles meet
    monkeypatch.setattr(mame, "decode_image", lambda _: cramped_always())
    for side in (64, 200):
        with pytest.raises(torch.OutOfMemoryError):
            draw(mame, [Shot("a", width=side, height=64, steps=1)])


def cramped_always():
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_picture_that_is_no_number_is_told(mame, monkeypatch):
    monkeypatch.setattr(mame, "decode_image", lambda latents: torch.full((1, 3, 8, 8), torch.nan))
    told: list[str] = []
    (picture,) = draw(mame, [SHOT], warn=told.append)
    assert picture.getextrema() == ((0, 0),) * 3
    assert len(told) == 1


def test_pictures_come_one_after_the_other(mame):
    shots = [Shot("a", width=64, height=64, steps=1), Shot("b", width=64, height=64, steps=2)]
    batches = draw_batches(mame, shots)
    assert [*next(batches)] == [0]
    assert [[*batch] for batch in batches] == [[1]]


@pytest.mark.parametrize("side", [4, 100])
def test_sizes_that_cannot_be_drawn_are_refused(mame, side: int):
    with pytest.raises(UserError, match=f"{side}x64 pixels cannot be drawn. Use multiples of 8"):
        draw(mame, [Shot("a", width=side, height=64)])
