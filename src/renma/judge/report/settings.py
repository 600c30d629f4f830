"""Which settings of a run differ from what it began with, with what each means (no torch).

What it began with is its preset, if it names one, else the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from renma.config import Run
from renma.config.load import validate
from renma.config.presets import laid_under, names


@dataclass(frozen=True)
class Difference:
    """One option that was set to something else than what the run began with."""

    key: str
    value: str
    default: str
    help: str


@dataclass(frozen=True)
class Beginning:
    """What a run's settings are compared with.

    Attributes:
        words: such as ``the preset sd15-8gb`` or ``the defaults``.
        column: heading for its values.
        run: the settings.
        note: what is to be said about it, if anything.
    """

    words: str
    column: str
    run: Run
    note: str = ""


def beginning(run: Run) -> Beginning:
    """Returns the preset that a run began with, or the defaults."""
    if not run.preset:
        return Beginning("the defaults", "Default", Run())
    if run.preset not in names():
        note = f"The preset {run.preset} is not known to this version."
        return Beginning("the defaults", "Default", Run(), note)
    raw = laid_under({"preset": run.preset}, run.preset)
    return Beginning(f"the preset {run.preset}", "Preset", validate(Run, raw, run.preset))


def differences(
    section: BaseModel,
    base: BaseModel | None = None,
    prefix: str = "",
    outer: Mapping[str, Any] | None = None,
) -> list[Difference]:
    """Returns the options whose value is another, in the order of the schema.

    A section chosen among several (an optimizer, a schedule) is compared with its own class where
    the other one is of another class.

    Args:
        section: the run or a part of it.
        base: what it is compared with (default: the defaults of its class).
        prefix: what stands before the names.
        outer: options of enclosing sections; what is only handed down from them is left out.
    """
    inherited = outer or {}
    alike = base if type(base) is type(section) else None
    found: list[Difference] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in inherited and inherited[name] == value:
            continue
        before = field.get_default(call_default_factory=True)
        if alike is not None:
            before = getattr(alike, name)
        found += _compare(f"{prefix}{name}", value, before, field, {**inherited, **dict(section)})
    return found


def _compare(
    key: str, value: Any, before: Any, field: FieldInfo, outer: Mapping[str, Any]
) -> list[Difference]:
    if isinstance(value, BaseModel):
        base = before if isinstance(before, BaseModel) else None
        return [*_choice(key, value, before, field), *differences(value, base, f"{key}.")]
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        rows = [differences(row, None, f"{key}[{i}].", outer) for i, row in enumerate(value)]
        return [difference for row in rows for difference in row]
    if value == before:
        return []
    words = "" if before is PydanticUndefined else _text(before)
    return [Difference(key, _text(value), words, _one_line(field.description))]


def _choice(key: str, value: BaseModel, before: Any, field: FieldInfo) -> list[Difference]:
    if not isinstance(before, BaseModel) or type(value) is type(before):
        return []
    tag = next((name for name in ("name", "algo") if name in type(value).model_fields), "")
    now, then = getattr(value, tag, ""), getattr(before, tag, "")
    return [Difference(f"{key}.{tag}", _text(now), _text(then), _one_line(field.description))]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {_text(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        # texts hold commas themselves: one a line
        return ("\n" if isinstance(value[0], str) else ", ").join(map(_text, value))
    return str(value)


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())
