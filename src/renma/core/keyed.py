"""Keyed randomness: every draw is a pure function of (seed, purpose, position).

No generator state exists between two draws, so none can be lost on resume, and neither the number
of workers nor the order of calls changes what is drawn.
"""

from __future__ import annotations

import hashlib
import random

Part = int | str


def key(seed: int, purpose: str, *position: Part) -> int:
    """Returns a 63-bit number that depends on every argument and on nothing else."""
    text = "\x1f".join([str(seed), purpose, *map(str, position)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def rng(seed: int, purpose: str, *position: Part) -> random.Random:
    """Returns a fresh Python generator for one purpose at one position."""
    return random.Random(key(seed, purpose, *position))
