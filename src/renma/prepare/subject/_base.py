"""What every way to find a subject takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Source:
    """What a way may be opened with.

    Args:
        model: an ONNX file.
        kind: which sort of network it holds.
    """

    model: Path | None = None
    kind: str = "auto"


@dataclass(frozen=True)
class Found:
    """A subject.

    Args:
        mask: float32 (height, width), 0 background to 1 subject.
        backend: the way that found it.
        sharp: whether the mask's edges lie on the subject's pixel by pixel; a mask that a network
            drew small has to be fitted to the picture first.
        how: more about it, for the record; JSON values.
    """

    mask: np.ndarray
    backend: str
    sharp: bool
    how: dict[str, object]


Finder = Callable[[np.ndarray, np.ndarray | None], Found]
"""Takes uint8 (height, width, 3) and the opacity, uint8 (height, width) or None."""
