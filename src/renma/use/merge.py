"""``renma file merge``: several LoRAs added up into one, or into a model.

The sum w1 B1 A1 + w2 B2 A2 is again low-rank: the factors side by side, rank r1 + r2. Nothing is
lost unless a rank is asked for; then it is the best approximation of that rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from renma.config.file_tasks import MergeOptions
from renma.core import keyed
from renma.core.errors import UserError
from renma.core.events import Report
from renma.engine import low_rank
from renma.formats.lora_file import LoraFile
from renma.formats.lora_names import cast
from renma.formats.peft_names import RANKED
from renma.use import merge_model
from renma.use.layer_update import (
    Layer,
    Update,
    in_precision,
    lora_layer,
    precision,
    update_of,
    whole_layer,
)
from renma.use.lora_family import check_alike
from renma.use.lora_output import keep_inputs, naming_of, read, save
from renma.use.network_facts import described

_SHARED = frozenset(
    {
        "ss_v2", "ss_base_model_version", "ss_sd_model_name", "ss_sd_model_hash",
        "ss_new_sd_model_hash", "ss_clip_skip", "modelspec.sai_model_spec",
        "modelspec.architecture", "modelspec.implementation", "modelspec.prediction_type",
        "modelspec.resolution",
    }
)  # fmt: skip
"""Metadata that stays true of a sum where all its files agree; tags and training facts do not."""

_SCALED = ("lora_up.weight", "hada_w1_a", "lokr_w1", "lokr_w1_a", "diff", "w_norm")
"""The tensor of each algorithm that its update is proportional to."""
_BIASES = ("diff_b", "b_norm")
_A_PATH = re.compile(r"[/\\]|\.safetensors$")
"""What follows a colon that belongs to the path itself, as in C:\\loras\\a.safetensors."""


@dataclass(frozen=True, slots=True)
class Source:
    """One LoRA of the sum."""

    path: Path
    weight: float
    file: LoraFile


@dataclass(frozen=True, slots=True)
class Merged:
    """One layer of the sum, the norm of its update and the relative error of what is written."""

    layer: Layer
    norm: float = 0.0
    error: float = 0.0


def run(options: MergeOptions, report: Report) -> None:
    """Writes the sum, into a LoRA or into a copy of a model.

    Raises:
        UserError: files that cannot be added up; said is which layer and what to do instead.
    """
    places = list(map(parse, options.files))
    keep_inputs(options.out, [path for path, _ in places])
    sources = [Source(path, weight, read(path, report)) for path, weight in places]
    check_alike([(source.path, source.file) for source in sources if source.weight])
    if options.base:
        if options.rank is not None:
            raise UserError("--rank has no meaning with --base", remedy="Leave one of them out.")
        merge_model.run(options, [(s.path, s.weight, s.file) for s in sources], report)
        return
    layers, error = add_up(sources, options, report)
    naming = naming_of([s.file for s in sources], layers)
    metadata = described(_metadata(sources, options.out, report), layers)
    save(options.out, layers, metadata, naming)
    report.line(f"{_sum(sources)} in {len(layers)} layers, rank {metadata['ss_network_dim']}")
    if options.rank is None:
        report.line("nothing was left out: the update is the weighted sum")
    else:
        report.line(f"error of the shortening: {error:.2e} of the sum's norm")
    report.line(f"wrote {options.out}")


def parse(text: str) -> tuple[Path, float]:
    """Returns file and weight of ``FILE:WEIGHT``; no weight means 1.

    Raises:
        UserError: the weight is no finite number.
    """
    path, colon, number = text.rpartition(":")
    if not colon or not path or Path(text).exists() or _A_PATH.search(number):
        return Path(text), 1.0
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise UserError(
            f"'{number}' is no weight", where=text, remedy=f"Write a number, such as {path}:0.7."
        )
    return Path(path), weight


def add_up(
    sources: Sequence[Source], options: MergeOptions, report: Report
) -> tuple[dict[str, Layer], float]:
    """Returns the layers of the sum and the relative error of all of them together.

    Raises:
        UserError: nothing is left, or a layer cannot be added up.
    """
    acting = [source for source in sources if source.weight]
    keys = list(dict.fromkeys(key for source in acting for key in source.file.layers))
    if not keys:
        raise UserError("every file has weight 0, so there is nothing to write")
    dtype = precision(
        options.precision, [layer for s in acting for layer in s.file.layers.values()]
    )
    layers: dict[str, Layer] = {}
    errors: list[tuple[float, float]] = []
    for done, key in enumerate(keys, 1):
        found = merged_layer(key, [s for s in acting if key in s.file.layers], options, dtype)
        layers[key] = found.layer
        errors.append((found.error, found.norm))
        report.event("working", done=done, total=len(keys), what="layers")
    return layers, low_rank.total_error(errors)


def merged_layer(
    key: str, sources: Sequence[Source], options: MergeOptions, dtype: torch.dtype
) -> Merged:
    """Returns the weighted sum of one layer.

    A layer of a single file keeps its algorithm and its numbers, its alpha takes the weight.
    """
    first = sources[0]
    alone = first.file.layers[key] if len(sources) == 1 else None
    if alone is not None and options.rank is None and first.weight == 1:
        return Merged(in_precision(alone, options.precision))  # whatever the algorithm
    updates = [update_of(key, s.file.layers[key], s.path) for s in sources]
    if alone is not None and options.rank is None:
        return Merged(in_precision(_scaled(alone, first.weight), options.precision))
    shape = _shape(key, updates, sources)
    factors = [
        u.factors.times(s.weight)
        for u, s in zip(updates, sources, strict=True)
        if u.factors is not None
    ]
    if len(factors) == len(updates):
        return _from_factors(low_rank.stack(factors), shape, options.rank, dtype)
    whole = torch.zeros(shape)
    for update, source in zip(updates, sources, strict=True):
        part = update.whole if update.factors is None else update.factors.product()
        assert part is not None
        whole += source.weight * part.reshape(shape)
    return _from_whole(key, whole, _bias(updates, sources), options.rank, dtype)


def _from_factors(
    factors: low_rank.Factors, shape: tuple[int, ...], rank: int | None, dtype: torch.dtype
) -> Merged:
    if rank is None and factors.rank <= factors.side:
        return Merged(lora_layer(factors, shape, dtype))
    found = low_rank.spectrum(factors)
    # more ranks than the layer has sides are the same update in fewer
    kept = min(rank or factors.side, factors.rank, factors.side)
    layer = lora_layer(found.cut(kept), shape, dtype)
    return Merged(layer, found.norm, found.error(kept))


def _from_whole(
    key: str, whole: Tensor, bias: Tensor | None, rank: int | None, dtype: torch.dtype
) -> Merged:
    """Returns a difference as it is, or its best approximation where the layer has room for one."""
    if rank is None or whole.dim() == 1 or bias is not None or rank >= min(whole.flatten(1).shape):
        return Merged(whole_layer(whole, bias, dtype), whole.norm().item())
    found = low_rank.spectrum_of(whole.flatten(1), rank, keyed.key(0, "merge", key))
    layer = lora_layer(found.cut(rank), tuple(whole.shape), dtype)
    return Merged(layer, found.norm, found.error(rank))


def _scaled(layer: Mapping[str, Tensor], weight: float) -> Layer:
    """Returns a layer whose update is ``weight`` times as strong, in its own algorithm.

    Where the algorithm has an alpha, that takes the weight, in float32 unless the layer's own
    precision holds it exactly; a factor turns its sign for a negative one. So no number of the
    factors is rounded, and half precision loses no digits to subnormal numbers. Whole differences
    and full Kronecker pairs have no alpha: one of their tensors is multiplied.
    """
    carrier = next(name for name in _SCALED if name in layer)
    ranked = next((layer[name] for name in RANKED if name in layer), None)
    factor, made = weight, dict(layer)
    if ranked is not None:
        rank = float(ranked.shape[0])  # also meant by alpha 0, and by none
        own = float(layer["alpha"]) if "alpha" in layer else 0.0
        alpha = torch.tensor((own or rank) * abs(weight), dtype=torch.float32)
        if alpha:  # one that is too small for float32 would mean the rank
            made["alpha"] = cast("alpha", alpha, layer.get("alpha", ranked).dtype)
        factor = math.copysign(1.0, weight) if alpha else 0.0
    for name in (carrier, *_BIASES):
        by = factor if name == carrier else weight
        if name in layer and by != 1:
            made[name] = (layer[name].double() * by).to(layer[name].dtype)
    return made


def _shape(key: str, updates: Sequence[Update], sources: Sequence[Source]) -> tuple[int, ...]:
    """Returns the weight's shape; a 1x1 convolution may be stored as a matrix in one file."""
    sizes = {(u.shape[0], torch.Size(u.shape).numel()) for u in updates}
    if len(sizes) > 1:
        shapes = " and ".join(str(tuple(u.shape)) for u in updates)
        names = ", ".join(s.path.name for s in sources)
        raise UserError(
            f"'{key}' has shapes {shapes}", where=names, remedy="Are they for the same base model?"
        )
    return max((u.shape for u in updates), key=len)


def _bias(updates: Sequence[Update], sources: Sequence[Source]) -> Tensor | None:
    found = [s.weight * u.bias for u, s in zip(updates, sources, strict=True) if u.bias is not None]
    return torch.stack(found).sum(0) if found else None


def _metadata(sources: Sequence[Source], out: Path, report: Report) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in sorted(_SHARED):
        values = {s.file.metadata[key] for s in sources if key in s.file.metadata}
        if len(values) == 1:
            found[key] = values.pop()
        elif values and key == "ss_base_model_version":
            text = f"the files are for different base models: {', '.join(sorted(values))}"
            report.event("warned", text=text)
    found["modelspec.title"] = out.stem
    found["modelspec.merged_from"] = ", ".join(s.path.name for s in sources)
    found["ss_training_comment"] = f"merged: {_sum(sources)}"
    return found


def _sum(sources: Sequence[Source]) -> str:
    return " + ".join(f"{s.weight:g} x {s.path.name}" for s in sources)
