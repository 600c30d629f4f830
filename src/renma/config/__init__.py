"""The one schema of every option; torch-free, so that help and checks answer at once."""

from renma.config.load import dump, load_run, read_toml, set_values, validate
from renma.config.run import Run

__all__ = ["Run", "dump", "load_run", "read_toml", "set_values", "validate"]
