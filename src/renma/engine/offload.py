"""Parts of a model that wait in main memory and visit the accelerator only while they work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from renma.families._base import Family


def park(family: Family, part: str) -> None:
    """Moves a part (``vae``) to main memory, where it waits; nothing happens on a CPU."""
    module = family.parts().get(part)
    if module is not None and device_of(module).type != "cpu":
        module.to("cpu")
        torch.cuda.empty_cache()


@contextmanager
def visiting(module: nn.Module, device: torch.device) -> Iterator[None]:
    """Has a parked module on ``device`` inside a ``with`` block, and sends it back after it."""
    home = device_of(module)
    if home == device:
        yield
        return
    module.to(device)
    try:
        yield
    finally:
        module.to(home)


@contextmanager
def evaluating(family: Family) -> Iterator[None]:
    """Switches every part to evaluation (no dropout) inside a ``with`` block, then back."""
    modes = [(m, m.training) for part in family.parts().values() for m in part.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(module: nn.Module) -> torch.device:
    """Returns where a part's weights are."""
    return next(module.parameters()).device


def out_of_memory(error: BaseException) -> bool:
    """Says whether an error means that a device's or the machine's memory is used up."""
    # torch has no class of its own for the CPU's allocator
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def reason(error: BaseException) -> str:
    """Returns an error's first line; Python's own ``MemoryError`` says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]
