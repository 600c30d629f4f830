"""DINO and DINOv2: features of pictures that tell one subject from another of its class.

Caron et al., arXiv 2104.14294; Oquab et al., arXiv 2304.07193. DreamBooth (arXiv 2208.12242) takes
DINO's as the measure of likeness, because it was not trained to ignore what sets subjects of one
class apart. The features are those of the class token after the last layer's norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from renma.core.errors import UserError
from renma.judge.encoders._base import config_of
from renma.judge.encoders._transformers import BATCH, model_of, prepared, processor_of

if TYPE_CHECKING:
    from PIL import Image

FILES = "a folder of transformers with DINO or DINOv2"
_TITLES = {"vit": "DINO", "dinov2": "DINOv2", "dinov2_with_registers": "DINOv2 with registers"}
_CLASSES = {
    "vit": "ViTModel", "dinov2": "Dinov2Model", "dinov2_with_registers": "Dinov2WithRegistersModel",
}  # fmt: skip


def fits(path: Path, config: Mapping[str, Any]) -> bool:
    """Says whether a folder holds a vision transformer of this kind."""
    return path.is_dir() and config.get("model_type") in _CLASSES


def opened(path: Path, device: str) -> Dino:
    """Returns the encoder of a folder.

    Raises:
        UserError: it holds no DINO.
    """
    return Dino(path, device)


class Dino:
    """A vision transformer's class token.

    Args:
        folder: as transformers saves it.
        device: auto, cpu or cuda.

    Raises:
        UserError: it cannot be opened.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        kind = config_of(folder).get("model_type")
        if kind not in _CLASSES:
            raise UserError("holds no DINO", where=folder, remedy=f"Expected is {FILES}.")
        self.name = f"{_TITLES[kind]} ({folder.resolve().name})"
        self._processor = processor_of(folder)
        # DINO was trained without ViT's pooler; one drawn at random must not be made
        how = {"add_pooling_layer": False} if kind == "vit" else {}
        self._model = model_of(_CLASSES[kind], folder, device, **how)

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Returns features (pictures, d), float32.

        Args:
            pictures: of any size; what is seen of them preprocessor_config.json says.
        """
        import torch

        like = next(self._model.parameters())
        found = [np.zeros((0, self._model.config.hidden_size), np.float32)]
        for start in range(0, len(pictures), BATCH):
            pixels = prepared(self._processor, pictures[start : start + BATCH], like)
            with torch.inference_mode():
                states = self._model(pixel_values=pixels).last_hidden_state  # (n, 1 + places, d)
                found.append(states[:, 0].cpu().numpy())
        return np.concatenate(found)
