"""Where the subject of a picture is: one file per way to find it, the file's name is the way's.

``auto`` chooses among them; which one found a mask is part of the answer, never a secret.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from renma.core import registry
from renma.prepare.subject._base import Finder, Found, Source

__all__ = ["Finder", "Found", "Source", "box", "find", "names", "opened"]


def names() -> tuple[str, ...]:
    """Returns the ways there are, each a file of this folder."""
    return registry.names(__name__)


def opened(backend: str = "auto", model: Path | None = None, kind: str = "auto") -> Finder:
    """Returns the function that finds subjects; a network is loaded here, once for many pictures.

    Args:
        backend: one of :func:`names`.
        model: an ONNX file, for ``onnx``, and for ``auto`` where neither transparency nor a plain
            background tells the subject.
        kind: which sort of network the file holds; ``auto`` tells by its name and shape.

    Raises:
        UserError: no such way, or a file that is none of the known networks.
    """
    source = Source(model, kind)
    finder: Finder = registry.load(__name__, backend).opened(source)
    return finder


def find(
    rgb: np.ndarray,
    alpha: np.ndarray | None = None,
    backend: str = "auto",
    model: Path | None = None,
) -> Found:
    """Returns the subject of one picture; for many, :func:`opened` loads a network only once.

    Args:
        rgb: uint8 (height, width, 3), upright; transparent parts laid on white.
        alpha: uint8 (height, width), how opaque each pixel is, or None.
        backend: one of :func:`names`.
        model: an ONNX file.

    Raises:
        UserError: the way cannot tell the subject of this picture.
    """
    return opened(backend, model)(rgb, alpha)


def box(mask: np.ndarray, threshold: float = 0.5) -> tuple[int, int, int, int] | None:
    """Returns left, top, right, bottom of what is at least ``threshold``, or None for nothing."""
    rows = np.flatnonzero((mask >= threshold).any(axis=1))
    columns = np.flatnonzero((mask >= threshold).any(axis=0))
    if not rows.size:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
