"""A class that nobody has tested here shows on a toy that it can be saved and resumed exactly."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from renma.core.errors import UserError
from renma.optimizers._state import load_state, state

Make = Callable[[list[dict[str, Any]]], Optimizer]
_PLAIN = (Tensor, bool, int, float, str, type(None))


def rehearse(make: Make, path: str) -> None:
    """Trains two small matrices with and without a stop between.

    Args:
        make: builds the optimizer from groups.
        path: the class' path, for messages.

    Raises:
        UserError: it cannot take a plain step, its state cannot be saved, or it goes on otherwise
            than without a stop.
    """
    straight = _toy()
    optimizer = make([{"params": straight, "lr": 1e-3}])
    try:
        _train(optimizer, straight, 0, 3)
        tree = copy.deepcopy(state(optimizer))
        resumed = [nn.Parameter(p.detach().clone()) for p in straight]
        _train(optimizer, straight, 3, 6)
        _check_plain(tree, path)
        again = make([{"params": resumed, "lr": 1e-3}])
        load_state(again, tree)
        _train(again, resumed, 3, 6)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, AssertionError) as error:
        raise UserError(
            f"'{path}' cannot train here, a trial step failed: {error}",
            where="optimizer.class_path",
            remedy="Only optimizers whose step() needs nothing but gradients can be used.",
        ) from None
    if not all(map(torch.equal, straight, resumed)):
        raise UserError(
            f"'{path}' does not go on exactly after its state was saved and loaded",
            where="optimizer.class_path",
            remedy="Take another optimizer; a run must be able to resume.",
        )


def _toy() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((8, 4), (6, 8))
    return [nn.Parameter(0.1 * torch.randn(shape, generator=generator)) for shape in shapes]


def _train(optimizer: Optimizer, parameters: list[nn.Parameter], first: int, end: int) -> None:
    for step in range(first, end):
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator) + parameter.detach()
        optimizer.step()


def _check_plain(value: Any, path: str) -> None:
    if isinstance(value, dict):
        for item in value.values():
            _check_plain(item, path)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(item, path)
    elif not isinstance(value, _PLAIN):
        raise UserError(
            f"'{path}' keeps a {type(value).__name__} in its state, which cannot be saved",
            where="optimizer.class_path",
        )
