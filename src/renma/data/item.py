"""One picture of a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from renma.config.data import Subset


@dataclass(frozen=True, slots=True)
class Item:
    """A picture with its caption, as found on disk.

    Args:
        path: the picture file.
        width: pixels, after EXIF rotation.
        height: pixels, after EXIF rotation.
        caption: first line of the caption file, else the class tokens, else empty.
        captioned: whether a caption file exists.
        subset: the options of its folder, all resolved.
        digest: SHA-256 of the file's bytes.
    """

    path: Path
    width: int
    height: int
    caption: str
    captioned: bool
    subset: Subset
    digest: str
