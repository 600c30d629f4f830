"""`renma train`: from a run.toml to LoRA files in a run folder.

Everything that can be wrong with the run is found here, before torch is even imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from renma.config import Run, load_run
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Detached, EventLog, Report, Silent
from renma.train import launcher
from renma.train.contents import Contents, remember
from renma.train.folder import RunFolder, changes, choose, locked, with_places, write_run
from renma.train.held import Held
from renma.train.plan import batches_per_step, prepare
from renma.train.processes import Processes
from renma.train.signals import before_the_loop
from renma.train.source import Source, load
from renma.train.stop import Appoint


def run(options: TrainOptions, report: Report, appoint: Appoint | None = None) -> None:
    """Trains, or continues, one run; one of several processes does its share.

    Args:
        options: of the command.
        report: told everything.
        appoint: makes who judges while the run trains, where ``[stop]`` asks for it.

    Raises:
        UserError: a mistake in the run, its pictures or its folder.
        Interrupted: a signal stopped it after its state was saved.
    """
    file = options.run
    if file is None and options.dataset_config is None and options.out is not None:
        file = options.out / "run.toml"  # `--resume --out DIR` is all that a run needs to go on
    source = load(file, options.dataset_config, options.set)
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
        datasets = tuple(scanned.dataset for scanned in prepared.scan.sets)
        complete = with_places(settled, source.base, datasets)
        held, allow = Contents.of(prepared.scan), options.allow_change
        with _log(folder, complete, held, resume, allow, processes, report) as log:
            from renma.train.work import train

            there = Source(complete, folder.path, folder.toml)
            train(there, folder, prepared, resume, processes, log, allow, appoint)


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


@contextmanager
def _log(
    folder: RunFolder,
    run: Run,
    contents: Contents,
    resume: bool,
    allow: tuple[str, ...],
    processes: Processes,
    report: Report,
) -> Iterator[Held]:
    """Takes the run's folder and opens its events; other processes than the first only watch.

    A resumed run writes and says nothing before it is accepted.
    """
    if not processes.main:
        processes.wait()
        watching = Held(report, report, lambda: None)
        watching.accept()
        yield watching
        return
    with locked(folder):
        changed = changes(folder, run, contents, allow) if resume else ()

        def begin() -> None:
            write_run(folder, run)
            remember(folder.path, contents, resume=resume)
            for text in changed:
                log.event("warned", text=f"resumed; {text}")

        log = EventLog(folder.events, report)
        held = Held(log, report, begin)
        try:
            if not resume:
                held.accept()
            processes.wait()
            yield held
        finally:
            log.close()
