"""Templates of HTML pages: whatever they are filled with is escaped, and nothing is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment(package: str, finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Returns the templates of a package.

    Args:
        package: its name; they lie in its folder ``templates``.
        finalize: called with every value before it is escaped and written.
    """
    return Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
