"""Faces by YuNet, whose file the user gives (OpenCV's zoo: face_detection_yunet_*.onnx)."""

from __future__ import annotations

import numpy as np

from renma.core.errors import UserError
from renma.prepare.faces._base import Detect, Face, Source, distinct, shrunk, times, within

SCORE = 0.7
_NMS, _MOST = 0.3, 5000
_LONGEST = 1024


def opened(source: Source) -> Detect:
    """Returns the detector.

    Raises:
        UserError: no file given, or it is no YuNet.
    """
    import cv2

    if source.model is None:
        raise UserError("--detector yunet needs its file", remedy="Give it with --model FILE.")
    if not source.model.is_file():
        raise UserError("there is no such file", where=source.model)
    least = SCORE if source.score is None else source.score
    try:
        network = cv2.FaceDetectorYN.create(str(source.model), "", (320, 320), least, _NMS, _MOST)
        network.detect(np.zeros((320, 320, 3), np.uint8))  # other networks load, and fail here
    except cv2.error as error:
        reason = str(error.err or error)
        raise UserError(f"is no YuNet ({reason})", where=source.model) from None

    def detect(rgb: np.ndarray) -> list[Face]:
        small, scale = shrunk(rgb, _LONGEST)
        height, width = small.shape[:2]
        network.setInputSize((width, height))
        _, found = network.detect(np.ascontiguousarray(small[..., ::-1]))  # it wants BGR
        faces = []
        for row in () if found is None else found:
            left, top, wide, high = (float(v) for v in row[:4])
            box = within((left, top, left + wide, top + high), (width, height))
            points = tuple((float(x) * scale, float(y) * scale) for x, y in row[4:14].reshape(5, 2))
            faces.append(Face(times(box, scale), float(row[14]), points, "yunet"))
        return distinct(faces)

    return detect
