"""Pictures from several texts at once: AND between texts, areas with texts of their own.

AND (Liu et al., arXiv 2206.01714, as AUTOMATIC1111's web UI weighs it): with e the prediction for
what to avoid and c_i that for a text, e + s * (w_1 (c_1 - e) + w_2 (c_2 - e) + ...). Areas blend
such predictions place by place, by shares that add up to 1 everywhere; in the way of windows each
area is predicted as a picture of its own (MultiDiffusion, arXiv 2302.08113).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from renma.engine import area_share
from renma.engine.area_share import Box
from renma.engine.cast import NONE, Cast, Power
from renma.engine.course import Course, follow
from renma.engine.enlarge import Hires, enlarged
from renma.engine.sample import Shot, guided, in_batches, rows_needed, size_of
from renma.families._base import Condition, Family

Way = Literal["whole", "windows", "layers"]
"""How areas are told apart: each predicted over the whole picture; each in a window around it; or
as the first, with every LoRA held to its area in each layer of the U-Net too."""


@dataclass(frozen=True)
class Words:
    """One text, and how strongly each LoRA of the cast acts where it is heard."""

    text: str
    powers: tuple[Power, ...] = ()


@dataclass(frozen=True, eq=False)
class Area:
    """A part of the picture.

    Attributes:
        negative: what to avoid.
        pulls: texts with their weights.
        mask: (height, width) from 0 to 1, any resolution; areas are set against one another. None
            is the whole picture.
    """

    negative: Words
    pulls: tuple[tuple[Words, float], ...]
    mask: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture to draw; of ``shot``, size, seed, steps, scale, sampler and rescale count."""

    shot: Shot
    areas: tuple[Area, ...]
    way: Way = "whole"
    hires: Hires | None = None

    def words(self) -> list[Words]:
        """Returns its texts, each once: first what to avoid, where guidance looks at it."""
        avoided = [area.negative for area in self.areas if self.looks_away(area)]
        return list(dict.fromkeys([*avoided, *(w for a in self.areas for w, _ in a.pulls)]))

    def looks_away(self, area: Area) -> bool:
        """Says whether what to avoid has to be predicted in an area."""
        return self.shot.scale > 1 or [weight for _, weight in area.pulls] != [1.0]


@dataclass(frozen=True)
class _Row:
    """One row of a batch: a text, about a window of a picture."""

    picture: int
    words: Words
    box: Box


@dataclass
class _Page:
    """A scene at one size of latents.

    Attributes:
        shares: (h, w) of each area, together 1 everywhere.
        boxes: what of the latents each area looks at.
    """

    scene: Scene
    shares: list[Tensor]
    boxes: list[Box]


@dataclass(frozen=True)
class _Book:
    """The conditions of all texts of a batch."""

    places: Mapping[Words, int]
    condition: Condition

    def take(self, words: Sequence[Words]) -> Condition:
        return self.condition.take(torch.tensor([self.places[w] for w in words]))


def draw_scenes(
    family: Family,
    scenes: Sequence[Scene],
    cast: Cast,
    *,
    batch_size: int | None = None,
    schedule_config: Mapping[str, Any] | None = None,
    warn: Callable[[str], object] = lambda _: None,
) -> Iterator[dict[int, Image.Image]]:
    """Yields pictures by index of their scene, as they are done.

    Args:
        family: the model, without the cast.
        scenes: what to draw; scenes alike but for texts, areas and seeds share a batch.
        cast: the LoRAs that the powers of words speak of.
        batch_size: as of :func:`renma.engine.sample.draw`.
        schedule_config: the noise schedule (default: the model's own).
        warn: told about smaller batches and pictures that are no numbers.

    Raises:
        UserError: a size that cannot be drawn, an unknown sampler.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, scene in enumerate(scenes):
        shot = scene.shot
        how = (shot.steps, shot.scale, shot.sampler, shot.rescale, scene.way, scene.hires)
        groups.setdefault((*size_of(family, shot), *how, chunks_of(family, scene)), []).append(
            index
        )

    def latents(batch: list[int]) -> Tensor:
        return denoise_scenes(family, [scenes[i] for i in batch], cast, schedule_config)

    yield from in_batches(family, list(groups.values()), latents, batch_size, warn)


def chunks_of(family: Family, scene: Scene) -> int:
    """Returns how many rows of 75 tokens the longest text of a scene fills."""
    return rows_needed(family, [Shot(words.text, scale=1) for words in scene.words()])


@torch.no_grad()
def denoise_scenes(
    family: Family,
    scenes: Sequence[Scene],
    cast: Cast,
    schedule_config: Mapping[str, Any] | None = None,
) -> Tensor:
    """Returns the final scaled latents (batch, channels, h, w) of scenes alike but for words."""
    shot, hires = scenes[0].shot, scenes[0].hires
    seeds = [scene.shot.seed for scene in scenes]
    width, height = size_of(family, shot)
    with cast.on_stage():
        book = _book(family, scenes, cast)
        predict = predictor(family, scenes, cast, (width, height), book)
        course = Course(width, height, shot.sampler, shot.steps)
        latents = follow(family, course, seeds, predict, schedule_config)
        if hires is None:
            return latents
        width, height = hires.size(width, height, family.latent_factor)
        start = enlarged(family, latents, (width, height), hires.upscaler)
        predict = predictor(family, scenes, cast, (width, height), book)
        course = Course(width, height, shot.sampler, hires.steps or shot.steps, hires.strength)
        return follow(family, course, seeds, predict, schedule_config, start)


def predictor(
    family: Family,
    scenes: Sequence[Scene],
    cast: Cast,
    size: tuple[int, int],
    book: _Book | None = None,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns what predicts a batch of scenes: (batch, c, h, w) inputs and a timestep to the same.

    Args:
        family: the model, the cast on stage.
        scenes: one a picture.
        cast: the LoRAs.
        size: width and height in pixels.
        book: the texts encoded (default: they are encoded now).
    """
    book = book or _book(family, scenes, cast)
    height, width = (side // family.latent_factor for side in reversed(size))
    pages = [_page(scene, height, width, family.device) for scene in scenes]
    batches = _rows(pages)
    told = [_sized(family, book.take([row.words for row in rows]), rows[0].box) for rows in batches]
    maps = [_maps(pages, rows, len(cast.roles)) for rows in batches]

    def predict(inputs: Tensor, timestep: Tensor) -> Tensor:
        found: dict[_Row, Tensor] = {}
        for rows, condition, places in zip(batches, told, maps, strict=True):
            seen = torch.stack([inputs[row.picture][:, *row.box.slices] for row in rows])
            powers = [row.words.powers for row in rows]
            cast.play("unet", powers, device=inputs.device, maps=places)
            output = family.predict(seen, timestep.expand(len(rows)), condition)
            found |= zip(rows, output, strict=True)
        return torch.stack([_blended(page, i, found) for i, page in enumerate(pages)])

    return predict


def _book(family: Family, scenes: Sequence[Scene], cast: Cast) -> _Book:
    """Returns all texts encoded, each with the LoRAs that belong to it."""
    words = list(dict.fromkeys(word for scene in scenes for word in scene.words()))
    chunks = max(chunks_of(family, scene) for scene in scenes)
    powers = [word.powers for word in words]
    cast.play("text_encoder", powers, device=family.device, repeat=chunks)
    texts = [word.text for word in words]
    condition = family.encode_text(texts, chunks=chunks, weighted=True)
    return _Book({word: place for place, word in enumerate(words)}, condition)


def _page(scene: Scene, height: int, width: int, device: torch.device) -> _Page:
    shares = area_share.shares([area.mask for area in scene.areas], height, width, device)
    whole = Box(0, 0, height, width)
    boxes = [whole] * len(shares)
    if scene.way == "windows":
        boxes = area_share.windows(shares)
        shares = area_share.inside(shares, boxes)
    return _Page(scene, shares, boxes)


def _power(words: Words, role: int) -> float:
    """Returns how strongly a LoRA acts in the U-Net."""
    return (words.powers[role] if role < len(words.powers) else NONE)[0]


def _rows(pages: Sequence[_Page]) -> list[list[_Row]]:
    """Returns the rows of a step, those of like size together, what to avoid before the texts."""
    found: dict[tuple[int, int], dict[_Row, None]] = {}
    for away in (True, False):
        for picture, page in enumerate(pages):
            for area, box in zip(page.scene.areas, page.boxes, strict=True):
                avoided = [area.negative] if page.scene.looks_away(area) else []
                for words in avoided if away else [words for words, _ in area.pulls]:
                    group = found.setdefault((box.height, box.width), {})
                    group[_Row(picture, words, box)] = None
    return [list(group) for group in found.values()]


def _maps(pages: Sequence[_Page], rows: Sequence[_Row], roles: int) -> dict[int, Tensor]:
    """Returns (rows, h, w) strengths by LoRA where areas are told apart in every layer."""
    if pages[0].scene.way != "layers":
        return {}
    return {
        role: torch.stack([_map(pages[row.picture], row.words, role) for row in rows])
        for role in range(roles)
    }


def _map(page: _Page, words: Words, role: int) -> Tensor:
    """Returns (h, w) strengths of a LoRA while one text is predicted.

    In areas where the text is heard they are its own, so that texts joined by AND keep theirs. In
    others they are those of what is heard there: of several texts, the one it changes most.
    """
    areas = page.scene.areas
    text = any(words == pull for area in areas for pull, _ in area.pulls)
    found = torch.zeros_like(page.shares[0])
    for area, share in zip(areas, page.shares, strict=True):
        pulls = [pull for pull, _ in area.pulls]
        avoided = [area.negative] if page.scene.looks_away(area) else []
        heard = pulls if text else [area.negative]
        if words in (*pulls, *avoided):
            heard = [words]
        found += share * max((_power(one, role) for one in heard), key=abs)
    return found


def _sized(family: Family, condition: Condition, box: Box) -> Condition:
    """Returns a condition that knows how large the picture in the window is."""
    if not family.wants_sizes:
        return condition
    height, width = box.height * family.latent_factor, box.width * family.latent_factor
    sizes = torch.tensor([[height, width, 0, 0, height, width]])
    return condition.with_sizes(sizes.repeat(len(condition.states), 1).to(condition.states.device))


def _blended(page: _Page, picture: int, found: Mapping[_Row, Tensor]) -> Tensor:
    """Returns the guided prediction (c, h, w) of one picture."""
    scene, total = page.scene, None
    for area, share, box in zip(scene.areas, page.shares, page.boxes, strict=True):
        pulls = [(found[_Row(picture, words, box)], weight) for words, weight in area.pulls]
        away = found[_Row(picture, area.negative, box)] if scene.looks_away(area) else None
        one = pulled(away, pulls, scene.shot.scale, scene.shot.rescale)
        if len(scene.areas) == 1:
            return one
        height, width = share.shape
        edges = (box.left, width - box.right, box.top, height - box.bottom)
        one = share * functional.pad(one, edges)
        total = one if total is None else total + one
    assert total is not None
    return total


def pulled(
    away: Tensor | None, pulls: Sequence[tuple[Tensor, float]], scale: float, rescale: float = 0.0
) -> Tensor:
    """Returns the guided prediction of one picture, shaped like its arguments.

    Args:
        away: the prediction for what to avoid; None without guidance.
        pulls: predictions for texts, with their weights.
        scale: of guidance; not above 1 it is 1.
        rescale: as of :func:`renma.engine.sample.guided`.
    """
    if away is None:
        return pulls[0][0]
    toward = pulls[0][0]
    if [weight for _, weight in pulls] != [1.0]:
        toward = away + sum(weight * (one - away) for one, weight in pulls)
    return guided(away[None], toward[None], max(scale, 1.0), rescale)[0]
