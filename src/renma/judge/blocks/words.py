"""What an analysis of blocks says: sentences, a table for the terminal, JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from renma.core.counted import counted
from renma.judge.blocks.effect import (
    LEAST_SEEDS,
    LITTLE,
    SURE,
    Drawn,
    Effect,
    Effects,
    Group,
)
from renma.judge.blocks.picture_change import Change
from renma.judge.blocks.rows import BASE, joined, names

VERSION = 1
_NOTHING = 0.5
"""Mean difference, in levels of 255, below which a LoRA does as good as nothing."""


def sentences(found: Effects, name: str) -> list[str]:
    """Returns what was found, in plain words.

    Args:
        found: the analysis.
        name: what the LoRA is called, for options.
    """
    said = []
    whole = found.whole.from_base
    if whole.mean < _NOTHING:
        said.append("On this prompt the LoRA changes nothing, so its blocks cannot be told apart.")
    else:
        said += [*_carrying(found), *_dispensable(found, name)]
    if empty := [effect.row for effect in found.blocks if not effect.row.drawn]:
        said.append(f"The LoRA has no layers in {names(empty)}: not drawn.")
    unreached = [effect.row for effect in found.presets if not effect.row.drawn]
    if unreached:
        said.append(
            f"{names(unreached)} reach{'es' if len(unreached) == 1 else ''} no layer of this "
            "LoRA's U-Net: not drawn."
        )
    return said


def _carrying(found: Effects) -> Iterator[str]:
    best = found.carrying()
    if not best:
        return
    called = [
        f"BASE ({effect.row.about})" if effect.row.name == BASE else effect.row.name
        for effect in best
    ]
    shares = [
        f"{effect.row.name} {_percent(found.share(effect.off.from_whole))} and "
        f"{_percent(found.share(effect.only.from_base))}"
        for effect in best
        if effect.off and effect.only
    ]
    verb = "carries" if len(best) == 1 else "carry"
    yield (
        f"{joined(called)} {verb} most. Switched off and alone, measured by what the whole LoRA "
        f"changes: {', '.join(shares)}."
    )


def _dispensable(found: Effects, name: str) -> Iterator[str]:
    if found.noise is None or found.spread is None:
        yield (
            f"Which blocks could be switched off is not said: that takes --seeds {LEAST_SEEDS} "
            "or more."
        )
        return
    rows, spare = found.dispensable, found.spare
    if spare is None or found.all_off is None:
        yield "Of no block is it sure that it could be switched off."
    else:
        how = f"--blocks {shlex.quote(f'{name}={spare.strengths}')}"
        if len(rows) == 1:
            yield f"{names(rows)} could be switched off: {how}"
        elif len(spare.rows) == len(rows):
            yield f"{names(rows)} could be switched off, even all at once: {how}"
        else:
            every = found.all_off.drawn
            most = "Of those, this one" if len(spare.rows) == 1 else "At once"
            yield (
                f"Each of {names(rows)} could be switched off, but not all at once: that changes "
                f"{_share(found, every.from_whole)} of what the LoRA changes, and "
                f"{every.loss:.1f} levels are lost. {most}: {names(spare.rows)}, by {how}"
            )
    yield (
        "Could be switched off is said where two things hold. Without it, each picture stays "
        f"nearly the same: what changes is less than {_percent(LITTLE)} of what the whole LoRA "
        f"changes, with {SURE:.0f} standard errors over {counted(len(found.base), 'seed')}. And "
        "no more is lost than noise. Lost is what a picture is farther from the LoRA's pictures of "
        f"other seeds than the LoRA's own picture is. Those are {found.spread:.1f} of 255 "
        f"levels apart, which differs by {found.noise:.1f} from seed to seed (standard deviation "
        f"over {counted(len(found.base), 'seed')}): a loss up to {found.noise:.1f} levels is noise."
    )


def table(found: Effects) -> list[str]:
    """Returns lines for the terminal: a block or preset each."""
    head = f"{'':8}{'layers':>7}  {'switched off':>21}  {'alone':>21}{'lost':>8}"
    under = f"{'':8}{'':>7}  {'pixels     mean':>21}  {'pixels     mean':>21}"
    rows = [effect for effect in (*found.blocks, *found.presets) if effect.row.drawn]
    return [head, under, *(_line(found, effect) for effect in rows)]


def _line(found: Effects, effect: Effect) -> str:
    off = _figures(effect.off.from_whole) if effect.off else ""
    only = _figures(effect.only.from_base) if effect.only else ""
    drawn = effect.off or effect.only
    assert drawn is not None
    lost = "" if drawn.loss is None else f"{drawn.loss:.1f}{'' if found.is_within(drawn) else '*'}"
    line = f"{effect.row.name:8}{effect.row.layers:7}  {off:>21}  {only:>21}{lost:>8}"
    spare = bool(effect.off) and found.can_be_off(effect.off)
    return f"{line}{'  can be off' if spare else ''}".rstrip()


def _figures(one: Change) -> str:
    return f"{one.percent:.1f} % {one.mean:8.1f}"


def as_row(found: Effects, about: Mapping[str, Any]) -> dict[str, Any]:
    """Returns everything measured, for JSON.

    Args:
        found: the analysis.
        about: what was drawn.
    """
    return {
        "version": VERSION,
        **about,
        "whole": _drawn(found, found.whole),
        "spread": _round(found.spread),
        "noise": _round(found.noise),
        "blocks": [_effect(found, effect) for effect in found.blocks],
        "presets": [_effect(found, effect) for effect in found.presets],
        "carrying": [effect.row.name for effect in found.carrying()],
        "dispensable": [row.name for row in found.dispensable],
        "all_off": _group(found, found.all_off),
        "spare": _group(found, found.spare),
    }


def _effect(found: Effects, effect: Effect) -> dict[str, Any]:
    return {
        "name": effect.row.name,
        "layers": effect.row.layers,
        "acting": list(effect.row.acting),
        "drawn": effect.row.drawn,
        "weight": _round(found.weight(effect)),
        "off": _drawn(found, effect.off) if effect.off else None,
        "only": _drawn(found, effect.only) if effect.only else None,
    }


def _group(found: Effects, group: Group | None) -> dict[str, Any] | None:
    if group is None:
        return None
    return {
        "blocks": [row.name for row in group.rows],
        "strengths": group.strengths,
        **_drawn(found, group.drawn),
    }


def _drawn(found: Effects, one: Drawn) -> dict[str, Any]:
    return {
        "from_whole": _change(one.from_whole),
        "from_base": _change(one.from_base),
        "loss": _round(one.loss),
        "share": _round(found.share(one.from_whole)),
        "share_error": _round(found.share_error(one.from_whole)),
        "within_noise": None if found.noise is None else found.is_within(one),
        "can_be_off": None if found.noise is None else found.can_be_off(one),
    }


def _change(one: Change) -> dict[str, float | None]:
    return {
        "percent": _round(one.percent),
        "percent_error": _round(one.error),
        "mean": _round(one.mean),
    }


def _share(found: Effects, one: Change) -> str:
    """Returns a share and what is compared with the limit."""
    share, error = found.share(one), found.share_error(one) or 0.0
    most = share + SURE * error
    return f"{100 * share:.1f} % ({100 * most:.1f} % with {SURE:.0f} standard errors)"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _round(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
