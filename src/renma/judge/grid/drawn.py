"""A plan drawn: every cell's picture, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from renma.config.picture_recipe import Recipe, UsedLora
from renma.core.errors import UserError
from renma.drawing.painter import Painter
from renma.drawing.rank_cut import cut
from renma.judge.grid.differ import Difference, difference, opened, references, white_level
from renma.judge.grid.draft import Draft, recipe
from renma.judge.grid.plan import Plan

CUTS = "cut"
"""Folder of LoRAs cut to a rank, inside of that for cells."""


@dataclass(frozen=True)
class Cell:
    """One picture.

    Attributes:
        path: the file.
        recipe: how it was drawn.
        difference: from what it is compared with, if anything.
    """

    path: Path
    recipe: Recipe
    difference: Difference | None = None

    def picture(self) -> Image.Image:
        """Returns its pixels."""
        return opened(self.path)


@dataclass(frozen=True)
class Drawn:
    """A whole grid.

    Attributes:
        plan: what was asked for.
        pages: cells as [z][y][x].
        white: level of difference that is drawn white.
    """

    plan: Plan
    pages: list[list[list[Cell]]]
    white: float = 255.0

    def cells(self) -> list[Cell]:
        """Returns every cell in the order of reading."""
        return [cell for page in self.pages for row in page for cell in row]


def drawn(plan: Plan, painter: Painter) -> Drawn:
    """Draws everything; all pictures are asked of the painter at once.

    Raises:
        UserError: whatever a recipe or a LoRA is wrong with.
    """
    drafts = plan.drafts()
    flat = [draft for page in drafts for row in page for draft in row]
    compared: list[Draft] = []
    if plan.difference:
        _needs_several(plan)
        compared = references(plan.difference, drafts, Draft.without_lora)
    wanted = _recipes([*flat, *compared], plan)
    # a picture that stands in many cells is looked at once
    unique = {one.digest(): one for one in map(Recipe.effective, wanted)}
    paths = dict(zip(unique, painter.paint(list(unique.values())), strict=True))
    places = [paths[one.effective().digest()] for one in wanted]
    differences: Sequence[Difference | None] = [None] * len(flat)
    white = 255.0
    if compared:
        pairs = zip(places[: len(flat)], places[len(flat) :], strict=True)
        known = [difference(opened(one), opened(other)) for one, other in pairs]
        differences, white = known, white_level(known)
    found = iter(map(Cell, places, wanted, differences))
    return Drawn(plan, [[[next(found) for _ in row] for row in page] for page in drafts], white)


def _recipes(drafts: Sequence[Draft], plan: Plan) -> list[Recipe]:
    """Returns how cells are drawn; LoRAs are cut only when nothing else is wrong."""
    whole = [recipe(draft, plan.shelf) for draft in drafts]
    cuts: dict[tuple[str, str, int], UsedLora] = {}
    found = []
    for draft, one in zip(drafts, whole, strict=True):
        if draft.rank is None or draft.entry is None or not one.effective().loras:
            found.append(one)
            continue
        *others, lora = one.loras
        key = (lora.sha256, lora.layout, draft.rank)
        if key not in cuts:
            cuts[key] = cut(lora, draft.rank, plan.cells / CUTS)
        own = {name: getattr(cuts[key], name) for name in ("name", "path", "sha256", "layout")}
        loras = (*others, lora.model_copy(update=own))
        found.append(one.model_copy(update={"loras": loras}))
    return found


def _needs_several(plan: Plan) -> None:
    """Refuses a difference from the first of one.

    Raises:
        UserError: there is only one.
    """
    axes = {"column": ("x", plan.x), "row": ("y", plan.y), "sheet": ("z", plan.z)}
    letter, axis = axes.get(str(plan.difference), ("", None))
    if axis is not None and len(axis.values) == 1:
        raise UserError(
            f"there is only one {plan.difference}",
            where=f"--difference {plan.difference}",
            remedy=f"Give --{letter} several values, or compare with base.",
        )
