"""Arithmetic before the start: steps, parameters, file size of every algorithm (no torch).

Layer shapes come from the headers of the model's weight files, so nothing is loaded. O outputs, I
inputs, C columns (inputs times kernel), r rank.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from typing import get_args

from renma.config.adapter import (
    IA3,
    AdapterConfig,
    AdapterSection,
    DyLora,
    Full,
    GLora,
    LoHa,
    LoKr,
    Lora,
    LoraFA,
    Mora,
    Oft,
    _Ranked,
    stored_alpha,
)
from renma.config.layer_table import Choice, Slot, choose, slots

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Tensors = dict[str, Shape]

ALGORITHMS: dict[str, type[AdapterSection]] = {
    section.model_fields["algo"].default: section
    for section in get_args(get_args(AdapterConfig)[0])
}
"""Name of an algorithm to its options."""


def adaptable(unet: Shapes, text_encoder: Shapes) -> list[Slot]:
    """Returns the layers that LoRA changes by default: transformer blocks and CLIP linears."""
    return [slot for slot, _, _ in choose(Lora(), slots(unet, text_encoder))]


def parameters(layers: Iterable[Slot], config: AdapterSection) -> int:
    """Returns how many numbers are trained on layers that share their options."""
    return sum(numbers(layer, config) for layer in layers)


def numbers(slot: Slot, config: AdapterSection) -> int:
    """Returns how many numbers the algorithm trains on one layer.

    Args:
        slot: the layer.
        config: its own options, as :func:`renma.config.layer_table.choose` gives them.
    """
    return _count(trained(slot, config))


def file_numbers(slot: Slot, config: AdapterSection) -> int:
    """Returns how many numbers a LoRA file holds for one layer, alpha and marks included."""
    return _count(stored(slot, config))


def file_bytes(chosen: Iterable[Choice], precision: str) -> int:
    """Returns the size of a LoRA file without its header (some 100 bytes a tensor).

    Args:
        chosen: the layers.
        precision: ``fp32``, ``fp16`` or ``bf16``.
    """
    each, total = 4 if precision == "fp32" else 2, 0
    for slot, config, _ in chosen:
        total += each * file_numbers(slot, config)
        total += (8 - each) * len(_MARKS & stored(slot, config).keys())
        total += 0 if _holds(precision, _alpha(slot, config)) else 2
    return total


_MARKS = frozenset({"on_input", "bias_scaled", "mora_type"})
"""Whole numbers of 8 bytes, as LyCORIS stores its mark."""


def _alpha(slot: Slot, config: AdapterSection) -> float:
    """Returns the alpha that a file holds for a layer; 0 where it holds none."""
    if isinstance(config, Oft):
        return config.constraint
    if not isinstance(config, _Ranked):
        return 0.0
    if isinstance(config, LoKr) and {"w1", "w2"} <= tensors(slot, config).keys():
        return config.rank  # both factors are whole: it means nothing
    twice = isinstance(config, Lora) and config.start in {"pissa", "olora"}
    return stored_alpha(config) * (2 if twice else 1)


def _holds(precision: str, value: float) -> bool:
    """Says whether a precision holds a float32 number exactly; other alphas are stored wide."""
    wide = struct.pack("<f", value)
    if precision == "bf16":  # the upper half of a float32
        return wide[:2] == b"\0\0"
    if precision == "fp16":
        (number,) = struct.unpack("<f", wide)
        try:
            return struct.unpack("<e", struct.pack("<e", number)) == (number,)
        except OverflowError:
            return False
    return True


def trained(slot: Slot, config: AdapterSection) -> Tensors:
    """Returns the tensors that the algorithm trains on one layer, by name."""
    found = tensors(slot, config)
    if isinstance(config, LoraFA):
        del found["down"]
    if isinstance(config, DyLora):  # each group of ranks learns, and decays, alone
        groups, unit = range(config.rank // config.unit), config.unit
        up, (_, columns) = found.pop("up"), found.pop("down")
        found |= {f"{group}.down": (unit, columns) for group in groups}
        found |= {f"{group}.up": (up[0], unit) for group in groups}
    return found


def stored(slot: Slot, config: AdapterSection) -> Tensors:
    """Returns the tensors that a file holds for one layer, those without dimensions included."""
    found = tensors(slot, config)
    if isinstance(config, Lora) and config.start in {"pissa", "olora"}:
        # the file holds the difference to the start: the factors before and after
        found |= {name: (2 * found[name][0], found[name][1]) for name in ("down", "up")}
    if isinstance(config, IA3):
        marks = ("on_input",) if config.on_input else ("on_input", "bias_scaled")
        return found | dict.fromkeys(marks, ())
    if isinstance(config, Mora):
        return found | {"mora_type": ()}
    if isinstance(config, Full):
        return found
    return found | {"alpha": ()}


def tensors(slot: Slot, config: AdapterSection) -> Tensors:
    """Returns all tensors of an algorithm on one layer; sources in ``renma/adapters``."""
    dora = {"output": slot.outputs, "input": slot.inputs}.get(getattr(config, "dora", "off"))
    found = _plain(slot, config)
    return found | ({"magnitude": (dora,)} if dora and not slot.is_norm else {})


def _plain(slot: Slot, config: AdapterSection) -> Tensors:
    outputs, inputs, columns = slot.outputs, slot.inputs, slot.columns
    match config:
        case Lora() | LoraFA() | DyLora() | LoHa():
            return _factored(slot, config)
        case LoKr():
            return _kronecker(slot, config)
        case IA3():
            return {"weight": (inputs if config.on_input else outputs,)}
        case Mora():
            size = int(math.sqrt((columns + outputs) * config.rank) + 0.5)
            size -= size % 2 if config.kind == "rotation" else 0
            return {"matrix": (size, size)}
        case Full():
            weight = {"diff": slot.shape if slot.is_norm else (outputs, columns)}
            return weight | ({"diff_b": (outputs,)} if config.bias and slot.bias else {})
        case GLora():
            rank = config.rank
            return {
                "a1": (inputs, rank),
                "a2": (rank, inputs),
                "b1": (outputs, rank),
                "b2": (rank, columns),
            }
        case Oft():
            size, count = factorization(outputs, config.rank)
            return {"blocks": (count, size, size)}
    raise TypeError(f"no arithmetic for {type(config).__name__}")


def _factored(slot: Slot, config: Lora | LoraFA | DyLora | LoHa) -> Tensors:
    """LoRA r (C + O), LoHa twice; with a Tucker core r (I + O) + r^2 k^2 for 3x3 convolutions."""
    rank = config.rank
    core = not isinstance(config, DyLora) and config.tucker and slot.conv3x3
    columns = slot.inputs if core else slot.columns
    one: Tensors = {"down": (rank, columns), "up": (slot.outputs, rank)}
    if core:
        one["mid"] = (rank, rank * math.prod(slot.shape[2:]))
    if not isinstance(config, LoHa):
        return one
    return {f"{name}_{side}": shape for side in "12" for name, shape in one.items()}


def _kronecker(slot: Slot, config: LoKr) -> Tensors:
    """LoKr: a small factor (O1, I1) and a large one (O2, I2 k^2), whole or of low rank."""
    o1, o2 = factorization(slot.outputs, config.factor)
    i1, i2 = factorization(slot.inputs, config.factor)
    taps, rank = math.prod(slot.shape[2:]), config.rank
    if config.decompose_both and rank < max(o1, i1) / 2 and not config.full_matrix:
        found: Tensors = {"w1_a": (o1, rank), "w1_b": (rank, i1)}
    else:
        found = {"w1": (o1, i1)}
    if config.full_matrix or rank >= max(o2, i2) / 2:
        return found | {"w2": (o2, i2 * taps)}
    return found | {"w2_a": (o2, rank), "w2_b": (rank, i2 * taps)}


def factorization(size: int, factor: int) -> tuple[int, int]:
    """Returns the two factors of a side, smaller first, as LyCORIS splits it.

    Args:
        size: inputs or outputs.
        factor: the smaller one where it divides ``size``, else the largest divisor pair up to it;
            -1 takes the pair nearest to the square root.
    """
    if factor > 0 and size % factor == 0:
        return min(factor, size // factor), max(factor, size // factor)
    limit = size if factor < 0 else factor
    small = max(d for d in range(1, min(limit, math.isqrt(size)) + 1) if size % d == 0)
    return small, size // small


def _count(named: Tensors) -> int:
    return sum(math.prod(shape) for shape in named.values())


def steps_of(batches: int, accumulation: int) -> int:
    """Returns the optimizer steps that show so many batches; the last may reach beyond them."""
    return math.ceil(batches / accumulation)
