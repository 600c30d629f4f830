"""How alike sets of pictures are, as numbers of their features (numpy alone).

Features are (pictures, d), a row for each picture, not normalised; angles between rows count, not
lengths. No number here means anything alone: give it beside that of the base model and that of
real pictures among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean cosine over all pairs of two sets.

    It rewards sets without variety: see :func:`centroid_distance`.
    """
    return float(_some(cosines(first, second)).mean())


def similarity_within(features: np.ndarray) -> float:
    """Returns the mean cosine over all pairs of different pictures of one set.

    For real pictures it is the row beside which :func:`similarity` is read.

    Raises:
        ValueError: there are fewer than two pictures.
    """
    found = cosines(features, features)
    if len(found) < 2:
        raise ValueError("needs two pictures")
    return float(found[~np.eye(len(found), dtype=bool)].mean())


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


def csls(
    first: np.ndarray, second: np.ndarray, background: np.ndarray, neighbours: int = 10
) -> np.ndarray:
    """Returns how alike each pair is beyond how alike both are to everything (first, second).

    CSLS (Conneau et al., arXiv 1710.04087): 2 cos(x, y) - r(x) - r(y), where r is the mean cosine
    to the nearest ``neighbours`` of a background set. Raw cosines of style call some artists
    nearer to others than to themselves; this read-out mends most of that (arXiv 2605.09030). The
    background here is what the base model draws, so 0 means: no nearer than to the base's style.

    Args:
        first: features, such as of generated pictures.
        second: features, such as of real pictures.
        background: features of pictures of neither set.
        neighbours: as many, or the whole background where it has fewer.

    Raises:
        ValueError: the background is empty, or no neighbours are asked for.
    """
    if neighbours < 1 or not len(background):
        raise ValueError("needs a background and one neighbour")
    around = [_crowd(rows, background, neighbours) for rows in (first, second)]
    return 2 * cosines(first, second) - around[0][:, None] - around[1][None, :]


def _crowd(rows: np.ndarray, background: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns the mean cosine of each row to its nearest neighbours in the background."""
    found = np.sort(cosines(rows, background), axis=1)
    return found[:, -neighbours:].mean(axis=1)


def gram(maps: np.ndarray) -> np.ndarray:
    """Returns the Gram matrices (pictures, channels, channels) of feature maps, float64.

    The mean over places of the products of channels: what is seen together, wherever it is (Gatys
    et al., arXiv 1508.06576).

    Args:
        maps: (pictures, channels, height, width).

    Raises:
        ValueError: they have another shape.
    """
    if np.ndim(maps) != 4:
        raise ValueError(f"feature maps are (pictures, channels, h, w), not {np.shape(maps)}")
    rows = np.asarray(maps, np.float64).reshape(*np.shape(maps)[:2], -1)
    return rows @ rows.transpose(0, 2, 1) / rows.shape[2]


def style_change(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> np.ndarray:
    """Returns how far each picture's style is from that of the same picture of the other set.

    Of two models drawing the same prompts from the same noise this is how much of the first one's
    style the second has lost. Each layer counts as ||G1 - G2||^2 / (||G1|| ||G2||), so layers with
    large numbers do not outweigh others; 0 means none lost.

    Args:
        first: feature maps (pictures, channels, height, width) of each layer.
        second: the other pictures'; sizes may differ, pictures and channels may not.

    Returns:
        (pictures,), the mean over layers.
    """
    found = [_apart(gram(a), gram(b)) for a, b in zip(first, second, strict=True)]
    return np.mean(found, axis=0)


def style_distance(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """Returns how far the styles of two sets are, by the means of their Gram matrices.

    Args:
        first: feature maps (pictures, channels, height, width) of each layer.
        second: the other set's; as many channels.

    Returns:
        ||G1 - G2||^2 / (||G1|| ||G2||), the mean over layers.
    """
    pairs = zip(first, second, strict=True)
    means = [(gram(a).mean(0, keepdims=True), gram(b).mean(0, keepdims=True)) for a, b in pairs]
    return float(np.mean([_apart(a, b) for a, b in means]))


def _apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns ||G1 - G2||^2 / (||G1|| ||G2||) of each pair; 0 where both are 0."""
    if first.shape != second.shape:
        raise ValueError(f"styles of other shapes: {first.shape} and {second.shape}")
    square = ((first - second) ** 2).sum(axis=(1, 2))
    sizes = np.linalg.norm(first, axis=(1, 2)) * np.linalg.norm(second, axis=(1, 2))
    endless = np.where(square > 0, np.inf, 0.0)
    return np.divide(square, sizes, out=endless, where=sizes > 0)


def _some(rows: np.ndarray) -> np.ndarray:
    if not rows.size:
        raise ValueError("needs at least one picture")
    return rows
