"""What a run will write: checkpoints, states, previews, and the room they take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from renma.config import Run
from renma.data.order import Order
from renma.train.retention import free_bytes, room_needed
from renma.train.trained import batches_per_step


@dataclass(frozen=True)
class Saves:
    """The files of a run.

    Attributes:
        files: LoRA files by name, with the step they are written after; the final one is last.
        kept: how many of them are left at the end.
        file_bytes: of one.
        state_bytes: of one state, which resume needs.
        states: how many of those are left.
        room: bytes that all of it takes at most.
        free: bytes that the disk has.
        previews: pictures drawn each time.
        preview_steps: the steps after which they are drawn; 0 is before the first.
    """

    files: tuple[tuple[str, int], ...]
    kept: int
    file_bytes: int
    state_bytes: int
    states: int
    room: int
    free: int
    previews: int
    preview_steps: tuple[int, ...]


def saves(run: Run, order: Order, steps: int, base: Path, size: tuple[int, int]) -> Saves:
    """Returns what will be written.

    Args:
        run: the run.
        order: its batches.
        steps: its optimizer steps.
        base: folder of the run.
        size: bytes of a LoRA file and of a state.
    """
    train, name = run.train, run.output.name
    by_step = tuple(
        (f"{name}-step{step:08d}.safetensors", step)
        for step in _steps(train.save_every_steps, steps)
    )
    by_epoch = tuple(
        (f"{name}-{epoch:06d}.safetensors", step)
        for epoch, step in _epochs(run, order, train.save_every_epochs, steps)
    )
    files = sorted((*by_step, *by_epoch), key=lambda each: each[1])
    keep = train.keep_checkpoints
    kept = min(len(by_step), keep or len(by_step)) + min(len(by_epoch), keep or len(by_epoch))
    room = room_needed(
        checkpoint=size[0],
        checkpoints=len(files),
        keep_checkpoints=2 * keep if by_step and by_epoch else keep,
        state=size[1],
        keep_states=train.keep_states,
    )
    if run.stop.every_checkpoints and run.stop.keep_best:
        room += size[0]  # the copy of the best one
    return Saves(
        files=(*files, (f"{name}.safetensors", steps)),
        kept=kept + 1,
        file_bytes=size[0],
        state_bytes=size[1],
        states=train.keep_states,
        room=room,
        free=free_bytes(base),
        previews=0,
        preview_steps=tuple(_preview_steps(run, order, steps)),
    )


def _steps(every: int, steps: int) -> range:
    """Returns the steps before the last at which one of every n comes."""
    return range(every, steps, every) if every else range(0)


def _epochs(run: Run, order: Order, every: int, steps: int) -> list[tuple[int, int]]:
    """Returns each n-th epoch that ends before the last step, and the step that completes it.

    Of epochs that one step completes together the last counts.
    """
    each, epoch, found = batches_per_step(run), every, dict[int, int]()
    while every and (step := -(-order.batches_in(epoch) // each)) < steps:
        found[step] = epoch
        epoch += every
    return [(epoch, step) for step, epoch in found.items()]


def _preview_steps(run: Run, order: Order, steps: int) -> Iterator[int]:
    sample = run.sample
    if not (sample.prompts or sample.prompts_file):
        return
    if sample.at_first:
        yield 0
    if sample.every_epochs:
        yield from (step for _, step in _epochs(run, order, sample.every_epochs, steps + 1))
    elif sample.every_steps:
        yield from range(sample.every_steps, steps + 1, sample.every_steps)
