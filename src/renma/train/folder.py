"""The folder of a run: where it is, who works in it, what may change on resume."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config import Run, dump, load_run
from renma.config.data import Dataset
from renma.core.errors import UserError
from renma.core.store import write_text

FREE_TO_CHANGE = (
    "train.max_steps", "train.max_epochs", "train.save_every_steps", "train.save_every_epochs",
    "train.state_every_minutes", "train.max_bad_steps", "train.tensorboard", "sample.", "judge.",
    "output.",
)  # fmt: skip
"""Options that a resumed run may change; they do not touch what was trained so far."""


@dataclass(frozen=True)
class RunFolder:
    """Names inside a run's folder."""

    path: Path

    @property
    def toml(self) -> Path:
        """The complete run."""
        return self.path / "run.toml"

    @property
    def events(self) -> Path:
        """What happened, a JSON line each."""
        return self.path / "events.jsonl"

    @property
    def lora(self) -> Path:
        """Checkpoints and the final file."""
        return self.path / "lora"

    @property
    def samples(self) -> Path:
        """Previews."""
        return self.path / "samples"

    @property
    def state(self) -> Path:
        """What resume needs."""
        return self.path / "state"


def choose(run_file: Path, out: Path | None, resume: bool) -> RunFolder:
    """Returns the folder of the run.

    Without ``--out`` a new run goes to ``runs/001``, ``runs/002``, ... beside its run.toml; a
    resumed one continues the last of them, or the run whose own run.toml was given.

    Raises:
        UserError: the folder already holds a run (and ``--resume`` is not given), or is a file.
    """
    beside = run_file.resolve().parent
    if out is None and resume and (beside / "events.jsonl").exists():
        return RunFolder(beside)
    if out is None:
        numbers = [int(p.name) for p in beside.glob("runs/[0-9][0-9][0-9]") if p.is_dir()]
        last = max(numbers, default=0)
        if resume and not last:
            raise UserError("there is no run to resume", where=beside / "runs")
        return RunFolder(beside / "runs" / f"{last if resume else last + 1:03d}")
    if out.exists() and not out.is_dir():
        raise UserError("is a file, not a folder", where=f"--out {out}")
    folder = RunFolder(out)
    if folder.events.exists() and not resume:
        raise UserError(
            "already holds a run",
            where=out,
            remedy="Continue it with --resume, or choose another --out.",
        )
    return folder


def with_places(run: Run, base: Path, datasets: tuple[Dataset, ...]) -> Run:
    """Returns the run with absolute paths and every data set written out.

    The result means the same wherever its file lies.
    """
    sample, model = run.sample, run.model
    if sample.prompts_file:
        sample = sample.model_copy(update={"prompts_file": str(base / sample.prompts_file)})
    if model.path != "mame":
        model = model.model_copy(update={"path": str(model.folder(base).resolve())})
    data = run.data.model_copy(update={"datasets": datasets, "train_folder": "", "reg_folder": ""})
    return run.model_copy(update={"data": data, "sample": sample, "model": model})


def write_run(folder: RunFolder, run: Run, resume: bool) -> None:
    """Writes run.toml, after checking a resumed run against the one that was begun.

    Raises:
        UserError: an option differs that decides what was trained so far.
    """
    if resume and folder.toml.exists():
        before, now = _flat(load_run(folder.toml).model_dump()), _flat(run.model_dump())
        changed = [
            f"{key}: {before.get(key)!r} -> {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and not key.startswith(FREE_TO_CHANGE)
        ]
        if changed:
            raise UserError(
                f"cannot resume with other options ({'; '.join(changed[:5])})",
                where=folder.toml,
                remedy="Start a new run in another folder, or take the change back.",
            )
    write_text(folder.toml, dump(run))


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Keeps a second process out of the folder while this one works.

    Raises:
        UserError: another living process holds it, or the folder cannot be written.
    """
    lock = folder.path / ".lock"
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        holder = int(lock.read_text()) if lock.exists() else 0
    except ValueError:
        holder = 0
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=folder.path) from None
    if holder and holder != os.getpid() and _alive(holder):
        raise UserError(
            f"is in use by process {holder}", where=folder.path, remedy="Wait or stop it."
        )
    write_text(lock, str(os.getpid()))
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        rows = (_flat(item, f"{prefix}{key}.") for key, item in value.items())
        return {key: item for row in rows for key, item in row.items()}
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        rows = (_flat(item, f"{prefix}{i}.") for i, item in enumerate(value))
        return {key: item for row in rows for key, item in row.items()}
    return {prefix.rstrip("."): list(value) if isinstance(value, tuple) else value}
