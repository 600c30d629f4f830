"""Drawn faces by the network of the package ``animeface`` (nagadomi's AnimeFace 2009).

Its own door takes Pillow's inner structures of 2017 and answers "no face" under newer Pillows.
So the C library inside the package is called with the pixels themselves, in the order of its
detector: grey, smoothed, edges, both summed up, then windows of growing size.
https://github.com/nya3jp/python-animeface (Apache-2.0; the library itself NYSL)
"""

from __future__ import annotations

import ctypes
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from renma.core.errors import UserError
from renma.prepare.faces._base import Detect, Face, Source, distinct, shrunk, times, within

SCORE = 0.85
"""Faces get 0.9 and more, a page of text once 0.81."""
_LONGEST = 640
_KNOWN = "2.0.3"
"""The version whose structures stand below; another could lay them out differently."""
_MOST = 256
_EDGE, _STEP, _GROWTH, _WINDOW = 4.0, 4.0, 1.095, 42.592
"""Strength of the edges, step, growth and smallest side of the windows: the package's values."""


class _Matrix(ctypes.Structure):
    """``nv_matrix_t``: rows of ``step`` floats, ``n`` of them used."""

    _fields_ = [
        ("list", ctypes.c_int),
        ("list_step", ctypes.c_uint),
        *((name, ctypes.c_int) for name in ("n", "m", "rows", "cols", "step", "alias")),
        ("v", ctypes.POINTER(ctypes.c_float)),
    ]


class _Rect(ctypes.Structure):
    """``nv_rect_t``."""

    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "width", "height")]


class _Position(ctypes.Structure):
    """``nv_face_position_t``."""

    _fields_ = [
        ("likelihood", ctypes.c_float),
        *((name, _Rect) for name in ("face", "left_eye", "right_eye", "nose", "mouth", "chin")),
    ]


_Pointer = ctypes.POINTER(_Matrix)


def library() -> Path | None:
    """Returns the package's C library, or None where the package is not installed as known."""
    found = find_spec("animeface")
    try:
        fits = version("animeface") == _KNOWN
    except PackageNotFoundError:
        return None
    if not found or not found.origin or not fits:
        return None
    folder = Path(found.origin).parent.parent / "animeface.libs"
    return next(iter(sorted(folder.glob("libnvxs*"))), None)


def opened(source: Source) -> Detect:
    """Returns the detector.

    Raises:
        UserError: the package is not installed, or not for this system.
    """
    path = library()
    if path is None:
        raise UserError(
            f"the detector animeface {_KNOWN} is not installed",
            remedy=f"pip install animeface=={_KNOWN} (Linux on x86-64), or choose another.",
        )
    try:
        nvxs = _Nvxs(path)
    except (OSError, AttributeError, ValueError) as error:
        raise UserError(f"the detector animeface cannot be used here ({error})") from None
    least = SCORE if source.score is None else source.score

    def detect(rgb: np.ndarray) -> list[Face]:
        small, scale = shrunk(rgb, _LONGEST)
        size = (small.shape[1], small.shape[0])
        faces = []
        for found in nvxs.positions(small):
            if found.likelihood < least:
                continue
            box = times(within(_box(found.face), size), scale)
            parts = (found.left_eye, found.right_eye, found.nose, found.mouth, found.chin)
            points = tuple((_center(part, scale)) for part in parts)
            faces.append(Face(box, min(1.0, float(found.likelihood)), points, "animeface"))
        return distinct(faces)

    return detect


class _Nvxs:
    """The library, opened."""

    def __init__(self, path: Path) -> None:
        self._lib = ctypes.CDLL(str(path))
        number, real, place = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
        self._lib.nv_matrix3d_alloc.restype = _Pointer
        for name, takes in {
            "nv_matrix3d_alloc": [number] * 3,
            "nv_matrix_free": [ctypes.POINTER(_Pointer)],
            "nv_gray": [_Pointer] * 2,
            "nv_gaussian5x5": [_Pointer, number, _Pointer, number],
            "nv_laplacian1": [_Pointer, _Pointer, real],
            "nv_integral": [_Pointer, _Pointer, number],
            "nv_face_detect": [ctypes.POINTER(_Position), number, _Pointer, _Pointer]
            + [ctypes.POINTER(_Rect), place, place, ctypes.POINTER(place), number, place]
            + [real] * 3,
        }.items():
            getattr(self._lib, name).argtypes = takes
        parts = ("dir", "face_00", "face_01", "face_02", "parts")
        self._nets = {part: self._address(f"nv_face_mlp_{part}") for part in parts}

    def positions(self, rgb: np.ndarray) -> list[_Position]:
        """Returns what the library finds in uint8 (height, width, 3)."""
        made: list[ctypes._Pointer[_Matrix]] = []
        try:
            return self._positions(rgb, made)
        finally:
            for matrix in made:
                self._lib.nv_matrix_free(ctypes.byref(matrix))

    def _positions(self, rgb: np.ndarray, made: list[ctypes._Pointer[_Matrix]]) -> list[_Position]:
        height, width = rgb.shape[:2]
        shapes = [(3, height, width)] + [(1, height, width)] * 3
        shapes += [(1, height + 1, width + 1)] * 2
        for shape in shapes:
            made.append(self._new(*shape, pixels=rgb if shape[0] == 3 else None))  # noqa: PERF401
        color, grey, smooth, edges, grey_sum, edge_sum = made
        self._lib.nv_gray(grey, color)
        self._lib.nv_gaussian5x5(smooth, 0, grey, 0)
        self._lib.nv_laplacian1(edges, smooth, _EDGE)
        self._lib.nv_integral(grey_sum, grey, 0)
        self._lib.nv_integral(edge_sum, edges, 0)
        found, nets = (_Position * _MOST)(), self._nets
        votes = (ctypes.c_void_p * 2)(nets["face_01"], nets["face_02"])
        whole = _Rect(0, 0, width, height)
        count = self._lib.nv_face_detect(
            found, _MOST, grey_sum, edge_sum, ctypes.byref(whole), nets["dir"], nets["face_00"],
            votes, 2, nets["parts"], _STEP, _GROWTH, _WINDOW,
        )  # fmt: skip
        return list(found[:count])

    def _new(
        self, channels: int, rows: int, cols: int, pixels: np.ndarray | None
    ) -> ctypes._Pointer[_Matrix]:
        matrix = self._lib.nv_matrix3d_alloc(channels, rows, cols)
        it = matrix.contents
        if (it.n, it.m, it.rows, it.cols, it.list) != (channels, rows * cols, rows, cols, 1):
            raise ValueError("its structures are not those of version " + _KNOWN)
        values = np.ctypeslib.as_array(it.v, (rows, cols, it.step))
        values[:] = 0
        if pixels is not None:
            values[:, :, :3] = pixels[:, :, ::-1]  # blue, green, red, 0 to 255
        return matrix

    def _address(self, name: str) -> int:
        return ctypes.addressof(ctypes.c_char.in_dll(self._lib, name))


def _box(rect: _Rect) -> tuple[float, float, float, float]:
    return rect.x, rect.y, rect.x + rect.width, rect.y + rect.height


def _center(rect: _Rect, scale: float) -> tuple[float, float]:
    return (rect.x + rect.width / 2) * scale, (rect.y + rect.height / 2) * scale
