"""The page of an analysis of blocks: one HTML file, no script, no outside link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from renma.core.html_page import environment
from renma.judge.blocks.effect import Drawn, Effect, Effects, Group
from renma.judge.blocks.heat import heat_map, strip, top_of
from renma.judge.blocks.picture_change import Change, Pixels
from renma.judge.blocks.rows import names
from renma.judge.blocks.sheet import top
from renma.judge.inline import Picture, inline

_LONGEST, _MOST = 256, 24_000
"""Pixels a side and bytes of a picture; 26 blocks have four each."""


@dataclass(frozen=True)
class Part:
    """A block switched off, or alone: its picture, its heat map, its figures."""

    picture: Picture
    heat: Picture
    share: float
    width: float
    percent: float
    error: float | None
    mean: float


@dataclass(frozen=True)
class Card:
    """One block or preset; parts that are not drawn are None."""

    name: str
    about: str
    layers: int
    off: Part | None
    only: Part | None
    loss: float | None
    spare: bool
    carries: bool


def render(found: Effects, title: str, about: Mapping[str, Any], said: Sequence[str]) -> str:
    """Returns the page.

    Args:
        found: the analysis.
        title: the LoRA's name.
        about: what was drawn, as the JSON tells it.
        said: sentences.
    """
    light, whole_light = top(found), top_of([found.whole.from_base.where])
    longest = _longest_share(found)
    blocks = [_card(found, effect, light, longest) for effect in found.blocks]
    return (
        environment("renma.judge")
        .get_template("blocks.html.jinja")
        .render(
            title=title,
            about=about,
            model=Path(str(about["model"])).name,
            said=said,
            base=_inlined(found.base[0]),
            whole=_inlined(found.whole.pictures[0]),
            heat=_heat(found.whole.from_base, whole_light),
            whole_light=whole_light,
            change=found.whole.from_base,
            blocks=[card for card in blocks if card.layers],
            presets=[
                _card(found, effect, light, longest) for effect in found.presets if effect.row.drawn
            ],
            groups=[
                (words, names(group.rows), _part(found, group.drawn, True, light, longest))
                for words, group in _groups(found)
            ],
            strengths=found.spare.strengths if found.spare else "",
            longest=longest,
            light=light,
            strip=inline(strip(256, 10), 256, _MOST),
            noise=found.noise,
        )
    )


def _groups(found: Effects) -> list[tuple[str, Group]]:
    """Returns what is shown of blocks that are switched off at once."""
    if found.all_off is None or found.spare is None or len(found.dispensable) < 2:
        return []
    if found.spare is found.all_off:
        return [("Without all of these little changes", found.spare)]
    several = len(found.spare.rows) > 1
    kept = [("Without these at once little changes", found.spare)] if several else []
    return [*kept, ("All that can be off one at a time", found.all_off)]


def _longest_share(found: Effects) -> float:
    """Returns the share that a whole bar stands for: all that the LoRA does, or more."""
    shares = [1.0]
    for effect in (*found.blocks, *found.presets):
        shares += [found.share(effect.off.from_whole)] if effect.off else []
        shares += [found.share(effect.only.from_base)] if effect.only else []
    return max(shares)


def _card(found: Effects, effect: Effect, light: int, longest: float) -> Card:
    row, drawn = effect.row, effect.off or effect.only
    return Card(
        row.name,
        row.about,
        row.layers,
        _part(found, effect.off, True, light, longest) if effect.off else None,
        _part(found, effect.only, False, light, longest) if effect.only else None,
        drawn.loss if drawn else None,
        bool(effect.off) and found.can_be_off(effect.off),
        effect in found.carrying(),
    )


def _part(found: Effects, drawn: Drawn, off: bool, light: int, longest: float) -> Part:
    one = drawn.from_whole if off else drawn.from_base
    share = found.share(one)
    return Part(
        _inlined(drawn.pictures[0]),
        _heat(one, light),
        share,
        round(100 * share / longest, 1),
        one.percent,
        one.error,
        one.mean,
    )


def _inlined(pixels: Pixels) -> Picture:
    return inline(Image.fromarray(pixels), _LONGEST, _MOST)


def _heat(one: Change, light: int) -> Picture:
    return inline(heat_map(one.where, light), _LONGEST, _MOST)
