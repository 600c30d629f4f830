"""Reads attributes (hair, mouth, glasses, colours ...) off pictures drawn in mame's styles.

A small residual network with one attention-pooled read-out per attribute ("head"); trained with
`tools/mame`. It measures what a LoRA learned: the expected labels of a caption against the labels
read from the picture that the caption made.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from renma.core.errors import UserError

AREA = 128 * 128
WIDTHS = (24, 48, 96, 128)


@dataclass(frozen=True)
class Reading:
    """One attribute as read from a picture."""

    label: str
    probability: float


class _Block(nn.Module):
    """Two 3x3 convolutions with a shortcut; halves the picture when stride is 2."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, width_in, h, w) to (batch, width, h / stride, w / stride)."""
        y = F.relu(self.norm(self.first(x)))
        return F.relu(self.norm2(self.second(y)) + self.shortcut(x))


class AttributeNet(nn.Module):
    """Picture (batch, 3, h, w) in -1..1 to {head: logits (batch, labels)}; any h and w from 32."""

    def __init__(self, heads: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.names = list(heads)
        self.sizes = [len(labels) for labels in heads.values()]
        widths = (3, *WIDTHS)
        self.stages = nn.Sequential(
            *(_Block(a, b, 2) for a, b in zip(widths, WIDTHS, strict=False)),
            _Block(WIDTHS[-1], WIDTHS[-1], 1),
        )
        self.look = nn.Conv2d(WIDTHS[-1], len(self.names), 1)
        self.read = nn.ModuleList(nn.Linear(2 * WIDTHS[-1], size) for size in self.sizes)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of every head; each looks at its own part of the picture."""
        features = self.stages(x)  # (batch, channels, h / 16, w / 16)
        gaze = self.look(features).flatten(2).softmax(2)  # (batch, heads, places)
        places = features.flatten(2)
        seen = torch.einsum("bhp,bcp->bhc", gaze, places)
        overall = places.mean(2)
        return {
            name: read(torch.cat([seen[:, i], overall], 1))
            for i, (name, read) in enumerate(zip(self.names, self.read, strict=True))
        }


class AttributeReader:
    """Reads attribute labels from pictures of any size."""

    def __init__(self, net: AttributeNet, heads: Mapping[str, Sequence[str]]) -> None:
        self.net = net.eval()
        self.heads = {name: tuple(labels) for name, labels in heads.items()}

    @classmethod
    def load(cls, path: Path | None = None) -> AttributeReader:
        """Return the embedded reader, or the one in folder `path`."""
        folder = path or Path(str(files("renma") / "assets" / "attributes"))
        weights, table = folder / "model.safetensors", folder / "heads.json"
        if not (weights.is_file() and table.is_file()):
            raise UserError(
                "no attribute reader here",
                where=folder,
                remedy="It needs model.safetensors and heads.json.",
            )
        heads = json.loads(table.read_text(encoding="utf-8"))["heads"]
        net = AttributeNet(heads)
        net.load_state_dict({key: value.float() for key, value in load_file(weights).items()})
        return cls(net, heads)

    def read(self, images: Sequence[Image.Image], batch: int = 32) -> list[dict[str, Reading]]:
        """Return head -> reading of every picture, in order; sizes may differ."""
        prepared = [as_tensor(image) for image in images]
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, x in enumerate(prepared):
            groups.setdefault(tuple(x.shape), []).append(index)
        readings: list[dict[str, Reading]] = [{} for _ in prepared]
        for members in groups.values():
            for start in range(0, len(members), batch):
                part = members[start : start + batch]
                found = self._read_batch(torch.stack([prepared[i] for i in part]))
                for index, reading in zip(part, found, strict=True):
                    readings[index] = reading
        return readings

    @torch.no_grad()
    def _read_batch(self, x: Tensor) -> list[dict[str, Reading]]:
        readings: list[dict[str, Reading]] = [{} for _ in range(len(x))]
        for head, logits in self.net(x).items():
            values, labels = logits.softmax(1).max(1)
            for row, value, label in zip(readings, values.tolist(), labels.tolist(), strict=True):
                row[head] = Reading(self.heads[head][label], value)
        return readings


def as_tensor(image: Image.Image) -> Tensor:
    """Return a picture as float (3, h, w) in -1..1, scaled to an area of about 128 x 128.

    Transparent pictures are put on white; the sides become multiples of 8, the aspect stays.
    """
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    image = image.convert("RGB")
    scale = math.sqrt(AREA / (image.width * image.height))
    width, height = (max(32, round(side * scale / 8) * 8) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32).copy())
    return pixels.permute(2, 0, 1).div(127.5).sub(1)


def tag_table() -> dict[str, dict[str, str]]:
    """Return head -> {label: tags that say so} of the embedded base model."""
    text = (files("renma") / "assets" / "mame" / "tags.json").read_text(encoding="utf-8")
    return json.loads(text)["heads"]


def expected(
    caption: str,
    table: Mapping[str, Mapping[str, str]] | None = None,
    defaults: bool = False,
) -> dict[str, str]:
    """Return head -> label that a caption asks for.

    Of several labels whose tags all occur, the one with the most tags wins ("long hair, bangs"
    before "long hair"). With `defaults`, a head that no tag mentions but that has an ordinary
    look (no glasses, open eyes, clean shaven) is expected to show it: its tags are empty.
    """
    table = tag_table() if table is None else table
    tags = {tag.strip().lower() for tag in caption.split(",")}
    found = {}
    for head, labels in table.items():
        best = -1 if defaults else 0
        for label, words in labels.items():
            needed = {tag.strip() for tag in words.split(",") if tag.strip()}
            if needed <= tags and len(needed) > best:
                found[head], best = label, len(needed)
    return found
