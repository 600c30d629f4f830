"""The weights of a base model layer by layer, by kohya's keys, read where they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from torch import Tensor

from renma.config.layer_table import Part, Slot, slots
from renma.config.model import ModelConfig
from renma.core.errors import UserError
from renma.formats import safetensors
from renma.formats.diffusers_folder import weight_file


class ModelWeights:
    """Layers of a diffusers folder; weights stay memory-mapped.

    Args:
        model: ``mame`` or a folder.

    Attributes:
        layers: kohya's key to place and shape of the layer.

    Raises:
        UserError: no such folder, or a part without weights.
    """

    def __init__(self, model: str) -> None:
        self.folder = ModelConfig(path=model).folder(Path())
        parts: tuple[Part, ...] = get_args(Part)
        self._files = {
            part: weight_file(self.folder / part)
            for part in parts
            if (self.folder / part).is_dir() or part == "unet"
        }
        shapes = {
            part: {
                name: tuple(row["shape"]) for name, row in safetensors.read_header(file)[0].items()
            }
            for part, file in self._files.items()
        }
        table = slots(shapes["unet"], shapes.get("text_encoder"), shapes.get("text_encoder_2"))
        self.layers: dict[str, Slot] = {slot.name: slot for slot in table}
        self._tensors: dict[str, dict[str, Tensor]] = {}

    def layer(self, key: str) -> tuple[Tensor, Tensor | None]:
        """Returns weight and bias of a layer, as stored.

        Raises:
            UserError: the model has no such layer.
        """
        slot = self.layers.get(key)
        if slot is None:
            raise UserError(f"has no layer '{key}'", where=self.folder)
        if slot.part not in self._tensors:
            self._tensors[slot.part] = safetensors.read_tensors(self._files[slot.part])
        tensors = self._tensors[slot.part]
        # newer transformers leave `text_model.` out
        path = slot.path
        if f"{path}.weight" not in tensors:
            path = path.removeprefix("text_model.")
        return tensors[f"{path}.weight"], tensors.get(f"{path}.bias")
