"""Tiny random models of every family as file and as folder, and the headers of published ones."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from renma.families import _twins
from renma.formats.stability_file import single_file

KINDS = ("sd1", "sd2", "sd2-v", "sdxl")


@dataclass(frozen=True)
class Twin:
    """One tiny model on disk, twice."""

    kind: str
    file: Path
    folder: Path

    @property
    def family(self) -> str:
        return self.kind.removesuffix("-v")


@pytest.fixture(scope="session")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Twin]:
    """Every kind, written once."""
    root = tmp_path_factory.mktemp("twins")
    found = {}
    for kind in KINDS:
        file = _twins.write_file(kind, root / f"{kind}.safetensors", seed=3)
        found[kind] = Twin(kind, file, _twins.write_folder(kind, root / kind, seed=3))
    return found


@pytest.fixture(params=KINDS)
def twin(request: pytest.FixtureRequest, twins: Mapping[str, Twin]) -> Twin:
    return twins[request.param]


def empty_modules(configurations: dict[str, Any]) -> dict[str, Any]:
    """The modules that configurations describe, on the meta device."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    with torch.device("meta"):
        found: dict[str, Any] = {
            "unet": UNet2DConditionModel.from_config(configurations["unet"]),
            "vae": AutoencoderKL.from_config(configurations["vae"]),
        }
        for part, kind in kinds.items():
            if part in configurations:
                found[part] = kind(CLIPTextConfig(**configurations[part]))
    return found


def published_tensors(kind: str) -> dict[str, Tensor]:
    """Names and shapes of a published model in one file, without numbers."""
    configurations = _twins.configurations(kind, full=True)
    if kind.startswith("sd2"):  # the published files have a last layer that nobody runs
        configurations["text_encoder"]["num_hidden_layers"] = 24
    modules = empty_modules(configurations)
    states = {part: module.half().state_dict() for part, module in modules.items()}
    return single_file(kind.removesuffix("-v"), states)


class Hollow:
    """Writes files of published shapes that hold a header and no bytes on the disk besides."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, dict[str, Tensor]] = {}

    def __call__(
        self, kind: str, *, metadata=None, extra=(), without=("no such prefix",), reshaped=None
    ) -> Path:
        if kind not in self._known:
            self._known[kind] = published_tensors(kind)
        shapes = {
            name: list(tensor.shape)
            for name, tensor in self._known[kind].items()
            if not name.startswith(tuple(without))
        }
        shapes |= {name: [] for name in extra} | (reshaped or {})
        return hollow(self.folder / f"{kind}.safetensors", shapes, metadata or {})


def hollow(path: Path, shapes: Mapping[str, list[int]], metadata: dict[str, str]) -> Path:
    """Writes a fp16 file of the right size out of a header and a hole."""
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    return path


@pytest.fixture(scope="session")
def hollow_file(tmp_path_factory: pytest.TempPathFactory) -> Hollow:
    return Hollow(tmp_path_factory.mktemp("hollow"))
