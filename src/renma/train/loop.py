"""The training loop: every step a pure function of (run, step) and the weights before it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from renma import optimizers, schedules
from renma.config import Run
from renma.config.adapter import Lora
from renma.core.errors import Interrupted, UserError
from renma.core.events import Report
from renma.core.store import file_hash
from renma.diffusion.noise import NoiseSchedule
from renma.engine.network import Network, NormReport
from renma.engine.text_states import TextStates
from renma.families._base import Condition, Family
from renma.formats import state as states
from renma.train.feed import Fed, Feed
from renma.train.folder import RunFolder
from renma.train.objectives import denoise
from renma.train.plan import Prepared, trained_parts
from renma.train.previews import Previews
from renma.train.save import Progress, save_lora
from renma.train.signals import StopRequest

AVERAGE = 0.98
"""Decay of the shown running mean of the loss."""


@dataclass
class Counters:
    """What the loop carries from step to step besides weights and optimizer."""

    step: int = 0
    loss_average: float | None = None
    bad_in_a_row: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did."""

    loss: float
    grad_norm: float
    names: list[str]
    timesteps: list[int]

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        total = torch.tensor([self.loss, self.grad_norm])
        return bool(total.isfinite().all())


class Trainer:
    """Trains one network on one family.

    Args:
        run: the run.
        prepared: its plan and pictures.
        family: the frozen model, with ``network`` attached.
        network: what is trained.
        feed: batches by number.
        text: cached caption states, or None if the text encoder is trained.
    """

    def __init__(
        self,
        run: Run,
        prepared: Prepared,
        family: Family,
        network: Network,
        feed: Feed,
        text: TextStates | None,
    ) -> None:
        self.run, self.prepared, self.family, self.network = run, prepared, family, network
        self.feed, self.text = feed, text
        self.schedule = NoiseSchedule.of(family.scheduler_config)
        self.steps = prepared.plan.steps
        self.counters = Counters()
        self.norms: NormReport | None = None
        self.groups = [g for p in trained_parts(run) for g in network.groups(run.adapter, p)]
        rates = [run.optimizer.rate(group.part) * group.factor for group in self.groups]
        self.optimizer = optimizers.build(
            [
                {"params": group.parameters, "lr": rate, "name": group.name}
                for group, rate in zip(self.groups, rates, strict=True)
            ],
            run.optimizer,
        )
        self.rates_at = [schedules.build(run.schedule, self.steps, rate) for rate in rates]
        self.trained = [p for group in self.groups for p in group.parameters]

    def step(self) -> StepResult:
        """Does one optimizer step and counts it; a step that is not finite changes nothing."""
        accumulation = self.run.train.gradient_accumulation_steps
        first = self.counters.step * accumulation
        batches = [self.feed.batch(first + i) for i in range(accumulation)]
        total = sum(len(batch.captions) for batch in batches)
        for built, group, factor in zip(
            self.optimizer.param_groups, self.groups, self.rates_at, strict=True
        ):
            rate = self.run.optimizer.rate(group.part) * group.factor
            built["lr"] = rate * factor(self.counters.step)
        loss, times = 0.0, []
        for number, batch in enumerate(batches, first):
            draws = self._draws(batch)
            with self.network.training_draws(
                self.run.adapter, self.run.train.seed, number, self._visible(draws.timesteps)
            ):
                value = self._loss(batch, draws)
                (value / total).backward()
            loss += value.item() / total
            times += draws.timesteps.tolist()
        limit = self.run.train.max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.trained, limit).item()
        result = StepResult(loss, norm, [n for b in batches for n in b.names], times)
        if result.finite:
            self.optimizer.step()
            if longest := getattr(self.run.adapter, "max_norm", 0):
                self.norms = self.network.clamp_norms(longest)
        self.optimizer.zero_grad(set_to_none=True)
        self._count(result)
        return result

    def rates(self) -> dict[str, float]:
        """Returns the learning rate in force for each group; Prodigy's includes its own factor."""
        built = zip(self.groups, self.optimizer.param_groups, strict=True)
        return {group.name: g["lr"] * g.get("d", 1.0) for group, g in built}

    def state(self) -> dict[str, Any]:
        """Returns all that :meth:`load_state` needs to go on exactly."""
        return states.to_cpu(
            {
                "network": self.network.state(),
                "optimizer": self.optimizer.state_dict(),
                "counters": vars(self.counters),
                "fingerprint": self._fingerprint(),
            }
        )

    def load_state(self, state: dict[str, Any]) -> None:
        """Goes back to a saved step.

        Raises:
            UserError: pictures or captions are not those the run was begun with.
        """
        then, now = state["fingerprint"], self._fingerprint()
        changed = [what for what in now if then.get(what) != now[what]]
        if changed:
            raise UserError(
                f"cannot resume: {', '.join(changed)} changed since this run began",
                remedy="Put them back, or start a new run in another folder.",
            )
        self.network.load_state(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.counters = Counters(**state["counters"])

    def _fingerprint(self) -> dict[str, str]:
        """Returns digests of what the run depends on beside its options."""
        model = {f"the base model's {part}": h for part, h in self.family.hashes.items()}
        start = self.run.start
        begun = {
            name: file_hash(Path(name)) for name in (start.weights, *start.base_weights) if name
        }
        return {"pictures or captions": self.feed.fingerprint(), **model, **begun}

    def _draws(self, batch: Fed) -> denoise.Draws:
        draws = denoise.draw(
            batch.moments,
            batch.places,
            self.run.train.seed,
            self.schedule.timesteps,
            self.run.objective,
        )
        device = self.trained[0].device
        return denoise.Draws(
            draws.latents.to(device), draws.noise.to(device), draws.timesteps.to(device)
        )

    def _visible(self, timesteps: Tensor) -> Tensor | None:
        """Returns the share of ranks that learn at each timestep (T-LoRA), or None."""
        adapter = self.run.adapter
        if not isinstance(adapter, Lora) or adapter.min_timestep_rank is None:
            return None
        steps = self.schedule.timesteps
        return ((steps - timesteps) / steps) ** adapter.timestep_rank_power

    def _loss(self, batch: Fed, draws: denoise.Draws) -> Tensor:
        config = self.run.objective
        condition = self._condition(batch.captions)
        weights = batch.weights.to(draws.noise.device)
        each = denoise.loss(self.family, self.schedule, draws, condition, weights, config)
        return each.sum()

    def _condition(self, captions: Sequence[str]) -> Condition:
        if self.text is not None:
            return self.text.condition(captions)
        return self.family.encode_text(captions)

    def _count(self, result: StepResult) -> None:
        counters = self.counters
        counters.step += 1
        if not result.finite:
            counters.bad_in_a_row += 1
            counters.skipped += 1
            return
        counters.bad_in_a_row = 0
        # the plain mean at first, so that the first loss does not weigh on the next fifty
        decay = min(AVERAGE, 1 - 1 / (counters.step - counters.skipped))
        before = counters.loss_average or 0.0
        counters.loss_average = decay * before + (1 - decay) * result.loss


class Session:
    """Runs a trainer to the end: events, previews, checkpoints, states, signals."""

    def __init__(
        self, trainer: Trainer, folder: RunFolder, previews: Previews, report: Report
    ) -> None:
        self.trainer, self.folder, self.previews, self.report = trainer, folder, previews, report
        self._saved_at = time.monotonic()

    def go(self) -> None:
        """Trains until the last step.

        Raises:
            Interrupted: a signal came; the state is saved.
            UserError: too many steps in a row were not finite.
        """
        trainer, sample = self.trainer, self.trainer.run.sample
        if trainer.counters.step == 0 and sample.at_first:
            self._attempt(self._preview)
        with StopRequest() as stop:
            while trainer.counters.step < trainer.steps:
                began = time.perf_counter()
                result = trainer.step()
                self._tell(result, time.perf_counter() - began)
                self._guard(result)
                last = trainer.counters.step == trainer.steps
                self._keep(last)
                if stop.exit_code is not None and not last:
                    self._save_state()
                    step = trainer.counters.step
                    self.report.event("interrupted", step=step)
                    raise Interrupted(
                        stop.exit_code,
                        f"stopped after step {step}; go on with: renma train --resume --out "
                        f"{self.folder.path}",
                    )

    def _tell(self, result: StepResult, seconds: float) -> None:
        trainer, counters = self.trainer, self.trainer.counters
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
            **({"max_norm": vars(trainer.norms)} if trainer.norms else {}),
        )

    def _guard(self, result: StepResult) -> None:
        if result.finite:
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

    def _keep(self, last: bool) -> None:
        """Saves and draws what is due after this step; the state first, it is what resume needs."""
        step, run = self.trainer.counters.step, self.trainer.run
        by_step = _every(run.train.save_every_steps, step, step - 1)
        by_epoch = self._epoch_due(run.train.save_every_epochs)
        minutes = run.train.state_every_minutes
        overdue = minutes and time.monotonic() - self._saved_at > 60 * minutes
        if last:
            self._save_state()
            self.save_final()
        elif by_step or by_epoch or overdue:
            self._attempt(self._save_state)
        if by_epoch and not last:
            name = f"{run.output.name}-{by_epoch:06d}.safetensors"
            self._attempt(lambda: self._save_lora(name))
        if by_step and not last:
            name_of_step = f"{run.output.name}-step{step:08d}.safetensors"
            self._attempt(lambda: self._save_lora(name_of_step))
        every = run.sample.every_epochs
        if self._epoch_due(every) if every else _every(run.sample.every_steps, step, step - 1):
            self._attempt(self._preview)

    def save_final(self) -> None:
        """Writes the LoRA under the run's own name."""
        self._save_lora(f"{self.trainer.run.output.name}.safetensors")

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
        save_lora(path, trainer.network, trainer.run, trainer.prepared, trainer.family, progress)
        self.report.event("saved", step=trainer.counters.step, path=f"lora/{name}")

    def _save_state(self) -> None:
        states.save(self.folder.state, self.trainer.counters.step, self.trainer.state())
        self._saved_at = time.monotonic()

    def _preview(self) -> None:
        if not self.previews.shots:
            return
        trainer = self.trainer
        encode = trainer.text.condition if trainer.text else None
        trainer.family.checkpoint_gradients(False)
        self.previews.draw(trainer.family, trainer.counters.step, self.report, encode)
        trainer.family.checkpoint_gradients(trainer.run.train.gradient_checkpointing)

    def _epoch(self) -> int:
        """Returns the 0-based epoch of the batch shown last."""
        accumulation = self.trainer.run.train.gradient_accumulation_steps
        last = max(0, self.trainer.counters.step * accumulation - 1)
        return self.trainer.prepared.order.locate(last)[0]

    def _epochs_done(self, step: int) -> int:
        """Returns how many whole epochs have been shown after ``step`` steps."""
        accumulation = self.trainer.run.train.gradient_accumulation_steps
        return self.trainer.prepared.order.locate(step * accumulation)[0]


def _every(n: int, count: int, before: int) -> bool:
    """Says whether a multiple of n lies after ``before`` and not after ``count``."""
    return n > 0 and count // n > before // n
