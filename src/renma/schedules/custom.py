"""A foreign scheduler, played through once: afterwards its rates are a table by step.

So it needs no state in a checkpoint and can be drawn before training. What looks at anything but
the count of steps (a loss, a validation) cannot be foreseen and is refused.
"""

from __future__ import annotations

import importlib
import json
import warnings
from functools import lru_cache
from typing import Any

from renma.config.schedule import CustomSchedule
from renma.core.errors import UserError, did_you_mean

_WHERE = "schedule.class_path"
_MISUSE = (
    TypeError, ValueError, AttributeError, ArithmeticError, LookupError, AssertionError,
    RuntimeError,
)  # fmt: skip
"""What schedulers raise at arguments they do not accept, some only at a later step."""


def factor(config: CustomSchedule, step: int, total: int, peak: float) -> float:
    """Returns the factor at a step.

    Raises:
        UserError: no such class, arguments that it does not take, or one that needs more than the
            count of steps.
    """
    return _table(config.class_path, json.dumps(config.args), total, peak)[step]


@lru_cache(maxsize=32)
def _table(path: str, args: str, total: int, peak: float) -> tuple[float, ...]:
    """Returns the factors of steps 0 to ``total``."""
    # the whole folder does without torch; only a class of torch's kind brings it along
    torch = importlib.import_module("torch")
    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak or 1.0)
    kind = _find(path)
    try:
        scheduler = kind(dummy, **json.loads(args))
        rates = [dummy.param_groups[0]["lr"]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch misses the steps of an optimizer that rests
            for _ in range(total):
                scheduler.step()
                rates.append(dummy.param_groups[0]["lr"])
    except _MISUSE as error:
        raise UserError(
            f"'{path}' cannot be foreseen from the count of steps: {type(error).__name__}: {error}",
            where=_WHERE,
            remedy="Check schedule.args; a scheduler that watches a loss cannot be used.",
        ) from None
    return tuple(float(rate) / (peak or 1.0) for rate in rates)


def _find(path: str) -> Any:
    package, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise UserError(f"cannot import '{package}': {error}", where=_WHERE) from None
    found = vars(module).get(name)
    if not isinstance(found, type):
        classes = [n for n, c in vars(module).items() if isinstance(c, type)]
        raise UserError(
            f"there is no scheduler class '{path}'",
            where=_WHERE,
            remedy=did_you_mean(name, classes),
        )
    return found
