"""Axes of a grid: a name and labelled values, each of which changes one thing of a cell.

A new axis is one more function here; the grid knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from renma.judge.folder import Checkpoint
from renma.judge.paint import Cell


@dataclass(frozen=True)
class Value:
    """One place on an axis."""

    label: str
    change: Callable[[Cell], Cell]


@dataclass(frozen=True)
class Axis:
    """What differs along one direction of a grid."""

    name: str
    values: tuple[Value, ...]


def checkpoint(files: Iterable[Checkpoint]) -> Axis:
    """Returns an axis of LoRA files."""
    values = (Value(c.label, lambda cell, c=c: replace(cell, checkpoint=c.path)) for c in files)
    return Axis("checkpoint", tuple(values))


def weight(numbers: Iterable[float]) -> Axis:
    """Returns an axis of LoRA weights, U-Net and text encoder alike; 0 is the base model."""
    return Axis(
        "weight",
        tuple(
            Value(
                f"weight {number:g}" if number else "base model",
                lambda cell, w=number: replace(cell, unet=w, text_encoder=w),
            )
            for number in numbers
        ),
    )


def prompt(texts: Iterable[str]) -> Axis:
    """Returns an axis of prompts."""
    return _shot("prompt", texts, "{}", "prompt")


def seed(numbers: Iterable[int]) -> Axis:
    """Returns an axis of seeds."""
    return _shot("seed", numbers, "seed {}", "seed")


def scale(numbers: Iterable[float]) -> Axis:
    """Returns an axis of classifier-free guidance scales."""
    return _shot("cfg", numbers, "cfg {:g}", "scale")


def _shot(name: str, values: Iterable[Any], label: str, field: str) -> Axis:
    def change(value: Any) -> Callable[[Cell], Cell]:
        return lambda cell: replace(cell, shot=replace(cell.shot, **{field: value}))

    return Axis(name, tuple(Value(label.format(value), change(value)) for value in values))
