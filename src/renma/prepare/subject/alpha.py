"""The picture's own transparency says where the subject is."""

from __future__ import annotations

import numpy as np

from renma.core.errors import UserError
from renma.prepare.subject._base import Finder, Found, Source

LEAST = 0.001
"""Share of pixels that must be see-through; fewer are specks that some programs leave behind."""


def opened(source: Source) -> Finder:  # noqa: ARG001 - every way is opened alike
    """Returns the finder."""
    return find


def find(rgb: np.ndarray, alpha: np.ndarray | None) -> Found:  # noqa: ARG001
    """Returns the opacity as mask.

    Raises:
        UserError: nothing of the picture is transparent.
    """
    if alpha is None or not tells(alpha):
        raise UserError(
            "has no transparency that shows the subject", remedy="Choose another --backend."
        )
    return Found(alpha.astype(np.float32) / 255, "alpha", sharp=True, how={})


def tells(alpha: np.ndarray | None) -> bool:
    """Says whether an opacity (uint8) separates something from something."""
    if alpha is None:
        return False
    clear = float((alpha < 128).mean())
    return LEAST <= clear < 1
