"""How alike sets of pictures are, as numbers of their features (numpy alone).

Features are (pictures, d), a row for each picture, not normalised; angles between rows count, not
lengths. No number here means anything alone: give it beside that of the base model and that of
real pictures among themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SAME = 1e-6
"""Cosine distance up to which two pictures count as one and the same; float32 features round."""


def normalised(features: np.ndarray) -> np.ndarray:
    """Returns rows of length 1, float64; a row of zeros has no direction and stays.

    Raises:
        ValueError: the features are not (pictures, d), or not finite.
    """
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2:
        raise ValueError(f"features are (pictures, d), not {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("features hold NaN or infinite numbers")
    # first by the largest number: the square of a very small or large one is none
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    rows = np.divide(rows, largest, out=np.zeros_like(rows), where=largest > 0)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the cosine of every pair (pictures of first, pictures of second), -1 to 1."""
    return np.clip(normalised(first) @ normalised(second).T, -1, 1)


def paired_cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the cosine of each row with the same row of the other (pictures,), -1 to 1."""
    if np.shape(first) != np.shape(second):
        raise ValueError(f"pairs need equal shapes, not {np.shape(first)} and {np.shape(second)}")
    return np.clip((normalised(first) * normalised(second)).sum(1), -1, 1)


def centroid_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the squared distance between the means of two sets of normalised features, 0 to 4.

    Of directions S = 1 - (distance + variance1 + variance2) / 2 is the mean cosine, so this is
    what is left of it when variety does not count (LyCORIS, arXiv 2309.14859).
    """
    one, two = _some(normalised(first)).mean(0), _some(normalised(second)).mean(0)
    return float(((one - two) ** 2).sum())


@dataclass(frozen=True, slots=True)
class Variety:
    """How many different pictures a set holds.

    Args:
        effective: the number of pictures without anything in common that are as various.
        pictures: in the set.
    """

    effective: float
    pictures: int

    @property
    def share(self) -> float:
        """Effective pictures of each picture, 1 / pictures to 1."""
        return self.effective / self.pictures


def vendi(features: np.ndarray) -> Variety:
    """Returns the Vendi score of order 1 with the cosine as kernel (arXiv 2210.02410).

    exp of the entropy of the eigenvalues of K / n, where K holds the cosine of every pair: 1 for
    equal pictures, n for pictures at right angles.

    Raises:
        ValueError: there are no pictures, or one has only zeros for features.
    """
    rows = _some(normalised(features))
    if not rows.any(axis=1).all():
        raise ValueError("a picture has only zeros for features")
    # the eigenvalues of X X^T / n and of X^T X / n are the same but for zeros
    square = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    values = np.linalg.eigvalsh(square / len(rows))
    return Variety(float(np.clip(effective_number(values), 1, len(rows))), len(rows))


def effective_number(amounts: np.ndarray) -> float:
    """Returns exp of the entropy of amounts, as shares of their sum; 0 where all are 0.

    Of a matrix's singular values it is the effective rank of Roy and Vetterli, 2007.

    Args:
        amounts: what rounding makes of 0, below 1e-12 of the largest, counts as 0.
    """
    amounts = np.asarray(amounts, np.float64).ravel()
    amounts = amounts[amounts > 1e-12 * amounts.max(initial=0)]
    if not len(amounts):
        return 0.0
    shares = amounts / amounts.max()
    shares = shares / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


@dataclass(frozen=True, slots=True)
class Copying:
    """How near generated pictures come to those trained on.

    Args:
        nearest: (generated,) index of the training picture each is nearest to.
        distances: (generated,) cosine distance to it, 0 to 2.
        limit: distance below which training pictures are hardly ever from one another.
        share: of the generated pictures that are nearer than the limit.
    """

    nearest: np.ndarray
    distances: np.ndarray
    limit: float
    share: float


def copying(generated: np.ndarray, training: np.ndarray, quantile: float = 0.05) -> Copying:
    """Returns which generated pictures are nearer to a training picture than real ones are.

    Training pictures that occur twice count once, else their distance 0 would hide every copy.

    Args:
        generated: features.
        training: features of different pictures; mirrored ones too where training mirrors.
        quantile: of the training pictures' distances to their nearest other, that is the limit.

    Raises:
        ValueError: there are fewer than two different training pictures.
    """
    far = _some(1 - cosines(generated, training))
    between = 1 - cosines(training, training)
    between[between <= _SAME] = np.inf
    nearest_other = between.min(axis=1, initial=np.inf)
    if not np.isfinite(nearest_other).any():
        raise ValueError("needs two different training pictures")
    # of pictures that are there twice one is left
    first = [i for i, row in enumerate(between) if not np.isinf(row[:i]).any()]
    limit = float(np.quantile(nearest_other[first], quantile))
    distances = far.min(axis=1)
    return Copying(far.argmin(axis=1), distances, limit, float((distances < limit).mean()))


def _some(rows: np.ndarray) -> np.ndarray:
    if not rows.size:
        raise ValueError("needs at least one picture")
    return rows
