"""The folder of a run: where it is, who works in it, what may change on resume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from renma.config import Run, dump, load_run
from renma.config.data import DataConfig, Dataset, DatasetOptions, SubsetOptions
from renma.core.errors import UserError
from renma.core.events import read_events
from renma.core.store import probe, sweep, write_text
from renma.data.folder import find
from renma.train.changes import check_changes
from renma.train.contents import Contents, differences

_OF_THE_RUN = tuple(
    name
    for name in DataConfig.model_fields
    if name not in {*SubsetOptions.model_fields, *DatasetOptions.model_fields}
    and name not in {"train_folder", "reg_folder", "datasets"}
)
"""Options of ``[data]`` that no data set or folder can have."""


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
    def best(self) -> Path:
        """A copy of the best checkpoint."""
        return self.path / "best"

    @property
    def state(self) -> Path:
        """What resume needs."""
        return self.path / "state"

    @property
    def first(self) -> RunFolder:
        """Where the first of two runs lies, see :mod:`renma.train.procedures.copier`."""
        return RunFolder(self.path / "copier")


def begun(folder: RunFolder) -> bool:
    """Says whether a run, or the first of two, got as far as its first step there."""
    return itself_begun(folder) or itself_begun(folder.first)


def itself_begun(folder: RunFolder) -> bool:
    """Says whether the run of a folder got to its first step (a failed start does not count)."""
    events = folder.events
    told = events.exists() and any(row.get("kind") == "started" for row in read_events(events))
    return told or any(folder.state.glob("step-*.safetensors"))


def choose(run_file: Path, out: Path | None, resume: bool) -> RunFolder:
    """Returns the folder of the run.

    Without ``--out`` a new run goes to ``runs/001``, ``runs/002``, ... beside its run.toml; a
    resumed one continues the last of them, or the run whose own run.toml was given.

    Raises:
        UserError: the folder already holds a run (and ``--resume`` is not given), or is a file.
    """
    beside = run_file.resolve().parent
    if out is None and resume and begun(RunFolder(beside)):
        return RunFolder(beside)
    if out is None:
        found = (p for p in beside.glob("runs/[0-9][0-9][0-9]") if begun(RunFolder(p)))
        last = max((int(p.name) for p in found), default=0)
        if resume and not last:
            raise UserError(
                "there is no run to resume",
                where=beside / "runs",
                remedy="Leave --resume out to begin one, or name its folder with --out.",
            )
        return RunFolder(beside / "runs" / f"{last if resume else last + 1:03d}")
    if out.exists() and not out.is_dir():
        raise UserError(
            "is a file, not a folder", where=f"--out {out}", remedy="Choose another name."
        )
    folder = RunFolder(out)
    if begun(folder) and not resume:
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
        model = model.model_copy(update={"path": str(model.place(base).resolve())})
    if vae := model.vae_place(base):
        model = model.model_copy(update={"vae": str(vae.resolve())})
    start = run.start.model_copy(
        update={
            "weights": _placed(run.start.weights, base),
            "base_weights": tuple(_placed(name, base) for name in run.start.base_weights),
        }
    )
    targets = run.adapter.targets
    targets = targets.model_copy(update={"preset_file": _placed(targets.preset_file, base)})
    adapter = run.adapter.model_copy(update={"targets": targets})
    copier = run.copier
    if copier.on:
        parent = find(copier.train_folder, base, "copier.train_folder")
        copier = copier.model_copy(update={"train_folder": str(parent)})
    # every option stands at one level only, so the outer ones go back to their defaults
    own = {name: getattr(run.data, name) for name in _OF_THE_RUN}
    data = DataConfig(**own, datasets=datasets)
    return run.model_copy(
        update={
            "data": data,
            "sample": sample,
            "model": model,
            "start": start,
            "adapter": adapter,
            "copier": copier,
        }
    )


def _placed(path: str, base: Path) -> str:
    return str((base / path).resolve()) if path else ""


def near(run: Run, folder: Path) -> Run:
    """Returns the run with places seen from its folder where they lie near it.

    Near is what lies in the same folder as the run, or as the ``runs`` it is one of. So a project
    that is moved or copied as a whole goes on; what lies elsewhere keeps its absolute place.

    Args:
        run: with absolute places.
        folder: the run's.
    """
    folder = folder.resolve()
    outer = RunFolder(folder.parent)
    home = outer.path if outer.first.path == folder and outer.toml.exists() else folder
    project = home.parents[1] if home.parent.name == "runs" else home.parent

    def seen(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: seen(item) for key, item in value.items()}
        if isinstance(value, list):
            return [seen(item) for item in value]
        if isinstance(value, str) and os.path.isabs(value) and Path(value).exists():  # noqa: PTH117
            path = Path(value)
            return (
                Path(os.path.relpath(path, folder)).as_posix() if project in path.parents else value
            )
        return value

    return Run.model_validate(seen(run.model_dump(mode="json", exclude_none=True)))


def changes(
    folder: RunFolder, run: Run, held: Contents, allow: Iterable[str] = ()
) -> tuple[str, ...]:
    """Returns what a resumed run changes, a line each (``train.max_steps: 20 -> 240``).

    Args:
        folder: of the run.
        run: with its places, see :func:`with_places`.
        held: what its pictures and captions hold now.
        allow: options and sections that may change although they decide what is trained.

    Raises:
        UserError: an option, a picture or a caption differs that decides what was trained so far.
    """
    if not folder.toml.exists():
        return ()
    before, now = load_run(folder.toml), near(run, folder.path)
    return check_changes(before, now, allow, folder.toml, differences(folder.path, held))


def write_run(folder: RunFolder, run: Run) -> None:
    """Writes run.toml; a user's own file of that name, with its comments, is kept beside it.

    Args:
        folder: of the run.
        run: with its places, see :func:`with_places`.
    """
    given = folder.path / "run.given.toml"
    if folder.toml.exists() and not begun(folder) and not given.exists():
        write_text(given, folder.toml.read_text(encoding="utf-8-sig"))
    write_text(folder.toml, dump(near(run, folder.path)))


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Keeps a second process out of the folder while this one works, and makes it ready.

    The system lets go of the lock when the process ends, however it ends. What a killed run left
    half written is removed; that checkpoints and states can be written is tried out.

    Raises:
        UserError: another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder.path / ".lock", timeout=0)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(
            "another process is training there", where=folder.path, remedy="Wait, or stop it."
        ) from None
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=folder.path) from None
    try:
        for place in (folder.path, folder.lora, folder.best, folder.state, folder.samples):
            sweep(place)  # nobody else writes here now: what is half written stays so
        for place in (folder.path, folder.lora, folder.state):
            probe(place)
        yield
    finally:
        lock.release()  # the file stays: removing it could split the lock between two others
