"""`renma train`: from a run.toml to LoRA files in a run folder.

Everything that can be wrong with the run is found here, before torch is even imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from renma.config import Run, load_run
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Detached, EventLog, Report, Silent
from renma.train import launcher
from renma.train.contents import Contents, remember
from renma.train.folder import RunFolder, changes, choose, locked, with_places, write_run
from renma.train.held import Held
from renma.train.plan import Prepared, batches_per_step, prepare
from renma.train.processes import Processes
from renma.train.signals import before_the_loop
from renma.train.source import Source, load
from renma.train.stop import Appoint


def run(options: TrainOptions, report: Report, appoint: Appoint | None = None) -> RunFolder | None:
    """Trains, or continues, one run; one of several processes does its share.

    Args:
        options: of the command.
        report: told everything.
        appoint: makes who judges while the run trains, where ``[stop]`` asks for it.

    Returns:
        The run's folder, in the process that writes it.

    Raises:
        UserError: a mistake in the run, its pictures or its folder.
        Interrupted: a signal stopped it after its state was saved.
    """
    source = source_of(options)
    processes = Processes.of()
    launcher.check()
    # a launcher that restarts dead processes means: go on
    resume = options.resume or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
    if options.allow_change and not resume:
        raise UserError(
            "is for a run that goes on",
            where="--allow-change",
            remedy="Add --resume, or take it out.",
        )
    report = Detached(report) if processes.main else Silent()
    with before_the_loop(), _together(processes, source.run):
        chosen = choose(source.file, options.out, resume) if processes.main else None
        folder = processes.share(chosen)
        settled = _with_processes(source.run, folder, processes, resume)
        processes.check_share(batches_per_step(settled))
        with source.pointing():
            prepared = prepare(settled, source.base)
        session = _Session(processes, report, options.allow_change, appoint)
        if settled.copier.on:
            from renma.train.procedures import copier

            both = copier.Setting(source, session.allow, processes, report, session.go)
            copier.train_both(settled, prepared, folder, resume, both)
            return folder if processes.main else None
        datasets = tuple(scanned.dataset for scanned in prepared.scan.sets)
        complete = with_places(settled, source.base, datasets)
        session.go(complete, complete, prepared, folder, resume=resume)
    return folder if processes.main else None


def source_of(options: TrainOptions) -> Source:
    """Returns the run that a command is about.

    Raises:
        UserError: there is none, or anything in it is wrong.
    """
    file = options.run
    if file is None and options.dataset_config is None and options.out is not None:
        file = options.out / "run.toml"  # `--resume --out DIR` is all that a run needs to go on
    return load(file, options.dataset_config, options.set)


@dataclass(frozen=True)
class _Session:
    """What the runs of one command share.

    Args:
        processes: who shares the work.
        report: told what is shown.
        allow: what a resumed run may change.
        appoint: makes who judges.
    """

    processes: Processes
    report: Report
    allow: tuple[str, ...]
    appoint: Appoint | None

    def go(
        self,
        trained: Run,
        written: Run,
        prepared: Prepared,
        folder: RunFolder,
        *,
        resume: bool,
        accepted: Callable[[], None] = lambda: None,
        told: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> None:
        """Trains one run in its folder, or goes on with it.

        Args:
            trained: the run, with its places.
            written: what its run.toml says.
            prepared: its plan and pictures.
            folder: where everything goes.
            resume: go on from its newest state.
            accepted: done when the run is accepted.
            told: events ahead of its own.
        """
        held = Contents.of(prepared.scan)
        with self._log(folder, written, held, resume, accepted) as log:
            from renma.train.work import train

            for kind, data in told:
                log.event(kind, **data)
            there = Source(trained, folder.path, folder.toml)
            train(there, folder, prepared, resume, self.processes, log, self.allow, self.appoint)

    @contextmanager
    def _log(
        self,
        folder: RunFolder,
        run: Run,
        contents: Contents,
        resume: bool,
        accepted: Callable[[], None],
    ) -> Iterator[Held]:
        """Takes the run's folder and opens its events; other processes only watch.

        A resumed run writes and says nothing before it is accepted.
        """
        if not self.processes.main:
            self.processes.wait()
            watching = Held(self.report, self.report, lambda: None)
            watching.accept()
            yield watching
            return
        with locked(folder):
            changed = changes(folder, run, contents, self.allow) if resume else ()

            def begin() -> None:
                accepted()
                write_run(folder, run)
                remember(folder.path, contents, resume=resume)
                for text in changed:
                    log.event("warned", text=f"resumed; {text}")

            log = EventLog(folder.events, self.report)
            held = Held(log, self.report, begin)
            try:
                if not resume:
                    held.accept()
                self.processes.wait()
                yield held
            finally:
                log.close()


def _with_processes(run: Run, folder: RunFolder, processes: Processes, resume: bool) -> Run:
    """Returns the run with the number of processes it was begun with, which decides the batch.

    Raises:
        UserError: the launcher started another number than the run asks for.
    """
    wanted = run.train.processes
    if resume and folder.toml.exists():
        begun_with = load_run(folder.toml).train.processes
        wanted = wanted or begun_with or processes.size
    else:
        processes.check(wanted)
        wanted = processes.size
    return run.model_copy(update={"train": run.train.model_copy(update={"processes": wanted})})


@contextmanager
def _together(processes: Processes, run: Run) -> Iterator[None]:
    """Connects the processes of a run, and parts them at its end."""
    if processes.size == 1:
        yield
        return
    from renma.engine.model import pick_device

    processes.join(pick_device(run.train.device))
    try:
        yield
    finally:
        processes.leave()
