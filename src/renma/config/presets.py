"""Presets: settings for a memory size that a run starts from; what its own file says wins."""

from __future__ import annotations

import tomllib
from typing import Any

from renma import assets
from renma.core.errors import UserError, did_you_mean

Raw = dict[str, Any]
_TAGS = {"adapter": "algo", "optimizer": "name", "schedule": "name"}
"""Sections whose options belong to one algorithm, and the key that names it."""


def names() -> tuple[str, ...]:
    """Returns the presets' names."""
    return tuple(sorted(path.stem for path in assets.PRESETS.glob("*.toml")))


def about(name: str) -> str:
    """Returns the sentence that says what a preset is for."""
    first = (assets.PRESETS / f"{name}.toml").read_text(encoding="utf-8").splitlines()[0]
    return first.removeprefix("# ")


def laid_under(raw: Raw, where: object) -> Raw:
    """Returns a raw run with the settings of its ``preset`` filled in.

    A section for which the file chooses another algorithm takes nothing from the preset.

    Args:
        raw: the run as read; ``preset`` may be absent.
        where: file, for messages.

    Raises:
        UserError: there is no such preset.
    """
    name = raw.get("preset", "")
    if not name:
        return raw
    if name not in names():
        raise UserError(
            f"'{name}' is not a preset",
            where=where,
            remedy=did_you_mean(str(name), names()) or f"Known: {', '.join(names())}.",
        )
    preset = tomllib.loads((assets.PRESETS / f"{name}.toml").read_text(encoding="utf-8"))
    result = dict(raw)
    for section, values in preset.items():
        own = raw.get(section, {})
        tag = _TAGS.get(section, "")
        if isinstance(own, dict) and own.get(tag, values.get(tag)) == values.get(tag):
            result[section] = {**values, **own}
    return result
