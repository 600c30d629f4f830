"""Options of ``renma caption prepend``."""

from __future__ import annotations

from renma.config._base import argument
from renma.config.caption._texts import EditingOptions


class PrependOptions(EditingOptions):
    """Options of ``renma caption prepend``."""

    word: str = argument()
    """The trigger word; with commas, several tags in their order."""
    append: bool = False
    """Put it at the end instead."""
    create: bool = False
    """Also write a caption for pictures that have none."""
