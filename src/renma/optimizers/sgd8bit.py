"""Gradient descent with Nesterov's momentum, the momentum in 8 bits.

v <- momentum v + g;  p <- p - rate (g + momentum v), as torch.optim.SGD has it. bitsandbytes' own
SGD8bit takes ``nesterov`` and leaves it unused, so only its block-wise quantisation
(arXiv 2110.02861) is taken from there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from bitsandbytes import functional
from torch import Tensor

_BLOCK = 256
"""Numbers that share a scale."""


class SGDNesterov8bit(torch.optim.Optimizer):
    """Nesterov's momentum with 8-bit state for tensors of ``min_8bit_size`` numbers and more."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        min_8bit_size: int = 4096,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, {**options, "min_8bit_size": min_8bit_size})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Does one step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            momentum = group["momentum"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad.add(parameter, alpha=group["weight_decay"])
                state = self.state[parameter]
                velocity = self._velocity(state, gradient).mul_(momentum).add_(gradient)
                parameter.add_(gradient.add(velocity, alpha=momentum), alpha=-group["lr"])
                self._keep(state, velocity, group["min_8bit_size"])
        return loss

    @staticmethod
    def _velocity(state: dict[str, Tensor], gradient: Tensor) -> Tensor:
        if not state:
            return torch.zeros_like(gradient)
        if "codes" not in state:
            return state["momentum"]
        code = functional.create_dynamic_map(signed=True).to(gradient.device)
        return functional.dequantize_blockwise(
            state["codes"], absmax=state["absmax"], code=code, blocksize=_BLOCK
        )

    @staticmethod
    def _keep(state: dict[str, Tensor], velocity: Tensor, least: int) -> None:
        if velocity.numel() < least:
            state["momentum"] = velocity
            return
        state["codes"], scale = functional.quantize_blockwise(velocity, blocksize=_BLOCK)
        state["absmax"] = scale.absmax
