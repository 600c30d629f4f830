"""The work of one run: model, caches, network, loop - all that needs torch."""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import renma
from renma.config.prompts import prompts
from renma.core.errors import UserError
from renma.core.events import Report, read_events
from renma.engine.begin import apply_base_weights, begin
from renma.engine.latents import Latents
from renma.engine.memory import peak_mib
from renma.engine.model import load_family
from renma.engine.text_states import TextStates
from renma.families._base import Family
from renma.formats import state as states
from renma.train.board import Board
from renma.train.check import table
from renma.train.feed import Feed
from renma.train.folder import RunFolder
from renma.train.loop import Session, Trainer
from renma.train.plan import Prepared, remember_speed, trained_parts
from renma.train.previews import Previews
from renma.train.save import portability_of
from renma.train.source import Source

TOKENS = 75


def train(
    source: Source, folder: RunFolder, prepared: Prepared, resume: bool, report: Report
) -> None:
    """Trains a run to its end.

    Args:
        source: the complete run and its folder.
        folder: where everything goes.
        prepared: its plan and pictures.
        resume: continue from the newest state.
        report: told everything.

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
    torch.set_num_threads(run.train.threads or torch.get_num_threads())
    family = load_family(run.model, device=run.train.device, precision=run.train.precision)
    apply_base_weights(family, run.start, source.base)
    previews = Previews(prompts(run.sample, source.base), folder.path, run.train.seed)
    if not (run.sample.every_steps or run.sample.every_epochs or run.sample.at_first):
        previews.shots.clear()
    trainer = _trainer(source, prepared, family, previews, report)
    if unloadable := portability_of(trainer.network):
        report.event("warned", text=unloadable)
    if resume:
        _resume(trainer, folder, report)
    session = Session(trainer, folder, previews, report)
    if _complete(session, folder, report):
        return
    _started(trainer, prepared, report)
    board = (
        Board(folder.path / "tensorboard", trainer.counters.step, report)
        if run.train.tensorboard
        else None
    )
    try:
        session.report = board or report
        session.go()
    finally:
        if board:
            board.close()
    _finished(
        folder, prepared, run.train.precision, began, f"{run.output.name}.safetensors", report
    )


def _complete(session: Session, folder: RunFolder, report: Report) -> bool:
    """Says whether the run is over; a final file that is missing is written again.

    Raises:
        UserError: more steps are done than the run now asks for.
    """
    trainer = session.trainer
    done, steps = trainer.counters.step, trainer.steps
    if done > steps:
        raise UserError(
            f"{done} steps are done already, more than train.max_steps = {steps}",
            where=folder.path,
            remedy="The checkpoints lie in lora/; or start a new run in another folder.",
        )
    if done < steps:
        return False
    if not (folder.lora / f"{trainer.run.output.name}.safetensors").exists():
        session.save_final()
    report.line(f"nothing to do: all {steps} steps are done in {folder.path}")
    return True


def _trainer(
    source: Source, prepared: Prepared, family: Family, previews: Previews, report: Report
) -> Trainer:
    """Caches what can be cached, lets parts go that are not needed, attaches the network."""
    run = source.run
    latents = Latents(family)
    feed = Feed(run, prepared, latents)

    def progress(done: int, total: int) -> None:
        report.event("caching", done=done, total=total, what="latents")

    latents.prepare(feed.all_wanted(), progress)
    _warn_long_captions(family, feed, report)
    parts = trained_parts(run)
    text = None
    if "text_encoder" not in parts:
        text = TextStates(family)
        text.prepare([*(feed.fixed_captions() or []), *previews.words()])
    network = begin(family, run.adapter, run.start, run.train.seed, parts, source.base, report)
    if text is not None and feed.fixed_captions() is not None:
        text.keep_all()
        family.release("text_encoder")
    if not previews.shots:
        family.release("vae")
    family.checkpoint_gradients(run.train.gradient_checkpointing)
    network.attach()
    return Trainer(run, prepared, family, network, feed, text)


def _warn_long_captions(family: Family, feed: Feed, report: Report) -> None:
    items = [item for scanned in feed.prepared.scan.sets for item in scanned.items]
    long = [item.path.name for item in items if family.count_tokens(item.caption) > TOKENS]
    if long:
        names = ", ".join(long[:3])
        text = f"{len(long)} captions are longer than {TOKENS} tokens and are cut: {names} ..."
        report.event("warned", text=text)


def _resume(trainer: Trainer, folder: RunFolder, report: Report) -> None:
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
        trainer.load_state(tree)
        for problem in problems:
            text = f"{problem} Going back to step {trainer.counters.step}."
            report.event("warned", text=text)
        return
    raise UserError(f"no state can be read: {' '.join(problems)}", where=folder.state)


def _started(trainer: Trainer, prepared: Prepared, report: Report) -> None:
    report.event(
        "started",
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
    folder: RunFolder, prepared: Prepared, precision: str, began: float, name: str, report: Report
) -> None:
    rows = list(read_events(folder.events))
    times = [row["seconds"] for row in rows if row["kind"] == "step"]
    # the first steps warm caches up; a run of fewer tells nothing about speed
    if len(times) > 10:
        remember_speed(prepared.flops, statistics.median(times[3:]), precision)
    report.event(
        "finished",
        steps=prepared.plan.steps,
        seconds=round(time.monotonic() - began + _earlier(rows), 1),
        peak_memory_mib=peak_mib(),
        path=str(Path("lora") / name),
    )
    report.line(f"the LoRA: {folder.lora / name}")


def _earlier(rows: list[dict[str, Any]]) -> float:
    """Returns the seconds of the sessions before this one, from their first to their last event."""
    starts = [i for i, row in enumerate(rows) if row["kind"] == "started"]
    sessions = itertools.pairwise(starts)
    return sum(rows[end - 1]["time"] - rows[start]["time"] for start, end in sessions)
