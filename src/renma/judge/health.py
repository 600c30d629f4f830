"""The health of a LoRA file's weights, told without its model: size, effective rank, damage.

Most algorithms add an update to the weight, whose norm the file tells exactly. Of the others it
tells less (see :func:`renma.judge.layer_spectrum.told`), but what is missing is the same in every
checkpoint of a run, so all numbers can be compared between those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from renma import adapters
from renma.formats import layer_block, lora_file
from renma.judge.layer_spectrum import Layer, Measured, told
from renma.judge.measures import effective_number

_BIASES = ("diff_b", "b_norm")


@dataclass(frozen=True, slots=True)
class LayerHealth:
    """One layer.

    Args:
        key: its name, kohya's.
        block: TE, IN04, M00, ...
        algorithm: such as ``lora``; ``unknown`` where renma has none that fits.
        measured: of what norm and effective rank are.
        norm: Frobenius norm; None where it cannot be told.
        effective_rank: exp of the entropy of the singular values (Roy and Vetterli, 2007), 0 of a
            dead layer; None where it cannot be told.
        numbers: trained or stored with the layer, alpha included.
        not_finite: how many of them are NaN or infinite.
        dead: it changes nothing; with DoRA, no direction.
    """

    key: str
    block: str
    algorithm: str
    measured: Measured
    norm: float | None
    effective_rank: float | None
    numbers: int
    not_finite: int
    dead: bool


@dataclass(frozen=True, slots=True)
class Health:
    """A file.

    Args:
        layers: in the file's order.
        norm: of all layers together as one vector; None where that of a layer cannot be told.
        blocks: the same for each block, in the order in which the model computes.
        effective_rank: mean over the layers that are not dead; None where none is told.
        not_finite: share of all numbers that are NaN or infinite; 0 is expected.
        dead: names of layers that change nothing.
    """

    layers: tuple[LayerHealth, ...]
    norm: float | None
    blocks: dict[str, float | None]
    effective_rank: float | None
    not_finite: float
    dead: tuple[str, ...]


def health(path: Path) -> Health:
    """Returns the health of a LoRA file.

    LoRAs take seconds at most; a file of whole differences, which has no factors to be quick
    with, takes minutes at full size.

    Raises:
        UserError: it is no LoRA file.
    """
    file = lora_file.read(path)
    per_block = layer_block.per_block(file.layers)
    layers = tuple(_layer(key, row, per_block) for key, row in file.layers.items())
    blocks: dict[str, list[LayerHealth]] = {}
    for layer in sorted(layers, key=lambda each: layer_block.order(each.block)):
        blocks.setdefault(layer.block, []).append(layer)
    ranks = [each.effective_rank for each in layers if each.effective_rank]
    return Health(
        layers,
        _together(layers),
        {name: _together(rows) for name, rows in blocks.items()},
        float(np.mean(ranks)) if ranks else None,
        sum(each.not_finite for each in layers) / sum(each.numbers for each in layers),
        tuple(each.key for each in layers if each.dead),
    )


def _layer(key: str, row: Layer, per_block: int) -> LayerHealth:
    try:
        algorithm = adapters.algorithm(row)
    except ValueError:
        algorithm = "unknown"
    damaged = sum(map(_not_finite, row.values()))
    measured, values = ("nothing", None) if damaged else told(key, row)
    still = values is not None and not values.any()
    return LayerHealth(
        key,
        layer_block.label(*layer_block.place(key), per_block),
        algorithm,
        measured,
        None if values is None else float(np.linalg.norm(values)),
        None if values is None else effective_number(values),
        sum(t.numel() for t in row.values()),
        damaged,
        still and not any(row[name].any() for name in _BIASES if name in row),
    )


def _not_finite(tensor: Tensor) -> int:
    if not tensor.is_floating_point():
        return 0
    wide = tensor.float() if tensor.element_size() == 1 else tensor  # 8-bit numbers have no test
    return int((~wide.isfinite()).sum())


def _together(layers: Iterable[LayerHealth]) -> float | None:
    norms = [each.norm for each in layers]
    known = [norm for norm in norms if norm is not None]
    return float(np.linalg.norm(known)) if len(known) == len(norms) else None
