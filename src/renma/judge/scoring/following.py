"""Does a picture still show what the rest of its prompt asks for?

Pictures of the base model for the same prompts say what each prompt looks like; so do the LoRA's
own, in its own manner. A LoRA moves all its pictures towards the subject: that common move is taken
off, and a picture follows its prompt when, of all prompts, it is nearest to its own, half way
between what both draw for it. A LoRA that draws the same whatever is asked follows as often as
chance does, and so does one that mixes prompts up.
"""

from __future__ import annotations

import numpy as np

RIDGE = 0.3
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
    at_base = features is base
    rows, centres, weights = _whitened(features, base, prompts, names)
    own = np.stack([rows[prompts == name].mean(0) for name in names])
    found = np.empty(len(rows))
    for place, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        index = int(np.searchsorted(names, prompt))
        # a picture is not compared with itself
        mine, theirs = (_without(c, index, row, counts[index]) for c in (own, centres))
        middles = (mine + (theirs if at_base else centres)) / 2
        found[place] = names[((middles - row) ** 2 @ weights).argmin()] == prompt
    return found


def _without(centres: np.ndarray, index: int, row: np.ndarray, count: int) -> np.ndarray:
    """Returns centres, one of them without one of its ``count`` rows."""
    changed = centres.copy()
    changed[index] = (centres[index] * count - row) / (count - 1)
    return changed


def _whitened(
    features: np.ndarray, base: np.ndarray, prompts: np.ndarray, names: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns pictures and the prompts' centres without what all share, and weights of channels."""
    middle = np.mean([base[prompts == name].mean(0) for name in names], 0)
    moved = np.mean([features[prompts == name].mean(0) for name in names], 0)
    inner = np.concatenate([base[prompts == n] - base[prompts == n].mean(0) for n in names])
    deviation = inner.std(0)
    scale = deviation + 1e-3 * deviation.mean() + _FLAT
    # channels in which prompts differ more than seeds do say which prompt it was
    centres = np.stack([(base[prompts == name].mean(0) - middle) / scale for name in names])
    weights = (centres**2).mean(0)
    return (features - moved) / scale, centres, weights / (weights.sum() + _FLAT)
