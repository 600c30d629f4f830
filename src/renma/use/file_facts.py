"""Everything there is to say about a LoRA file, as plain data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from renma import adapters
from renma.engine import layer_facts
from renma.formats import layer_block, lora_file
from renma.formats.layer_shape import weight_shape
from renma.formats.lora_file import LoraFile
from renma.formats.metadata import tag_counts
from renma.formats.portability import portability
from renma.use.lora_output import notes_of

_NAMES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16", "float64": "fp64"}
_KINDS = {
    r"\.attn1\.": "self-attention",
    r"\.attn2\.": "cross-attention",
    r"\.ff\.": "feed-forward",
    r"\.proj_(in|out)$": "projections",
    r"\.resnets\.": "ResNet blocks",
    r"samplers\.": "down- and upsamplers",
    r"\.self_attn\.": "attention",
    r"\.mlp\.": "MLP",
}


@dataclass(frozen=True)
class LayerFacts:
    """One layer; rank, shape and norm are None where its algorithm has none."""

    key: str
    part: str
    kind: str
    block: str
    algorithm: str
    rank: int | None
    alpha: float | None
    shape: tuple[int, ...] | None
    parameters: int
    norm: float | None


@dataclass(frozen=True)
class BlockFacts:
    """The layers of one block together; norm is that of all their updates as one vector."""

    block: str
    layers: int
    parameters: int
    norm: float | None


@dataclass(frozen=True)
class FileFacts:
    """A LoRA file."""

    file: str
    bytes: int
    naming: str
    algorithms: dict[str, int]
    precisions: dict[str, int]
    ranks: dict[str, int]
    alphas: dict[str, int]
    targets: dict[str, dict[str, int]]
    parameters: int
    not_finite: list[str]
    blocks: list[BlockFacts]
    layers: list[LayerFacts]
    metadata: dict[str, str]
    tags: dict[str, int]
    trouble: list[str]
    notes: list[str]


def facts(path: Path) -> FileFacts:
    """Returns the facts of a file.

    Raises:
        UserError: it is no LoRA file.
    """
    file = lora_file.read(path)
    layers = [_layer(key, file) for key in file.layers]
    tensors = [t for layer in file.layers.values() for t in layer.values()]
    targets: dict[str, dict[str, int]] = {}
    for layer in layers:
        row = targets.setdefault(layer.part, {})
        row[layer.kind] = row.get(layer.kind, 0) + 1
    return FileFacts(
        file=path.name,
        bytes=path.stat().st_size,
        naming=file.naming,
        algorithms=_counted(layer.algorithm for layer in layers),
        precisions=_counted(
            _NAMES.get(name := str(t.dtype).removeprefix("torch."), name)
            for t in tensors
            if t.is_floating_point() and t.dim()
        ),
        ranks=_counted(str(layer.rank) for layer in layers if layer.rank is not None),
        alphas=_counted(
            "none" if layer.alpha is None else f"{layer.alpha:g}"
            for layer in layers
            if layer.rank is not None
        ),
        targets=targets,
        parameters=sum(layer.parameters for layer in layers),
        not_finite=[
            f"{key}.{suffix}"
            for key, row in file.layers.items()
            for suffix, tensor in row.items()
            if not layer_facts.is_finite(tensor)
        ],
        blocks=_blocks(layers),
        layers=layers,
        metadata=dict(sorted(file.metadata.items())),
        tags=tag_counts(file.metadata),
        trouble=portability(layer_facts.names(file.layers)),
        notes=notes_of(file),
    )


def _layer(key: str, file: LoraFile) -> LayerFacts:
    row = file.layers[key]
    part, path = layer_block.place(key)
    try:
        algorithm = adapters.algorithm(row)
    except ValueError:
        algorithm = "unknown"
    alpha = row.get("alpha")
    return LayerFacts(
        key=key,
        part=part,
        kind=next((kind for word, kind in _KINDS.items() if re.search(word, path)), "other"),
        block=layer_block.label(part, path, layer_block.per_block(file.layers)),
        algorithm=f"{algorithm} with DoRA" if "dora_scale" in row else algorithm,
        rank=layer_facts.rank_of(row),
        alpha=float(alpha) if alpha is not None and alpha.numel() == 1 else None,
        shape=weight_shape(key, row),
        parameters=sum(t.numel() for t in row.values() if t.dim() and t.is_floating_point()),
        norm=layer_facts.strength(key, row),
    )


def _blocks(layers: Iterable[LayerFacts]) -> list[BlockFacts]:
    groups: dict[str, list[LayerFacts]] = {}
    for layer in layers:
        groups.setdefault(layer.block, []).append(layer)
    return [
        BlockFacts(
            block,
            len(rows),
            sum(row.parameters for row in rows),
            None if any(row.norm is None for row in rows) else _together(rows),
        )
        for block, rows in sorted(groups.items(), key=lambda item: layer_block.order(item[0]))
    ]


def _together(rows: Iterable[LayerFacts]) -> float:
    return sum((row.norm or 0.0) ** 2 for row in rows) ** 0.5


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
