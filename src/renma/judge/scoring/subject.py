"""How far a picture has gone from what the base model draws to what real pictures show.

A line through feature space is laid from the base model's pictures of the class to the real ones,
by Fisher's linear discriminant (1936): directions in which both vary by themselves, such as
backgrounds and faces, count little. 0 is where the base model is, 1 where real pictures are that
the line was not laid through; so likeness and leakage have the same unit, and neither needs to
know what the subject is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RIDGE = 0.3
"""How much the covariance of few pictures is drawn towards a round one."""
FEWEST = 3
"""Real pictures without which no line can be laid."""
APART = 0.1
"""Distance between pictures that the line was not laid through, as a share of its length, from
which it is one."""
FOLDS = 8
"""Parts in which pictures take turns at not being used."""
_FLAT = 1e-6


@dataclass(frozen=True)
class Subject:
    """The line.

    Attributes:
        centre: features of the base model's mean picture.
        scale: deviation of each feature within both sets.
        direction: of the line, for scaled features.
        zero: position of the base model's pictures, when they are not used for it.
        one: position of real pictures, when they are not used for it.
        real: where each real picture lies on the line when it is not used for it.
        base: the same of each of the base model's pictures.
    """

    centre: np.ndarray
    scale: np.ndarray
    direction: np.ndarray
    zero: float
    one: float
    real: np.ndarray
    base: np.ndarray

    @classmethod
    def learn(
        cls, real: np.ndarray, base: np.ndarray, held_out: np.ndarray | None = None
    ) -> Subject:
        """Returns the line from the base model's pictures to real ones.

        Args:
            real: (pictures, d) features of real pictures.
            base: (pictures, d) features of what the base model draws for the same kind of prompts.
            held_out: features of real pictures that say where 1 is (default: the real ones, each
                left out in its turn).

        Raises:
            ValueError: fewer than :data:`FEWEST` real pictures, or two of the base model's; or
                they cannot be told apart.
        """
        if len(real) < FEWEST or len(base) < 2:
            raise ValueError("too few pictures")
        line = _line(real, base)
        # pictures that the line was not laid through lie between its ends
        far, near = _left_out(real, base, held_out)
        first, last = float(near.mean()), float(np.median(far))
        if last - first < APART:
            raise ValueError("real pictures and the base model's cannot be told apart")
        zero, end = (float(_on(line, rows).mean()) for rows in (base, real))
        far, near = ((rows - first) / (last - first) for rows in (far, near))
        at = [zero + (end - zero) * share for share in (first, last)]
        return cls(*line, at[0], at[1], far, near)

    def likeness(self, features: np.ndarray) -> np.ndarray:
        """Returns for each picture where it lies, 0 (the base model) to 1 (real pictures)."""
        return np.clip(self.position(features), 0, 1)

    def position(self, features: np.ndarray) -> np.ndarray:
        """Returns the same, below 0 and above 1 too."""
        line = (self.centre, self.scale, self.direction)
        return (_on(line, features) - self.zero) / (self.one - self.zero)

    def scaled(self, features: np.ndarray) -> np.ndarray:
        """Returns features centred and scaled, so that no channel outweighs the others."""
        return (features - self.centre) / self.scale


Line = tuple[np.ndarray, np.ndarray, np.ndarray]


def _line(real: np.ndarray, base: np.ndarray) -> Line:
    within = np.concatenate([real - real.mean(0), base - base.mean(0)]).astype(np.float64)
    deviation = within.std(0)
    scale = deviation + 1e-3 * deviation.mean() + _FLAT
    rows = within / scale
    gap = (real.mean(0) - base.mean(0)) / scale
    return base.mean(0), scale, _solved(rows, gap)


def _solved(rows: np.ndarray, gap: np.ndarray) -> np.ndarray:
    """Returns ((1 - r) X'X / n + r m I)^-1 gap by the smaller of both Gram matrices."""
    count, width = rows.shape
    round_part = RIDGE * float((rows**2).sum()) / count / width + _FLAT
    square = (1 - RIDGE) / count
    if width <= count:
        return np.linalg.solve(square * rows.T @ rows + round_part * np.eye(width), gap)
    # Woodbury: thousands of channels, dozens of pictures
    inner = rows @ rows.T + (round_part / square) * np.eye(count)
    return (gap - rows.T @ np.linalg.solve(inner, rows @ gap)) / round_part


def _on(line: Line, features: np.ndarray) -> np.ndarray:
    centre, scale, direction = line
    return ((features - centre) / scale) @ direction


def _share(line: Line, rows: np.ndarray, real: np.ndarray, base: np.ndarray) -> np.ndarray:
    zero, end = _on(line, base).mean(), _on(line, real).mean()
    return (_on(line, rows) - zero) / (end - zero)


def _left_out(
    real: np.ndarray, base: np.ndarray, held_out: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions of real pictures and of the base model's on lines without them."""
    count = min(FOLDS, len(real), len(base))
    parts = [_folds(rows, count) for rows in (real, base)]
    far, near = np.empty(len(real)), np.empty(len(base))
    for fold in range(count):
        out, away = (part == fold for part in parts)
        kept, ground = real[~out], base[~away]
        line = _line(kept, ground)
        far[out] = _share(line, real[out], kept, ground)
        near[away] = _share(line, base[away], kept, ground)
    if held_out is not None:  # never used for the line: they say where real pictures lie
        far = _share(_line(real, base), held_out, real, base)
    return far, near


def _folds(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns the part that each row belongs to, whatever the order of the rows."""
    ranks = np.empty(len(rows), int)
    ranks[np.lexsort(rows.T[::-1])] = np.arange(len(rows))
    return ranks % count
