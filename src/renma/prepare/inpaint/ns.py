"""Lines carried on into the hole as a flow.

Bertalmio, Bertozzi, Sapiro, "Navier-Stokes, Fluid Dynamics, and Image and Video Inpainting", 2001,
in OpenCV.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from renma.prepare.inpaint._base import Filler

RADIUS = 5
"""Pixels around a point that its colour is made of."""


def opened(model: Path | None) -> Filler:  # noqa: ARG001 - all are opened alike
    """Returns the filler."""
    return fill


def fill(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Returns the picture with the hole filled."""
    import cv2

    return cv2.inpaint(rgb, hole.astype(np.uint8), RADIUS, cv2.INPAINT_NS)
