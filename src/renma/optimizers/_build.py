"""From a section to the optimizer: class found, arguments checked, mistakes said in one line."""

from __future__ import annotations

import importlib
import inspect
import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from renma.config.optimizers._base import Rates
from renma.config.optimizers.custom import Custom
from renma.core.errors import UserError, did_you_mean
from renma.optimizers import _l1
from renma.optimizers._evaluate import Averaging
from renma.optimizers._rehearsal import rehearse

_MISUSE = (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError)
"""What libraries raise at arguments they do not accept."""


def build(
    groups: list[dict[str, Any]], config: Rates, unchanged: Iterable[tuple[Tensor, Tensor]] = ()
) -> Optimizer:
    """See :func:`renma.optimizers.build`."""
    kind = find(config.class_path if isinstance(config, Custom) else config.source)
    arguments = config.arguments()
    _check_arguments(kind, arguments)
    if config.traits.paged and any(p.device.type == "cpu" for g in groups for p in g["params"]):
        raise UserError(
            f"{kind.__name__} keeps its state in paged memory, which only GPUs have",
            where="optimizer.name",
            remedy=f"Take '{_unpaged(config)}' on a CPU.",
        )
    rate = max(group.get("lr", config.learning_rate) for group in groups)
    if config.traits.own_schedule == "relative_step":
        rate = None  # transformers refuses both; the groups' rates are then not read
    if isinstance(config, Custom):
        rehearse(lambda small: _make(kind, small, rate, arguments), config.class_path)
    optimizer = _make(kind, groups, rate, arguments)
    if config.l1:
        _l1.attach(optimizer, config, unchanged)
    return optimizer


def find(path: str) -> type[Optimizer]:
    """Returns the optimizer class with a dotted path.

    Raises:
        UserError: the package is not installed, has no such class, or the class is no optimizer.
    """
    package, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise UserError(
            f"cannot import '{package}': {error}",
            where="optimizer.class_path",
            remedy="Install the package, or correct the path.",
        ) from None
    found = vars(module).get(name)
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        classes = [n for n, c in vars(module).items() if _is_optimizer(c)]
        raise UserError(
            f"'{path}' is no optimizer class",
            where="optimizer.class_path",
            remedy=did_you_mean(name, classes) or "A class derived from torch.optim.Optimizer.",
        )
    return found


def _is_optimizer(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Optimizer)


def _make(
    kind: type[Any],
    groups: list[dict[str, Any]],
    rate: float | None,
    arguments: dict[str, Any],
) -> Optimizer:
    """Returns the optimizer, ready to step."""
    try:
        with redirect_stdout(io.StringIO()):  # several libraries greet
            optimizer: Optimizer = kind(groups, lr=rate, **arguments)
    except _MISUSE as error:
        raise UserError(
            f"{kind.__name__} does not accept this: {error}",
            where="optimizer",
            remedy=f"Its arguments are {', '.join(_parameters(kind))}.",
        ) from None
    if isinstance(optimizer, Averaging):
        optimizer.train()
    return optimizer


def _check_arguments(kind: type[Optimizer], arguments: Iterable[str]) -> None:
    """Refuses arguments that the class does not have.

    Raises:
        UserError: there is one.
    """
    known = _parameters(kind)
    for name in arguments:
        if name not in known and "**" not in known:
            raise UserError(
                f"{kind.__name__} takes no argument '{name}'",
                where="optimizer.args",
                remedy=did_you_mean(name, known) or f"Its arguments are {', '.join(known)}.",
            )


def _parameters(kind: type[Optimizer]) -> list[str]:
    """Returns the names of a class' arguments, and ``**`` if it takes any."""
    every = list(inspect.signature(kind).parameters.values())[1:]
    names = [p.name for p in every if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [n for n in names if n != "lr"] + ["**" for p in every if p.kind == p.VAR_KEYWORD]


def _unpaged(config: Rates) -> str:
    name = config.source.rpartition(".")[2].removeprefix("Paged").lower()
    return name.removesuffix("32bit")
