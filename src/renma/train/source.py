"""Where a run comes from: a run.toml, a kohya data set file, and ``--set`` over either."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from renma.config import Run, read_toml, set_values, validate
from renma.config.dataset_toml import read_dataset_toml
from renma.core.errors import UserError


@dataclass(frozen=True)
class Source:
    """A validated run and the folder that its relative paths start from."""

    run: Run
    base: Path
    file: Path


def load(run: Path | None, dataset_config: Path | None, assignments: Iterable[str]) -> Source:
    """Reads a run.

    Args:
        run: run.toml, or None when a data set file stands alone.
        dataset_config: kohya data set TOML; replaces ``[data]``.
        assignments: ``section.key=value``.

    Raises:
        UserError: neither is given, or anything in them is wrong.
    """
    if run is None and dataset_config is None:
        raise UserError("which run? Give a run.toml or --dataset-config SETTINGS.toml")
    raw = read_toml(run) if run else {}
    file = run or dataset_config
    assert file is not None
    if dataset_config is not None:
        raw = {**raw, "data": read_dataset_toml(dataset_config)}
        file = dataset_config
    assignments = tuple(assignments)
    checked = validate(Run, set_values(raw, assignments), file, assignments)
    return Source(checked, file.resolve().parent, file)
