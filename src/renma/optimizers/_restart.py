"""An optimizer that begins again while its parameters are others: at ReLoRA's merges.

Moments of factors that are gone say nothing about the new ones. The authors reset nearly all of
each moment, at random or the smallest, and leave the count of steps as it is (arXiv 2307.05695);
with a second moment at 0 and no correction for a young average, Adam's first steps are then up to
1 / sqrt(1 - beta2) = 32 times too long. So counts begin anew here, and what is kept is made what it
would be after a single step: as it was, it would pass for a thousand times that, and hold its
parameters still for as long as the second moment remembers.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from renma.optimizers._state import load_state

_TABLES = ("qmap1", "qmap2")
"""What 8-bit codes mean (bitsandbytes); no memory of any step."""
_FIRST = ("exp_avg", "state1", "momentum_buffer")
"""Names of the first moment."""
_SECOND = {"exp_avg_sq", "state2"}
"""Names of the second one, which a young average is corrected for."""


def restart(optimizer: Optimizer, fresh: dict[str, Any], keep: float | None) -> None:
    """See :func:`renma.optimizers.restart`."""
    for group, before in zip(optimizer.param_groups, fresh["param_groups"], strict=True):
        for name in group.keys() - before.keys():  # some count their steps here from the first on
            del group[name]
    if keep is None:
        held = {p: state for p, state in optimizer.state.items() if "state1" in state}
        load_state(optimizer, fresh)
        for parameter, state in held.items():  # paged memory is never given back, so it stays
            optimizer.state[parameter] = _zeroed(state)
        return
    for group, before in zip(optimizer.param_groups, fresh["param_groups"], strict=True):
        for name in before.keys() - {"params", "lr"}:
            group[name] = before[name]
        states = [optimizer.state[p] for p in group["params"] if p in optimizer.state]
        for state in states:
            _prune(state, keep)
            _after_one(state, group.get("betas", ()))
        # whoever counts in the group keeps averages that are corrected already
        if any("step" not in state and _SECOND & state.keys() for state in states):
            group["step"] = 1


def _zeroed(state: dict[str, Any]) -> dict[str, Any]:
    """Returns the same tensors as bitsandbytes begins with: codes and scales of 0."""
    for name, value in state.items():
        if isinstance(value, Tensor) and name not in _TABLES:
            value.zero_()
    _count_anew(state)
    return state


def _count_anew(state: dict[str, Any]) -> None:
    count = state.get("step")
    if isinstance(count, Tensor):
        count.zero_()
    elif count is not None:
        state["step"] = 0


@torch.no_grad()
def _after_one(state: dict[str, Any], betas: tuple[float, ...]) -> None:
    """Counts one step, and makes of averages over many what they would be after it alone."""
    count = state.get("step")
    if count is None or not _SECOND & state.keys():
        _count_anew(state)
        return
    for name, beta in (
        ("exp_avg", betas[0]), ("exp_avg_sq", betas[1]), ("state1", betas[0]), ("state2", betas[1]),
    ):  # fmt: skip
        if name in state:
            value = state[name]
            scale = state[name.replace("state", "absmax")] if value.dtype == torch.uint8 else value
            rows = scale[0] if _stacked(state, name) else scale  # the slow one is never corrected
            rows.mul_((1 - beta) / (1 - beta ** float(count)))
    _count_anew(state)
    state["step"] += 1


@torch.no_grad()
def _prune(state: dict[str, Any], keep: float) -> None:
    """Sets moments to 0 but where the first one is largest.

    All of them in the same places: a first moment without its second would be divided by next to
    nothing.
    """
    moments = [name for name, value in state.items() if _is_moment(name, value)]
    first = next(name for name in moments if name in _FIRST)
    mask = _largest(_numbers(state, first), keep)
    for name in moments:
        value = state[name]
        zero = 0
        if value.dtype == torch.uint8:  # the code that stands for 0
            zero = int(state[name.replace("state", "qmap")].abs().argmin())
        # bitsandbytes stacks AdEMAMix's two first moments; the slow one goes by the fast one's
        rows = value.reshape(-1, mask.numel())
        rows[:, ~mask] = zero


def _is_moment(name: str, value: Any) -> bool:
    scale = name.startswith(("absmax", *_TABLES))
    return isinstance(value, Tensor) and value.numel() > 1 and not scale


def _largest(values: Tensor, keep: float) -> Tensor:
    """Returns the mask of the largest numbers: ``keep`` of them, at least one."""
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[values.abs().topk(max(1, math.floor(keep * values.numel()))).indices] = True
    return mask


def _numbers(state: dict[str, Any], name: str) -> Tensor:
    """Returns a first moment's numbers in a row; an 8-bit code is a table's entry times a scale."""
    value = state[name]
    if value.dtype == torch.uint8:
        codes, scales = value.flatten(), state[name.replace("state", "absmax")].flatten()
        block = 2 ** math.ceil(math.log2(codes.numel() / scales.numel()))
        table = state[name.replace("state", "qmap")]
        scales = scales.repeat_interleave(block)[: codes.numel()]
        numbers = table[codes.long()] * scales
    else:
        numbers = value.flatten()
    return numbers[: numbers.numel() // 2] if _stacked(state, name) else numbers


def _stacked(state: dict[str, Any], name: str) -> bool:
    other = state.get("state2")
    return name == "state1" and other is not None and state[name].numel() == 2 * other.numel()
