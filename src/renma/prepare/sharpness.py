"""How much real detail a grey picture holds: sharpness, direction of blur, spectrum, JPEG's grid.

All figures are ratios, so neither contrast nor the share of empty ground changes them much.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_TILE = 64
_WINDOW = 128
_MOST_WINDOWS = 9
_PLACES = 6
_FAINT = 4.0
"""Mean squared gradient below which a tile shows nothing that could be sharp."""
_ROUNDING = 1 / 12
"""Variance of what rounding to whole grey values adds to each pixel; blur makes it the finest
detail there is."""
_SECTORS = 8
_COARSE, _COARSE_AT = (0.1, 0.2), 0.15
_FINE = ((0.7, 0.8), (0.85, 0.95))
_EDGE = 32.0
"""Steps between neighbours above this are drawn edges, not JPEG's grid."""


def sharpness(grey: np.ndarray) -> float | None:
    """Returns the Laplacian's energy over the gradient's, of the sharpest tenth of tiles.

    White noise has about 5, a fine photograph 2 to 4, a Gaussian blur of 2 pixels below 0.6. The
    sharpest tiles decide, because a blurred background is no fault.

    Args:
        grey: float32 (h, w), at the size it is looked at.

    Returns:
        None for a picture without any edge.
    """
    if min(grey.shape) < 3:
        return None
    middle = grey[1:-1, 1:-1]
    laplacian = grey[1:-1, :-2] + grey[1:-1, 2:] + grey[:-2, 1:-1] + grey[2:, 1:-1] - 4 * middle
    gradient = (grey[1:-1, 2:] - middle) ** 2 + (grey[2:, 1:-1] - middle) ** 2
    found = []
    for rows, columns in _tiles(middle.shape, _TILE):
        edges = float(gradient[rows, columns].mean()) - 4 * _ROUNDING
        if edges > _FAINT:
            fine = float((laplacian[rows, columns] ** 2).mean()) - 20 * _ROUNDING
            found.append(max(0.0, fine) / edges)
    return float(np.percentile(found, 90)) if found else None


def spectrum(grey: np.ndarray) -> np.ndarray | None:
    """Returns the mean power spectrum of the liveliest windows, (128, 128), or None if too small.

    Args:
        grey: float32 (h, w) of the file's own pixels.
    """
    height, width = grey.shape
    if min(height, width) < _WINDOW:
        return None
    tops = np.unique(np.linspace(0, height - _WINDOW, _PLACES).astype(int))
    lefts = np.unique(np.linspace(0, width - _WINDOW, _PLACES).astype(int))
    windows = [grey[t : t + _WINDOW, x : x + _WINDOW] for t in tops for x in lefts]
    windows.sort(key=lambda window: -float(window.std()))
    taper = np.outer(np.hanning(_WINDOW), np.hanning(_WINDOW)).astype(np.float32)
    power = np.zeros((_WINDOW, _WINDOW), np.float32)
    for window in windows[:_MOST_WINDOWS]:
        power += np.abs(np.fft.fft2((window - window.mean()) * taper)) ** 2
    return power / min(len(windows), _MOST_WINDOWS)


def fine_detail(power: np.ndarray) -> float:
    """Returns how strong the finest detail is beside the coarse one, decibels.

    Energy falls with the square of the frequency in pictures of every kind (D. J. Field, 1987);
    what is left after that rule is about 0 for a sharp picture. Enlarging leaves the highest
    frequencies empty: a picture enlarged twice has less than -19, the mean of two bands, because
    what enlarging mirrors falls into one of them.
    """
    radius = _radius()
    low, high = _COARSE
    coarse = power[(radius >= low) & (radius < high)].mean() * _COARSE_AT**2
    found = []
    for low, high in _FINE:
        fine = power[(radius >= low) & (radius < high)].mean() * ((low + high) / 2) ** 2
        found.append(10 * np.log10((fine + 1e-9) / (coarse + 1e-9)))
    return float(np.mean(found))


def one_way(power: np.ndarray) -> float:
    """Returns how much weaker the weakest direction of detail is than the strongest, decibels.

    A camera or subject that moved wipes out the detail along its way and leaves that across it.
    """
    across, down = np.meshgrid(np.fft.fftfreq(_WINDOW), np.fft.fftfreq(_WINDOW))
    # the first sector lies around the horizontal, so that level and upright ways fill one each
    turn = np.arctan2(down, across) / np.pi * _SECTORS + 0.5
    sector = np.floor(turn).astype(int) % _SECTORS
    length = np.hypot(across, down) * 2
    band = (length >= 0.2) & (length < 0.6)
    energy = [power[band & (sector == s)].mean() for s in range(_SECTORS)]
    return float(10 * np.log10((max(energy) + 1e-9) / (min(energy) + 1e-9)))


def blockiness(grey: np.ndarray) -> float:
    """Returns how much larger steps are at the borders of 8x8 blocks than inside, 1 for none.

    The grid may begin anywhere, so a cropped JPEG is found too; a resized one is not.

    Args:
        grey: float32 (h, w) of the file's own pixels.
    """
    ratios = []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, axis=axis))
        faint = np.where(steps < _EDGE, steps, 0).mean(axis=1 - axis)
        if len(faint) < 64:
            return 1.0
        whole = faint[: len(faint) // 8 * 8].reshape(-1, 8)
        # in few blocks some place is always the highest; a grid is at the same one in both halves
        one, other = (int(np.median(half, axis=0).argmax()) for half in (whole[::2], whole[1::2]))
        if one != other:
            return 1.0
        means = np.sort(np.median(whole, axis=0))
        ratios.append((means[-1] + 0.05) / (float(means[:-1].mean()) + 0.05))
    return float(min(ratios))


def _tiles(shape: tuple[int, ...], side: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, max(1, shape[0] - side // 2), side):
        for left in range(0, max(1, shape[1] - side // 2), side):
            yield slice(top, top + side), slice(left, left + side)


def _radius() -> np.ndarray:
    """Returns each frequency as a share of the highest one, by its longer part, (128, 128)."""
    frequency = np.abs(np.fft.fftfreq(_WINDOW)) * 2
    return np.maximum(frequency[:, None], frequency[None])
