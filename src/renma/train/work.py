"""The work of one run: model, caches, network, loop - all that needs torch."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import renma
from renma.config.prompts import prompts
from renma.core.errors import UserError
from renma.core.events import Report, read_events
from renma.diffusion.schedule import NoiseSchedule
from renma.engine.memory import peak_mib, restart_peak
from renma.formats import state as states
from renma.train import contents
from renma.train.assemble import assemble
from renma.train.board import Board
from renma.train.check import table
from renma.train.folder import RunFolder
from renma.train.held import Held
from renma.train.judging import Judging
from renma.train.loop import Trainer
from renma.train.plan import Prepared, remember_speed
from renma.train.previews import Previews
from renma.train.procedures import rank_table
from renma.train.processes import Processes
from renma.train.save import portability_of
from renma.train.session import Session
from renma.train.source import Source
from renma.train.stop import Appoint
from renma.train.validation import Validation


def train(
    source: Source,
    folder: RunFolder,
    prepared: Prepared,
    resume: bool,
    processes: Processes,
    report: Held,
    allow: tuple[str, ...] = (),
    appoint: Appoint | None = None,
) -> None:
    """Trains a run to its end.

    Args:
        source: the complete run and its folder.
        folder: where everything goes.
        prepared: its plan and pictures.
        resume: continue from the newest state.
        processes: who shares the work.
        report: told everything; a resumed run is accepted once all it depends on is compared.
        allow: what may differ from the run that is continued.
        appoint: makes who judges while the run trains; needed where the run asks for it.

    Raises:
        UserError: a mistake that shows only now.
        Interrupted: a signal stopped it after its state was saved.
    """
    began = time.monotonic()
    run = source.run
    for line in table(prepared.plan):
        report.line(line)
    for text in prepared.plan.warnings:
        report.event("warned", text=text)
    previews = _previews(source, folder, prepared)
    torch.set_num_threads(run.train.threads or torch.get_num_threads())
    trainer = assemble(source, prepared, previews, processes, report)
    encoding = restart_peak()
    if unloadable := portability_of(trainer.network):
        report.event("warned", text=unloadable)
    if resume:
        _resume(trainer, folder, allow, report)
    _check_length(trainer, folder)
    report.accept()
    session = Session(trainer, folder, previews, Validation.of(trainer.lessons, run), report)
    if _complete(session, folder, report):
        rank_table.tell(session, report)  # where the run was killed while it measured
        return
    if run.stop.every_checkpoints and processes.main:
        assert appoint is not None, "[stop] needs somebody who judges"
        session.judging = Judging(trainer, folder, appoint(folder.path, report))
    _started(trainer, prepared, began, report)
    with _board(session, folder, report):
        session.go()
        rank_table.tell(session, report)
    _finished(folder, prepared, trainer, began, encoding, report)


@contextmanager
def _board(session: Session, folder: RunFolder, report: Report) -> Iterator[None]:
    """Lets TensorBoard listen to a session, where it is asked for."""
    trainer = session.trainer
    if not (trainer.run.train.tensorboard and trainer.processes.main):
        session.report = report
        yield
        return
    session.report = board = Board(folder.path / "tensorboard", trainer.counters.step, report)
    try:
        yield
    finally:
        board.close()


def _previews(source: Source, folder: RunFolder, prepared: Prepared) -> Previews:
    """Returns the previews with the noise schedule that is trained; empty where never drawn."""
    run, sample = source.run, source.run.sample
    often = sample.every_steps or sample.every_epochs or sample.at_first
    schedule = NoiseSchedule.of(prepared.model.scheduler, run.objective.zero_terminal_snr)
    return Previews(
        prompts(sample, source.base) if often else [],
        folder.path,
        run.train.seed,
        weights=sample.weights,
        lora=run.output.name,
        schedule_config=schedule.sampler_config(),
    )


def _check_length(trainer: Trainer, folder: RunFolder) -> None:
    """Refuses a run that is longer already than it is now meant to be.

    Raises:
        UserError: more steps are done than the run now asks for.
    """
    done, steps = trainer.counters.step, trainer.steps
    if done > steps:
        raise UserError(
            f"{done} steps are done already, more than train.max_steps = {steps}",
            where=folder.path,
            remedy="The checkpoints lie in lora/; or start a new run in another folder.",
        )


def _complete(session: Session, folder: RunFolder, report: Report) -> bool:
    """Says whether the run is over; a final file that is missing is written again."""
    trainer = session.trainer
    memory, step, steps = trainer.judged, trainer.counters.step, trainer.steps
    stopped = memory.stopped == step < steps and memory.over(trainer.run.stop)
    if memory.pending or not (stopped or step == steps):
        return False
    final = folder.lora / f"{trainer.run.output.name}.safetensors"
    if trainer.processes.main and not final.exists():
        session.save_final()
    if stopped:
        report.line(f"nothing to do: after step {step} of {steps} it {memory.reason()}")
        report.line(
            f"to train on all the same: renma train --resume --out {folder.path} --set "
            f"stop.patience={2 * memory.waiting}, or stop.every_checkpoints=0 to the last step"
        )
        return True
    report.line(f"nothing to do: all {steps} steps are done in {folder.path}")
    return True


def _resume(trainer: Trainer, folder: RunFolder, allow: tuple[str, ...], report: Report) -> None:
    """Goes back to the newest state that is whole.

    Raises:
        UserError: there are states, but none can be read.
    """
    found = states.states(folder.state)
    if not found:
        report.event("warned", text="no state was saved yet: starting from the first step")
        return
    problems = []
    for path in reversed(found):
        try:
            tree = states.load(path)
        except UserError as error:
            problems.append(error.line())
            continue
        if pictures := trainer.lessons.fingerprint().get(contents.KEY):
            contents.settle(tree["fingerprint"], pictures, folder.path, allow)
        trainer.load_state(tree)
        for problem in problems:
            text = f"{problem} Going back to step {trainer.counters.step}."
            report.event("warned", text=text)
        return
    raise UserError(f"no state can be read: {' '.join(problems)}", where=folder.state)


def _started(trainer: Trainer, prepared: Prepared, began: float, report: Report) -> None:
    report.event(
        "started",
        seconds=round(time.monotonic() - began, 1),
        step=trainer.counters.step,
        steps=trainer.steps,
        epochs=prepared.plan.epochs,
        trainable_parameters=sum(p.numel() for p in trainer.trained),
        seed=trainer.run.train.seed,
        version=renma.__version__,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        plan=prepared.plan.as_dict(),
    )


def _finished(
    folder: RunFolder, prepared: Prepared, trainer: Trainer, began: float, encoding: float | None,
    report: Report,
) -> None:  # fmt: skip
    run, memory, step = trainer.run, trainer.judged, trainer.counters.step
    name = f"{run.output.name}.safetensors"
    early = memory.reason() if step < trainer.steps else ""
    rows = list(read_events(folder.events))
    times = [row["seconds"] for row in rows if row["kind"] == "step"]
    # the first steps warm caches up; a run of fewer tells nothing about speed
    if len(times) > 10:
        remember_speed(prepared.flops, statistics.median(times[3:]), run.train.precision)
    report.event(
        "finished",
        steps=step,
        seconds=round(time.monotonic() - began + _earlier(rows), 1),
        peak_memory_mib=max(filter(None, (peak_mib(), encoding)), default=None),
        **({"step_memory_mib": peak_mib()} if encoding else {}),
        path=str(Path("lora") / name),
        **({"reason": early} if early else {}),
    )
    if early:
        report.line(early)
    report.line(f"the LoRA: {folder.lora / name}")
    if run.stop.every_checkpoints and run.stop.keep_best and memory.best:
        report.line(f"the best of {memory.judgings} judged: {folder.best / name}")


_AT_WORK = frozenset(
    {
        "started",
        "step",
        "sampling",
        "sample",
        "saved",
        "validated",
        "judged",
        "interrupted",
        "finished",
    }
)
"""Events that only a run at work tells; what is said while one begins may come hours later."""


def _earlier(rows: list[dict[str, Any]]) -> float:
    """Returns the seconds of work of the sessions before this one.

    Each lasts from its beginning to the last thing it did; the time until somebody went on with
    the run is not counted.
    """
    told = [row for row in rows if row["kind"] in _AT_WORK]
    starts = [i for i, row in enumerate(told) if row["kind"] == "started"]
    return sum(
        told[start].get("seconds", 0.0) + told[end - 1]["time"] - told[start]["time"]
        for start, end in itertools.pairwise(starts)
    )
