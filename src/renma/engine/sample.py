"""Pictures from prompts: the one sampler of previews, grids and scores.

Classifier-free guidance as in Stable Diffusion (arXiv 2207.12598), rescaled where asked (arXiv
2305.08891, section 3.4). Each picture's noise depends on its seed alone, so it shows the same
whatever else is drawn in the same batch. No global random state is read or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from renma.core.errors import UserError
from renma.engine.course import Course, follow
from renma.engine.offload import evaluating, out_of_memory, visiting
from renma.families._base import Condition, Family
from renma.formats import prompt_weights
from renma.formats.clip_tokens import rows_for

if TYPE_CHECKING:
    from renma.config.prompts import Prompt

TILED_FROM = 1.5
"""Side of a picture, as a multiple of the model's own, from which the VAE works in tiles."""
LEAST_TILE = 64
"""Side in pixels of the smallest tile that is tried."""
Progress = Callable[[int, int], None]


class Encode(Protocol):
    """Turns prompts into a condition without sizes, as :meth:`Family.encode_text` does."""

    def __call__(
        self, prompts: Sequence[str], /, *, chunks: int | None = None, weighted: bool | None = None
    ) -> Condition:
        """Returns the condition of prompts in order."""
        ...


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
    rescale: float = 0.0
    """How much of the guidance's gain in contrast is taken back, 0 to 1."""

    @classmethod
    def of(cls, prompt: Prompt, seed: int) -> Shot:
        """Returns the shot of a prompt line; ``seed`` is used where the line names none."""
        own = seed if prompt.seed is None else prompt.seed
        size = (prompt.width, prompt.height)
        how = (prompt.steps, prompt.scale, prompt.sampler, prompt.rescale)
        return cls(prompt.text, prompt.negative, *size, own, *how)

    @property
    def words(self) -> tuple[str, ...]:
        """The texts it needs encoded: what to avoid, where guidance looks at it, and the prompt."""
        return (self.negative, self.prompt) if self.scale > 1 else (self.prompt,)


def draw(
    family: Family,
    shots: Sequence[Shot],
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
    encode: Encode | None = None,
    schedule_config: Mapping[str, Any] | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> list[Image.Image]:
    """Returns one picture for each shot, in order.

    Args:
        family: the model with whatever adapters are attached.
        shots: what to draw; shots of like size, steps, scale and sampler share a batch.
        batch_size: pictures computed at once, halved where memory runs out (default: 8 on a CPU; 1
            on an accelerator, where the batch's size changes what is seen in low precision).
        progress: called with (pictures done, pictures in all).
        encode: prompts to condition, where the text encoder has left (default: the family's own).
        schedule_config: the noise schedule as diffusers writes it (default: the model's own).
        warn: told about halved batches and pictures that are no numbers.

    Raises:
        UserError: a size that cannot be drawn, an unknown sampler.
        torch.OutOfMemoryError: not even one picture fits.
    """
    pictures: dict[int, Image.Image] = {}
    for batch in draw_batches(
        family,
        shots,
        batch_size=batch_size,
        encode=encode,
        schedule_config=schedule_config,
        warn=warn,
    ):
        pictures |= batch
        if progress:
            progress(len(pictures), len(shots))
    return [pictures[i] for i in range(len(shots))]


def draw_batches(
    family: Family,
    shots: Sequence[Shot],
    *,
    batch_size: int | None = None,
    encode: Encode | None = None,
    schedule_config: Mapping[str, Any] | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[dict[int, Image.Image]]:
    """Yields pictures by index of their shot, as they are done; arguments as in :func:`draw`."""

    def latents(batch: list[int]) -> Tensor:
        return denoise(family, [shots[i] for i in batch], encode, schedule_config)

    yield from in_batches(family, _alike(family, shots), latents, batch_size, warn)


def in_batches(
    family: Family,
    groups: Sequence[list[int]],
    latents: Callable[[list[int]], Tensor],
    batch_size: int | None,
    warn: Callable[[str], object],
) -> Iterator[dict[int, Image.Image]]:
    """Yields decoded pictures by index, a batch at a time, in smaller ones where memory runs out.

    Args:
        family: the model.
        groups: indices of pictures that can be computed together.
        latents: computes the final latents of some of a group.
        batch_size: as of :func:`draw`.
        warn: told about smaller batches and pictures that are no numbers.
    """
    if batch_size is None:
        batch_size = 8 if family.device.type == "cpu" else 1
    # each job is one batch; where one does not fit, it and those after it are cut into halves
    jobs = [
        group[start : start + batch_size]
        for group in groups
        for start in range(0, len(group), batch_size)
    ]
    while jobs:
        batch = jobs.pop(0)
        made = _drawn(family, batch, latents, warn)
        if made is not None:
            yield dict(zip(batch, made, strict=True))
            continue
        half = (len(batch) + 1) // 2
        warn(f"not enough memory to draw {len(batch)} pictures at once: drawing {half}")
        jobs = [job[i : i + half] for job in (batch, *jobs) for i in range(0, len(job), half)]


@torch.no_grad()
def denoise(
    family: Family,
    shots: Sequence[Shot],
    encode: Encode | None = None,
    schedule_config: Mapping[str, Any] | None = None,
) -> Tensor:
    """Returns the final scaled latents (batch, channels, h, w) of shots alike but for the words.

    Args:
        family: the model.
        shots: they share size, steps, scale, sampler and rescale.
        encode: prompts to condition (default: the family's own).
        schedule_config: the noise schedule (default: the model's own).
    """
    first = shots[0]
    condition = _condition(family, shots, encode or family.encode_text)

    def predict(inputs: Tensor, timestep: Tensor) -> Tensor:
        doubled = torch.cat([inputs] * len(first.words))
        output = family.predict(doubled, timestep.expand(len(doubled)), condition)
        if first.scale > 1:
            without, with_text = output.chunk(2)
            output = guided(without, with_text, first.scale, first.rescale)
        return output

    width, height = size_of(family, first)
    course = Course(width, height, first.sampler, first.steps)
    return follow(family, course, [shot.seed for shot in shots], predict, schedule_config)


def guided(without: Tensor, with_text: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """Returns the guided prediction of a batch, shaped like its arguments.

    Args:
        without: the prediction for what to avoid.
        with_text: the prediction for the prompt.
        scale: how far to go from the one past the other.
        rescale: share of the result whose deviation is that of ``with_text`` again.
    """
    output = without + scale * (with_text - without)
    if not rescale:
        return output
    axes = tuple(range(1, output.ndim))
    ratio = with_text.std(axes, keepdim=True) / output.std(axes, keepdim=True)
    return output * (rescale * ratio + 1 - rescale)


def rows_needed(family: Family, shots: Sequence[Shot]) -> int:
    """Returns how many rows of 75 tokens the longest of the texts of shots fills, at least one."""
    texts = {text for shot in shots for text in shot.words}
    # a piece of another weight is cut into tokens by itself
    counts = [sum(family.count_tokens(p) for p, _ in prompt_weights.parse(t)) for t in texts]
    return rows_for(max(counts))


def size_of(family: Family, shot: Shot) -> tuple[int, int]:
    """Returns width and height of a shot in pixels.

    Raises:
        UserError: no size that the model can draw.
    """
    sides = (shot.width or family.native_size, shot.height or family.native_size)
    if any(side < 8 or side % family.latent_factor for side in sides):
        raise UserError(
            f"a picture of {sides[0]}x{sides[1]} pixels cannot be drawn",
            remedy=f"Use multiples of {family.latent_factor}.",
        )
    return sides


def _condition(family: Family, shots: Sequence[Shot], encode: Encode) -> Condition:
    """Returns the condition of all rows: first what to avoid, then the prompts."""
    words = [
        text for column in zip(*(shot.words for shot in shots), strict=True) for text in column
    ]
    condition = encode(words, chunks=rows_needed(family, shots), weighted=True)
    if not family.wants_sizes:
        return condition
    width, height = size_of(family, shots[0])
    # as if the picture had this size from the start and was never cropped
    sizes = torch.tensor([[height, width, 0, 0, height, width]]).repeat(len(words), 1)
    return condition.with_sizes(sizes.to(condition.states.device))


def _drawn(
    family: Family,
    batch: list[int],
    latents: Callable[[list[int]], Tensor],
    warn: Callable[[str], object],
) -> list[Image.Image] | None:
    """Returns the pictures of one batch, or None if memory ran out and a smaller one may fit."""
    try:
        with evaluating(family):
            return _decode(family, latents(batch), warn)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error) or len(batch) == 1:
            raise
    # only here has the error let go of the tensors of the calls it came through
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


@torch.no_grad()
def _decode(family: Family, latents: Tensor, warn: Callable[[str], object]) -> list[Image.Image]:
    longest = max(latents.shape[2:]) * family.latent_factor
    tile = family.native_size if longest > TILED_FROM * family.native_size else longest
    pictures: list[Image.Image] = []
    with visiting(family.parts()["vae"], latents.device):
        # one at a time: decoding takes more memory than all the steps before it
        for one in latents.split(1):
            while (pixels := _decoded(family, one, tile if tile < longest else 0)) is None:
                tile = max(LEAST_TILE, tile // 2)
                warn(f"not enough memory to decode a picture at once: in tiles of {tile} pixels")
            pictures.append(_picture(pixels, warn))
    return pictures


def _decoded(family: Family, latent: Tensor, tile: int) -> Tensor | None:
    """Returns one picture's pixels (3, height, width), or None if smaller tiles may fit."""
    vae: Any = family.parts()["vae"]
    before = vae.tile_sample_min_size, vae.tile_latent_min_size
    if tile:
        vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // family.latent_factor
        vae.enable_tiling()
    try:
        return family.decode_image(latent)[0]
    except (RuntimeError, MemoryError) as error:
        side = tile or max(latent.shape[2:]) * family.latent_factor
        if not out_of_memory(error) or side <= LEAST_TILE:
            raise
    finally:
        if tile:
            vae.tile_sample_min_size, vae.tile_latent_min_size = before
            vae.disable_tiling()
    return None


def _picture(pixels: Tensor, warn: Callable[[str], object]) -> Image.Image:
    if not pixels.isfinite().all():
        warn("a picture has values that are no numbers and is shown black there")
        pixels = pixels.nan_to_num(0.0, 1.0, 0.0)
    array = (pixels.permute(1, 2, 0) * 255).round().byte()  # (height, width, 3)
    return Image.fromarray(array.cpu().numpy())


def _alike(family: Family, shots: Sequence[Shot]) -> list[list[int]]:
    """Returns indices of shots that can be computed together."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, shot in enumerate(shots):
        how = (shot.steps, shot.scale, shot.sampler, shot.rescale)
        alike = (*size_of(family, shot), *how, rows_needed(family, [shot]))
        groups.setdefault(alike, []).append(index)
    return list(groups.values())
