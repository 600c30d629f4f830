"""Where and how the stages compute: device, precision, averaging, checkpoints, learning rate.

Everything here is shared by the four training stages and knows none of them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Machine:
    """The device, and how a stage reports and saves."""

    device: torch.device
    work: Path
    say: Callable[[str], None] = print
    minutes: float = math.inf
    save_every: float = 180.0
    started: float = field(default_factory=time.monotonic)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return bfloat16 autocast for the device."""
        return torch.autocast(self.device.type, torch.bfloat16)

    def convolving(self) -> AbstractContextManager[Any]:
        """Return bfloat16 autocast on a GPU only.

        On CPUs the backward pass of a bfloat16 convolution is slower than in float32.
        """
        return self.autocast() if self.device.type == "cuda" else nullcontext()

    def out_of_time(self) -> bool:
        """Say whether the minutes asked for are used up."""
        return time.monotonic() - self.started > self.minutes * 60


class OutOfTime(Exception):
    """The minutes asked for are used up; the checkpoint is written."""


class Average:
    """Exponential moving average of a module's parameters."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = [p.detach().clone() for p in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average; young averages move faster."""
        rate = 1 - min(self.decay, (1 + step) / (10 + step))
        parameters = [p.detach() for p in module.parameters()]
        torch._foreach_lerp_(self.values, parameters, rate)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Write the average into a module."""
        for p, value in zip(module.parameters(), self.values, strict=True):
            p.copy_(value)


def cosine(step: int, steps: int, warmup: int = 50, floor: float = 0.02) -> float:
    """Return the learning-rate factor: linear warm-up, then half a cosine to `floor`."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def optimizer(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> torch.optim.AdamW:
    """Return AdamW with the betas of the recipe."""
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)


def save_atomically(state: object, path: Path) -> None:
    """Write a checkpoint so that a kill never leaves half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


@dataclass
class Run:
    """One stage's loop state: module, optimizer, average and step, resumable from its file."""

    name: str
    module: nn.Module
    machine: Machine
    rate: float
    steps: int
    weight_decay: float = 0.01
    decay: float = 0.998

    def __post_init__(self) -> None:
        self.module.to(self.machine.device)
        self.parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.adam = optimizer(self.parameters, self.rate, self.weight_decay)
        self.average = Average(self.module, self.decay)
        self.step, self.seconds = 0, 0.0
        self.path = self.machine.work / f"{self.name}.pt"
        if self.path.exists():
            self._load()

    def _load(self) -> None:
        state = torch.load(self.path, map_location=self.machine.device, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.adam.load_state_dict(state["adam"])
        self.average.values = state["average"]
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "module": self.module.state_dict(),
            "adam": self.adam.state_dict(),
            "average": self.average.values,
            "step": self.step,
            "seconds": self.seconds,
        }
        save_atomically(state, self.path)

    def descend(self, loss: Tensor) -> None:
        """Take one optimizer step (gradient clipped to norm 1) and move the average."""
        for group in self.adam.param_groups:
            group["lr"] = self.rate * cosine(self.step, self.steps)
        if loss.requires_grad:  # else the gradients came out of a CUDA graph
            self.adam.zero_grad(set_to_none=True)
            loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        self.average.update(self.module, self.step)

    def loop(
        self,
        loss_of: Callable[[int], Tensor],
        each_save: Callable[[], None] | None = None,
        every: float = 600.0,
    ) -> nn.Module:
        """Run to the last step and return the module with averaged weights."""
        self.module.train()
        last_save = last_score = mark = time.monotonic()
        while self.step < self.steps:
            loss = loss_of(self.step)
            self.descend(loss)
            self.step += 1
            if self.step % 200 == 0:
                self.machine.say(f"{self.name} {self.step}/{self.steps} loss {loss.item():.4f}")
            now = time.monotonic()
            self.seconds, mark = self.seconds + now - mark, now
            if now - last_save > self.machine.save_every or self.machine.out_of_time():
                self.save()
                last_save = now
                if self.machine.out_of_time():
                    raise OutOfTime(self.name)
            if each_save and now - last_score > every:
                each_save()
                self.module.train()
                last_score = mark = time.monotonic()
        self.save()
        self.average.copy_to(self.module)
        self.machine.say(f"{self.name}: {self.steps} steps in {self.seconds:.0f} s")
        return self.module.eval()
