"""What every option section shares: frozen, unknown keys are errors, docstrings are the help."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

Level = Literal["basic", "advanced", "expert"]
_LONGEST = 255
"""Letters of a name that file systems take at most."""


class Section(BaseModel):
    """A group of options. The text under a field is its help, everywhere."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )

    @field_validator("*")
    @classmethod
    def _possible_place(cls, value: Any) -> Any:
        """Refuses what no disk and no file can hold, before something stumbles over it."""
        for each in value if isinstance(value, list | tuple) else (value,):
            if isinstance(each, str | Path) and "\0" in str(each):
                raise ValueError("has a zero byte in it")
            if isinstance(each, Path) and any(len(part) > _LONGEST for part in each.parts):
                raise ValueError(f"has a name of more than {_LONGEST} letters")
        return value


def opt(default: Any, level: Level = "basic", kohya: str = "", **limits: Any) -> Any:
    """Returns a pydantic field with what the forms, the manual and the kohya door need.

    Args:
        default: the value when the key is absent.
        level: who needs it; forms show ``basic`` first.
        kohya: the option of kohya-ss/sd-scripts with the same meaning.
        limits: pydantic constraints such as ``ge`` and ``le``.
    """
    if isinstance(default, bool | int | float):
        limits = {"strict": True, **limits}  # `true` is no number, `"8"` no rank
    extra: dict[str, Any] = {"level": level}
    if kohya:
        extra["kohya"] = kohya
    return Field(default, json_schema_extra=extra, **limits)


def default_tag(tag: str, default: str) -> BeforeValidator:
    """Returns the validator that lets a missing ``tag`` of a union mean ``default``."""

    def fill(value: Any) -> Any:
        return {tag: default, **value} if isinstance(value, dict) and tag not in value else value

    return BeforeValidator(fill)


def argument(default: Any = ...) -> Any:
    """Returns a field that the command line takes by its place, without a name."""
    return Field(default, json_schema_extra={"positional": True})


def short(letter: str, default: Any = ...) -> Any:
    """Returns a field that has a one-letter name on the command line, such as ``-o``."""
    return Field(default, json_schema_extra={"short": letter})


def word(default: Any = ...) -> Any:
    """Returns a field that people write as one word, such as ``512x768``; so is its default."""
    return Field(default, validate_default=default is not ..., json_schema_extra={"word": True})
