"""What each block of a LoRA does to pictures: measured on the same seeds with it off and alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from renma.config.block_weights import LISTS
from renma.config.picture_recipe import Recipe, UsedLora
from renma.drawing.painter import Painter
from renma.judge.blocks.picture_change import Change, Pixels, change, from_others
from renma.judge.blocks.rows import Row

LEAST_SEEDS = 3
"""Fewer tell nothing about how seeds differ: of two, each is as far from the other."""
LITTLE = 0.1
"""Share of what the whole LoRA changes, below which a change is little."""
SURE = 2.0
"""Standard errors over the seeds by which it has to stay below."""


@dataclass(frozen=True)
class Setting:
    """What is drawn, apart from blocks.

    Attributes:
        recipes: of the base model's pictures, one a seed.
        lora: at the strength that is examined.
        sdxl: whether the model is SDXL.
        threshold: of a pixel that has changed.
    """

    recipes: tuple[Recipe, ...]
    lora: UsedLora
    sdxl: bool
    threshold: int

    def with_blocks(self, blocks: str) -> list[Recipe]:
        """Returns the pictures with the LoRA at strengths of blocks; none given is all at 1."""
        used = self.lora.model_copy(update={"blocks": blocks})
        return [r.model_copy(update={"loras": (*r.loras, used)}) for r in self.recipes]


@dataclass(frozen=True)
class Drawn:
    """Pictures of one choice of blocks.

    Attributes:
        pictures: one a seed.
        from_whole: what changed against the whole LoRA.
        from_base: what changed against the base model.
        loss: how much farther than the whole LoRA's own pictures they are from those of the other
            seeds, in levels of 255; None of too few seeds.
    """

    pictures: tuple[Pixels, ...]
    from_whole: Change
    from_base: Change
    loss: float | None


@dataclass(frozen=True)
class Effect:
    """What a block or a preset does; both are None where the LoRA has no layers."""

    row: Row
    off: Drawn | None
    only: Drawn | None


@dataclass(frozen=True)
class Group:
    """Blocks that are switched off at once.

    Attributes:
        rows: the blocks.
        drawn: the pictures without them.
        strengths: list of block strengths that switches them off.
    """

    rows: tuple[Row, ...]
    drawn: Drawn
    strengths: str


@dataclass(frozen=True)
class Effects:
    """Everything that was measured.

    Attributes:
        base: the base model's pictures.
        whole: the whole LoRA's; compared with itself it changes nothing.
        blocks: in the model's order.
        presets: in theirs; empty where not asked for.
        spread: how far the whole LoRA's pictures of two seeds are apart, in levels of 255.
        noise: how much that differs from seed to seed (standard deviation); None of too few.
        dispensable: blocks, each of which can be off by itself.
        all_off: what happens without all of these at once; None where there are none.
        spare: the most of them that can be off at once; those of the least change first.
    """

    base: tuple[Pixels, ...]
    whole: Drawn
    blocks: tuple[Effect, ...]
    presets: tuple[Effect, ...]
    spread: float | None
    noise: float | None
    dispensable: tuple[Row, ...] = ()
    all_off: Group | None = None
    spare: Group | None = None

    def share(self, one: Change) -> float:
        """Returns a mean difference as share of what the whole LoRA changes of the base."""
        whole = self.whole.from_base.mean
        return one.mean / whole if whole else 0.0

    def share_error(self, one: Change) -> float | None:
        """Returns the standard error of a share over the seeds; None where it cannot be known.

        Both means differ from seed to seed, and together: it is the error of a ratio of means
        (Cochran, Sampling Techniques, 1977, section 2.11).
        """
        whole = self.whole.from_base
        if len(whole.means) < LEAST_SEEDS or not whole.mean:
            return None
        rest = np.subtract(one.means, self.share(one) * np.array(whole.means))
        return float(np.sqrt((rest**2).sum() / (rest.size - 1) / rest.size) / whole.mean)

    def weight(self, effect: Effect) -> float:
        """Returns how much a block carries: the mean of its two shares, off and alone."""
        if effect.off is None or effect.only is None:
            return 0.0
        return (self.share(effect.off.from_whole) + self.share(effect.only.from_base)) / 2

    def carrying(self, most: int = 3) -> list[Effect]:
        """Returns the blocks that carry most, the first one first."""
        drawn = [effect for effect in self.blocks if self.weight(effect) > 0]
        return sorted(drawn, key=self.weight, reverse=True)[:most]

    def is_within(self, drawn: Drawn) -> bool:
        """Says whether no more is lost than the noise."""
        return self.noise is not None and drawn.loss is not None and drawn.loss <= self.noise

    def is_little(self, drawn: Drawn) -> bool:
        """Says whether it surely changes little of the whole LoRA's picture of the same seed."""
        one = drawn.from_whole
        error = self.share_error(one)
        return error is not None and self.share(one) + SURE * error < LITTLE

    def can_be_off(self, drawn: Drawn) -> bool:
        """Says whether what is missing is missed neither in each picture nor in all of them.

        The loss alone would not do: a picture that has become another one need not be farther
        from those of the other seeds.
        """
        return self.is_little(drawn) and self.is_within(drawn)


def measure(
    painter: Painter, setting: Setting, blocks: Sequence[Row], presets: Sequence[Row] = ()
) -> Effects:
    """Draws and measures; everything is asked of the painter at once, then what goes together.

    Args:
        painter: draws.
        setting: what is drawn.
        blocks: of the model.
        presets: of block weights.
    """
    wanted: dict[tuple[str, str], list[Recipe]] = {
        ("base", ""): list(setting.recipes),
        ("whole", ""): setting.with_blocks(""),
    }
    for row in (*blocks, *presets):
        for way in ("off", "only"):
            if strengths := getattr(row, way):
                wanted[way, row.name] = setting.with_blocks(strengths)
    pictures = _painted(painter, wanted)
    base, whole = pictures["base", ""], pictures["whole", ""]
    gauge = _Gauge(base, whole, setting.threshold)

    def effect(row: Row) -> Effect:
        off, only = (pictures.get((way, row.name)) for way in ("off", "only"))
        return Effect(row, gauge.drawn(off) if off else None, gauge.drawn(only) if only else None)

    found = Effects(
        base,
        gauge.drawn(whole),
        tuple(map(effect, blocks)),
        tuple(map(effect, presets)),
        float(np.mean(gauge.own)) if gauge.own else None,
        float(np.std(gauge.own, ddof=1)) if gauge.own else None,
    )
    return _with_dispensable(painter, setting, found, gauge)


class _Gauge:
    """Compares pictures with the base model's and with the whole LoRA's."""

    def __init__(self, base: tuple[Pixels, ...], whole: tuple[Pixels, ...], threshold: int) -> None:
        self.base, self.whole, self.threshold = base, whole, threshold
        self.own = from_others(whole, whole) if len(whole) >= LEAST_SEEDS else []

    def drawn(self, pictures: tuple[Pixels, ...]) -> Drawn:
        loss = None
        if self.own:
            away = from_others(pictures, self.whole)
            loss = float(np.mean(np.subtract(away, self.own)))
        return Drawn(
            pictures,
            change(self.whole, pictures, self.threshold),
            change(self.base, pictures, self.threshold),
            loss,
        )


def _with_dispensable(painter: Painter, setting: Setting, found: Effects, gauge: _Gauge) -> Effects:
    """Adds which blocks can be switched off, and how many of them at once.

    All are tried, then half as many and so on, always those first that change least on their own.
    """
    alone = [(e.row, e.off) for e in found.blocks if e.off and found.can_be_off(e.off)]
    if not alone:
        return found
    order = [row for row, _ in sorted(alone, key=lambda pair: pair[1].from_whole.mean)]

    def without(rows: Sequence[Row]) -> Group:
        names = {row.name for row in rows}
        chosen = tuple(row for row, _ in alone if row.name in names)
        strengths = ",".join("0" if label in names else "1" for label in LISTS[setting.sdxl][1])
        key = ("off", "several")
        pictures = _painted(painter, {key: setting.with_blocks(strengths)})[key]
        return Group(chosen, gauge.drawn(pictures), strengths)

    spare = without(order[:1])
    all_off = without(order) if len(order) > 1 else spare
    least, most = 1, len(order)
    if found.can_be_off(all_off.drawn):
        spare, least = all_off, most
    while most - least > 1:
        count = (least + most) // 2
        tried = without(order[:count])
        if found.can_be_off(tried.drawn):
            spare, least = tried, count
        else:
            most = count
    rows = tuple(row for row, _ in alone)
    return replace(found, dispensable=rows, all_off=all_off, spare=spare)


def _painted(
    painter: Painter, wanted: Mapping[tuple[str, str], Sequence[Recipe]]
) -> dict[tuple[str, str], tuple[Pixels, ...]]:
    paths = iter(painter.paint([recipe for recipes in wanted.values() for recipe in recipes]))
    return {key: tuple(_pixels(next(paths)) for _ in recipes) for key, recipes in wanted.items()}


def _pixels(path: Path) -> Pixels:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))
