"""Copy-machine LoRA: two runs from one file, so that a LoRA holds one change and nothing else.

The first run over-trains a LoRA on the pictures A, before the change, in ``copier/`` inside the
run's folder: an ordinary run with its own run.toml, events and states. The second is the run itself
on the pictures B, with that LoRA merged into the base model. Since the model draws A anyway, all
that is left to learn is the way from A to B; the second LoRA, alone on the plain base model, makes
just that change, and undoes it at negative strength.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from renma.config import Run, load_run
from renma.config.copier import CopierConfig
from renma.core.counted import counted
from renma.core.errors import Interrupted, UserError
from renma.core.events import Report, read_events
from renma.train.contents import Contents
from renma.train.folder import RunFolder, changes, itself_begun, with_places, write_run
from renma.train.plan import Prepared, prepare
from renma.train.procedures.copier_stage import first_file, first_run, second_run
from renma.train.processes import Processes
from renma.train.source import Source

if TYPE_CHECKING:
    from renma.train.procedures.copier_check import Copied

Told = Sequence[tuple[str, Mapping[str, Any]]]
"""Events: kind and data."""


class Go(Protocol):
    """Trains one run in its folder, or goes on with it."""

    def __call__(
        self, trained: Run, written: Run, prepared: Prepared, folder: RunFolder, *, resume: bool,
        accepted: Callable[[], None] = ..., told: Told = (),
    ) -> None:  # fmt: skip
        """Trains.

        Args:
            trained: the run, with its places.
            written: what its run.toml says.
            prepared: its plan and pictures.
            folder: where everything goes.
            resume: go on from its newest state.
            accepted: done when the run is accepted.
            told: events ahead of its own.
        """
        ...


@dataclass(frozen=True)
class Setting:
    """What both runs share.

    Args:
        source: of the run, as the user wrote it.
        allow: options named by ``--allow-change``.
        processes: who shares the work.
        report: told what is shown.
        go: trains one run.
    """

    source: Source
    allow: tuple[str, ...]
    processes: Processes
    report: Report
    go: Go


def train_both(
    run: Run, prepared: Prepared, folder: RunFolder, resume: bool, setting: Setting
) -> None:
    """Trains the first run as far as it is not done yet, looks at it, and trains the second.

    Args:
        run: the second one, which the file describes.
        prepared: its plan and pictures.
        folder: of both.
        resume: go on with whichever was at work.
        setting: what they share.

    Raises:
        UserError: a mistake in either, or a copier that does not copy, where that stops the run.
        Interrupted: a signal stopped one of them after its state was saved.
    """
    datasets = tuple(scanned.dataset for scanned in prepared.scan.sets)
    written, file = with_places(run, setting.source.base, datasets), first_file(folder)
    told: Told = ()
    second = resume and itself_begun(folder)
    if second:
        _need_first(folder, file)
    else:
        told = _train_first(run, written, prepared, folder, resume, setting)
    setting.report.line("the second run, on top of the copier:")
    setting.go(
        second_run(written, file), written, prepared, folder, resume=second, told=told
    )  # the file's run.toml names no copier: what draws with the LoRA uses the plain base model


def _train_first(
    run: Run, written: Run, prepared: Prepared, folder: RunFolder, resume: bool, setting: Setting
) -> Told:
    """Trains the first run, unless it is done, and returns what there is to tell of it."""
    source, there, processes = setting.source, folder.first, setting.processes
    datasets = tuple(scanned.dataset for scanned in prepared.scan.sets)
    with source.pointing():
        first = first_run(run, source.base, datasets)
        known = prepare(first, there.path)
    again = resume and itself_begun(there)
    if again and _done(there, first_file(folder), first.train.max_steps):
        changes(there, first, Contents.of(known.scan), setting.allow)  # refuses what may not be
        setting.report.line(f"the copier is trained already: {first_file(folder)}")
    else:
        (there.path / "copied.json").unlink(missing_ok=True)
        setting.report.line("the first of two runs, the copier:")
        accepted = partial(write_run, folder, written)
        for text in () if again else prepared.plan.warnings:  # not only after the first run
            setting.report.event("warned", text=text)
        try:
            setting.go(first, first, known, there, resume=again, accepted=accepted)
        except Interrupted as error:
            where = str(error).partition(";")[0]
            go_on = f"go on with: renma train --resume --out {folder.path}"
            raise Interrupted(error.exit_code, f"{where} of the copier; {go_on}") from None
    # every process must come to the same end
    outcome = _look(run, first, known, folder, setting) if processes.main else ()
    told: Told | UserError = processes.share(outcome)
    if isinstance(told, UserError):
        raise told
    return told


def _done(there: RunFolder, file: Path, steps: int) -> bool:
    """Says whether the first run came to its last step and left its file."""
    rows = read_events(there.events) if file.exists() else ()
    return any(row.get("kind") == "finished" and row.get("steps") == steps for row in rows)


def _need_first(folder: RunFolder, file: Path) -> None:
    """Refuses to go on with a second run that had no first one, or whose file is gone.

    Raises:
        UserError: so it is.
    """
    if folder.toml.exists() and not load_run(folder.toml).copier.on:
        raise UserError(
            "this run was begun without a copier",
            where="copier.train_folder",
            remedy="Take it out, or start a new run in another folder.",
        )
    if not file.exists():
        raise UserError(
            "the copier that this run learns on top of is gone",
            where=file,
            remedy="Put it back, or start a new run in another folder.",
        )


def _look(
    run: Run, first: Run, known: Prepared, folder: RunFolder, setting: Setting
) -> Told | UserError:
    """Asks the copier for something else, and returns what to tell, or the end of the run."""
    config = run.copier
    if not config.prompts:
        return ()
    from renma.train.procedures import copier_check

    there = folder.first
    found = copier_check.remembered(there.path)
    if found is None or found.prompts != config.prompts:
        source = Source(first, there.path, there.toml)
        file = first_file(folder)
        found = copier_check.check(source, config.prompts, known, file, setting.report)
    sheet = f"{there.path.name}/{copier_check.PICTURE}"
    setting.report.line(_words(found, folder.path / sheet))
    unlike = _unlike(found, config)
    if unlike and config.when_unlike == "stop":
        return unlike
    data = {"likeness": found.likeness, "steps": config.steps, "prompts": len(found.prompts)}
    rows: list[tuple[str, Mapping[str, Any]]] = [("copied", {**data, "path": sheet})]
    if unlike:
        rows.append(("warned", {"text": unlike.line()}))
    return rows


def _words(found: Copied, sheet: Path) -> str:
    asked = counted(len(found.prompts), "unrelated prompt")
    return (
        f"the copier: {asked} come {found.likeness:.0%} of the way from the base model's answers "
        f"to the pictures ({sheet})"
    )


def _unlike(found: Copied, config: CopierConfig) -> UserError | None:
    if found.likeness >= config.least_likeness:
        return None
    again = (
        "Raise copier.steps and go on with --resume"
        if config.when_unlike == "stop"
        else "The next time: more copier.steps"
    )
    return UserError(
        f"the copier does not copy yet: unrelated prompts come only {found.likeness:.0%} of the "
        f"way to its pictures, less than copier.least_likeness = {config.least_likeness:g}, so the "
        "LoRA may learn more than the change",
        remedy=f"{again}; a higher copier.rank or copier.learning_rate, and captions that do not "
        "describe the pictures, help too.",
    )
