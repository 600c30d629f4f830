"""One picture of a data set."""

from __future__ import annotations

from collections.abc import Iterable
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
        caption: first line of the caption file or of the metadata, else the class tokens, else
            empty; with ``enable_wildcard`` all lines, joined by line feeds.
        captioned: whether a caption file or an entry with text exists.
        subset: the options of its folder, all resolved.
        digest: SHA-256 of the file's bytes.
        mask: file that says what counts in the loss.
        mask_digest: SHA-256 of the mask file's bytes.
        transparent: whether the file can hold transparent pixels.
    """

    path: Path
    width: int
    height: int
    caption: str
    captioned: bool
    subset: Subset
    digest: str
    mask: Path | None = None
    mask_digest: str = ""
    transparent: bool = False

    @property
    def mask_key(self) -> str:
        """What the loss mask depends on besides the picture: nothing, its alpha, or a file."""
        if self.mask is not None:
            return self.mask_digest
        return "alpha" if self.subset.alpha_mask and self.transparent else ""


def by_subset(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Returns the pictures of each folder, by ``id`` of the subset that they were read with.

    Options are compared by identity: pydantic compares them field by field, which takes seconds
    for a thousand pictures in a hundred folders.
    """
    found: dict[int, list[Item]] = {}
    for item in items:
        found.setdefault(id(item.subset), []).append(item)
    return found
