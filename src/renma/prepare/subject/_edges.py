"""A mask fitted to its picture: hard choice, holes and specks, soft edges, subject's own colours.

Edges: guided filter, He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, with the picture's three
channels as guide. Colours: Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
"""

from __future__ import annotations

import numpy as np

_EPSILON = 1e-4
"""How much the guide must vary before an edge follows it, in squared shares of white."""
_WIDE, _NARROW = 90, 6
"""Radii of the two passes of the colour estimate, pixels (the paper's)."""


def chosen(mask: np.ndarray, threshold: float) -> np.ndarray:
    """Returns where a mask is at least ``threshold``, as booleans; a higher one keeps less."""
    return mask >= threshold


def tidied(hard: np.ndarray, specks: float, holes: float) -> np.ndarray:
    """Returns a hard mask without small parts and small holes.

    Args:
        hard: bool (height, width).
        specks: parts with a smaller share of the picture are dropped.
        holes: gaps with a smaller share of the picture are filled.
    """
    cleaned = _without_small(hard, specks)
    return ~_without_small(~cleaned, holes)


def _without_small(hard: np.ndarray, share: float) -> np.ndarray:
    import cv2

    least = share * hard.size
    if least <= 1:
        return hard
    _, parts, stats, _ = cv2.connectedComponentsWithStats(hard.astype(np.uint8), connectivity=4)
    kept = stats[:, cv2.CC_STAT_AREA] >= least
    kept[0] = False  # label 0 is all the rest
    return kept[parts.astype(np.intp)]


def softened(rgb: np.ndarray, hard: np.ndarray, radius: int) -> np.ndarray:
    """Returns a hard mask whose edges follow the picture's, float32 0 to 1.

    Only pixels within ``radius`` of the edge change. The second look, half as wide, starts where
    the first has moved the edge to.

    Args:
        rgb: uint8 (height, width, 3).
        hard: bool (height, width).
        radius: how wrong the edge may be, pixels; 0 leaves it hard.
    """
    mask = hard.astype(np.float32)
    if radius < 1:
        return mask
    first = _moved(rgb, hard, radius)
    second = _moved(rgb, first >= 0.5, max(1, radius // 2))
    return np.where(_band(hard, radius), second, mask)


def _band(hard: np.ndarray, radius: int) -> np.ndarray:
    """Returns which pixels lie within ``radius`` of an edge."""
    import cv2

    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    mask = hard.astype(np.uint8)
    return cv2.dilate(mask, disc) != cv2.erode(mask, disc)


def _moved(rgb: np.ndarray, hard: np.ndarray, radius: int) -> np.ndarray:
    mask = hard.astype(np.float32)
    band: np.ndarray = _band(hard, radius)
    if not band.any():
        return mask
    top, bottom = _reach(np.any(band, axis=1), 2 * radius)
    left, right = _reach(np.any(band, axis=0), 2 * radius)
    part = np.s_[top:bottom, left:right]
    guided = guided_filter(rgb[part].astype(np.float32) / 255, mask[part], radius)
    # a mean of lines pulls every edge towards grey; stretched, sure pixels stay sure
    steep = np.clip((guided - 0.5) * 1.6 + 0.5, 0, 1)
    mask[part] = np.where(band[part], steep, mask[part])
    return mask


def _reach(lines: np.ndarray, margin: int) -> tuple[int, int]:
    found = np.flatnonzero(lines)
    return max(0, int(found[0]) - margin), min(lines.size, int(found[-1]) + margin + 1)


def guided_filter(
    guide: np.ndarray, mask: np.ndarray, radius: int, epsilon: float = _EPSILON
) -> np.ndarray:
    """Returns ``mask`` as a locally linear function of the guide's colours.

    In each window w: minimise sum (a . I + b - p)^2 + epsilon |a|^2; a pixel takes the mean of its
    windows' a and b.

    Args:
        guide: float32 (height, width, 3), 0 to 1.
        mask: float32 (height, width).
        radius: of the windows, pixels.
        epsilon: the penalty.
    """
    mean_i = _mean(guide, radius)
    mean_p = _mean(mask, radius)
    covariance = _mean(guide * mask[..., None], radius) - mean_i * mean_p[..., None]
    a = _solved(guide, mean_i, covariance, radius, epsilon)
    b = mean_p - (a * mean_i).sum(axis=2)
    return (_mean(a, radius) * guide).sum(axis=2) + _mean(b, radius)


def _mean(values: np.ndarray, radius: int) -> np.ndarray:
    import cv2

    return cv2.blur(values, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REFLECT)


def _solved(
    guide: np.ndarray, mean: np.ndarray, right: np.ndarray, radius: int, epsilon: float
) -> np.ndarray:
    """Returns (covariance of the guide + epsilon)^-1 right in each window, by cofactors."""
    r, g, b = (guide[..., c] for c in range(3))
    mr, mg, mb = (mean[..., c] for c in range(3))
    rr = _mean(r * r, radius) - mr * mr + epsilon
    gg = _mean(g * g, radius) - mg * mg + epsilon
    bb = _mean(b * b, radius) - mb * mb + epsilon
    rg = _mean(r * g, radius) - mr * mg
    rb = _mean(r * b, radius) - mr * mb
    gb = _mean(g * b, radius) - mg * mb
    c_rr, c_rg, c_rb = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c_gg, c_gb, c_bb = rr * bb - rb * rb, rg * rb - rr * gb, rr * gg - rg * rg
    determinant = np.maximum(rr * c_rr + rg * c_rg + rb * c_rb, epsilon**3)
    x, y, z = (right[..., c] for c in range(3))
    rows = (
        c_rr * x + c_rg * y + c_rb * z,
        c_rg * x + c_gg * y + c_gb * z,
        c_rb * x + c_gb * y + c_bb * z,
    )
    return np.stack(rows, axis=2) / determinant[..., None]


def own_colors(rgb: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns the subject's colours with the old background's share taken out, uint8.

    A half covered pixel shows c = a F + (1 - a) B; F alone goes onto the new background, or the
    subject gets a halo of the old one. F and B are estimated from the neighbourhood, twice.

    Args:
        rgb: uint8 (height, width, 3).
        mask: float32 (height, width), 0 to 1.
    """
    mixed = np.logical_and(mask > 0, mask < 1)
    if not mixed.any():
        return rgb
    top, bottom = _reach(np.any(mixed, axis=1), _WIDE)
    left, right = _reach(np.any(mixed, axis=0), _WIDE)
    part = np.s_[top:bottom, left:right]
    colors, alpha = rgb[part].astype(np.float32), mask[part][..., None]
    subject, ground = colors, colors
    for radius in (_WIDE, _NARROW):
        subject, ground = _estimated(colors, alpha, subject, ground, radius)
    out = rgb.copy()
    rounded = np.clip(subject, 0, 255).round().astype(np.uint8)
    out[part] = np.where(mixed[part][..., None], rounded, rgb[part])
    return out


def _estimated(
    colors: np.ndarray, alpha: np.ndarray, subject: np.ndarray, ground: np.ndarray, radius: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns better estimates of the subject's and the background's colours."""
    inside, outside = _mean(alpha[..., 0], radius), _mean(1 - alpha[..., 0], radius)
    near = _mean(subject * alpha, radius) / np.maximum(inside, 1e-5)[..., None]
    far = _mean(ground * (1 - alpha), radius) / np.maximum(outside, 1e-5)[..., None]
    rest = colors - alpha * near - (1 - alpha) * far
    return np.clip(near + alpha * rest, 0, 255), far
