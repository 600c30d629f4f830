"""``renma file convert``: another naming, and forms for programs without the algorithm.

Forms: ``lora`` (exact where the algorithm has an exact one, else the best of a rank), ``diff`` (the
whole difference of every weight), ``merged`` (the same, worked out against the base model, which
DoRA, (IA)3, OFT and GLoRA need: what they do depends on the weight).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from renma import adapters
from renma.adapters._additive import Additive
from renma.adapters._base import Adapter, LayerSpec
from renma.config.file_tasks import ConvertOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.engine import layer_facts, low_rank
from renma.engine.model import DTYPES
from renma.formats import layer_limits, lora_file, lora_names
from renma.formats.layer_shape import weight_shape
from renma.formats.lora_file import LoraFile
from renma.formats.model_weights import ModelWeights
from renma.formats.portability import portability
from renma.use.layer_update import is_lora, lora_layer, precision, whole_layer
from renma.use.lora_output import keep_inputs, read
from renma.use.network_facts import described

Layer = dict[str, Tensor]
_SEED = 0
_POINTWISE = ("_proj_in", "_proj_out")
_SHORTCUTS = ("_conv_shortcut", "_skip_connection")
"""1x1 convolutions in every model, the others in some."""


@dataclass
class _Work:
    """A conversion under way.

    Attributes:
        errors: (relative error, norm) of every layer that became a LoRA.
        left_out: layers whose bias or norm has no place in a LoRA.
        flat: layers that may be 1x1 convolutions, described as matrices.
    """

    options: ConvertOptions
    base: ModelWeights | None
    dtype: torch.dtype
    errors: list[tuple[float, float]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)


def run(options: ConvertOptions, report: Report) -> None:
    """Writes the new file.

    Raises:
        UserError: a form that needs --base or --rank and does not have it, or a damaged file.
    """
    keep_inputs(options.out, [options.file, *([Path(options.base)] if options.base else [])])
    kept = options.to != "diffusers"
    file = read(options.file, report, keeps_embeddings=kept)
    for key, layer in file.layers.items():
        if "alpha" in layer and layer["alpha"].numel() != 1:  # no naming can say what it means
            layer_limits.check(key, layer, options.file)
    if options.as_form == "same":
        for name in ("base", "rank"):
            if getattr(options, name):
                report.event("warned", text=f"--{name} has no effect without --as")
        layers, metadata = file.layers, file.metadata
    else:
        layers = _formed(file, options, report)
        metadata = described(file.metadata, layers)
    dtype = None if options.precision == "keep" else DTYPES[options.precision]
    embeddings = file.embeddings if kept else {}
    new = LoraFile(layers, dict(metadata), file.naming, embeddings=embeddings)
    _check(new, dtype, options.out)
    lora_file.write(options.out, new, options.to, dtype)
    for text in portability(layer_facts.names(layers), options.to):
        report.event("warned", text=text)
    report.event("saved", path=str(options.out))


def _formed(file: LoraFile, options: ConvertOptions, report: Report) -> dict[str, Layer]:
    """Returns the layers in the form asked for, and says what that cost."""
    if options.as_form == "merged" and not options.base:
        raise UserError(
            "--as merged needs the base model",
            remedy="Give --base MODEL: `mame`, a diffusers folder or a .safetensors checkpoint.",
        )
    base = ModelWeights(options.base) if options.base else None
    work = _Work(options, base, precision(options.precision, file.layers.values()))
    make = _as_lora if options.as_form == "lora" else _as_difference
    layers: dict[str, Layer] = {}
    for key, layer in file.layers.items():
        if (made := make(key, layer, work)) is not None:
            layers[key] = made
    if work.left_out:
        report.event(
            "warned",
            text=f"a LoRA has no place for biases and norm layers: those of {len(work.left_out)} "
            f"layers are left out, such as {work.left_out[0]}; --as diff keeps them",
        )
    if work.flat:
        report.event(
            "warned",
            text=f"{len(work.flat)} layers, such as {work.flat[0]}, are 1x1 convolutions in SD 1.x "
            "and matrices elsewhere; the file does not say which: --base MODEL settles it",
        )
    if work.errors:
        error = low_rank.total_error(work.errors)
        exact = "exact, but for what is left out" if work.left_out else "exact"
        report.line(exact if error < 1e-6 else f"error of the whole update: {100 * error:.3g} %")
    if not layers:
        raise UserError("nothing of it can be written in this form", where=options.file)
    return layers


def _as_lora(key: str, layer: Layer, work: _Work) -> Layer | None:
    rank = work.options.rank
    if is_lora(layer) and (rank is None or layer["lora_down.weight"].shape[0] <= rank):
        work.errors.append((0.0, layer_facts.strength(key, layer) or 0.0))
        return layer
    adapter, weight, bias = _placed(key, layer, work)
    if adapter.spec.is_norm:
        work.left_out.append(key)
        return None
    pair = adapter.low_rank()
    if pair is not None:
        factors = low_rank.Factors(pair[0].float(), pair[1].float())
        if rank is None or factors.rank <= rank:
            made = lora_layer(factors, adapter.spec.weight_shape, work.dtype)
            work.errors.append((0.0, layer_facts.strength(key, made) or 0.0))
            return made
        found = low_rank.spectrum(factors)
    else:
        change, moved = _difference(adapter, weight, bias)
        if moved is not None:
            work.left_out.append(key)
        if rank is None:
            raise UserError(
                f"'{key}' has no exact form as a LoRA",
                where=work.options.file,
                remedy="Give --rank N for the nearest one, or use --as diff.",
            )
        found = low_rank.spectrum_of(change.flatten(1), min(rank, *change.flatten(1).shape), _SEED)
    kept = min(rank, len(found.values))
    work.errors.append((found.error(kept), found.norm))
    return lora_layer(found.cut(kept), adapter.spec.weight_shape, work.dtype)


def _as_difference(key: str, layer: Layer, work: _Work) -> Layer:
    return whole_layer(*_difference(*_placed(key, layer, work)), work.dtype)


def _placed(key: str, layer: Layer, work: _Work) -> tuple[Adapter, Tensor, Tensor | None]:
    """Returns the layer's adapter, and the weight and bias it is applied to.

    Additive algorithms are applied to zeros where no base is given: the difference is the same.
    """
    where = work.options.file
    layer_limits.check(key, layer, where)
    told = weight_shape(key, layer)
    weight = bias = None
    if work.base is not None:
        weight, bias = work.base.layer(key)
        weight, bias = weight.float(), bias if bias is None else bias.float()
        told = tuple(weight.shape)
    if told is None:
        raise _needs_base(key, where)
    if weight is None and len(told) == 2 and not is_lora(layer):
        if key.endswith(_SHORTCUTS):
            told = (*told, 1, 1)
        elif key.endswith(_POINTWISE):
            work.flat.append(key)
    try:
        adapter = adapters.restore(LayerSpec.of_weight(torch.Size(told)), layer)
    except (ValueError, IndexError) as error:
        raise UserError(f"'{key}' cannot be used: {error}", where=where) from None
    if weight is None:
        if not isinstance(adapter, Additive) or adapter.magnitude is not None:
            raise _needs_base(key, where)
        weight, bias = torch.zeros(told), torch.zeros(told[0])
    return adapter, weight, bias


def _difference(
    adapter: Adapter, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Returns W' - W, and b' - b if it is not zero."""
    with torch.no_grad():
        new, new_bias = adapter.apply_weight(weight, bias)
    if new_bias is None:
        return new - weight, None
    moved = new_bias if bias is None else new_bias - bias
    return new - weight, moved if bool(moved.any()) else None


def _needs_base(key: str, where: Path) -> UserError:
    return UserError(
        f"what '{key}' does depends on the weight it changes",
        where=where,
        remedy="Give --base MODEL: `mame`, a diffusers folder or a .safetensors checkpoint.",
    )


def _check(file: LoraFile, dtype: torch.dtype | None, out: Path) -> None:
    """Refuses numbers that are not finite, in the file or in its new precision."""
    for key, layer in file.layers.items():
        for suffix, tensor in layer.items():
            cast = lora_names.cast(suffix, tensor, dtype) if dtype else tensor
            if not layer_facts.is_finite(cast):
                what = (
                    "too large for this precision"
                    if layer_facts.is_finite(tensor)
                    else "not finite"
                )
                raise UserError(f"not written: '{key}.{suffix}' is {what}", where=out)
