"""Values of the block axis: presets, lists of numbers, and blocks by their names.

``IN04-IN08 M00`` lets these blocks act alone, ``NOT IN04-IN08`` all others; what stands outside the
U-Net's blocks (BASE: text encoders) acts either way, as in every preset, unless it is ``NOT BASE``.
"""

from __future__ import annotations

import re

from renma.config.block_weights import LISTS, MIDDLE, is_written
from renma.core.errors import UserError

BASE = "BASE"
_PIECE = re.compile(r"([A-Z]+\d*)(?:\s*-\s*([A-Z]+\d*))?")


def strengths(value: str, sdxl: bool) -> str:
    """Returns what LoRAs by block are drawn with: a preset's name or a list of numbers.

    Args:
        value: as it was written.
        sdxl: whether the model is SDXL.

    Raises:
        UserError: a block that this model does not have, or a range that ends before it begins.
    """
    if is_written(value):
        return value.strip()
    where = f"block={value}"
    words = re.sub(r"\s*-\s*", "-", value.strip().upper()).split()
    negated = bool(words) and words[0] == "NOT"
    every = LISTS[sdxl][1]
    named = {label for word in words[negated:] for label in _labels(word, every, where)}
    if not named:
        raise UserError("names no block", where=where, remedy=_remedy(every))
    acting = set(every) - named if negated else named | {BASE}
    return ",".join("1" if label in acting else "0" for label in every)


def _labels(word: str, every: tuple[str, ...], where: str) -> tuple[str, ...]:
    match = _PIECE.fullmatch(word)
    ends = [_label(end) for end in match.groups() if end] if match else [word]
    for end in ends:
        if end not in every:
            raise UserError(
                f"'{end}' is neither a preset nor a block of this model",
                where=where,
                remedy=_remedy(every),
            )
    first, last = every.index(ends[0]), every.index(ends[-1])
    if last < first:
        raise UserError(f"{ends[0]} comes after {ends[-1]}", where=where, remedy=_remedy(every))
    return every[first : last + 1]


def _label(text: str) -> str:
    """Returns a block's label however many digits its number is written with."""
    if text == "MID":
        return MIDDLE
    match = re.fullmatch(r"(IN|M|OUT)(\d)", text)
    return f"{match[1]}0{match[2]}" if match else text


def _remedy(every: tuple[str, ...]) -> str:
    last = every[every.index(MIDDLE) - 1]
    return (
        f"Blocks are {every[0]}, {every[1]} to {last}, {MIDDLE}, OUT00 to {every[-1]}, such as "
        "IN04-IN08; quote a list of numbers."
    )
