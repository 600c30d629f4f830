"""A checkpoint judged while the run goes on: the model lent to the referee, and all put back.

Training notices nothing of it: the trained network is off the model meanwhile, optimizer and data
order are not touched, every random draw of training is keyed, and what had to be loaded leaves.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.judgement import Judgement
from renma.core.store import write_atomic
from renma.engine.offload import evaluating, out_of_memory, visiting
from renma.families._base import Family
from renma.train.folder import RunFolder
from renma.train.loop import Trainer
from renma.train.stop import Referee


class Judging:
    """Has checkpoints judged and keeps the best; in the first process only.

    Args:
        trainer: whose checkpoints; its memory of the rule is brought up to date.
        folder: of the run.
        referee: judges.
    """

    def __init__(self, trainer: Trainer, folder: RunFolder, referee: Referee) -> None:
        self.trainer, self.folder, self.referee = trainer, folder, referee

    def judge(self, report: Report) -> None:
        """Judges the checkpoint that is due; a failure is said, and training goes on.

        Args:
            report: told ``judged`` or ``warned``.
        """
        memory, step = self.trainer.judged, self.trainer.counters.step
        name, memory.pending = memory.pending, ""
        try:
            judgement = self._asked(name, step)
        except UserError as error:
            report.event("warned", text=f"step {step} is not judged: {error.line()}")
            return
        config = self.trainer.run.stop
        if memory.take(judgement, f"lora/{name}", step, config) and config.keep_best:
            self._copy(name, report)
        report.event(
            "judged",
            step=step,
            path=f"lora/{name}",
            merit=judgement.merit,
            error=judgement.error,
            best=memory.best,
            best_step=memory.best_step,
            best_merit=memory.best_merit,
            waiting=memory.waiting,
            patience=config.patience,
        )
        report.line(self._words(judgement, step))

    def _asked(self, name: str, step: int) -> Judgement:
        """Returns the referee's judgement.

        Raises:
            UserError: there is none.
        """
        path = self.folder.lora / name
        if not path.is_file():
            raise UserError("could not be written", where=path)
        try:
            with lent(self.trainer) as family:
                found = self.referee.merit(path, step, family)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                "not enough memory to draw beside what training keeps",
                remedy="Judge afterwards instead, with `renma judge`.",
            ) from None
        except ValueError as error:
            # what was drawn cannot be measured; a run is worth more than a judgement
            raise UserError(f"cannot be measured: {error}", where=path) from None
        if not math.isfinite(found.merit):
            raise UserError(f"its merit is no number ({found.merit})", where=path)
        return found

    def _copy(self, name: str, report: Report) -> None:
        source, target = self.folder.lora / name, f"{self.trainer.run.output.name}.safetensors"
        try:
            write_atomic(
                self.folder.best / target,
                lambda part: shutil.copyfile(source, part),
                size=source.stat().st_size,
            )
        except UserError as error:
            report.event("warned", text=error.line())

    def _words(self, judgement: Judgement, step: int) -> str:
        memory, config = self.trainer.judged, self.trainer.run.stop
        error = "" if judgement.error is None else f" ± {judgement.error:.3f}"
        told = f"step {step} judged: merit {judgement.merit:.3f}{error}"
        if memory.best_step == step:
            told += ", the best so far"
        else:
            told += f"; the best is step {memory.best_step} with {memory.best_merit:.3f}"
        if memory.waiting:
            told += f"; {memory.waiting} of {config.patience} without betterment"
        return told


@contextmanager
def lent(trainer: Trainer) -> Iterator[Family | None]:
    """Yields the model of a run as it is without any LoRA, all parts in memory and on the device.

    Afterwards the trained network is back, and what was loaded is gone. None is yielded, and
    nothing touched, where LoRAs are merged into the model in memory: it is not the one on disk.
    """
    if trainer.run.start.base_weights:
        yield None
        return
    family, network, threads = trainer.family, trainer.network, torch.get_num_threads()
    before = set(family.parts())
    network.detach()
    try:
        with ExitStack() as stack:
            for part in ("vae", *family.text_parts):
                family.load(part)
            stack.enter_context(visiting(family.parts()["vae"], family.device))
            stack.enter_context(evaluating(family))
            yield family
    finally:
        for part in set(family.parts()) - before:
            family.release(part)
        network.attach()
        torch.set_num_threads(threads)
        if family.device.type == "cuda":
            torch.cuda.empty_cache()
