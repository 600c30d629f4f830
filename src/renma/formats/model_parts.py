"""The parts of a model on disk: where their weights lie and how they are built.

A part is the same thing whether it came as a folder of its own or inside one file: a configuration,
and for every weight by diffusers' name the place where it lies. Only headers and small files are
read here; :meth:`ModelPart.read` reads weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renma.core.errors import UserError
from renma.formats import checkpoint, module_names, pickles, safetensors, vae_names
from renma.formats.checkpoint import Family, Place
from renma.formats.diffusers_folder import read_json, weight_file
from renma.formats.part_configs import config_of, published
from renma.formats.safetensors import Header

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TEXT = ("text_encoder", "text_encoder_2")
MODEL_PARTS = ("vae", *TEXT, "unet")


@dataclass(frozen=True)
class ModelPart:
    """One part of a model.

    Attributes:
        name: ``vae``, ``text_encoder``, ``text_encoder_2`` or ``unet``.
        file: holds its weights, alone or with other parts.
        config: as diffusers and transformers write it.
        places: where its weights lie, by diffusers' names, text encoders with ``text_model.``.
        stored_bytes: of its weights in the file.
    """

    name: str
    file: Path
    config: dict[str, Any]
    places: dict[str, Place]
    stored_bytes: int

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names to shapes as layers have them."""
        return {name: place.shape for name, place in self.places.items()}

    @property
    def numbers(self) -> int:
        """How many numbers its weights have."""
        return sum(map(math.prod, self.shapes.values()))

    def read(
        self, names: Iterable[str], dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Returns weights on a device, memory-mapped where nothing has to be changed.

        Args:
            names: diffusers' names that the part has.
            dtype: of floating-point weights.
            device: target.
        """
        wanted = {name: self.places[name] for name in names}
        tensors = read_named(self.file, {p.tensor for p in wanted.values()}, dtype, device)
        views = {name: place.of(tensors[place.tensor]) for name, place in wanted.items()}
        return {name: view.contiguous() for name, view in views.items()}  # turned ones are copied


def read_header(path: Path) -> tuple[Header, dict[str, str]]:
    """Returns names and shapes of a weight file of either kind, and its metadata.

    Raises:
        UserError: no such file, a broken one, or a pickled one that holds more than weights.
    """
    return (pickles if pickles.is_pickled(path) else safetensors).read_header(path)


def read_named(
    path: Path, names: Iterable[str], dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """Returns some tensors of a weight file of either kind, floating-point ones in ``dtype``."""
    names = set(names)
    if not pickles.is_pickled(path):
        return safetensors.read_tensors_as(path, dtype, device, names)
    stored = pickles.read_tensors(path)
    return {
        name: stored[name].to(device, dtype if stored[name].is_floating_point() else None)
        for name in names
    }


def of_folder(folder: Path, family: Family) -> dict[str, ModelPart]:
    """Returns the parts of a diffusers folder.

    Raises:
        UserError: a part's weights or configuration cannot be read.
    """
    there = [name for name in MODEL_PARTS if (folder / name).is_dir()]
    if family != "sdxl":
        there = [name for name in there if name != "text_encoder_2"]
    return {name: part_of_folder(name, folder / name, family) for name in there}


def part_of_folder(name: str, folder: Path, family: Family) -> ModelPart:
    """Returns one part that lies in a folder of its own.

    Raises:
        UserError: its weights or configuration cannot be read.
    """
    file = weight_file(folder, pickled=True)
    header, _ = read_header(file)
    if name == "vae":
        places = {place.name: place for place in checkpoint.vae_places(header)}
    else:
        places = {place.name: place for place in _plain_places(name, header)}
    config = read_json(folder / "config.json")
    if name == "vae":
        config = published(family)["vae"] | config
    return ModelPart(name, file, config, places, _bytes(places.values(), header))


def of_file(path: Path, header: Header, family: Family) -> dict[str, ModelPart]:
    """Returns the parts of a single file in Stability's names.

    Args:
        path: the file.
        header: of the file.
        family: what it holds.

    Raises:
        UserError: shapes that belong to no such model.
    """
    found: dict[str, dict[str, Place]] = {}
    for place in (*checkpoint.places(header, family, path), *checkpoint.vae_places(header)):
        found.setdefault(place.part, {})[place.name] = place
    return {
        name: _of_places(name, path, header, family, found[name])
        for name in MODEL_PARTS
        if name in found
    }


def other_vae(place: Path, family: Family) -> ModelPart:
    """Returns an autoencoder from a folder, from its own file, or from another checkpoint.

    Raises:
        UserError: there is none in it.
    """
    if place.is_dir():
        inner = place / "vae"
        return part_of_folder("vae", inner if inner.is_dir() else place, family)
    header, _ = read_header(place)
    places = {found.name: found for found in checkpoint.vae_places(header)}
    if not places:
        raise UserError(
            "holds no autoencoder",
            where=place,
            remedy="model.vae names a VAE of Stable Diffusion: a folder of diffusers, or a file.",
        )
    part = _of_places("vae", place, header, family, places)
    beside = place.parent / "config.json"
    if vae_names.is_stability(place.tensor for place in places.values()) or not beside.exists():
        return part
    config = part.config | read_json(beside)  # the weight file of a diffusers folder
    return ModelPart("vae", place, config, places, part.stored_bytes)


def _of_places(
    name: str, path: Path, header: Header, family: Family, places: dict[str, Place]
) -> ModelPart:
    shapes = {place.name: place.shape for place in places.values()}
    try:
        config = config_of(name, family, shapes)
    except (KeyError, IndexError, ValueError, StopIteration) as error:
        raise UserError(
            f"has a {name} that is not built like one of {family} ({error})", where=path
        ) from None
    return ModelPart(name, path, config, places, _bytes(places.values(), header))


def _plain_places(part: str, header: Header) -> list[Place]:
    found = []
    for tensor, row in header.items():
        name = tensor if part == "unet" else module_names.with_text_model(tensor)
        found.append(Place(part, name, "", tensor, tuple(row["shape"])))
    return found


def _bytes(places: Iterable[Place], header: Header) -> int:
    rows = (header[tensor]["data_offsets"] for tensor in {place.tensor for place in places})
    return sum(end - start for start, end in rows)
