"""The step size that an optimizer really takes."""

from __future__ import annotations

from torch.optim import Optimizer

from renma.config.optimizers._base import Rates
from renma.config.optimizers.factored import Adafactor


def in_force(optimizer: Optimizer, config: Rates) -> list[float]:
    """Returns the step size of each group in the last step done."""
    if isinstance(config, Adafactor) and config.relative_step:
        steps = [state["step"] for state in optimizer.state.values() if "step" in state]
        return [config.relative_rate(max(steps, default=1))] * len(optimizer.param_groups)
    return [_rate(group) for group in optimizer.param_groups]


def _rate(group: dict) -> float:
    """Returns learning rate times found scale; schedule-free's own warm-up is in its rate."""
    rate = group["scheduled_lr"] if group.get("k") and "scheduled_lr" in group else group["lr"]
    scale = group.get("d", 1.0)
    if group.get("split_groups_mean") and group.get("shared_d") is not None:
        scale = group["shared_d"]
    return float(rate) * float(scale)
