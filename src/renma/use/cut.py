"""``renma file cut``: the first ranks of a DyLoRA file, a LoRA by themselves.

DyLoRA (arXiv 2210.07558) trains rank k with scale alpha / k, so alpha stays as it is.
"""

from __future__ import annotations

from pathlib import Path

import torch

from renma.config.file_tasks import CutOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.use.layer_update import Layer, is_lora, restored
from renma.use.lora_output import keep_inputs, naming_of, read, save
from renma.use.network_facts import commented, described

_TOLD_BY = ("ss_network_module", "ss_network_args", "renma_run")


def run(options: CutOptions, report: Report) -> None:
    """Writes the file with the first ``options.rank`` ranks of every layer.

    Raises:
        UserError: a layer is no LoRA, or has fewer ranks.
    """
    keep_inputs(options.out, [options.file])
    file = read(options.file, report)
    layers = {
        key: _first(key, layer, options.rank, options.file) for key, layer in file.layers.items()
    }
    if not any("dylora" in file.metadata.get(key, "").lower() for key in _TOLD_BY):
        report.event(
            "warned",
            text=f"{options.file.name} does not say that it was trained with DyLoRA; the first "
            "ranks of any other LoRA are not its best ones (renma file resize finds those)",
        )
    before = max(layer["lora_down.weight"].shape[0] for layer in file.layers.values())
    text = f"cut to the first {options.rank} of {before} ranks"
    metadata = commented(described(file.metadata, layers), text)
    save(options.out, layers, metadata, naming_of([file], layers))
    report.line(f"{len(layers)} layers {text}; alpha is as it was")
    report.line(f"wrote {options.out}")


def _first(key: str, layer: Layer, rank: int, where: Path) -> Layer:
    if not is_lora(layer):
        raise UserError(
            f"'{key}' is no plain LoRA (it holds {', '.join(sorted(layer))}), so it has no "
            "first ranks",
            where=where,
        )
    restored(key, layer, where)  # damaged layers are named here
    down, up = layer["lora_down.weight"], layer["lora_up.weight"]
    have = down.shape[0]
    if rank > have:
        raise UserError(f"'{key}' has rank {have}, which is below --rank {rank}", where=where)
    # a missing or zero alpha means the rank it was trained with, not the new one
    alpha = layer.get("alpha")
    if alpha is None or float(alpha) == 0:
        alpha = torch.tensor(float(have), dtype=down.dtype)
    # LyCORIS writes a convolution's up as a matrix, which loaders do not take
    up = up.reshape(*up.shape[:2], *[1] * (down.dim() - 2))
    return {
        "lora_down.weight": down[:rank].contiguous(),
        "lora_up.weight": up[:, :rank].contiguous(),
        "alpha": alpha,
    }
