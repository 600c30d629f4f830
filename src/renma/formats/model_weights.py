"""The weights of a base model layer by layer, by kohya's keys, read where they are needed."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from renma import assets
from renma.config.layer_table import Slot, slots
from renma.core.errors import UserError
from renma.formats import checkpoint, safetensors
from renma.formats.checkpoint import Place, WeightFile
from renma.formats.diffusers_folder import weight_file

PARTS = ("unet", "text_encoder", "text_encoder_2")


def place_of(model: str) -> Path:
    """Returns the folder or file of a model: ``mame``, a diffusers folder, or a checkpoint.

    Raises:
        UserError: there is no such folder or file.
    """
    path = assets.MAME if model == "mame" else Path(model).expanduser()
    if path.exists():
        return path
    what = "file" if path.suffix else "folder"
    raise UserError(
        f"there is no such {what}",
        where=path,
        remedy="Give a diffusers folder, a .safetensors checkpoint, or 'mame'.",
    )


def model_files(path: Path) -> tuple[WeightFile, ...]:
    """Returns the files of a model that hold U-Net and text encoders: one, or one a part.

    Raises:
        UserError: it has no U-Net, or weights that cannot be read.
    """
    if not path.is_dir():
        return (checkpoint.read(path),)
    found = {part: weight_file(path / part) for part in PARTS if (path / part).is_dir()}
    if "unet" not in found:
        raise UserError(
            "holds no U-Net", where=path, remedy="Is this a folder that diffusers saved?"
        )
    header, _ = safetensors.read_header(found["unet"])
    family = "sdxl" if "text_encoder_2" in found else checkpoint.unet_family(header)
    return tuple(checkpoint.diffusers_part(part, file, family) for part, file in found.items())


class ModelWeights:
    """Layers of a base model; weights stay memory-mapped.

    Args:
        model: ``mame``, a diffusers folder, or a single-file checkpoint.

    Attributes:
        path: the folder or file.
        layers: kohya's key to place and shape of the layer.

    Raises:
        UserError: no such model, or a part without weights.
    """

    def __init__(self, model: str) -> None:
        self.path = place_of(model)
        self._places: dict[tuple[str, str], tuple[Path, Place]] = {}
        shapes: dict[str, dict[str, tuple[int, ...]]] = {}
        for file in model_files(self.path):
            for place in file.places:
                self._places[place.part, place.name] = (file.path, place)
                shapes.setdefault(place.part, {})[place.name] = place.shape
        table = slots(shapes["unet"], shapes.get("text_encoder"), shapes.get("text_encoder_2"))
        self.layers: dict[str, Slot] = {slot.name: slot for slot in table}
        self._tensors: dict[Path, dict[str, Tensor]] = {}

    def layer(self, key: str) -> tuple[Tensor, Tensor | None]:
        """Returns weight and bias of a layer, as stored.

        Raises:
            UserError: the model has no such layer.
        """
        slot = self.layers.get(key)
        if slot is None:
            raise UserError(f"has no layer '{key}'", where=self.path)
        weight = self._read(slot.part, f"{slot.path}.weight")
        assert weight is not None  # the table is made of weights
        return weight, self._read(slot.part, f"{slot.path}.bias")

    def _read(self, part: str, name: str) -> Tensor | None:
        found = self._places.get((part, name))
        if found is None:
            return None
        path, place = found
        if path not in self._tensors:
            self._tensors[path] = safetensors.read_tensors(path)
        return place.of(self._tensors[path][place.tensor]).contiguous()
