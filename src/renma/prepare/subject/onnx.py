"""A network that the user has as an ONNX file: rembg's models, and IS-Net as others pack it.

Each sort wants its own size and scaling and gives its own kind of numbers; :data:`KINDS` is the
table of rembg 2.0 (sessions/*.py), and imgly's from its package.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from renma.core.errors import UserError
from renma.engine.onnx_session import device_of
from renma.prepare._session import session
from renma.prepare.subject._base import Finder, Found, Source

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Kind:
    """How one sort of network is asked and what its answer means.

    Args:
        side: of the square it looks at, where the file leaves it open; pixels.
        mean: taken from each channel of RGB, 0 to 1.
        std: each channel is then divided by.
        brightest: divide by the brightest value of the picture first, not by 255.
        output: ``stretch`` the numbers so that they reach from 0 to 1, put them through a
            ``sigmoid`` before that, or take them ``plain``.
    """

    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    brightest: bool = True
    output: Literal["stretch", "sigmoid", "plain"] = "stretch"


_HALF, _ONE = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
_MIDDLE, _TOP = 128 / 255, 256 / 255  # (value - 128) / 256
KINDS = {
    "u2net": Kind(320, *_IMAGENET),
    "isnet": Kind(1024, _HALF, _ONE),
    "isnet-anime": Kind(1024, _IMAGENET[0], _ONE),
    "birefnet": Kind(1024, *_IMAGENET, output="sigmoid"),
    "imgly": Kind(1024, (_MIDDLE, _MIDDLE, _MIDDLE), (_TOP, _TOP, _TOP), brightest=False),
    "selfie": Kind(256, (0.0, 0.0, 0.0), _ONE, brightest=False, output="plain"),
}
_NAMED = (  # the first that a file's name holds
    ("isnet-anime", "isnet-anime"),
    ("isnet_anime", "isnet-anime"),
    ("imgly", "imgly"),
    ("birefnet", "birefnet"),
    ("isnet", "isnet"),
    ("u2net", "u2net"),
    ("silueta", "u2net"),
    ("selfie", "selfie"),
)
_VERSIONS = (
    (("1.4", "1_4", "1-4", "rmbg14", "v14"), "isnet"),
    (("2.0", "2_0", "2-0", "rmbg2", "rmbg-2", "rmbg_2", "v2"), "birefnet"),
)


def opened(source: Source) -> Finder:
    """Returns the finder.

    Raises:
        UserError: no file, or one that is none of the known sorts.
    """
    if source.model is None:
        raise UserError("--backend onnx needs a network", remedy="Give it with --model FILE.onnx.")
    run = session(source.model)
    shape = _shape(run, source.model)
    name = source.kind if source.kind != "auto" else recognised(source.model, run)
    kind = KINDS[name]
    size = tuple(n if isinstance(n, int) and n > 0 else kind.side for n in shape[2:])
    key, path = run.get_inputs()[0].name, source.model

    said: dict[str, object] = {"model": path.name, "kind": name, "device": device_of(run)}

    def find(rgb: np.ndarray, alpha: np.ndarray | None) -> Found:  # noqa: ARG001
        answer: Any = run.run([run.get_outputs()[0].name], {key: asked(rgb, kind, size)})[0]
        mask = answered(np.asarray(answer), kind, rgb.shape[:2])
        return Found(mask, "onnx", sharp=False, how=said)

    return find


def recognised(path: Path, run: Any) -> str:
    """Returns the sort of a network, by its file's name, else by the shape of its input.

    Raises:
        UserError: neither tells.
    """
    stem = path.stem.lower()
    if "rmbg" in stem:
        return _rmbg(path, stem, run)
    for part, kind in _NAMED:
        if part in stem:
            return kind
    side = run.get_inputs()[0].shape[-1]
    by_side = {320: "u2net", 256: "selfie"}
    if side == 1024:
        # BiRefNet's export calls its input so; IS-Net's gives its side outputs too
        return "birefnet" if run.get_inputs()[0].name == "input_image" else "isnet"
    if side not in by_side:
        raise _untold(path, "neither its name nor its shape tells which sort of network it is")
    return by_side[side]


def _rmbg(path: Path, stem: str, run: Any) -> str:
    """Returns the sort of one of BRIA's networks: RMBG-1.4 is an IS-Net, 2.0 a BiRefNet.

    Version 1.4 has 44 million numbers, 2.0 has 221 million; a file is 1, 2 or 4 bytes a number.
    """
    size = path.stat().st_size
    told = {kind for signs, kind in _VERSIONS if any(sign in stem for sign in signs)}
    if run.get_inputs()[0].name == "pixel_values":  # as the export of 2.0 calls its input
        told.add("birefnet")
    if size > 40e6:
        told.add("isnet" if size < 200e6 else "birefnet")
    if len(told) == 1:
        return told.pop()
    raise _untold(path, "is RMBG 1.4 (of the kind isnet) or 2.0 (birefnet), which are asked unlike")


def _untold(path: Path, what: str) -> UserError:
    return UserError(what, where=path, remedy=f"Say it with --model-kind: {', '.join(KINDS)}.")


def asked(rgb: np.ndarray, kind: Kind, size: tuple[int, ...]) -> np.ndarray:
    """Returns the tensor a network gets: float32 (1, 3, height, width).

    Args:
        rgb: uint8 (height, width, 3).
        kind: of the network.
        size: height and width it looks at.
    """
    small = Image.fromarray(rgb).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    values = np.asarray(small, np.float32)
    values /= max(float(values.max()), 1e-6) if kind.brightest else 255.0
    scaled = (values - np.array(kind.mean, np.float32)) / np.array(kind.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def answered(answer: np.ndarray, kind: Kind, shape: tuple[int, int]) -> np.ndarray:
    """Returns the mask of a picture, float32 ``shape``, from what a network gave.

    Args:
        answer: (1, channels, height, width); the first channel counts.
        kind: of the network.
        shape: height and width of the picture.
    """
    plane = answer.reshape(-1, *answer.shape[-2:])[0].astype(np.float32)
    if kind.output == "sigmoid":
        plane = 1 / (1 + np.exp(-np.clip(plane, -60, 60)))
    if kind.output != "plain":
        low, high = float(plane.min()), float(plane.max())
        plane = (plane - low) / (high - low) if high > low else np.zeros_like(plane)
    large = Image.fromarray(plane).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(large, np.float32), 0, 1)


def _shape(run: Any, path: Path) -> list[Any]:
    inputs = run.get_inputs()
    shape = inputs[0].shape if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1] != 3 or inputs[0].type != "tensor(float)":
        raise UserError(
            "does not take one picture as (1, 3, height, width) of 32-bit numbers", where=path
        )
    return shape
