"""What is measured of one picture, and kept by the hash of its bytes: nothing is decoded twice."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from renma.core.errors import UserError
from renma.core.store import Store, digest, file_hash
from renma.data.pictures import read_layers
from renma.prepare.hashes import SIDE, small_grey
from renma.prepare.headers import Header, read_header
from renma.prepare.sharpness import blockiness, fine_detail, one_way, sharpness, spectrum
from renma.prepare.surface import Frame, Light, frame, light

VERSION = 3
"""Raise it when the same bytes would give other figures."""
THUMB = 176
"""Longer side of the small picture in reports, pixels."""
CORNER = (256, 128)
"""Width and height of each corner that is kept for comparison, in the file's own pixels."""
_CORNER_STEP = 4
_SURFACE = 320
_LARGE = 2048


@dataclass(frozen=True)
class Looks:
    """Everything measured of one picture.

    Args:
        digest: SHA-256 of the file's bytes.
        width: pixels, upright.
        height: pixels, upright.
        header: what the file says of itself.
        clear: share of the area that is not opaque.
        frame: even bars around it.
        light: brightness and colour.
        sharpness: at training size, see :func:`sharpness`.
        detail: decibels, see :func:`fine_detail`; None where the picture is too small to tell.
        one_way: decibels, see :func:`one_way`.
        blocks: see :func:`blockiness`.
        small: the picture in grey, uint8 (32, 32).
        corners: its corners in grey, uint8 (4, 32, 64): top left, top right, bottom left, bottom
            right.
        thumb: a small WebP of it.
    """

    digest: str
    width: int
    height: int
    header: Header
    clear: float
    frame: Frame
    light: Light
    sharpness: float | None
    detail: float | None
    one_way: float | None
    blocks: float
    small: np.ndarray
    corners: np.ndarray
    thumb: bytes

    @property
    def aspect(self) -> float:
        """Width over height."""
        return self.width / self.height


@dataclass(frozen=True)
class LooksStage:
    """Measures pictures in a worker and keeps what it measured.

    Args:
        resolution: side of the square whose area pictures are trained at, pixels.
        max_pixels: pictures with more are refused.
    """

    resolution: int
    max_pixels: int

    def open(self) -> Callable[[Path], Looks]:
        """Returns the function for one picture."""
        return self.of

    def of(self, path: Path) -> Looks:
        """Returns a picture's looks, from the cache if its bytes were seen before.

        Raises:
            UserError: it cannot be read.
        """
        key = self._hash(path)
        known = self.known(key)
        if known is None:
            known = measure(path, key, self.resolution, self.max_pixels)
            data = json.dumps(_row(known)).encode()
            self._store().put(self._key(key), lambda part: part.write_bytes(data), len(data))
        return known

    def known_of(self, path: Path) -> Looks | None:
        """Returns what is kept of a picture, or None; nothing is decoded.

        Raises:
            UserError: it cannot be read.
        """
        return self.known(self._hash(path))

    def known(self, sha256: str) -> Looks | None:
        """Returns what is kept of the picture with this hash, or None."""
        try:
            return _looks(json.loads(self._store().path(self._key(sha256)).read_bytes()))
        except (OSError, ValueError, TypeError, KeyError):  # absent or damaged: measured anew
            return None

    def _key(self, sha256: str) -> str:
        return digest([VERSION, Image.__version__, self.resolution, self.max_pixels, sha256])

    @staticmethod
    def _store() -> Store:
        return Store("looks-of-pictures", ".json")

    @staticmethod
    def _hash(path: Path) -> str:
        try:
            return file_hash(path)
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", where=path) from None


def measure(path: Path, sha256: str, resolution: int, max_pixels: int) -> Looks:
    """Decodes a picture once and measures everything.

    Raises:
        UserError: it cannot be read.
    """
    header = read_header(path, max_pixels)
    rgb, alpha = read_layers(path, max_pixels=max_pixels)
    grey = rgb.convert("L")
    pixels = np.asarray(_middle(grey), np.float32)
    power = spectrum(pixels)
    area = np.asarray(_shrunk(rgb, _SURFACE))
    return Looks(
        digest=sha256,
        width=rgb.width,
        height=rgb.height,
        header=header,
        clear=float((np.asarray(alpha) < 250).mean()) if alpha is not None else 0.0,
        frame=frame(_pixels(rgb, alpha)),
        light=light(area),
        sharpness=sharpness(np.asarray(_shrunk(grey, resolution), np.float32)),
        detail=None if power is None else fine_detail(power),
        one_way=None if power is None else one_way(power),
        blocks=blockiness(pixels),
        small=small_grey(grey),
        corners=_corners(grey),
        thumb=_thumb(rgb),
    )


def _pixels(rgb: Image.Image, alpha: Image.Image | None) -> np.ndarray:
    """Returns a picture's own pixels, uint8 (h, w, 3 or 4)."""
    colours = np.asarray(rgb)
    return colours if alpha is None else np.dstack([colours, np.asarray(alpha)])


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    """Returns the picture with the area of a square of this side, or as it is if smaller."""
    scale = side / (picture.width * picture.height) ** 0.5
    if scale >= 1:
        return picture
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _middle(grey: Image.Image) -> Image.Image:
    """Returns the middle of a large picture, its pixels as they are."""
    width, height = min(grey.width, _LARGE), min(grey.height, _LARGE)
    left, top = (grey.width - width) // 2, (grey.height - height) // 2
    return grey.crop((left, top, left + width, top + height))


def _corners(grey: Image.Image) -> np.ndarray:
    width, height = CORNER
    right, bottom = grey.width - width, grey.height - height
    size = (width // _CORNER_STEP, height // _CORNER_STEP)
    if right < 0 or bottom < 0:  # no corner, but the whole picture
        return np.zeros((4, size[1], size[0]), np.uint8)
    found = [
        grey.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BOX)
        for top in (0, bottom)
        for left in (0, right)
    ]
    return np.stack([np.asarray(corner) for corner in found])


def _thumb(rgb: Image.Image) -> bytes:
    small = rgb.copy()
    small.thumbnail((THUMB, THUMB), Image.Resampling.BICUBIC)
    data = io.BytesIO()
    small.save(data, "WEBP", quality=75, method=0)
    return data.getvalue()


def _row(looks: Looks) -> dict[str, Any]:
    raw = {
        "small": looks.small.tobytes(),
        "corners": looks.corners.tobytes(),
        "thumb": looks.thumb,
    }
    packed = {name: base64.b64encode(data).decode() for name, data in raw.items()}
    plain = {name: value for name, value in vars(looks).items() if name not in packed}
    parts = {name: asdict(plain.pop(name)) for name in ("header", "frame", "light")}
    return {**plain, **parts, **packed}


def _looks(row: dict[str, Any]) -> Looks:
    width, height = CORNER
    shapes = {
        "small": (SIDE, SIDE),
        "corners": (4, height // _CORNER_STEP, width // _CORNER_STEP),
    }
    raw = {name: base64.b64decode(row.pop(name)) for name in (*shapes, "thumb")}
    arrays: dict[str, Any] = {
        name: np.frombuffer(raw[name], np.uint8).reshape(shape) for name, shape in shapes.items()
    }
    parts: dict[str, Any] = {
        "header": Header(**row.pop("header")),
        "frame": Frame(**row.pop("frame")),
        "light": Light(**row.pop("light")),
    }
    return Looks(**row, **parts, **arrays, thumb=raw["thumb"])
