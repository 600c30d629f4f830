"""Which settings of a run differ from the defaults, with what each means (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined


@dataclass(frozen=True)
class Difference:
    """One option that was set to something else than its default."""

    key: str
    value: str
    default: str
    help: str


def differences(
    section: BaseModel, prefix: str = "", outer: Mapping[str, Any] | None = None
) -> list[Difference]:
    """Returns the options whose value is not the default, in the order of the schema.

    A section chosen among several (an optimizer, a schedule) is compared with its own class.

    Args:
        section: the run or a part of it.
        prefix: what stands before the names.
        outer: options of enclosing sections; what is only handed down from them is left out.
    """
    inherited = outer or {}
    found: list[Difference] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name not in inherited or inherited[name] != value:
            found += _compare(f"{prefix}{name}", value, field, {**inherited, **dict(section)})
    return found


def _compare(key: str, value: Any, field: FieldInfo, outer: Mapping[str, Any]) -> list[Difference]:
    default = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return [*_choice(key, value, default, field), *differences(value, f"{key}.")]
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        rows = [differences(row, f"{key}[{i}].", outer) for i, row in enumerate(value)]
        return [difference for row in rows for difference in row]
    if value == default:
        return []
    before = "" if default is PydanticUndefined else _text(default)
    return [Difference(key, _text(value), before, _one_line(field.description))]


def _choice(key: str, value: BaseModel, default: Any, field: FieldInfo) -> list[Difference]:
    if not isinstance(default, BaseModel) or type(value) is type(default):
        return []
    tag = next((name for name in ("name", "algo") if name in type(value).model_fields), "")
    now, before = getattr(value, tag, ""), getattr(default, tag, "")
    return [Difference(f"{key}.{tag}", _text(now), _text(before), _one_line(field.description))]


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
