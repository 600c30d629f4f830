"""[adapter.blocks]: ranks and learning rates block by block, as kohya's network_args name them.

Stable Diffusion 1 and 2 have 25 blocks (12 down, 1 mid, 12 up), SDXL has 23 (time and label, 9
down, 3 mid, 9 up, out).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

from pydantic import BeforeValidator, Field

from renma.config._base import Section, opt
from renma.core.errors import UserError, did_you_mean


def _rates(value: object) -> object:
    """Refuses what is no rate in one sentence, where a union would name each of its members.

    Raises:
        ValueError: it is neither number, list of numbers, nor text.
    """
    values = value if isinstance(value, list | tuple) else (value,)
    numbers = all(
        isinstance(v, int | float) and not isinstance(v, bool) and v >= 0 and math.isfinite(v)
        for v in values
    )
    if not (isinstance(value, str) or numbers):
        raise ValueError("neither a number from 0 up, nor a list of them, nor a preset's name")
    return value


Rank = Annotated[int, Field(ge=0, le=4096, strict=True)]
Alpha = Annotated[float, Field(ge=0, strict=True)]
Rates = Annotated[tuple[float, ...] | float | str, BeforeValidator(_rates)]

PRESETS: dict[str, Callable[[float], float]] = {
    "sine": lambda share: math.sin(math.pi / 2 * share),
    "cosine": lambda share: math.sin(math.pi / 2 * (1 - share)),
    "linear": lambda share: share,
    "reverse_linear": lambda share: 1 - share,
    "zeros": lambda share: 0 * share,
}
"""Named rate curves; the share runs from 0 (first block of the list) to 1 (last)."""


class BlockConfig(Section):
    """Ranks and learning rates of the U-Net, block by block."""

    ranks: tuple[Rank, ...] = opt((), "advanced", kohya="block_dims")
    """Rank of each block: 25 numbers (SDXL 23); 0 leaves a block out."""
    alphas: tuple[Alpha, ...] = opt((), "advanced", kohya="block_alphas")
    """Alpha of each block (default: alpha)."""
    conv_ranks: tuple[Rank, ...] = opt((), "advanced", kohya="conv_block_dims")
    """Rank of the 3x3 convolutions of each block (default: conv_rank, or the block's rank)."""
    conv_alphas: tuple[Alpha, ...] = opt((), "advanced", kohya="conv_block_alphas")
    """Alpha of the 3x3 convolutions of each block (default: conv_alpha, or the block's alpha)."""
    down_rates: Rates = opt((), "advanced", kohya="down_lr_weight")
    """Factors on the learning rate of the down blocks, shallow to deep: 12 numbers (SDXL 9; those
    missing are 1), one number for all, or sine, cosine, linear, reverse_linear, zeros, each with
    an offset such as `cosine+0.25`. A factor of 0 leaves a block out."""
    mid_rates: Rates = opt((), "advanced", kohya="mid_lr_weight")
    """Factor on the learning rate of the middle block (SDXL 3)."""
    up_rates: Rates = opt((), "advanced", kohya="up_lr_weight")
    """Factors on the learning rate of the up blocks, deep to shallow."""
    zero_threshold: float = opt(0.0, "expert", kohya="block_lr_zero_threshold", ge=0)
    """Blocks with a factor not above this are left out."""

    def ranked(self) -> bool:
        """Says whether ranks or alphas of single blocks are given."""
        return bool(self.ranks or self.alphas or self.conv_ranks or self.conv_alphas)


def number_of_blocks(sdxl: bool) -> int:
    """Returns 25 for Stable Diffusion 1 and 2, 23 for SDXL."""
    return 23 if sdxl else 25


def check_counts(config: BlockConfig, sdxl: bool) -> None:
    """Refuses lists of ranks and alphas that do not name every block once.

    Raises:
        UserError: a list is too short or too long.
    """
    count = number_of_blocks(sdxl)
    for name in ("ranks", "alphas", "conv_ranks", "conv_alphas"):
        given = len(getattr(config, name))
        if given not in {0, count}:
            raise UserError(
                f"holds {given} numbers, this model has {count} blocks",
                where=f"adapter.blocks.{name}",
                remedy="One number a block, from the first down block to the last up block.",
            )


def factors(config: BlockConfig, sdxl: bool) -> tuple[float, ...]:
    """Returns the learning-rate factor of every block by kohya's index; 0 leaves a block out.

    Lists are completed as kohya completes them: none is 1 everywhere, missing entries are 1,
    entries beyond the last block are cut off (:func:`cut_lists` names them).

    Raises:
        UserError: a preset that does not exist.
    """
    down, mid, up = _lengths(sdxl)
    rates = [
        *_curve(config.down_rates, down, "down_rates"),
        *_curve(config.mid_rates, mid, "mid_rates"),
        *_curve(config.up_rates, up, "up_rates"),
    ]
    if sdxl:  # its first block is the time and label embedding, its last the output
        rates = [1.0, *rates, 1.0]
    return tuple(rate if rate > config.zero_threshold else 0.0 for rate in rates)


def cut_lists(config: BlockConfig, sdxl: bool) -> tuple[str, ...]:
    """Returns a line about every list of rates that is longer than there are blocks."""
    lines = []
    for name, count in zip(("down_rates", "mid_rates", "up_rates"), _lengths(sdxl), strict=True):
        given = _numbers(getattr(config, name), name)
        if isinstance(given, list) and len(given) > count:
            lines.append(
                f"adapter.blocks.{name}: {len(given)} numbers for {count} blocks; "
                f"the last {len(given) - count} have no effect."
            )
    return tuple(lines)


def _lengths(sdxl: bool) -> tuple[int, int, int]:
    return (9, 3, 9) if sdxl else (12, 1, 12)


def _curve(rates: Rates, count: int, name: str) -> list[float]:
    given = _numbers(rates, name)
    if isinstance(given, int | float):
        return [float(given)] * count
    if isinstance(given, list):
        return [*given[:count], *[1.0] * (count - len(given))]
    preset, plus, offset = given.partition("+")
    curve, shift = PRESETS.get(preset.strip()), _float(offset) if plus else 0.0
    if curve is None or shift is None:
        raise UserError(
            f"'{given}' is neither a number, a list nor a preset",
            where=f"adapter.blocks.{name}",
            remedy=did_you_mean(preset.strip(), PRESETS)
            or f"Presets: {', '.join(PRESETS)}, each with +x.",
        )
    return [curve(index / max(count - 1, 1)) + shift for index in range(count)]


def _numbers(rates: Rates, name: str) -> list[float] | float | str:
    """Reads kohya's comma lists (an empty entry is 0); what is no number stays a preset's name."""
    if isinstance(rates, tuple):
        return list(rates)
    if isinstance(rates, int | float):
        return float(rates)
    if "," not in rates:
        number = _float(rates)
        return rates if number is None else number
    values = [_float(entry.strip() or "0") for entry in rates.split(",")]
    if None in values:
        raise UserError(
            f"'{rates}' is no list of numbers",
            where=f"adapter.blocks.{name}",
            remedy='Numbers between commas, such as "1,0.5,0".',
        )
    return [value for value in values if value is not None]


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
