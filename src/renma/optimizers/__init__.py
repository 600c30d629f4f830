"""Optimizers: one per file, built from parameter groups and a config section."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from renma.core import registry

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from renma.config.optimizer import AdamW, Prodigy


def build(groups: list[dict[str, Any]], config: AdamW | Prodigy) -> Optimizer:
    """Returns the optimizer that ``config.name`` names.

    Args:
        groups: torch parameter groups with ``params`` and ``lr``.
        config: the optimizer's section.
    """
    return registry.load(__name__, config.name).build(groups, config)
