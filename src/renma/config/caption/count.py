"""Options of ``renma caption count``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from renma.config.caption._texts import TextOptions


class CountOptions(TextOptions):
    """Options of ``renma caption count``."""

    where: str = ""
    """Only captions whose tags fit, such as "smile and not (hat or /^blue/)"."""
    with_: str = Field(default="", alias="with")
    """Show which tags come with this one, and how often they come without it."""
    top: int = Field(default=50, ge=1)
    """Show so many tags."""
    sort: Literal["frequency", "alphabet"] = "frequency"
    """Order of the table."""
    as_json: bool = Field(default=False, alias="json")
    """Print every tag as JSON, for programs."""
