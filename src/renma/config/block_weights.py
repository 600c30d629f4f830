"""Strengths of a LoRA block by block, as web UIs list them (`lbw=`), by block label.

Lists have 17 or 26 numbers for Stable Diffusion 1 and 2, 12 or 20 for SDXL: BASE (text encoders and
whatever stands outside the blocks), blocks on the way down, MID, blocks on the way up. The short
lists and the presets name blocks with attention only; of those a LoRA's other blocks do not act
(0), as in sd-webui-lora-block-weight. ALL, NONE and ALL0.5 stand for every block alike.
"""

from __future__ import annotations

import math

from renma.core.errors import UserError, did_you_mean

MIDDLE = "M00"
SD_ATTENTION = (
    "BASE", "IN01", "IN02", "IN04", "IN05", "IN07", "IN08", MIDDLE,
    *(f"OUT{i:02d}" for i in range(3, 12)),
)  # fmt: skip
SDXL_ATTENTION = (
    "BASE", "IN04", "IN05", "IN07", "IN08", MIDDLE, *(f"OUT{i:02d}" for i in range(6)),
)  # fmt: skip
SD_ALL = (
    "BASE", *(f"IN{i:02d}" for i in range(12)), MIDDLE, *(f"OUT{i:02d}" for i in range(12)),
)  # fmt: skip
SDXL_ALL = (
    "BASE", *(f"IN{i:02d}" for i in range(9)), MIDDLE, *(f"OUT{i:02d}" for i in range(9)),
)  # fmt: skip
LISTS = {False: (SD_ATTENTION, SD_ALL), True: (SDXL_ATTENTION, SDXL_ALL)}
"""Whether it is SDXL, to the labels that a list of values stands for."""

PRESETS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    name: (frozenset(("BASE", *sd.split())), frozenset(("BASE", *sdxl.split())))
    for name, sd, sdxl in (
        ("INS", "IN01 IN02", "IN04 IN05"),
        ("IND", "IN05 IN07 IN08", "IN07 IN08"),
        ("INALL", "IN01 IN02 IN04 IN05 IN07 IN08", "IN04 IN05 IN07 IN08"),
        (
            "MIDD",
            f"IN05 IN07 IN08 {MIDDLE} OUT03 OUT04 OUT05 OUT06",
            f"IN07 IN08 {MIDDLE} OUT00 OUT01 OUT02",
        ),
        ("OUTD", "OUT03 OUT04 OUT05 OUT06", "OUT00 OUT01 OUT02"),
        ("OUTS", "OUT07 OUT08 OUT09 OUT10 OUT11", "OUT03 OUT04 OUT05"),
        (
            "OUTALL",
            "OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
            "OUT00 OUT01 OUT02 OUT03 OUT04 OUT05",
        ),
    )
}
"""Blocks that act at 1, the rest not at all: for SD 1 and 2, and for SDXL."""
_EVERYWHERE = {"ALL": 1.0, "NONE": 0.0, "ALL0.5": 0.5}
NAMES = ("ALL", "NONE", "ALL0.5", *PRESETS)


def is_written(text: str) -> bool:
    """Says whether a text is a preset or a list of numbers, rather than something else."""
    return text.strip().upper() in NAMES or "," in text


def block_factors(text: str, sdxl: bool, where: object) -> dict[str, float]:
    """Returns the factor of every block label.

    Args:
        text: a preset's name, or 17 or 26 (SDXL 12 or 20) numbers between commas.
        sdxl: whether the model is SDXL.
        where: for messages.

    Raises:
        UserError: neither, or numbers that fit no list.
    """
    every = LISTS[sdxl][1]
    name = text.strip().upper()
    if name in _EVERYWHERE:
        return dict.fromkeys(every, _EVERYWHERE[name])
    short = LISTS[sdxl][0]
    if name in PRESETS:
        return _filled({label: float(label in PRESETS[name][sdxl]) for label in short}, every)
    if "," not in text:
        remedy = did_you_mean(name, NAMES) or f"Known: {', '.join(NAMES)}; or a list of numbers."
        raise UserError(f"'{text.strip()}' is no preset of blocks", where=where, remedy=remedy)
    values = [_number(part, where) for part in text.split(",")]
    for labels in LISTS[sdxl]:
        if len(labels) == len(values):
            return _filled(dict(zip(labels, values, strict=True)), every)
    lengths = " or ".join(str(len(labels)) for labels in LISTS[sdxl])
    raise UserError(
        f"{len(values)} values for the blocks, this model has {lengths}",
        where=where,
        remedy=f"BASE, then from the first block down to the last one up: {', '.join(short)}.",
    )


def _filled(known: dict[str, float], every: tuple[str, ...]) -> dict[str, float]:
    """Returns the factors of every block; one not named does not act."""
    return {label: known.get(label, 0.0) for label in every}


def _number(text: str, where: object) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(
            f"'{text.strip()}' in the blocks' values is no number",
            where=where,
            remedy="Such as 0.5.",
        )
    return value
