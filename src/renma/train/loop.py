"""The training loop: every step a pure function of (run, step) and the weights before it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from renma import optimizers, schedules
from renma.config import Run
from renma.config.adapter import Lora
from renma.core.errors import UserError
from renma.engine.network import Network, NormReport
from renma.families._base import Family
from renma.formats import state as states
from renma.train.lessons import Lessons, schedule_of
from renma.train.plan import Prepared, batches_per_step, trained_parts
from renma.train.procedures import relora
from renma.train.processes import Processes
from renma.train.stop import Memory

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
    """What one optimizer step did.

    Attributes:
        loss: mean over the samples of all processes.
        grad_norm: length of the gradient before it is cut.
        names: pictures that this process showed.
        timesteps: of them.
        loss_scale: by which fp16's loss was multiplied; 1 in other precisions.
    """

    loss: float
    grad_norm: float
    names: list[str]
    timesteps: list[int]
    loss_scale: float = 1.0

    @property
    def finite(self) -> bool:
        """Whether loss and gradient are numbers."""
        total = torch.tensor([self.loss, self.grad_norm])
        return bool(total.isfinite().all())

    @property
    def overflowed(self) -> bool:
        """Whether only the loss scale was too large, which the next step mends by itself."""
        return not self.finite and self.loss_scale > 1 and abs(self.loss) < float("inf")


class Trainer:
    """Trains one network on one family.

    Args:
        run: the run.
        prepared: its plan and pictures.
        family: the frozen model, with ``network`` attached.
        network: what is trained; one that can be merged is, at the ends of its cycles.
        lessons: what it learns from.
        processes: who shares the work.
        begun: digests of the LoRA files that training began with, by what they are for.
    """

    def __init__(
        self,
        run: Run,
        prepared: Prepared,
        family: Family,
        network: Network,
        lessons: Lessons,
        processes: Processes | None = None,
        begun: Mapping[str, str] | None = None,
    ) -> None:
        self.run, self.prepared, self.family, self.network = run, prepared, family, network
        self.lessons, self.processes = lessons, processes or Processes()
        self.schedule = schedule_of(run, family)
        self.steps = prepared.plan.steps
        self.batches_per_step = batches_per_step(run)
        self._begun = {**lessons.fingerprint(), **(begun or {})}
        self.counters, self.judged = Counters(), Memory()
        self.norms: NormReport | None = None
        self.groups = [g for p in trained_parts(run) for g in network.groups(run.adapter, p)]
        rates = [run.optimizer.rate(group.part) * group.factor for group in self.groups]
        self.optimizer = optimizers.build(
            [
                {"params": group.parameters, "lr": rate, "name": group.name}
                for group, rate in zip(self.groups, rates, strict=True)
            ],
            run.optimizer,
            network.unchanged() if run.optimizer.l1 else (),
        )
        self.rates_at = [schedules.of_run(run, self.steps, rate) for rate in rates]
        self.trained = [p for group in self.groups for p in group.parameters]
        self.device = self.trained[0].device
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=run.train.precision == "fp16")
        self.cycle = relora.Relora.of(self)

    def step(self) -> StepResult:
        """Does one optimizer step and counts it; a step that is not finite changes nothing."""
        if self.cycle:
            self.cycle.before_step()
        first = self.counters.step * self.batches_per_step
        numbers = range(first, first + self.batches_per_step)
        total = sum(self.lessons.count(number) for number in numbers)
        self._set_rates()
        losses = [torch.zeros((), device=self.device)]
        names: list[str] = []
        times: list[Tensor] = []
        for number in self.processes.deal(numbers):
            lesson = self.lessons.lesson(number, self.counters.step)
            with self.network.training_draws(
                self.run.adapter, self.run.train.seed, number, self._visible(lesson.timesteps)
            ):
                value = lesson.loss() / total
                self.scaler.scale(value).backward()
            losses.append(value.detach())
            names += lesson.names
            times.append(lesson.timesteps)
        result = self._move(torch.stack(losses).sum(), names, times)
        self._count(result)
        return result

    def rates(self) -> dict[str, float]:
        """Returns the learning rate in force for each group, as the optimizer scales it."""
        found = optimizers.rates(self.optimizer, self.run.optimizer)
        return {group.name: rate for group, rate in zip(self.groups, found, strict=True)}

    def evaluating(self) -> AbstractContextManager[None]:
        """Returns the context in which weights are those to save, draw and validate with."""
        return optimizers.evaluating(self.optimizer)

    def state(self) -> dict[str, Any]:
        """Returns all that :meth:`load_state` needs to go on exactly."""
        return states.to_cpu(
            {
                "network": self.network.state(),
                "optimizer": optimizers.state(self.optimizer),
                "scaler": self.scaler.state_dict(),
                "counters": vars(self.counters),
                "fingerprint": self._fingerprint(),
                **({"stop": vars(self.judged)} if self.judged != Memory() else {}),
                **({relora.KEY: self.cycle.state()} if self.cycle else {}),
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
        optimizers.load_state(self.optimizer, state["optimizer"])
        if self.cycle:
            self.cycle.load_state(state[relora.KEY])
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.counters = Counters(**state["counters"])
        self.judged = Memory.restored(state.get("stop"), self.run.stop)

    def _set_rates(self) -> None:
        built = zip(self.optimizer.param_groups, self.groups, self.rates_at, strict=True)
        for row, group, factor in built:
            rate = self.run.optimizer.rate(group.part) * group.factor
            row["lr"] = rate * factor(self.counters.step)

    def _move(self, loss: Tensor, names: list[str], times: list[Tensor]) -> StepResult:
        """Adds gradients up over processes, cuts them, and moves the weights if all is finite."""
        self._share(loss)
        scale = float(self.scaler.get_scale()) if self.scaler.is_enabled() else 1.0
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        limit = self.run.train.max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.trained, limit)
        value, length = torch.stack([loss, norm.to(loss)]).tolist()  # one wait for the device
        shown = torch.cat(times).tolist() if times else []
        result = StepResult(value, length, names, shown, scale)
        if result.finite:
            self.optimizer.step()
            if longest := getattr(self.run.adapter, "max_norm", 0):
                self.norms = self.network.clamp_norms(longest)
        if self.scaler.is_enabled():
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return result

    def _share(self, loss: Tensor) -> None:
        """Sums gradients and loss over all processes."""
        if self.processes.size == 1:
            return
        for parameter in self.trained:  # one that no batch of this process reached
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.processes.add_up([*(p.grad for p in self.trained if p.grad is not None), loss])

    def _fingerprint(self) -> dict[str, str]:
        """Returns digests of what the run depends on beside its options."""
        model = {f"the base model's {part}": h for part, h in self.family.hashes.items()}
        return {**model, **self._begun}

    def _visible(self, timesteps: Tensor) -> Tensor | None:
        """Returns the share of ranks that learn at each timestep (T-LoRA), or None."""
        adapter = self.run.adapter
        if not isinstance(adapter, Lora) or adapter.min_timestep_rank is None:
            return None
        steps = self.schedule.timesteps
        return ((steps - timesteps) / steps) ** adapter.timestep_rank_power

    def _count(self, result: StepResult) -> None:
        counters = self.counters
        counters.step += 1
        if not result.finite:
            counters.bad_in_a_row += not result.overflowed
            counters.skipped += 1
            return
        counters.bad_in_a_row = 0
        # the plain mean at first, so that the first loss does not weigh on the next fifty
        decay = min(AVERAGE, 1 - 1 / (counters.step - counters.skipped))
        before = counters.loss_average or 0.0
        counters.loss_average = decay * before + (1 - decay) * result.loss
