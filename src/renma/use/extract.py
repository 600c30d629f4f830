"""``renma file extract``: a LoRA or LoHa of the difference between two models.

Each layer's difference D = tuned - base is approximated in float32: LoRA by the leading singular
values, exact for small layers and by a randomised range finder for large ones; LoHa by alternating
least squares. The error said is measured against D, layer by layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from renma.engine import low_rank
from renma.engine.low_rank import Factors
from renma.formats.checkpoint import BASE_VERSION, Family, Place
from renma.use import model_stream
from renma.use.layer_update import Layer, block, lora_layer
from renma.use.loha_fit import MOST as MOST_LOHA
from renma.use.loha_fit import fit, loha_layer
from renma.use.lora_output import keep_inputs, save
from renma.use.model_stream import Part, reading
from renma.use.network_facts import described

_TEXT = re.compile(r"(^|\.)layers\.\d+\.(self_attn|mlp)\.")
_CONVOLUTIONS = (".resnets.", ".downsamplers.", ".upsamplers.")
Difference = Callable[[Place], Tensor]
_ARCHITECTURES = {"sd1": "stable-diffusion-v1", "sdxl": "stable-diffusion-xl-v1-base"}


@dataclass(frozen=True, slots=True)
class Target:
    """One weight to compare: where it lies in the base, and rank of the result."""

    place: Place
    rank: int

    @property
    def key(self) -> str:
        """Its layer's key in LoRA files."""
        return self.place.key


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
    keep_inputs(options.out, [options.base, options.tuned])
    before, after = (model_stream.model(str(path)) for path in (options.base, options.tuned))
    parts = [(before.part(name), after.part(name)) for name in before.parts if name in after.parts]
    dtype = after.part("unet").stored_dtype(options.precision)
    layers: dict[str, Layer] = {}
    rows: list[Row] = []
    left: dict[str, float] = {}
    done, total = 0, sum(len(list(_targets(old, options))) for old, _ in parts)
    for old, new in parts:
        with _opened(old, new) as difference:
            targets = list(_targets(old, options))
            chosen = _chosen(old.name, targets, difference, options, report)
            for target in targets:
                done += 1
                report.event("working", done=done, total=total, what="layers")
                if target.place.name not in chosen:
                    continue
                change = difference(target.place)
                if bool(change.any()):
                    layers[target.key], row = _extracted(target, change, options, dtype)
                    rows.append(row)
            for kind, square in _left(old, new, chosen, difference):
                left[kind] = left.get(kind, 0.0) + square
    if not layers:
        raise UserError("does not differ from the base in any of its layers", where=options.tuned)
    save(options.out, layers, _metadata(options, before.family, layers), "kohya")
    _summary(rows, total, options, report)
    report.line(_outside(rows, left))
    report.line(f"wrote {options.out}")


def _chosen(
    part: str,
    targets: Sequence[Target],
    difference: Difference,
    options: ExtractOptions,
    report: Report,
) -> set[str]:
    """Returns the names to extract: of a text encoder none, if no weight differs enough."""
    if part == "unet" or any(
        difference(target.place).abs().max().item() > options.min_difference for target in targets
    ):
        return {target.place.name for target in targets}
    report.line(f"{part}: no weight differs by more than {options.min_difference:g}")
    return set()


def _check(options: ExtractOptions, report: Report) -> None:
    if options.algo == "loha" and max(options.rank, options.conv_rank or 0) > MOST_LOHA:
        raise UserError(
            f"a LoHa of rank {options.rank} has no fit (at most {MOST_LOHA})",
            remedy="LoHa's own rank is the square of this number: 8 to 16 is usual.",
        )
    if options.algo == "loha" and options.clamp_quantile < 1:
        report.event("warned", text="--clamp-quantile does nothing with --algo loha")


def _targets(part: Part, options: ExtractOptions) -> Iterator[Target]:
    """Yields what kohya's LoRA changes; resnets and samplers only with a rank for them."""
    for place in part.places.values():
        shape = place.shape
        if place.kind != "weight" or len(shape) not in (2, 4):
            continue
        rank = _rank(part.name, place.name, shape[2:], options)
        if rank:
            yield Target(place, min(rank, shape[0], math.prod(shape[1:])))


def _rank(part: str, name: str, kernel: tuple[int, ...], options: ExtractOptions) -> int | None:
    if part != "unet":
        return options.rank if _TEXT.search(name) else None
    large = kernel not in {(), (1, 1)}
    if ".attentions." in name:
        return None if large else options.rank
    if options.conv_rank is None or not any(words in f".{name}" for words in _CONVOLUTIONS):
        return None
    return options.conv_rank if large else options.rank


@contextmanager
def _opened(before: Part, after: Part) -> Iterator[Difference]:
    """Opens a part of both models; yields what returns tuned - base of one weight.

    Differences are float32, those of layers as (outputs, columns) matrices. A weight that the
    tuned model lacks, has in another shape or with numbers that are not finite is a UserError.
    """
    with reading(before.file) as old, reading(after.file) as new:

        def difference(place: Place) -> Tensor:
            other = after.places.get(place.name)
            if other is None or _matrix(other.shape) != _matrix(place.shape):
                shape = "is missing" if other is None else f"has shape {other.shape}"
                raise UserError(
                    f"'{place.tensor}' {shape}, in the base {place.shape}",
                    where=after.file.path,
                    remedy="Both must be models of the same family.",
                )
            found = other.of(new.get_tensor(other.tensor)).to(torch.float32, copy=True)
            base = place.of(old.get_tensor(place.tensor)).reshape(found.shape)
            found -= base if base.itemsize > 1 else base.float()  # 8 bits are not promoted
            if not found.isfinite().all():
                what = f"'{place.tensor}' holds NaN or infinite numbers"
                raise UserError(what, where=after.file.path)
            return found.flatten(1) if found.ndim > 1 else found

        yield difference


def _matrix(shape: tuple[int, ...]) -> tuple[int, ...]:
    # a 1x1 convolution in one program is a matrix in another
    return shape[:2] if shape[2:] == (1, 1) else shape


def _left(
    before: Part, after: Part, chosen: Collection[str], difference: Difference
) -> Iterator[tuple[str, float]]:
    """Yields kind and squared norm of every difference that is not extracted."""
    for name, place in before.places.items():
        other = after.places.get(name)
        if name in chosen or other is None or _matrix(other.shape) != _matrix(place.shape):
            continue
        if before.is_float(place) and after.is_float(other):
            yield _kind(place), difference(place).norm().item() ** 2


def _kind(place: Place) -> str:
    if place.kind == "bias":
        return "biases"
    if "embeddings." in place.name:
        return "embeddings"
    if len(place.shape) == 1:
        return "norms"
    return "convolutions" if len(place.shape) == 4 else "other layers"


def _outside(rows: Sequence[Row], left: Mapping[str, float]) -> str:
    kinds = sorted((kind for kind in left if left[kind]), key=lambda kind: -left[kind])
    if not kinds:
        return "not extracted: nothing, no other weight differs"
    outside = sum(left.values())
    share = (outside / (outside + sum(row.norm**2 for row in rows))) ** 0.5
    return (
        f"not extracted: {share:.2%} of the whole difference's norm lies in other weights "
        f"({', '.join(kinds)})"
    )


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
    layer = lora_layer(factors, target.place.shape, dtype)
    return layer, Row(target.key, found.norm, error)


def _clamped(factors: Factors, quantile: float) -> Factors:
    """Returns factors cut at a quantile of the values of both, as kohya's extraction does."""
    values = torch.cat([factors.up.flatten(), factors.down.flatten()])
    limit = float(np.quantile(values.numpy(), quantile))
    return Factors(factors.up.clamp(-limit, limit), factors.down.clamp(-limit, limit))


def _metadata(
    options: ExtractOptions, family: Family | None, layers: Mapping[str, Layer]
) -> dict[str, str]:
    names = f"{_name(options.tuned)} - {_name(options.base)}"
    found = {
        "ss_training_comment": f"extracted: {names}",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.title": options.out.stem,
        "modelspec.implementation_version": f"renma/{renma.__version__}",
    }
    if family is not None:
        found["ss_base_model_version"] = BASE_VERSION[family]
        found["ss_v2"] = str(family == "sd2")
    if family in _ARCHITECTURES:  # SD 2 has two, told apart by nothing in the weights
        found["modelspec.architecture"] = f"{_ARCHITECTURES[family]}/lora"
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
