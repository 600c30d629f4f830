"""The weights to use, where they are not those that are stepped (schedule-free)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import torch
from torch.optim import Optimizer


@runtime_checkable
class Averaging(Protocol):
    """What schedule-free optimizers agree on."""

    def train(self) -> None:
        """Puts the weights to step into the parameters."""
        ...

    def eval(self) -> None:
        """Puts the weights to use into the parameters."""
        ...


@contextmanager
def evaluating(optimizer: Optimizer) -> Iterator[None]:
    """See :func:`renma.optimizers.evaluating`."""
    if not isinstance(optimizer, Averaging):
        yield
        return
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    stepped = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()
    try:
        yield
    finally:
        optimizer.train()
        # going there and back by interpolation is off by rounding; the copy is not
        with torch.no_grad():
            for parameter, value in zip(parameters, stepped, strict=True):
                parameter.copy_(value)
