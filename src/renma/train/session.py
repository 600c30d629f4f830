"""A run from its first step to its last: events, previews, checkpoints, states, signals."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from renma.core.errors import INTERRUPTED, TERMINATED, Interrupted, UserError
from renma.core.events import Report
from renma.engine.memory import peak_mib
from renma.engine.offload import out_of_memory, reason
from renma.formats import state as states
from renma.train import requests
from renma.train.folder import RunFolder
from renma.train.judging import Judging
from renma.train.loop import StepResult, Trainer
from renma.train.metadata import Progress
from renma.train.previews import Previews
from renma.train.retention import remove_surplus
from renma.train.save import save_lora
from renma.train.signals import StopRequest
from renma.train.stop import Memory
from renma.train.validation import Validation


class Session:
    """Runs a trainer to the end; of several processes the first one writes and talks.

    Args:
        trainer: the trainer, at the step it goes on from.
        folder: where everything goes.
        previews: what is drawn.
        validation: measures the loss on held-out pictures, or None.
        report: told everything.
        judging: has checkpoints judged; None in other processes, and where nobody judges.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: RunFolder,
        previews: Previews,
        validation: Validation | None,
        report: Report,
        judging: Judging | None = None,
    ) -> None:
        self.trainer, self.folder, self.previews = trainer, folder, previews
        self.validation, self.report, self.judging = validation, report, judging
        self._saved_at = time.monotonic()

    def go(self) -> None:
        """Trains until the last step, or until checkpoints get no better.

        Raises:
            Interrupted: a signal came; the state is saved.
            UserError: too many steps in a row were not finite, or the memory is too small.
        """
        trainer, sample = self.trainer, self.trainer.run.sample
        if trainer.counters.step == 0 and trainer.processes.main:
            if sample.at_first:
                self._attempt(self._preview)
            if self.validation:
                self._validate(self.validation)  # what there is to gain
        requests.forget(self.folder.path)
        with StopRequest() as stop:
            self._judge_late()
            while trainer.counters.step < trainer.steps and not trainer.judged.over(
                trainer.run.stop
            ):
                began = time.perf_counter()
                result = self._step()
                self._tell(result, time.perf_counter() - began)
                self._guard(result)
                self._look(stop)
                last = trainer.counters.step == trainer.steps
                hurry = stop.exit_code is not None
                self._keep(last, hurry)
                self._judge(hurry)
                if stop.take_save() and not last:
                    self._attempt(self._save_state)
                code = self._stop(stop)
                if code and not last:
                    self._save_state()
                    step = trainer.counters.step
                    self.report.event("interrupted", step=step)
                    raise Interrupted(
                        code,
                        f"stopped after step {step}; go on with: renma train --resume --out "
                        f"{self.folder.path}",
                    )
            if trainer.counters.step < trainer.steps:
                self._end_early()

    def _look(self, stop: StopRequest) -> None:
        """Does what was asked for by a file, see :mod:`renma.train.requests`."""
        if not self.trainer.processes.main:
            return
        if requests.take(self.folder.path, "stop"):
            stop.exit_code = stop.exit_code or INTERRUPTED
        if requests.take(self.folder.path, "save"):
            self._attempt(self._save_state)
        if requests.take(self.folder.path, "sample"):
            self._attempt(self._preview)

    def _step(self) -> StepResult:
        try:
            return self.trainer.step()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise UserError(
                f"the memory of the device is too small ({reason(error)})",
                remedy="Set train.gradient_checkpointing = true, data.batch_size = 1, a smaller "
                "resolution or model.quantize; `renma plan memory` compares them.",
            ) from None

    def _stop(self, stop: StopRequest) -> int:
        """Returns the exit code if any process was told to stop, else 0."""
        if self.trainer.processes.size == 1:
            return stop.exit_code or 0
        told = torch.tensor([float(stop.exit_code or 0)], device=self.trainer.device)
        self.trainer.processes.add_up([told])
        return (stop.exit_code or TERMINATED) if told.item() else 0

    def _tell(self, result: StepResult, seconds: float) -> None:
        trainer, counters = self.trainer, self.trainer.counters
        if trainer.cycle and trainer.cycle.told:
            self.report.event("merged", **vars(trainer.cycle.told))
            self.report.line(trainer.cycle.told.line())
        self.report.event(
            "step",
            step=counters.step,
            steps=trainer.steps,
            epoch=self._epoch() + 1,
            epochs=trainer.prepared.plan.epochs,
            loss=result.loss if result.finite else None,
            loss_average=counters.loss_average,
            lr=trainer.rates(),
            grad_norm=result.grad_norm if result.finite else None,
            seconds=round(seconds, 4),
            memory_mib=peak_mib(),
            **({"max_norm": vars(trainer.norms)} if trainer.norms else {}),
            **({"loss_scale": result.loss_scale} if result.loss_scale != 1 else {}),
        )

    def _guard(self, result: StepResult) -> None:
        if result.finite or result.overflowed:
            return
        counters, limit = self.trainer.counters, self.trainer.run.train.max_bad_steps
        text = (
            f"step {counters.step} gave loss {result.loss:g}, gradient {result.grad_norm:g} and "
            f"was skipped (pictures {', '.join(result.names)}; timesteps {result.timesteps})"
        )
        self.report.event("warned", text=text)
        if counters.bad_in_a_row >= limit:
            raise UserError(
                f"{limit} steps in a row were not finite, the last: {text}",
                remedy="Lower optimizer.learning_rate or use train.precision = 'fp32'.",
            )

    def _keep(self, last: bool, hurry: bool) -> None:
        """Saves and draws what is due after this step; the state first, it is what resume needs.

        Args:
            last: whether the run is over.
            hurry: whether somebody waits for the run to stop: nothing is drawn or measured.
        """
        step, run = self.trainer.counters.step, self.trainer.run
        by_step = _every(run.train.save_every_steps, step, step - 1)
        by_epoch = self._epoch_due(run.train.save_every_epochs)
        name = f"{run.output.name}-{by_epoch:06d}.safetensors"
        name_of_step = f"{run.output.name}-step{step:08d}.safetensors"
        if last or by_step or by_epoch:
            checkpoint = self._final if last else name_of_step if by_step else name
            self.trainer.judged.written(checkpoint, step, run.stop, last=last)
        if not self.trainer.processes.main:
            return
        minutes = run.train.state_every_minutes
        overdue = minutes and time.monotonic() - self._saved_at > 60 * minutes
        if last:
            self._save_state()
            self.save_final()
        elif by_step or by_epoch or overdue:
            self._attempt(self._save_state)
        if by_epoch and not last:
            self._attempt(lambda: self._save_lora(name))
        if by_step and not last:
            self._attempt(lambda: self._save_lora(name_of_step))
        if hurry:
            return
        if self.validation and (self._due_to_validate(step) or last):
            self._validate(self.validation)
        every = run.sample.every_epochs
        if self._epoch_due(every) if every else _every(run.sample.every_steps, step, step - 1):
            self._attempt(self._preview)

    def save_final(self) -> None:
        """Writes the LoRA under the run's own name."""
        self._save_lora(self._final)

    @property
    def _final(self) -> str:
        return f"{self.trainer.run.output.name}.safetensors"

    def _judge(self, hurry: bool = False) -> None:
        """Has the checkpoint judged that is due; what follows from it holds in all processes.

        Where somebody waits for the run to stop it stays due, and is the first thing on resume.
        """
        trainer = self.trainer
        if not trainer.judged.pending:
            return
        if self.judging and not hurry:
            self.judging.judge(self.report)
            self._attempt(self._save_state)
        trainer.judged = Memory(**trainer.processes.share(vars(trainer.judged)))

    def _judge_late(self) -> None:
        """Judges what an earlier session did not get to; it may not even have written the file."""
        pending = self.trainer.judged.pending
        if pending and self.judging:
            self._attempt(lambda: self._save_lora(pending))
        self._judge()

    def _end_early(self) -> None:
        """Leaves what the last step would have left; the state last, it says that all is there."""
        trainer = self.trainer
        trainer.judged.stopped = step = trainer.counters.step
        if not trainer.processes.main:
            return
        self.save_final()
        if self.validation and not self._due_to_validate(step):
            self._validate(self.validation)
        self._save_state()

    def _epoch_due(self, every: int) -> int:
        """Returns the epoch that was completed in this step if one of every n is, else 0."""
        step = self.trainer.counters.step
        done = self._epochs_done(step)
        return done // every * every if _every(every, done, self._epochs_done(step - 1)) else 0

    def _attempt(self, action: Callable[[], None]) -> None:
        """Does what training can go on without for now; a failure is said and not fatal."""
        try:
            action()
        except UserError as error:
            self.report.event("warned", text=error.line())

    def _save_lora(self, name: str) -> None:
        trainer = self.trainer
        path = self.folder.lora / name
        progress = Progress(trainer.counters.step, self._epoch() + 1, trainer.steps)
        with trainer.evaluating():
            save_lora(
                path, trainer.network, trainer.run, trainer.prepared, trainer.family, progress
            )
        self.report.event("saved", step=trainer.counters.step, path=f"lora/{name}")
        remove_surplus(path, trainer.run.train.keep_checkpoints)

    def _due_to_validate(self, step: int) -> bool:
        train = self.trainer.run.train
        by_step = _every(train.validate_every_steps, step, step - 1)
        return by_step or bool(self._epoch_due(train.validate_every_epochs))

    def _validate(self, validation: Validation) -> None:
        with self.trainer.evaluating():
            loss = validation.loss(self.trainer)
        self.report.event("validated", step=self.trainer.counters.step, loss=loss)

    def _save_state(self) -> None:
        if not self.trainer.processes.main:
            return
        keep = self.trainer.run.train.keep_states
        states.save(self.folder.state, self.trainer.counters.step, self.trainer.state(), keep)
        self._saved_at = time.monotonic()

    def _preview(self) -> None:
        if not self.previews.shots:
            return
        trainer = self.trainer
        given = (trainer.family, trainer.counters.step, self.report, trainer.lessons.encode)
        with trainer.evaluating():
            self.previews.draw(*given, trainer.network)

    def _epoch(self) -> int:
        """Returns the 0-based epoch of the batch shown last."""
        last = max(0, self.trainer.counters.step * self.trainer.batches_per_step - 1)
        return self.trainer.prepared.order.locate(last)[0]

    def _epochs_done(self, step: int) -> int:
        """Returns how many whole epochs have been shown after ``step`` steps."""
        return self.trainer.prepared.order.locate(step * self.trainer.batches_per_step)[0]


def _every(n: int, count: int, before: int) -> bool:
    """Says whether a multiple of n lies after ``before`` and not after ``count``."""
    return n > 0 and count // n > before // n
