"""What a grid says about itself: settings that all cells share, and everything as data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from renma.config.picture_recipe import Recipe
from renma.judge.grid.axes import Axis
from renma.judge.grid.drawn import Cell, Drawn

_FIELDS = {
    "text": "prompt", "negative": "negative", "seed": "seed", "steps": "steps", "scale": "cfg",
    "sampler": "sampler",
}  # fmt: skip


def shared(drawn: Drawn) -> dict[str, str]:
    """Returns what is the same in all cells, by name: model, LoRA, prompt, seed and so on."""
    recipes = [cell.recipe for cell in drawn.cells()]
    found: dict[str, str] = {}
    if model := _same([Path(one.model.path).name for one in recipes]):
        found["model"] = model
    if lora := _same([_lora(one) for one in recipes if one.loras]):
        found["LoRA"] = lora
    for field, name in _FIELDS.items():
        values = [getattr(one.prompt, field) for one in recipes]
        if value := _same([f"{v:g}" if isinstance(v, float) else str(v) for v in values]):
            found[name] = value
    if size := _same([f"{one.prompt.width}×{one.prompt.height}" for one in recipes]):
        found["size"] = size
    return found


def about(drawn: Drawn) -> dict[str, Any]:
    """Returns title, axes, prompts and differences as data."""
    plan = drawn.plan
    prompts = next((a for a in (plan.z, plan.y, plan.x) if a.name == "prompt"), None)
    pairs = [(v.kind, v.label) for v in prompts.values] if prompts else []
    if not pairs:
        pairs = [("", text) for text in dict.fromkeys(c.recipe.prompt.text for c in drawn.cells())]
    found: dict[str, Any] = {
        "title": plan.title,
        "seed": drawn.cells()[0].recipe.prompt.seed,
        **{
            letter: labels(axis)
            for letter, axis in zip("xyz", (plan.x, plan.y, plan.z), strict=True)
        },
        "axes": [plan.x.name, plan.y.name, plan.z.name],
        "prompts": [{"kind": kind, "text": text} for kind, text in pairs],
    }
    if plan.difference:
        found["difference"] = plan.difference
        found["means"] = [
            [[_rounded(cell) for cell in row] for row in page] for page in drawn.pages
        ]
    return found


def labels(axis: Axis) -> list[str]:
    """Returns the labels of an axis."""
    return [value.label for value in axis.values]


def page_title(drawn: Drawn, number: int) -> str:
    """Returns what stands above a sheet."""
    value = drawn.plan.z.values[number]
    if value.label:
        return f"{value.kind}: {value.label}" if value.kind else value.label
    return shared(drawn).get("prompt", "")


def percent(mean: float | None) -> str:
    """Returns a mean difference for people."""
    if mean is None:
        return "other size"
    return "no difference" if mean == 0 else f"{mean:.2g} %" if mean < 10 else f"{mean:.0f} %"


def _rounded(cell: Cell) -> float | None:
    mean = cell.difference.mean if cell.difference else None
    return None if mean is None else round(mean, 3)


def _lora(recipe: Recipe) -> str:
    lora = recipe.loras[-1]
    return lora.name


def _same(values: Sequence[str]) -> str:
    return values[0] if len(set(values)) == 1 else ""
