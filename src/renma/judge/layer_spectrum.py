"""Singular values of what one layer of a LoRA file does, as far as the file alone tells it.

Norm and effective rank follow from them. Products of factors are never built where their singular
values follow from the factors'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from renma import adapters
from renma.adapters import glora, lokr, oft
from renma.adapters._additive import MAGNITUDE, Additive
from renma.adapters._base import LayerSpec
from renma.engine.low_rank import Factors, spectrum
from renma.formats.layer_limits import trouble
from renma.formats.layer_shape import weight_shape

Layer = Mapping[str, Tensor]
Measured = Literal["update", "share", "matrix", "nothing"]
Told = tuple[Measured, np.ndarray | None]
"""What the singular values are of, and they, float64; None where nothing is told."""
_ASIDE = frozenset({MAGNITUDE, "diff_b"})
"""What stands beside an update: DoRA's magnitudes, the bias."""


def told(key: str, layer: Layer) -> Told:
    """Returns the singular values of what a layer does, and what that is.

    ``update``: what is added to the weight, scale included; with DoRA before its magnitudes act.
    ``share``: what is multiplied with the weight, less 1 ((IA)3, OFT); of GLoRA that and what is
    added beside it. ``matrix``: MoRA's own, whose update is that repeated by the layer's shape.
    ``nothing``: damaged tensors, or of an algorithm that renma does not know.

    Args:
        key: kohya's layer key.
        layer: tensors by canonical suffix, all of them finite.
    """
    if trouble(layer):
        return "nothing", None
    own = {suffix: tensor for suffix, tensor in layer.items() if suffix not in _ASIDE}
    try:
        with torch.no_grad():
            return _told(key, own)
    except (ValueError, IndexError, RuntimeError):  # damaged: shapes that do not fit one another
        return "nothing", None


def _told(key: str, layer: Layer) -> Told:
    name = adapters.algorithm(layer)
    if name == "ia3":
        return "share", np.abs(_array(layer["weight"])).ravel()
    if name == "oft":
        return "share", _turned(layer)
    if name == "mora":
        return "matrix", _array(torch.linalg.svdvals(layer["mora"].double()))
    shape = weight_shape(key, layer)
    if shape is None:
        return "nothing", None
    adapter = adapters.restore(LayerSpec.of_weight(torch.Size(shape)), layer)
    if isinstance(adapter, glora.Adapter):
        pairs = ((adapter.a1, adapter.a2), (adapter.b1, adapter.b2))
        both = np.concatenate([_of_factors(up, down) for up, down in pairs])
        return "share", both * abs(adapter.scale)
    assert isinstance(adapter, Additive)
    return "update", _of_update(adapter)


def _of_update(adapter: Additive) -> np.ndarray:
    pair = adapter.low_rank()
    if pair is not None:
        return _of_factors(*pair)
    if isinstance(adapter, lokr.Adapter):  # those of a Kronecker product are all their products
        first, *second = adapter.parts()
        right = _of_factors(second[0], second[1]) if len(second) == 2 else _of_matrix(second[0])
        return np.outer(_of_matrix(first), right).ravel() * abs(adapter.scale)
    update = adapter.update(*adapter.parts())
    return _of_matrix(update.reshape(update.shape[0], -1))


def _of_factors(up: Tensor, down: Tensor) -> np.ndarray:
    """Returns the singular values of up (outputs, rank) @ down (rank, columns).

    What is rounding beside the factors is 0: a layer begun with PiSSA has two that cancel.
    """
    values = _array(spectrum(Factors(up, down)).values)
    noise = 1e-12 * float(up.double().norm() * down.double().norm())
    return np.where(values > noise, values, 0)


def _of_matrix(matrix: Tensor) -> np.ndarray:
    """Returns the singular values of a matrix, by the eigenvalues of its smaller square.

    Several times faster than its SVD; values below 1e-8 of the largest are rounding.
    """
    wide = matrix.double()
    wide = wide if wide.shape[0] <= wide.shape[1] else wide.t()
    squares = _array(torch.linalg.eigvalsh(wide @ wide.t()))
    noise = len(squares) * np.finfo(np.float64).eps * squares.max(initial=0)
    return np.sqrt(np.where(squares > noise, squares, 0))


def _turned(layer: Layer) -> np.ndarray:
    """Returns the singular values of R - 1, rescaled if the file says so, block by block."""
    blocks = layer["oft_blocks"]
    outputs = blocks.shape[-3] * blocks.shape[-1]
    adapter = oft.Adapter.of_file(
        LayerSpec("linear", outputs, outputs), layer, oft.config_of(layer)
    )
    adapter.load_tensors(layer)
    if blocks.dim() == 4:  # BOFT mixes all outputs
        return _of_matrix(adapter.change(torch.eye(outputs)))
    count, size = blocks.shape[:2]
    turns = adapter.rotations().double().transpose(1, 2)
    if adapter.rescale is not None:
        turns = turns * adapter.rescale.double().reshape(count, size, 1)
    return _array(torch.linalg.svdvals(turns - torch.eye(size))).ravel()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()
