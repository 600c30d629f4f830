"""Does a picture still show what the rest of its prompt asks for?

Pictures of the base model for the same prompts say what each prompt looks like; so do the LoRA's
own, in its own manner. A LoRA moves all its pictures towards the subject: that common move is taken
off, and a picture follows its prompt when, of all prompts, it is nearest to its own, half way
between what both draw for it. A LoRA that draws the same whatever is asked, or now this and now
that, follows as often as chance does; one that draws each prompt as another, half the time.
"""

from __future__ import annotations

import numpy as np

_FLAT = 1e-6


def follows(features: np.ndarray, base: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Returns for each picture 1 if it is nearest to its own prompt, else 0.

    Args:
        features: (pictures, d), in the order of ``prompts``.
        base: (pictures, d) of the base model, the same prompts in the same order.
        prompts: (pictures,) number of each picture's prompt; every one occurs twice at least.

    Raises:
        ValueError: fewer than two prompts, or one with a single picture.
    """
    names, counts = np.unique(prompts, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise ValueError("needs two prompts of two pictures")
    index = np.searchsorted(names, prompts)
    own, theirs = (
        np.stack([rows[prompts == n].mean(0) for n in names]) for rows in (features, base)
    )
    apart = (base - theirs[index]) ** 2
    spread = apart.sum(0)
    found = np.empty(len(features))
    for place, (row, twin) in enumerate(zip(features, base, strict=True)):
        mine, count = int(index[place]), int(counts[index[place]])
        # neither a picture itself nor what the base drew from the same noise may help to find it
        shown, usual = _without(own, mine, row, count), _without(theirs, mine, twin, count)
        inner = spread - apart[place] * count / (count - 1)
        scale = _scale(inner.clip(0) / (len(base) - 1))
        usual = (usual - usual.mean(0)) / scale
        middles = ((shown - shown.mean(0)) / scale + usual) / 2
        # channels in which prompts differ more than seeds do say which prompt it was
        distances = (middles - (row - shown.mean(0)) / scale) ** 2 @ (usual**2).mean(0)
        found[place] = distances.argmin() == mine
    return found


def _without(centres: np.ndarray, index: int, row: np.ndarray, count: int) -> np.ndarray:
    """Returns centres, one of them without one of its ``count`` rows."""
    changed = centres.copy()
    changed[index] = (centres[index] * count - row) / (count - 1)
    return changed


def _scale(variance: np.ndarray) -> np.ndarray:
    deviation = np.sqrt(variance)
    return deviation + 1e-3 * deviation.mean() + _FLAT
