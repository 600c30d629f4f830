"""Words that agree with their number, in messages."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, what: str, many: str = "") -> str:
    """Returns a number with its noun: `1 picture`, `4 pictures`, `2 batches`.

    Args:
        number: how many.
        what: the noun for one.
        many: the noun for several, where it is not that with an s.
    """
    return f"{number:,} {what if number == 1 else many or f'{what}s'}"


def times(least: float, most: float | None = None) -> str:
    """Returns how often something happens: `once`, `4 times`, `1 to 3 times`."""
    if most is not None and most != least:
        return f"{least:,g} to {most:,g} times"
    return "once" if least == 1 else f"{least:,g} times"


def idle(names: Sequence[str]) -> str:
    """Returns that options have no effect: `a has no effect`, `a, b have no effect`."""
    return f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect"
