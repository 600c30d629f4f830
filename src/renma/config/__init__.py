"""The one schema of every option; torch-free, so that help and checks answer at once.

The sections of a run are built when they are first asked for: help needs none of them.
"""

from typing import TYPE_CHECKING, Any

from renma.config.load import dump, load_run, read_toml, set_values, validate

if TYPE_CHECKING:
    from renma.config.run import Run

__all__ = ["Run", "dump", "load_run", "read_toml", "set_values", "validate"]


def __getattr__(name: str) -> Any:
    if name == "Run":
        from renma.config.run import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
