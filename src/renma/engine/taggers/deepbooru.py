"""DeepDanbooru as ONNX: ``model.onnx`` with ``tags.txt``, one tag a line.

A picture is scaled to fit 512 x 512 (Lanczos); what is left over is filled by stretching its outer
rows or columns. RGB, 0 to 1, (height, width, channel); the answer is probabilities. Tags that begin
with ``rating:`` are ratings; ``tags-character.txt`` beside the list names the characters. Source:
KichangKim's DeepDanbooru, and how AUTOMATIC1111's web UI runs it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renma.core.errors import UserError
from renma.core.text_file import decode
from renma.engine.taggers._base import Tag

if TYPE_CHECKING:
    import numpy as np

LISTS = ("tags.txt",)
SIDE = 512
CHANNELS = "RGB"
_RATING = "rating:"


def values_of(channels_first: bool) -> str:  # noqa: ARG001 - every contract is asked alike
    """Returns the range of pixel values."""
    return "unit"


def prepare(rgb: np.ndarray, side: int) -> np.ndarray:
    """Returns the square (side, side, 3), float32, RGB, 0 to 255.

    Args:
        rgb: (height, width, 3), uint8, transparency already on white.
        side: pixels.
    """
    import numpy as np
    from PIL import Image

    height, width = rgb.shape[:2]
    wide = min(side, max(1, width * side // height))
    high = min(side, max(1, height * side // width))
    fitted = Image.fromarray(rgb).resize((wide, high), Image.Resampling.LANCZOS)
    left, above = side // 2 - wide // 2, side // 2 - high // 2
    bars = ((above, side - high - above), (left, side - wide - left), (0, 0))
    return np.pad(np.asarray(fitted), bars, mode="edge").astype(np.float32)


def read_tags(file: Path) -> tuple[Tag, ...]:
    """Returns the tags of a ``tags.txt``.

    Raises:
        UserError: it lists nothing.
    """
    names = _lines(file)
    if not names:
        raise UserError("lists no tags", where=file)
    people_file = file.with_name("tags-character.txt")
    people = set(_lines(people_file)) if people_file.is_file() else set()
    return tuple(_tag(name, people) for name in names)


def _tag(name: str, people: set[str]) -> Tag:
    if name.startswith(_RATING):
        return Tag(name.removeprefix(_RATING), "rating")
    return Tag(name, "character" if name in people else "general")


def _lines(file: Path) -> list[str]:
    text, _ = decode(file.read_bytes(), file)
    return [line.strip() for line in text.splitlines() if line.strip()]
