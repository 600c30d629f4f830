"""``renma file verify``: is a LoRA file whole, safe, finite, consistent, and made for a model."""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from renma import adapters
from renma.config.file_tasks import VerifyOptions
from renma.config.layer_table import Slot
from renma.core.errors import UserError
from renma.core.events import Report
from renma.engine import layer_facts
from renma.formats import layer_limits, lora_file, safetensors
from renma.formats.layer_shape import weight_shape
from renma.formats.lora_file import LoraFile
from renma.formats.metadata import shown
from renma.formats.model_weights import ModelWeights
from renma.use.lora_output import notes_of

LARGEST_SCALE = 1000.0
"""alpha / rank; rsLoRA at rank 4096 has 64."""


def run(options: VerifyOptions, report: Report) -> None:
    """Prints what was checked.

    Raises:
        UserError: the first thing that is wrong, and how many more there are.
    """
    safetensors.read_header(options.file)
    report.line("header: sizes, names, types and places fit")
    file = lora_file.read(options.file)
    report.line(f"names: {len(file.layers)} layers in the naming of {file.naming}")
    for text in notes_of(file):
        report.line(f"note: {shown(text)}")
    model = ModelWeights(options.model) if options.model else None
    failures: list[str] = []
    checks = {
        "numbers: all finite": _finite(file),
        "alpha: all of a sensible size": _alphas(file),
        "tensors: fit together in every layer": _consistent(file, model),
        "hashes: those in the metadata, if any, are right": _hashes(options.file),
    }
    if model is not None:
        checks[f"model: every layer is in {options.model} with that shape"] = _fits(file, model)
    for name, check in checks.items():
        found = list(check)
        failures += found
        report.line(f"{name}: {len(found)} failed" if found else name)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        remedy = "Download it again, or ask who made it."
        raise UserError(failures[0] + more, where=options.file, remedy=remedy)
    report.line("nothing wrong")


def _finite(file: LoraFile) -> Iterator[str]:
    for key, layer in file.layers.items():
        for suffix, tensor in layer.items():
            if not layer_facts.is_finite(tensor):
                yield f"'{shown(f'{key}.{suffix}')}' holds NaN or infinite numbers"


def _alphas(file: LoraFile) -> Iterator[str]:
    for key, layer in file.layers.items():
        alpha = layer.get("alpha")
        if alpha is None:
            continue
        if alpha.numel() != 1:
            yield f"'{shown(key)}.alpha' is no single number"
            continue
        rank, value = layer_facts.rank_of(layer), float(alpha)
        constraint = "oft_blocks" in layer  # alpha is another thing there
        if not math.isfinite(value) or value < 0:
            yield f"'{shown(key)}.alpha' is {value:g}"
        elif rank and not constraint and value / rank > LARGEST_SCALE:
            yield f"'{shown(key)}.alpha' is {value:g} at rank {rank}, a scale of {value / rank:g}"


def _consistent(file: LoraFile, model: ModelWeights | None) -> Iterator[str]:
    """Builds every layer's adapter, where the file or the model tells the layer's shape."""
    for key, layer in file.layers.items():
        if found := layer_limits.trouble(layer):
            if "alpha" not in found[0]:  # which has a check of its own
                yield f"'{shown(key)}' {found[0]}"
            continue
        shape = weight_shape(key, layer)
        if shape is None and model is not None and key in model.layers:
            shape = model.layers[key].shape
        try:
            adapters.algorithm(layer)
            if shape is not None:
                adapters.restore(layer_facts.spec(shape), layer)
        except (ValueError, IndexError, RuntimeError, TypeError) as error:
            yield f"'{shown(key)}' does not fit together: {shown(str(error), 200)}"


def _hashes(path: Path) -> Iterator[str]:
    _, metadata = safetensors.read_header(path)
    said = {
        "sshs_model_hash": metadata.get("sshs_model_hash"),
        "modelspec.hash_sha256": metadata.get("modelspec.hash_sha256", "").removeprefix("0x"),
    }
    said = {key: value for key, value in said.items() if value}
    if not said:
        return
    with path.open("rb") as file:
        file.seek(8 + struct.unpack("<Q", file.read(8))[0])
        real = hashlib.file_digest(file, "sha256").hexdigest()
    for key, value in said.items():
        if value.lower() != real:
            yield f"{key} in the metadata is not the hash of the weights: they were changed"


def _fits(file: LoraFile, model: ModelWeights) -> Iterator[str]:
    for key, layer in file.layers.items():
        slot = model.layers.get(key)
        if slot is None:
            yield f"'{shown(key)}' is no layer of {model.path}"
            continue
        shape = weight_shape(key, layer)
        if shape is not None and not _same(shape, slot):
            yield f"'{shown(key)}' is made for a weight {shape}, {model.path} has {slot.shape}"
        elif shape is None and (reason := _odd(layer, slot)):
            yield f"'{shown(key)}' does not fit {model.path}: {reason}"


def _odd(layer: Mapping[str, Tensor], slot: Slot) -> str:
    """Returns why a layer that does not tell its shape cannot act on a weight; empty if it can."""
    try:
        adapters.restore(layer_facts.spec(slot.shape), layer)
    except (ValueError, IndexError, RuntimeError, TypeError) as error:
        return shown(str(error), 200)
    return ""


def _same(shape: tuple[int, ...], slot: Slot) -> bool:
    """Compares shapes; a 1x1 convolution is a matrix, and factors may be stored flattened."""
    return (
        shape[0] == slot.outputs
        and math.prod(shape[1:]) == slot.columns
        and (len(shape) < 4 or shape[2:] == (1, 1) or shape == slot.shape)
    )
