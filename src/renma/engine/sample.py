"""Pictures from prompts: the one sampler of previews, grids and scores.

Classifier-free guidance as in Stable Diffusion (arXiv 2207.12598). Each picture's noise depends on
its seed alone, so it is the same whatever else is drawn in the same batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from renma.core.errors import UserError
from renma.diffusion import samplers
from renma.families._base import Condition, Family

if TYPE_CHECKING:
    from renma.config.prompts import Prompt

Progress = Callable[[int, int], None]
Encode = Callable[[Sequence[str]], Condition]


@dataclass(frozen=True)
class Shot:
    """One picture to draw; width and height default to the model's own size."""

    prompt: str
    negative: str = ""
    width: int | None = None
    height: int | None = None
    seed: int = 0
    steps: int = 20
    scale: float = 7.5
    sampler: str = "ddim"

    @classmethod
    def of(cls, prompt: Prompt, seed: int) -> Shot:
        """Returns the shot of a prompt line; ``seed`` is used where the line names none."""
        own = seed if prompt.seed is None else prompt.seed
        size = (prompt.width, prompt.height)
        how = (prompt.steps, prompt.scale, prompt.sampler)
        return cls(prompt.text, prompt.negative, *size, own, *how)


def draw(
    family: Family,
    shots: Sequence[Shot],
    *,
    batch_size: int = 8,
    progress: Progress | None = None,
    encode: Encode | None = None,
) -> list[Image.Image]:
    """Returns one picture for each shot, in order.

    Args:
        family: the model with whatever adapters are attached.
        shots: what to draw; shots of like size, steps, scale and sampler share a batch.
        batch_size: pictures computed at once.
        progress: called with (pictures done, pictures in all).
        encode: prompts to condition, where the text encoder has left (default: the family's own).
    """
    pictures: dict[int, Image.Image] = {}
    for batch in _batches(family, shots, batch_size):
        latents = denoise(family, [shots[i] for i in batch], encode)
        with torch.inference_mode():
            pixels = family.decode_image(latents)
        array = (pixels.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
        pictures |= {i: Image.fromarray(a) for i, a in zip(batch, array, strict=True)}
        if progress:
            progress(len(pictures), len(shots))
    return [pictures[i] for i in range(len(shots))]


@torch.inference_mode()
def denoise(family: Family, shots: Sequence[Shot], encode: Encode | None = None) -> Tensor:
    """Returns the final scaled latents (batch, 4, h, w) of shots that share all but the words."""
    encode = encode or family.encode_text
    first = shots[0]
    width, height = _size(family, first)
    device = next(family.parts()["unet"].parameters()).device
    scheduler = samplers.build(first.sampler, family.scheduler_config)
    scheduler.set_timesteps(first.steps, device=device)
    guided = first.scale > 1
    condition = encode(_words(shots, guided))
    generators = [torch.Generator().manual_seed(shot.seed) for shot in shots]
    shape = (4, height // family.latent_factor, width // family.latent_factor)
    noise = torch.stack([torch.randn(shape, generator=g) for g in generators])
    latents = noise.to(device) * scheduler.init_noise_sigma  # (batch, 4, h, w) float32
    random = "generator" in inspect.signature(scheduler.step).parameters
    extra = {"generator": generators} if random else {}
    for timestep in scheduler.timesteps:
        inputs = scheduler.scale_model_input(latents, timestep)
        doubled = torch.cat([inputs, inputs]) if guided else inputs
        output = family.predict(doubled, timestep.expand(len(doubled)), condition)
        if guided:
            without, with_text = output.chunk(2)
            output = without + first.scale * (with_text - without)
        latents = scheduler.step(output, timestep, latents, **extra).prev_sample
    return latents


def _words(shots: Sequence[Shot], guided: bool) -> list[str]:
    prompts = [shot.prompt for shot in shots]
    return [shot.negative for shot in shots] + prompts if guided else prompts


def _size(family: Family, shot: Shot) -> tuple[int, int]:
    sides = (shot.width or family.native_size, shot.height or family.native_size)
    if any(side < 8 or side % family.latent_factor for side in sides):
        raise UserError(
            f"a picture of {sides[0]}x{sides[1]} pixels cannot be drawn",
            remedy=f"Use multiples of {family.latent_factor}.",
        )
    return sides


def _batches(family: Family, shots: Sequence[Shot], batch_size: int) -> Iterator[list[int]]:
    """Yields indices of shots that can be computed together."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, shot in enumerate(shots):
        alike = (*_size(family, shot), shot.steps, shot.scale, shot.sampler)
        groups.setdefault(alike, []).append(index)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]
