"""What is drawn for each block: the LoRA without it, and with nothing but it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from renma.config.block_weights import LISTS, PRESETS, block_factors
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.formats import lora_file
from renma.formats.model_facts import ModelFacts

BASE = "BASE"


@dataclass(frozen=True)
class Row:
    """One block, or one preset of block weights.

    Attributes:
        name: label or preset.
        layers: of the LoRA that it lets act.
        acting: the blocks that they lie in.
        off: strengths of every block, between commas, that switch it off alone; empty: not drawn.
        only: strengths, or a preset's name, that leave nothing but it; empty: not drawn.
        about: what people should know of it besides its name.
    """

    name: str
    layers: int
    acting: tuple[str, ...]
    off: str = ""
    only: str = ""
    about: str = ""

    @property
    def drawn(self) -> bool:
        """Whether the LoRA has anything there."""
        return self.layers > 0


@dataclass(frozen=True)
class Layers:
    """How a LoRA's layers are spread over a model.

    Attributes:
        counts: layers by block, for every block of the model, in its order.
        base: what the LoRA changes of BASE.
    """

    counts: dict[str, int]
    base: str


def layers_of(path: Path, facts: ModelFacts) -> Layers:
    """Returns how many layers a LoRA file has in each block.

    Args:
        path: the file.
        facts: of the model.

    Raises:
        UserError: no LoRA, one for another model, or blocks that no list of strengths names.
    """
    slots = {slot.name: slot for slot in facts.slots()}
    keys = lora_file.read(path).layers
    if foreign := next((key for key in keys if key not in slots), None):
        raise UserError(
            f"changes a layer '{foreign}' that the model does not have",
            where=path,
            remedy="Is it a LoRA for this model? Name another one with --model.",
        )
    every = LISTS[facts.family == "sdxl"][1]
    there = {slot.block for slot in slots.values()}
    if other := sorted(there - set(every)):
        raise UserError(
            f"has blocks that no list of block strengths names: {', '.join(other)}",
            where=facts.place,
        )
    found = [slots[key] for key in keys]
    counts = Counter(slot.block for slot in found)
    parts = {slot.part for slot in found if slot.block == BASE}
    words = ["the text encoder"] * bool(parts - {"unet"}) + ["the ends"] * ("unet" in parts)
    return Layers({label: counts[label] for label in every if label in there}, joined(words))


def block_rows(layers: Layers, sdxl: bool) -> list[Row]:
    """Returns a row for each block of the model; those without layers of the LoRA say so.

    Args:
        layers: of the LoRA.
        sdxl: whether the model is SDXL.
    """
    every = LISTS[sdxl][1]
    rows = []
    for label, count in layers.counts.items():
        if not count:
            rows.append(Row(label, 0, ()))
            continue
        off = ",".join("0" if one == label else "1" for one in every)
        only = ",".join("1" if one == label else "0" for one in every)
        about = layers.base if label == BASE else counted(count, "layer")
        rows.append(Row(label, count, (label,), off, only, about))
    return rows


def preset_rows(layers: Layers, sdxl: bool) -> list[Row]:
    """Returns a row for each preset; one that reaches no layer of the U-Net has none."""
    return [_preset(name, layers.counts, block_factors(name, sdxl, name)) for name in PRESETS]


def _preset(name: str, layers: Mapping[str, int], factors: Mapping[str, float]) -> Row:
    acting = tuple(label for label, count in layers.items() if count and factors[label])
    if not set(acting) - {BASE}:
        return Row(name, 0, acting)
    count = sum(layers[label] for label in acting)
    return Row(name, count, acting, only=name, about=", ".join(acting))


def names(rows: Iterable[Row]) -> str:
    """Returns the names of rows as people list them."""
    return joined([row.name for row in rows])


def joined(words: list[str]) -> str:
    """Returns words as people list them: `a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
