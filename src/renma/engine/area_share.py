"""Areas of a picture at the resolution of its latents: shares that add up to 1, and windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

GRAIN = 8
"""Latents: sides of windows are multiples, so that three halvings in a U-Net fit."""
_NOTHING = 1e-6


@dataclass(frozen=True)
class Box:
    """A window of the latents."""

    top: int
    left: int
    height: int
    width: int

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.top + self.height

    @property
    def right(self) -> int:
        """The first column right of it."""
        return self.left + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window as rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def shares(
    masks: Sequence[Tensor | None], height: int, width: int, device: torch.device
) -> list[Tensor]:
    """Returns each area's share (height, width) of every place; together they are 1.

    Args:
        masks: (any, any) from 0 to 1, or None for the whole picture.
        height: of the latents.
        width: of the latents.
        device: where the shares are wanted.

    Raises:
        ValueError: a place belongs to no area.
    """
    small: list[Tensor] = []
    for mask in masks:
        full = torch.ones(height, width) if mask is None else mask.float()
        small.append(functional.adaptive_avg_pool2d(full[None], (height, width))[0])
    total = torch.stack(small).sum(0)
    if (total < _NOTHING).any():
        raise ValueError("a place of the picture belongs to no area")
    return [(mask / total).to(device) for mask in small]


def windows(shares: Sequence[Tensor], grain: int = GRAIN) -> list[Box]:
    """Returns a window around the places where each area has the largest share of all.

    Sides are multiples of ``grain``; near the picture's edge a window moves inside; it is never
    larger than the picture. An area that is nowhere the largest sees the whole picture.
    """
    first = torch.stack([*shares]).argmax(0)
    return [_window(first == place, grain) for place in range(len(shares))]


def inside(shares: Sequence[Tensor], boxes: Sequence[Box]) -> list[Tensor]:
    """Returns shares that are 0 outside of each area's window, and again 1 together."""
    kept = []
    for share, box in zip(shares, boxes, strict=True):
        seen = torch.zeros_like(share)
        seen[*box.slices] = share[*box.slices]
        kept.append(seen)
    total = torch.stack(kept).sum(0)
    return [share / total for share in kept]


def _window(there: Tensor, grain: int) -> Box:
    sides = []
    for axis in (1, 0):
        found = there.any(axis).nonzero().flatten()
        length = there.shape[1 - axis]
        if not len(found):
            sides.append((0, length))
            continue
        first, last = int(found[0]), int(found[-1])
        size = min(-(-(last - first + 1) // grain) * grain, length)
        start = max(0, min(first - (size - (last - first + 1)) // 2, length - size))
        sides.append((start, size))
    (top, height), (left, width) = sides
    return Box(top, left, height, width)
