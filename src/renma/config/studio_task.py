"""Options of ``renma studio``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from renma.config._base import Section, argument


class StudioOptions(Section):
    """Options of ``renma studio``."""

    folder: Path | None = argument(None)
    """The folder of your projects (default: the current one). The studio reads and writes nothing
    outside of it."""
    port: int = Field(default=7860, ge=0, le=65535)
    """Where it listens, on this machine only; 0 takes any free port."""
    no_browser: bool = False
    """Print the address and open no browser."""
    models: tuple[Path, ...] = ()
    """A folder of models outside of it, to choose from; it is only read. Repeatable."""
