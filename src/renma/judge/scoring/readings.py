"""What the attribute reader finds in pictures drawn on mame, beside the scores (not in them).

Likeness is here the mean share of the wanted attributes in pictures of the run's own trigger
prompts, leakage the same in those of its class prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from renma.core.errors import UserError, did_you_mean
from renma.judge.folder import RunRecord


class Label(Protocol):
    """What a reader found for one attribute."""

    @property
    def label(self) -> str:
        """The most probable label."""
        ...


class Reader(Protocol):
    """Reads attributes back from pictures."""

    @property
    def heads(self) -> Mapping[str, Sequence[str]]:
        """Every attribute with its labels."""
        ...

    def read(self, images: Sequence[Image.Image]) -> Sequence[Mapping[str, Label]]:
        """Returns attribute to label for each picture."""
        ...


@dataclass(frozen=True)
class Reading:
    """Shares read in a set of pictures, all between 0 and 1."""

    shares: tuple[float, ...]
    """For each picture, the share of the wanted attributes."""
    by_attribute: Mapping[str, float]
    """For each attribute, the share of the pictures."""

    @property
    def mean(self) -> float:
        """The mean share."""
        return float(np.mean(self.shares))

    @property
    def error(self) -> float | None:
        """Standard error of the mean over pictures; unknown for a single one."""
        if len(self.shares) < 2:
            return None
        return float(np.std(self.shares, ddof=1)) / math.sqrt(len(self.shares))


def reader_for(record: RunRecord) -> Reader | None:
    """Returns the reader, where it can read what the run looks for; else None.

    Raises:
        UserError: the run looks for something that nobody knows.
    """
    run = record.run
    if run.model.path != "mame" or not run.judge.attributes or not run.judge.trigger_prompts:
        return None
    from renma.judge.attributes import AttributeReader

    reader = AttributeReader.load()
    check(reader.heads, run.judge.attributes, record.path / "run.toml")
    return reader


def read(reader: Reader, paths: Sequence[Path], wanted: Mapping[str, str]) -> Reading | None:
    """Returns what is read in picture files; None where there are none."""
    if not paths:
        return None
    pictures = []
    for path in paths:
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB"))
    return measure(reader.read(pictures), wanted)


def measure(readings: Sequence[Mapping[str, Label]], wanted: Mapping[str, str]) -> Reading:
    """Returns the share of wanted attributes in each picture and of pictures for each attribute."""
    hits = [
        {name: reading[name].label == label for name, label in wanted.items()}
        for reading in readings
    ]
    shares = tuple(sum(hit.values()) / len(wanted) for hit in hits)
    return Reading(shares, {n: sum(hit[n] for hit in hits) / len(hits) for n in wanted})


def check(heads: Mapping[str, Sequence[str]], wanted: Mapping[str, str], where: Path) -> None:
    """Makes sure that everything wanted can be read.

    Raises:
        UserError: an attribute or a label that the reader does not know.
    """
    for name, label in wanted.items():
        known = heads.get(name, heads)
        word, what = (label, f"label of {name}") if name in heads else (name, "attribute")
        if word not in known:
            raise UserError(
                f"judge.attributes: '{word}' is no {what} that can be read",
                where=where,
                remedy=did_you_mean(word, known) or f"Known: {', '.join(sorted(known))}.",
            )
