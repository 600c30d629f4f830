"""Made-up photographs: detail at every scale, and edges."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageDraw


@cache
def clean(seed: int, size: tuple[int, int]) -> Image.Image:
    """A picture with detail at every scale, its energy falling as in photographs, and edges."""
    rng = np.random.default_rng(seed)
    height, width = size[1], size[0]
    across, down = np.meshgrid(np.fft.rfftfreq(width), np.fft.fftfreq(height))
    fall = np.hypot(across, down)
    fall[0, 0] = 1
    layers = [
        np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / fall, (height, width))
        for _ in range(3)
    ]
    values = np.stack([layer / layer.std() * 42 + 128 for layer in layers], -1)
    picture = Image.fromarray(values.clip(2, 253).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(5):
        x, y = rng.uniform(0.1, 0.8, 2) * size
        draw.rectangle(
            (x, y, x + width / 12, y + 40), fill=tuple(map(int, rng.integers(0, 256, 3)))
        )
    return picture


def photo(seed: int = 0, size: tuple[int, int] = (600, 512)) -> Image.Image:
    return clean(seed, size).copy()
