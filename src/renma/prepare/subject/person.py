"""People, by the network that renma ships: MediaPipe's selfie segmentation (assets/subject).

It looks at 256 x 256 pixels, so it looks several times: at the whole picture, stretched and padded
to a square, each also mirrored, and then in the same four ways at the part in which it saw
somebody. The mean of the last four is the mask.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from renma.assets import FOLDER
from renma.core.errors import UserError
from renma.engine.onnx_session import device_of
from renma.prepare._session import session
from renma.prepare.subject._base import Finder, Found, Source
from renma.prepare.subject._sure import sureness

MODEL = FOLDER / "subject" / "person.onnx"
_SIDE = 256
_LONGEST = 4096
"""Longer pictures are made smaller before they are padded to a square."""
_SEEN, _MARGIN = 0.3, 0.15
LEAST = 0.005
"""Share of the picture that a person takes at least; less is a mistake of the network."""


class Person:
    """The network, loaded."""

    def __init__(self) -> None:
        self._session = session(MODEL)
        self.device = device_of(self._session)
        self._input = self._session.get_inputs()[0].name

    def __call__(self, rgb: np.ndarray, alpha: np.ndarray | None) -> Found:  # noqa: ARG002
        """Returns the people of a picture.

        Raises:
            UserError: nobody is seen.
        """
        mask = self.mask(rgb)
        if mask is None:
            raise UserError("shows no person", remedy="Choose another --backend.")
        how: dict[str, object] = {"sure": sureness(mask), "device": self.device}
        return Found(mask, "person", sharp=False, how=how)

    def mask(self, rgb: np.ndarray) -> np.ndarray | None:
        """Returns the mask, float32 (height, width) 0 to 1, or None where nobody is seen."""
        part = _seen(self._look(rgb))
        if part is None:
            return None
        left, top, right, bottom = part
        mask = np.zeros(rgb.shape[:2], np.float32)
        mask[top:bottom, left:right] = self._look(rgb[top:bottom, left:right])
        return mask if (mask >= 0.5).mean() >= LEAST else None

    def _look(self, rgb: np.ndarray) -> np.ndarray:
        straight = self._stretched(rgb) + self._padded(rgb)
        mirrored = self._stretched(rgb[:, ::-1]) + self._padded(rgb[:, ::-1])
        return np.clip((straight + mirrored[:, ::-1]) / 4, 0, 1).astype(np.float32)

    def _stretched(self, rgb: np.ndarray) -> np.ndarray:
        import cv2

        height, width = rgb.shape[:2]
        small = cv2.resize(np.ascontiguousarray(rgb), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        values = (small.astype(np.float32) / 255).transpose(2, 0, 1)[None]  # (1, 3, 256, 256)
        out: Any = self._session.run(None, {self._input: values})[0]
        return cv2.resize(out[0, 0], (width, height), interpolation=cv2.INTER_LINEAR)

    def _padded(self, rgb: np.ndarray) -> np.ndarray:
        import cv2

        scale = max(1.0, max(rgb.shape[:2]) / _LONGEST)
        if scale > 1:  # a strip's square would hold many times its pixels
            height, width = rgb.shape[:2]
            size = (max(1, round(width / scale)), max(1, round(height / scale)))
            small = cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_AREA)
            return cv2.resize(self._padded(small), (width, height), interpolation=cv2.INTER_LINEAR)
        height, width = rgb.shape[:2]
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        square = np.full((side, side, 3), 255, np.uint8)
        square[top : top + height, left : left + width] = rgb
        return self._stretched(square)[top : top + height, left : left + width]


def opened(source: Source) -> Finder:  # noqa: ARG001 - every way is opened alike
    """Returns the finder."""
    return Person()


def _seen(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """Returns left, top, right, bottom of the largest person with room around, or None."""
    import cv2

    high = (mask > _SEEN).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(high)
    if count < 2:
        return None
    height, width = mask.shape
    # all that are at least a quarter of the largest: two people side by side are both the subject
    areas = stats[1:, cv2.CC_STAT_AREA]
    large = stats[1:][areas >= areas.max() / 4]
    left, top = large[:, 0].min(), large[:, 1].min()
    right, bottom = (large[:, 0] + large[:, 2]).max(), (large[:, 1] + large[:, 3]).max()
    wide, high_ = _MARGIN * (right - left), _MARGIN * (bottom - top)
    return (
        max(0, int(left - wide)),
        max(0, int(top - high_)),
        min(width, int(right + wide) + 1),
        min(height, int(bottom + high_) + 1),
    )
