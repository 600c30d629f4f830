"""Concepts to erase or to enhance as a form asks for them: prompts with and without, line by line.

In run.toml every concept is a table ``[[erase.prompts]]``; the two actions fill it differently, see
the recipes ``leco`` and ``leco-enhance``.
"""

from __future__ import annotations

from typing import Any

from renma.core.errors import UserError

PROMPTS = "erase.prompts"
WITH, WITHOUT = f"{PROMPTS}.target", f"{PROMPTS}.neutral"
AWAY, SCALE = f"{PROMPTS}.positive", f"{PROMPTS}.guidance_scale"


def lines_of(values: dict[str, Any], key: str) -> Any:
    """Returns what a recipe's concepts say for a field of the form.

    Args:
        values: of the recipe.
        key: of the field.
    """
    rows = values["erase"]["prompts"]
    if key == SCALE:
        return rows[0].get("guidance_scale")
    if key == AWAY:
        return rows[0].get("positive")
    inner = "positive" if key == WITH and _enhances(rows) else key.rpartition(".")[2]
    return [row[inner] for row in rows if row.get(inner)]


def concepts(values: dict[str, Any], given: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the concepts of a recipe with what was filled in.

    Args:
        values: of the recipe.
        given: by key of the form.

    Raises:
        UserError: lines that do not belong together; ``where`` is the key.
    """
    rows = values["erase"]["prompts"]
    if not any(key in given for key in (WITH, WITHOUT, AWAY)):
        scale = {"guidance_scale": given[SCALE]} if SCALE in given else {}
        return [{**row, **scale} for row in rows]
    asked = {k: given.get(k, lines_of(values, k)) for k in (WITH, WITHOUT, AWAY, SCALE)}
    first, second = _lines(asked[WITH]), _lines(asked[WITHOUT])
    enhances = _enhances(rows)
    if len(second) > len(first) or (enhances and len(second) < len(first)):
        raise UserError(
            f"{len(second)} lines without the concept for {len(first)} with it",
            where=WITHOUT,
            remedy="Write both in the same order, line by line.",
        )
    second += [""] * (len(first) - len(second))
    scale = {} if asked[SCALE] is None else {"guidance_scale": asked[SCALE]}
    if enhances:
        return [
            {"action": "enhance", "target": b, "neutral": b, "positive": a, "unconditional": b}
            | scale
            for a, b in zip(first, second, strict=True)
        ]
    away = {"positive": asked[AWAY]} if asked[AWAY] else {}
    pairs = zip(first, second, strict=True)
    return [{"target": a, "neutral": b, **away, **scale} for a, b in pairs]


def _enhances(rows: list[dict[str, Any]]) -> bool:
    return rows[0].get("action") == "enhance"


def _lines(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else str(value or "").splitlines()
