"""How sure the shipped network is that it sees a person, and what is said where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from renma.core.events import Report
from renma.data.notes import shown

SURE = 0.9
"""Mean of a person's mask. Photographed and drawn people have 0.93 to 0.98; a coffee cup, coins
and a motorcycle, of which scraps look like a person to the network, 0.55 to 0.89."""
_NAMED = 3


def sureness(mask: np.ndarray) -> float:
    """Returns the mean of a mask, 0 to 1, over what it takes for the person; 0 for nobody."""
    taken = mask[mask >= 0.5]
    return round(float(taken.mean()), 2) if taken.size else 0.0


def warn_of_unsure(found: Iterable[Mapping[str, Any]], report: Report) -> None:
    """Names the pictures in which no person was seen surely.

    Args:
        found: facts of the record, with their ``source``.
        report: told in one line.
    """
    unsure = [f["source"] for f in found if f.get("start") == "frame" or f.get("sure", 1.0) < SURE]
    names = [shown(name) for name in dict.fromkeys(unsure)]
    if names:
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        text = f"no person was seen surely in: {', '.join(names[:_NAMED])}{more}"
        report.event("warned", text=f"{text}; bring a network for things with --model")
