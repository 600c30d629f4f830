"""``renma file extract``: a LoRA or LoHa of the difference between two models.

Each layer's difference D = tuned - base is approximated in float32: LoRA by the leading singular
values, exact for small layers and by a randomised range finder for large ones; LoHa by alternating
least squares. The error said is measured against D, layer by layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import renma
from renma.config.file_tasks import ExtractOptions
from renma.core import keyed
from renma.core.errors import UserError
from renma.core.events import Report
from renma.use import low_rank, model_stream
from renma.use.layer_update import Layer, block, lora_layer
from renma.use.loha_fit import MOST as MOST_LOHA
from renma.use.loha_fit import fit, loha_layer
from renma.use.lora_output import save
from renma.use.low_rank import Factors
from renma.use.model_stream import PartFile
from renma.use.network_facts import described

_TEXT = re.compile(r"(^|\.)layers\.\d+\.(self_attn|mlp)\.")
_CONVOLUTIONS = (".resnets.", ".downsamplers.", ".upsamplers.")


@dataclass(frozen=True, slots=True)
class Target:
    """One weight to compare: its layer key, name in the file, shape, and rank of the result."""

    key: str
    name: str
    shape: tuple[int, ...]
    rank: int


@dataclass(frozen=True, slots=True)
class Row:
    """How well one layer's difference was met: ||D|| and ||D - result|| / ||D||."""

    key: str
    norm: float
    error: float


def run(options: ExtractOptions, report: Report) -> None:
    """Writes the LoRA of the difference and says how much of it was met.

    Raises:
        UserError: the models do not fit together, or do not differ.
    """
    _check(options, report)
    before, after = (_model(path) for path in (options.base, options.tuned))
    parts = [part for part in before if part in after]
    targets = {part: list(_targets(before[part], options)) for part in parts}
    dtype = model_stream.stored_dtype(after["unet"], options.precision)
    layers: dict[str, Layer] = {}
    rows: list[Row] = []
    done, total = 0, sum(map(len, targets.values()))
    for part in parts:
        chosen = {target.key for target in targets[part]}
        if part != "unet" and not _differs(before[part], after[part], targets[part], options):
            report.line(f"{part}: no weight differs by more than {options.min_difference:g}")
            chosen = set()
        for target, difference in _differences(before[part], after[part], targets[part]):
            done += 1
            if target.key in chosen and bool(difference.any()):
                layers[target.key], row = _extracted(target, difference, options, dtype)
                rows.append(row)
            report.event("caching", done=done, total=total, what="layers")
    if not layers:
        raise UserError("does not differ from the base in any of its layers", where=options.tuned)
    save(options.out, layers, _metadata(options, before["unet"].sdxl, layers), "kohya")
    _summary(rows, total, options, report)
    report.line(f"wrote {options.out}")


def _check(options: ExtractOptions, report: Report) -> None:
    if options.algo == "loha" and max(options.rank, options.conv_rank or 0) > MOST_LOHA:
        raise UserError(
            f"a LoHa of rank {options.rank} has no fit (at most {MOST_LOHA})",
            remedy="LoHa's own rank is the square of this number: 8 to 16 is usual.",
        )
    if options.algo == "loha" and options.clamp_quantile < 1:
        report.event("warned", text="--clamp-quantile does nothing with --algo loha")


def _model(path: Path) -> dict[str, PartFile]:
    if path.is_file():
        return model_stream.of_unet(path)
    return model_stream.of_folder(model_stream.folder_of(str(path)))


def _targets(source: PartFile, options: ExtractOptions) -> Iterator[Target]:
    """Yields what kohya's LoRA changes; resnets and samplers only with a rank for them."""
    for name in source.header:
        shape = source.shape(name)
        if not name.endswith(".weight") or len(shape) not in (2, 4):
            continue
        rank = _rank(source.part, name, tuple(shape[2:]), options)
        if rank:
            limit = min(shape[0], torch.Size(shape[1:]).numel())
            yield Target(source.key(name), name, shape, min(rank, limit))


def _rank(part: str, name: str, kernel: tuple[int, ...], options: ExtractOptions) -> int | None:
    if part != "unet":
        return options.rank if _TEXT.search(name) else None
    large = kernel not in {(), (1, 1)}
    if ".attentions." in name:
        return None if large else options.rank
    if options.conv_rank is None or not any(words in f".{name}" for words in _CONVOLUTIONS):
        return None
    return options.conv_rank if large else options.rank


def _differences(
    before: PartFile, after: PartFile, targets: Sequence[Target]
) -> Iterator[tuple[Target, Tensor]]:
    """Yields tuned - base of each target as a (outputs, columns) float32 matrix."""
    names = {_bare(name): name for name in after.header}
    with before.open() as old, after.open() as new:
        for target in targets:
            name = names.get(_bare(target.name))
            if name is None or after.shape(name) != target.shape:
                shape = "is missing" if name is None else f"has shape {after.shape(name)}"
                raise UserError(
                    f"'{target.name}' {shape}, in the base {target.shape}",
                    where=after.path,
                    remedy="Both must be models of the same family.",
                )
            difference = new.get_tensor(name).float() - old.get_tensor(target.name).float()
            if not difference.isfinite().all():
                raise UserError(f"'{target.name}' holds NaN or infinite numbers", where=after.path)
            yield target, difference.flatten(1)


def _bare(name: str) -> str:
    # transformers before 5 wrote a prefix, version 5 writes none
    return name.removeprefix("text_model.")


def _differs(
    before: PartFile, after: PartFile, targets: Sequence[Target], options: ExtractOptions
) -> bool:
    """Says whether some weight of a text encoder differs by more than the limit."""
    found = _differences(before, after, targets)
    return any(d.abs().max().item() > options.min_difference for _, d in found)


def _extracted(
    target: Target, difference: Tensor, options: ExtractOptions, dtype: torch.dtype
) -> tuple[Layer, Row]:
    """Returns one layer of the file and its error."""
    seed = keyed.key(0, "extract", target.key)
    found = low_rank.spectrum_of(difference, target.rank, seed)
    if options.algo == "loha":
        loha = fit(difference, found.cut(target.rank), seed)
        return loha_layer(loha, dtype), Row(target.key, found.norm, loha.error)
    factors, error = found.cut(target.rank), found.error(target.rank)
    if options.clamp_quantile < 1:
        factors = _clamped(factors, options.clamp_quantile)
        error = ((difference - factors.product()).norm() / difference.norm()).item()
    layer = lora_layer(factors, target.shape, dtype)
    return layer, Row(target.key, found.norm, error)


def _clamped(factors: Factors, quantile: float) -> Factors:
    """Returns factors cut at a quantile of the values of both, as kohya's extraction does."""
    values = torch.cat([factors.up.flatten(), factors.down.flatten()])
    limit = float(np.quantile(values.numpy(), quantile))
    return Factors(factors.up.clamp(-limit, limit), factors.down.clamp(-limit, limit))


def _metadata(options: ExtractOptions, sdxl: bool, layers: Mapping[str, Layer]) -> dict[str, str]:
    names = f"{_name(options.tuned)} - {_name(options.base)}"
    found = {
        "ss_training_comment": f"extracted: {names}",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": options.out.stem,
        "modelspec.implementation_version": f"renma/{renma.__version__}",
    }
    if sdxl:
        found["ss_base_model_version"] = "sdxl_base_v1-0"
        found["modelspec.architecture"] = "stable-diffusion-xl-v1-base/lora"
    found = described(found, layers)
    if options.algo == "loha":
        found["ss_network_dim"] = found["ss_network_alpha"] = str(options.rank)
        found["ss_network_args"] = '{"algo": "loha"}'
    return found


def _name(path: Path) -> str:
    """Returns a model's own name: a file tells no one's disk layout."""
    return path.stem if path.is_file() else path.resolve().name


def _summary(rows: Sequence[Row], total: int, options: ExtractOptions, report: Report) -> None:
    blocks: dict[str, list[Row]] = {}
    for row in rows:
        blocks.setdefault(block(row.key), []).append(row)
    width = max(map(len, blocks))
    report.line(f"{len(rows)} layers, {options.algo} of rank {options.rank}")
    report.line(f"  {'block':{width}}  layers  change     error")
    for name, some in blocks.items():
        norm = sum(row.norm**2 for row in some) ** 0.5
        report.line(f"  {name:{width}}  {len(some):6}  {norm:9.3g}  {_error(some):.2%}")
    if total > len(rows):
        report.line(f"{total - len(rows)} layers are the same in both models and are left out")
    report.line(f"error: {_error(rows):.2%} of the difference's norm is not in the file")


def _error(rows: Sequence[Row]) -> float:
    return low_rank.total_error([(row.error, row.norm) for row in rows])
