"""The layers of a LoRA file by its header alone: names, shapes, and the numbers that are alphas.

Files come from strangers: whatever a name means or does not mean, this answers.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from renma.core.errors import MissingError, UserError
from renma.formats import layer_block, module_names, safetensors, suffixes

_FLAT = re.compile(r"(lora_unet|lora_te[12]?|oft_unet|lycoris)_[^.]+\.")
_PARTS = {"unet": "unet", "text_encoder": "text_encoder", "text_encoder_1": "text_encoder",
          "text_encoder_2": "text_encoder_2"}  # fmt: skip
_PROCESSOR = re.compile(r"(.*?)(?:\.processor)?\.to_(q|k|v|out)_lora\.(down|up)\.weight")
_ALGORITHMS = (
    ("hada_", "loha"), ("lokr_", "lokr"), ("oft_blocks", "oft"), ("mora", "mora"),
    ("lora_", "lora"), ("a1.weight", "glora"), ("b1.weight", "glora"), ("on_input", "ia3"),
    ("ia3_l", "ia3"), ("w_norm", "norm"), ("diff", "full"),
)  # fmt: skip
_FLOATS = {"F16": ("<e", 2), "F32": ("<f", 4), "F64": ("<d", 8)}
MOST_ALPHAS = 20_000


@dataclass
class Layer:
    """One layer: shapes by suffix.

    Attributes:
        part: ``unet``, ``text_encoder``, ``text_encoder_2`` or ``unknown model``.
        path: in the model, as diffusers names it, or its key.
        shapes: of its tensors.
        alpha: where it has one.
    """

    part: str
    path: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    alpha: float | None = None

    @property
    def algorithm(self) -> str:
        """The algorithm, by the names of its tensors; ``unknown`` where they tell none."""
        for start, name in _ALGORITHMS:
            if any(suffix.startswith(start) for suffix in self.shapes):
                blocks = name == "oft" and len(self.shapes.get("oft_blocks", ())) == 4
                return "boft" if blocks else name
        return "unknown"

    @property
    def dora(self) -> bool:
        """Whether it has magnitudes."""
        return bool({"dora_scale", "lora_magnitude_vector"} & self.shapes.keys())

    @property
    def rank(self) -> int | None:
        """The rank, where its algorithm has one."""
        found = next((self.shapes[s] for s in suffixes.RANKED if self.shapes.get(s)), None)
        return found[0] if found else None

    @property
    def conv(self) -> bool:
        """Whether it belongs to a convolution that is larger than one pixel."""
        found = self.shapes.get("lora_mid.weight") or self.shapes.get("lora_down.weight", ())
        return len(found) == 4 and found[2:] != (1, 1)

    @property
    def parameters(self) -> int:
        """Numbers in it, without alpha."""
        return sum(math.prod(shape) for shape in self.shapes.values() if shape)


@dataclass(frozen=True)
class Header:
    """What a file's header holds.

    Attributes:
        tensors: description by name.
        metadata: text by key.
        layers: by the key they have in the file.
        odd: names that belong to no layer of a LoRA.
        naming: ``kohya``, ``lycoris``, ``diffusers``, ``peft``, ``diffusers-old`` or ``dotted``.
    """

    tensors: dict[str, dict[str, Any]]
    metadata: dict[str, str]
    layers: dict[str, Layer]
    odd: list[str]
    naming: str

    @property
    def is_lora(self) -> bool:
        """Whether most of it is a LoRA's."""
        return len(self.odd) < len(self.tensors) and bool(self.layers)


def read(path: Path, shown: str, *, alphas: bool = True) -> Header:
    """Reads the header of a file, and its alphas; other numbers stay on the disk.

    Args:
        path: the file.
        shown: what it is called in messages.
        alphas: whether they are wanted.

    Raises:
        UserError: no safetensors file, or a damaged one; what is wrong is said.
    """
    try:
        tensors, metadata = safetensors.read_header(path)
    except UserError as error:
        kind = MissingError if error.what == "there is no such file" else UserError
        raise kind(error.what, where=shown, remedy=error.remedy) from None
    layers: dict[str, Layer] = {}
    names: dict[str, str] = {}
    odd = []
    for name, row in tensors.items():
        if name.startswith("bundle_emb."):
            continue
        found = _split(name)
        if found is None:
            odd.append(name)
            continue
        key, suffix, part, place = found
        layer = layers.setdefault(key, Layer(part, place))
        layer.shapes[suffix] = tuple(row["shape"])
        if suffix == "alpha":
            names[name] = key
    if alphas:
        for name, value in _numbers(path, tensors, list(names)[:MOST_ALPHAS]):
            layers[names[name]].alpha = value
    return Header(tensors, metadata, layers, odd, _naming(tensors))


def _split(name: str) -> tuple[str, str, str, str] | None:
    """Returns layer key, suffix, part and path of a tensor; None if it is none of a LoRA."""
    if _FLAT.match(name):
        head, _, suffix = name.partition(".")
        return (head, suffix, *_flat_place(head)) if suffix in suffixes.CANONICAL else None
    bare = name.removeprefix("base_model.model.")
    first, _, rest = bare.partition(".")
    part = _PARTS.get(first)
    bare = rest if part else bare
    if match := _PROCESSOR.fullmatch(bare):
        path, suffix = f"{match[1]}.to_{match[2]}", f"lora_{match[3]}.weight"
    else:
        path, suffix = suffixes.split(bare) or ("", "")
    if not path or (suffix == "weight" and part is None):
        return None
    if module_names.spelled(module_names.flat(path)) is None:
        return None
    part = part or module_names.part_of(path)
    return f"{part}.{path}", suffix, part, path


def _flat_place(head: str) -> tuple[str, str]:
    try:
        if head.startswith("lycoris_"):
            path = module_names.spelled(head.removeprefix("lycoris_"))
            return (module_names.part_of(path), path) if path else ("unknown model", head)
        return layer_block.place(head.replace("oft_unet_", "lora_unet_", 1))
    except ValueError:  # a block's number that is no number
        return "unknown model", head


def _numbers(
    path: Path, tensors: dict[str, dict[str, Any]], names: list[str]
) -> Iterator[tuple[str, float]]:
    """Yields the value of tensors that are a single number."""
    with path.open("rb") as file:
        start = 8 + struct.unpack("<Q", file.read(8))[0]
        for name in sorted(names, key=lambda n: tensors[n]["data_offsets"][0]):
            row = tensors[name]
            if math.prod(row["shape"]) == 1:
                file.seek(start + row["data_offsets"][0])
                value = _number(file, row["dtype"])
                if value is not None:
                    yield name, value


def _number(file: BinaryIO, dtype: str) -> float | None:
    if dtype == "BF16":
        data = file.read(2)
        return struct.unpack("<f", b"\0\0" + data)[0] if len(data) == 2 else None
    if dtype not in _FLOATS:
        return None
    form, size = _FLOATS[dtype]
    data = file.read(size)
    return struct.unpack(form, data)[0] if len(data) == size else None


def _naming(tensors: dict[str, Any]) -> str:
    names = [name for name in tensors if not name.startswith("bundle_emb.")]
    first = names[0] if names else ""
    if _FLAT.match(first):
        return "lycoris" if all(n.startswith("lycoris_") for n in names) else "kohya"
    if first.startswith("base_model."):
        return "peft"
    if any(re.search(r"lora(_linear_layer)?\.(down|up)\.", name) for name in names):
        return "diffusers-old"
    if any(name.endswith(".lora_down.weight") for name in names):
        return "dotted"
    return "diffusers" if first.partition(".")[0] in _PARTS else "dotted"
