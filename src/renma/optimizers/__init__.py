"""Optimizers: built from their sections, saved and restored exactly.

A section of ``renma/config/optimizers`` names the class and its arguments; nothing here knows one
optimizer from another. Files of this folder hold classes that no library has right, and what all
share. Importing the package costs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from renma.config.optimizers._base import Rates, Traits


def build(
    groups: list[dict[str, Any]], config: Rates, unchanged: Iterable[tuple[Tensor, Tensor]] = ()
) -> Optimizer:
    """Returns the optimizer that a section describes.

    Args:
        groups: torch parameter groups with ``params``, ``lr`` and any marks such as ``name``.
        config: the optimizer's section.
        unchanged: parameters that mean no change elsewhere than at 0, with where they do; an L1
            penalty moves them there.

    Raises:
        UserError: an argument that the class does not take or accept, a device or parameters it
            cannot work with, a class that is no optimizer or does not resume exactly.
    """
    from renma.optimizers._build import build as make

    return make(groups, config, unchanged)


def traits(config: Rates) -> Traits:
    """Returns what the optimizer asks of the run around it."""
    return config.traits


def rates(optimizer: Optimizer, config: Rates) -> list[float]:
    """Returns the step size in force in each group, that of the last step done.

    With Prodigy and D-Adaptation it is the found one; with Adafactor's relative steps it is the
    one before it is scaled by a tensor's size.
    """
    from renma.optimizers._rates import in_force

    return in_force(optimizer, config)


def state(optimizer: Optimizer) -> dict[str, Any]:
    """Returns all that :func:`load_state` needs: tensors, numbers, texts, None, lists, dicts."""
    from renma.optimizers._state import state as take

    return take(optimizer)


def load_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """Puts a state back so that the next step is the one that would have come, bit by bit.

    Raises:
        UserError: the state belongs to other parameters.
    """
    from renma.optimizers._state import load_state as put

    put(optimizer, saved)


def restart(optimizer: Optimizer, fresh: dict[str, Any], keep: float | None = None) -> None:
    """Lets an optimizer begin again, because its parameters do.

    Args:
        optimizer: keeps its parameters, options and hooks.
        fresh: its :func:`state` before the first step.
        keep: share of the moments that stays, where the first one is largest; None forgets
            everything. Only for the optimizers of ``renma.config.relora.MOMENTS``, all of whose
            memory is moments.
    """
    from renma.optimizers._restart import restart as again

    again(optimizer, fresh, keep)


def evaluating(optimizer: Optimizer) -> AbstractContextManager[None]:
    """Returns a context in which parameters hold the values to save, draw or validate with.

    Only schedule-free optimizers tell them from the ones that are stepped. Afterwards the latter
    are back bit by bit, so looking at a LoRA does not change its training.
    """
    from renma.optimizers._evaluate import evaluating as look

    return look(optimizer)
