"""A recipe as a scene: which text is heard where, with which LoRA how strongly.

LoRAs of the whole picture act on every row. Of a prompt without AND, those it names act on its
negative prompt too, as in any web UI; with AND, each acts on its own sub-prompt alone, unless
the recipe says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from renma.config.block_weights import block_factors
from renma.config.picture_recipe import Recipe, UsedLora
from renma.core.errors import UserError
from renma.drawing import regions
from renma.drawing.prompt_loras import LoraTag, SubPrompt, split
from renma.engine.cast import Cast, Power, Role
from renma.engine.compose import Area, Scene, Words
from renma.engine.enlarge import Hires
from renma.engine.network import Network
from renma.engine.sample import Shot
from renma.families._base import Family

Key = tuple[str, str]
"""Hash of a LoRA, and how its blocks are weighed."""


def cast_of(family: Family, recipes: Sequence[Recipe]) -> tuple[Cast, dict[Key, int]]:
    """Returns the LoRAs of recipes, each file read once, and the place of each in the cast.

    Raises:
        UserError: a file is broken or for another model, or blocks that this model does not have.
    """
    used = {key_of(lora): lora for r in recipes for lora in (*r.loras, *r.named)}
    networks: dict[str, Network] = {}
    roles = []
    for (sha, blocks), lora in used.items():
        if sha not in networks:
            networks[sha] = Network.from_file(family, Path(lora.path))
        where = f"blocks of {lora.name}"
        factors = block_factors(blocks, family.name == "sdxl", where) if blocks else {}
        roles.append(Role(networks[sha], factors))
    return Cast(roles), {key: place for place, key in enumerate(used)}


def key_of(lora: UsedLora) -> Key:
    """Returns what tells LoRAs of a cast apart."""
    return (f"{lora.sha256} {lora.layout}", lora.blocks)


def scenes_of(recipes: Sequence[Recipe], places: Mapping[Key, int]) -> list[Scene]:
    """Returns the pictures of recipes whose prompts say their size.

    Args:
        recipes: say all.
        places: of LoRAs in the cast.

    Raises:
        UserError: a picture of regions does not show them.
    """
    known: dict[tuple[object, ...], list[torch.Tensor]] = {}
    found = []
    for recipe in recipes:
        size = (recipe.prompt.width or 0, recipe.prompt.height or 0)
        key = (recipe.regions, recipe.region, recipe.feather, size)
        if recipe.region and key not in known:
            masks = regions.read(Path(recipe.regions), recipe.region, recipe.feather, size)
            known[key] = [torch.from_numpy(mask) for mask in masks]
        found.append(_scene(recipe, known.get(key, [None]), places))
    return found


def _scene(
    recipe: Recipe, masks: Sequence[torch.Tensor | None], places: Mapping[Key, int]
) -> Scene:
    texts = [*(area.prompt for area in recipe.region), recipe.prompt.text]
    areas = [
        _area(recipe, text, mask, places)
        for text, mask in zip(texts, masks, strict=True)
        if mask is None or mask.any()
    ]
    hires = recipe.hires
    second = (
        Hires(hires.hires, hires.hires_steps, hires.hires_strength, hires.hires_upscaler)
        if hires.hires
        else None
    )
    shot = Shot.of(recipe.prompt, recipe.prompt.seed or 0)
    return Scene(shot, tuple(areas), recipe.region_way, second)


def _area(recipe: Recipe, text: str, mask: torch.Tensor | None, places: Mapping[Key, int]) -> Area:
    parts = split(text)
    everywhere = _powers([(key_of(lora), lora) for lora in recipe.loras], places)
    files = {(lora.name, lora.written): lora for lora in recipe.named}

    def heard(part: SubPrompt) -> tuple[Power, ...]:
        pairs = [(key_of(_file(files, tag)), tag) for tag in part.loras]
        return _sum(everywhere, _powers(pairs, places))

    pulls = tuple((Words(part.text, heard(part)), part.weight) for part in parts)
    avoided = everywhere
    if len(parts) == 1 or recipe.lora_in_negative:
        every = SubPrompt("", loras=tuple(tag for part in parts for tag in part.loras))
        avoided = heard(every)
    return Area(Words(recipe.prompt.negative, avoided), pulls, mask)


def _file(files: Mapping[Key, UsedLora], tag: LoraTag) -> UsedLora:
    """Returns the file that a prompt names, with the blocks written there.

    Raises:
        UserError: the recipe has no such file.
    """
    if (tag.name, tag.blocks) in files:
        return files[tag.name, tag.blocks]
    blocks = f" with blocks {tag.blocks}" if tag.blocks else ""
    raise UserError(
        f"the prompt names a LoRA '{tag.name}'{blocks} that the recipe does not have",
        where="recipe",
        remedy="Draw it without --again.",
    )


def _powers(
    pairs: Sequence[tuple[Key, UsedLora | LoraTag]], places: Mapping[Key, int]
) -> tuple[Power, ...]:
    """Returns the strengths of a cast; a LoRA named twice acts with the sum."""
    found = [(0.0, 0.0)] * len(places)
    for key, lora in pairs:
        unet, text = found[places[key]]
        found[places[key]] = (unet + lora.unet, text + lora.text_encoder)
    return tuple(found)


def _sum(one: Sequence[Power], other: Sequence[Power]) -> tuple[Power, ...]:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(one, other, strict=True))
