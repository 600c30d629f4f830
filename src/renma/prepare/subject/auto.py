"""The way that suits the picture: its transparency, else a plain background, else a network.

The last is the user's ONNX file where one is given, else GrabCut started from the shipped network,
the best of what needs no file (docs: mask table).
"""

from __future__ import annotations

import numpy as np

from renma.prepare.subject import alpha as by_alpha
from renma.prepare.subject import flat, grabcut, onnx
from renma.prepare.subject._base import Finder, Found, Source


def opened(source: Source) -> Finder:
    """Returns the finder."""
    learned = onnx.opened(source) if source.model else grabcut.opened(source)

    def find(rgb: np.ndarray, alpha: np.ndarray | None) -> Found:
        if by_alpha.tells(alpha):
            return by_alpha.find(rgb, alpha)
        if flat.border_color(rgb)[1] >= flat.SHARE:
            return flat.find(rgb, alpha)
        return learned(rgb, alpha)

    return find
