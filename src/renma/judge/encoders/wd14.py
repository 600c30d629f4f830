"""A tagger as an encoder: features are how likely each tag is; and the tags themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from renma.data.pictures import flatten
from renma.engine.spawning import share
from renma.engine.taggers._base import contract, find
from renma.engine.taggers._session import Session, Settings

if TYPE_CHECKING:
    from PIL import Image

FILES = "a WD14 tagger, model.onnx with selected_tags.csv"
BATCH = 8
"""Pictures that are looked at together; models exported for one get them one by one."""
_ONE_OF = frozenset({"rating", "quality"})
"""Kinds of tags that say nothing of what is shown."""


def fits(path: Path, config: Mapping[str, Any]) -> bool:  # noqa: ARG001 - all kinds are asked alike
    """Says whether a path is an ONNX file, or a folder with one and WD14's list of tags."""
    if path.is_file():
        return path.suffix.lower() == ".onnx"
    lists = [path / name for name in contract("wd14").LISTS]
    return any(path.glob("*.onnx")) and any(file.is_file() for file in lists)


def opened(path: Path, device: str) -> TaggerEncoder:
    """Returns the encoder of a tagger's file or folder.

    Raises:
        UserError: it is none.
    """
    return TaggerEncoder(path, device)


class TaggerEncoder:
    """A tagger on pictures; any that renma's tagging knows.

    Args:
        path: file or folder; None for the tagger inside renma.
        device: auto, cpu, cuda or directml.

    Raises:
        UserError: it is none, or cannot be run on the device.
    """

    def __init__(self, path: Path | None = None, device: str = "auto") -> None:
        tagger = find(None if path is None else str(path))
        self.name = tagger.name if path is None else f"tagger ({tagger.name})"
        self._session = Session(tagger, Settings(device=device), share())
        shown = [i for i, tag in enumerate(tagger.tags()) if tag.category not in _ONE_OF]
        self._places = np.array(shown, np.int64)
        self._names = [tagger.tags()[i].name.replace("_", " ").strip() for i in shown]

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Returns the scores (pictures, tags), float32, 0 to 1; ratings and qualities left out."""
        found = [np.zeros((0, len(self._places)), np.float32)]
        for start in range(0, len(pictures), BATCH):
            part = [np.asarray(flatten(each)) for each in pictures[start : start + BATCH]]
            batch = np.stack([self._session.prepare(each) for each in part])
            found.append(self._session.probabilities(batch)[:, self._places].astype(np.float32))
        return np.concatenate(found)

    def tags(self, pictures: Sequence[Image.Image]) -> list[dict[str, float]]:
        """Returns tag to score for each picture: all tags it knows, blanks for underscores."""
        rows = self.encode(pictures)
        # of two tags that differ in underscores only the likelier one is meant
        return [_highest(zip(self._names, row.tolist(), strict=True)) for row in rows]


def _highest(pairs: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, score in pairs:
        found[name] = max(score, found.get(name, 0.0))
    return found
