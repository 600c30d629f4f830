"""LaMa, a network that continues textures; its file comes from the user.

Suvorov et al., "Resolution-robust Large Mask Inpainting with Fourier Convolutions", WACV 2022.
Known files: big-lama as TorchScript (.pt), and ONNX exports with two inputs (picture, mask) or one
of four channels; some take any size, some 512 x 512 only. Sides are padded to multiples of 8 (32
for four channels), as the network halves its input several times.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from renma.core.errors import UserError
from renma.prepare.inpaint._base import Filler

Network = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes float32 (1, 3, h, w) 0 to 1 and (1, 1, h, w) 0 or 1; returns (1, 3, h, w)."""
_LONGEST = 1024
"""Larger windows are filled at this size: what LaMa draws gets no better above it."""


@dataclass(frozen=True)
class _Lama:
    network: Network
    multiple: int
    fixed: tuple[int, int] | None
    white: float = 1.0
    """What the network gives for white: exports differ in whether that is 1 or 255."""
    device: str = "cpu"

    def __call__(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        import cv2

        height, width = rgb.shape[:2]
        size = self.fixed or _fitting(height, width)
        small, gap = rgb, hole
        if size != (height, width):
            small = cv2.resize(rgb, size[::-1], interpolation=cv2.INTER_AREA)
            shrunk = cv2.resize(hole.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
            gap = shrunk > 0  # a pixel that holds any of the hole belongs to it
        filled = self._padded(small, gap)
        if size != (height, width):
            filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
        return filled

    def _padded(self, rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        height, width = hole.shape
        below, beside = -height % self.multiple, -width % self.multiple
        picture = np.pad(rgb, ((0, below), (0, beside), (0, 0)), mode="symmetric")
        mask = np.pad(hole, ((0, below), (0, beside)), mode="symmetric").astype(np.float32)
        values = (picture.astype(np.float32) / 255).transpose(2, 0, 1)[None]
        out = np.asarray(self.network(values, mask[None, None]), np.float32)[0]
        whole = (
            np.clip(out * (255 / self.white), 0, 255).round().astype(np.uint8).transpose(1, 2, 0)
        )
        return whole[:height, :width]


def opened(model: Path | None) -> Filler:
    """Returns the filler.

    Raises:
        UserError: no file, or one that is no LaMa.
    """
    if model is None:
        raise UserError("lama needs its network", remedy="Give big-lama with --model FILE.")
    if not model.is_file():
        raise UserError("there is no such file", where=model)
    if model.suffix.lower() == ".onnx":
        return _from_onnx(model)
    return _probed(_Lama(_torch_script(model), 8, None), model, RuntimeError)


def _probed(lama: _Lama, path: Path, *failures: type[BaseException]) -> _Lama:
    """Returns a network that knows its own scale, told by white with a hole in it.

    The pictures themselves would not do: a dark one of 0 to 255 may reach no higher than 2.
    """
    height, width = lama.fixed or (64, 64)
    hole = np.zeros((1, 1, height, width), np.float32)
    hole[..., height // 4 : height // 2, width // 4 : width // 2] = 1
    try:
        out = np.asarray(lama.network(np.ones((1, 3, height, width), np.float32), hole))
    except failures as error:
        reason = next(iter(str(error).strip().splitlines()[-1:]), type(error).__name__)
        raise UserError(f"is no LaMa: it cannot be run ({reason})", where=path) from None
    if out.shape != (1, 3, height, width) or not np.isfinite(out).all():
        raise UserError("is no LaMa: it does not answer with a picture", where=path)
    return replace(lama, white=255.0 if float(np.median(out)) > 2 else 1.0)


def _fitting(height: int, width: int) -> tuple[int, int]:
    scale = min(1.0, _LONGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _torch_script(path: Path) -> Network:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch means to replace the format some day
            script = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"is no TorchScript network ({reason})", where=path) from None

    def run(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return script(torch.from_numpy(values), torch.from_numpy(mask)).float().numpy()

    return run


def _from_onnx(path: Path) -> Filler:
    from renma.engine.onnx_session import device_of, failures
    from renma.prepare._session import session

    opened = session(path)
    inputs = opened.get_inputs()
    shape = inputs[0].shape
    four = len(inputs) == 1 and len(shape) == 4 and shape[1] == 4
    if not four and (len(inputs) != 2 or len(shape) != 4 or shape[1] != 3):
        raise UserError(
            "is no LaMa: it takes neither a picture and a mask nor four channels", where=path
        )
    sides = tuple(n for n in shape[2:] if isinstance(n, int) and n > 0)
    fixed = (sides[0], sides[1]) if len(sides) == 2 else None

    def run(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        if four:
            given = {inputs[0].name: np.concatenate([values * (1 - mask), mask], axis=1)}
        else:
            given = {inputs[0].name: values, inputs[1].name: mask}
        answer: Any = opened.run(None, given)[0]
        return answer

    lama = _Lama(run, 32 if four else 8, fixed, device=device_of(opened))
    return _probed(lama, path, *failures())
