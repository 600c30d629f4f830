"""A LoRA file with fewer ranks, to draw with.

DyLoRA (arXiv 2210.07558) trains rank k with scale alpha / k: the first ranks are taken, and alpha
stays as it is. Any other LoRA becomes the best approximation of that rank, by the singular values
of its update, and keeps its strength.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from renma.config.picture_recipe import UsedLora
from renma.core.errors import UserError
from renma.drawing.picture_source import layout_hash, lora_name, payload_hash
from renma.formats import safetensors

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
"""Counts up when a cut has other numbers than before."""
_DOWN, _UP = "lora_down.weight", "lora_up.weight"
_DOWNS = ("lora_down", "lora_A", "lora.down")
_KEPT = frozenset({_DOWN, _UP, "alpha", "dora_scale"})
_WHOLE = frozenset({"diff", "diff_b", "w_norm", "b_norm"})
"""Differences that are stored whole, such as those of a norm's scales, and have no rank."""
_TOLD_BY = ("ss_network_module", "ss_network_args", "renma_run")


def cut(lora: UsedLora, rank: int, folder: Path) -> UsedLora:
    """Returns a LoRA of at most this rank; its file is made where it is not there yet.

    Args:
        lora: the whole one.
        rank: of every layer that has more.
        folder: for cut files.

    Raises:
        UserError: it is no LoRA of two factors, or the disk is full.
    """
    source = Path(lora.path)
    if 0 < _most(source) <= rank:
        return lora
    name = f"{lora_name(source)}-rank{rank}"
    path = folder / f"{name}-{lora.sha256[:16]}{lora.layout[:8]}-{VERSION}.safetensors"
    if not path.is_file():
        _write(source, path, rank)
    return lora.model_copy(
        update={
            "name": name,
            "path": str(path),
            "sha256": payload_hash(path),
            "layout": layout_hash(path),
        }
    )


def _most(path: Path) -> int:
    """Returns the largest rank in a file's header, 0 where no factor has a known name."""
    header = safetensors.read_header(path)[0]
    shapes = (row["shape"] for name, row in header.items() if any(d in name for d in _DOWNS))
    return max((shape[0] for shape in shapes if shape), default=0)


def _write(source: Path, path: Path, rank: int) -> None:
    from renma.formats import lora_file

    file = lora_file.read(source)
    nested = any("dylora" in file.metadata.get(key, "").lower() for key in _TOLD_BY)
    layers = {key: _cut(key, row, rank, nested, source) for key, row in file.layers.items()}
    tensors = {f"{key}.{suffix}": t for key, row in layers.items() for suffix, t in row.items()}
    kept = {key: file.metadata[key] for key in ("ss_base_model_version",) if key in file.metadata}
    safetensors.save(path, tensors, kept)


def _cut(
    key: str, layer: dict[str, Tensor], rank: int, nested: bool, where: Path
) -> dict[str, Tensor]:
    if layer.keys() <= _WHOLE:
        return layer
    if not {_DOWN, _UP} <= layer.keys() <= _KEPT:
        raise UserError(
            f"'{key}' is no plain LoRA (it holds {', '.join(sorted(layer))}), so it has no rank "
            "to cut",
            where=where,
            remedy="Leave the rank axis out.",
        )
    if not all(tensor.isfinite().all() for tensor in layer.values()):
        raise UserError(f"'{key}' holds NaN or infinite numbers", where=where)
    return _first(layer, rank) if nested else _best(layer, rank)


def _first(layer: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    import torch

    down, up, alpha = layer[_DOWN], layer[_UP], layer.get("alpha")
    # a missing or zero alpha means the rank it was trained with, not the new one
    if alpha is None or float(alpha) == 0:
        alpha = torch.tensor(float(down.shape[0]))
    return {**layer, _DOWN: down[:rank].clone(), _UP: up[:, :rank].clone(), "alpha": alpha}


def _best(layer: dict[str, Tensor], rank: int) -> dict[str, Tensor]:
    import torch

    from renma.engine.low_rank import Factors, balanced, spectrum

    down, up, alpha = layer[_DOWN], layer[_UP], layer.get("alpha")
    have = down.shape[0]
    if have <= rank:
        return layer
    scale = 1.0 if alpha is None or float(alpha) == 0 else float(alpha) / have
    whole = Factors(up.flatten(1).float() * scale, down.flatten(1).float())
    small = balanced(spectrum(whole).cut(rank))
    return {
        **layer,
        _DOWN: small.down.reshape(rank, *down.shape[1:]).contiguous(),
        _UP: small.up.reshape(up.shape[0], rank, *[1] * (up.dim() - 2)).contiguous(),
        "alpha": torch.tensor(float(rank)),
    }
