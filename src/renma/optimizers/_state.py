"""An optimizer's state, taken and put back without the rounding that libraries allow themselves.

``torch.optim.Optimizer.load_state_dict`` casts floating-point state to the parameter's type, some
libraries keep theirs in bfloat16 or bytes, some keep tensors in the groups, and some wrap their
tensors for other purposes. So the state is read and put back here, for all of them alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from renma.core.errors import UserError


def state(optimizer: Optimizer) -> dict[str, Any]:
    """See :func:`renma.optimizers.state`."""
    return _dense(Optimizer.state_dict(optimizer))  # the base class': bitsandbytes wraps its own


def load_state(optimizer: Optimizer, saved: dict[str, Any]) -> None:
    """See :func:`renma.optimizers.load_state`."""
    groups, stored = optimizer.param_groups, saved["param_groups"]
    sizes = [len(group["params"]) for group in groups]
    if sizes != [len(group["params"]) for group in stored] or _names(groups) != _names(stored):
        raise UserError(
            f"the optimizer's state is of other parameter groups ({_names(stored)} with "
            f"{[len(g['params']) for g in stored]} tensors) than this run's ({_names(groups)} "
            f"with {sizes})",
            remedy="Put the options back that decide what is trained, or start a new run.",
        )
    optimizer.state.clear()
    for group, before in zip(groups, stored, strict=True):
        for number, parameter in zip(before["params"], group["params"], strict=True):
            # a parameter that has had no gradient yet has no state
            for name, value in saved["state"].get(number, {}).items():
                device = _home(name, group, parameter.device)
                optimizer.state[parameter][name] = _placed(value, device)
        device = group["params"][0].device
        for name in before.keys() - {"params"}:
            group[name] = _like(group.get(name), _placed(before[name], device))


def _dense(value: Any) -> Any:
    """Returns the tree with every tensor's numbers in a row; Prodigy's slices keep their gaps."""
    if isinstance(value, Tensor):
        dense = torch.empty(value.shape, device="meta").stride() == value.stride()
        return value if dense else value.clone(memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {name: _dense(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_dense(item) for item in value)
    return value


def _names(groups: list[dict[str, Any]]) -> list[str]:
    return [str(group.get("name", number)) for number, group in enumerate(groups)]


def _home(name: str, group: dict[str, Any], device: torch.device) -> torch.device:
    """Returns where a tensor of state lives: torch counts steps on the CPU unless it is fused."""
    counted_apart = name == "step" and not (group.get("fused") or group.get("capturable"))
    return torch.device("cpu") if counted_apart else device


def _placed(value: Any, device: torch.device) -> Any:
    """Returns a copy with its tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if isinstance(value, dict):
        return {name: _placed(item, device) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_placed(item, device) for item in value)
    return value


def _like(now: Any, value: Any) -> Any:
    """Returns a stored list as the tuple that stood in its place."""
    return tuple(value) if isinstance(now, tuple) and isinstance(value, list) else value
