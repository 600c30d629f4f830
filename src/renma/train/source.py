"""Where a run comes from: a run.toml, a kohya data set file, and ``--set`` over either."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from renma.config import Run, read_toml, set_values, validate
from renma.config.dataset_toml import read_dataset_toml
from renma.config.precision import resolved
from renma.config.presets import laid_under
from renma.core.errors import UserError
from renma.train.erase_settings import settled
from renma.train.pointing import pointed


@dataclass(frozen=True)
class Source:
    """A validated run and the folder that its relative paths start from.

    Its precision is settled for this machine.
    """

    run: Run
    base: Path
    file: Path
    assignments: tuple[str, ...] = ()

    @contextmanager
    def pointing(self) -> Iterator[None]:
        """Says file and line of the option that a mistake inside the block names."""
        try:
            yield
        except UserError as error:
            raise pointed(error, self.file, self.assignments) from None


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
    written = set_values(raw, assignments)
    raw = laid_under(written, file)
    _clear_levels(raw, assignments)
    checked = validate(Run, raw, file, assignments)
    base = file.resolve().parent
    run_here = checked.model_copy(update={"train": resolved(checked.train)})
    found = Source(run_here, base, file, assignments)
    with found.pointing():
        return replace(found, run=settled(run_here, written, base))


def _clear_levels(raw: dict[str, Any], assignments: Iterable[str]) -> None:
    """Lets ``--set data.KEY=...`` hold for every data set and folder, whatever they say."""
    for assignment in assignments:
        section, _, key = assignment.partition("=")[0].strip().partition(".")
        data = raw.get("data")
        if section != "data" or not isinstance(data, dict):
            continue
        for dataset in data.get("datasets", []):
            for level in (dataset, *dataset.get("subsets", [])):
                level.pop(key, None)
