"""CLIP: features of pictures, and of texts in the same space (Radford et al., arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from renma.core.errors import UserError
from renma.judge.encoders._base import config_of
from renma.judge.encoders._transformers import BATCH, model_of, place, prepared, processor_of
from renma.judge.measures import paired_cosine

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from renma.formats.clip_tokens import ClipTokens

FILES = "a folder of transformers with CLIP"
_TYPES = {"clip": "CLIPModel", "clip_vision_model": "CLIPVisionModelWithProjection"}


def fits(path: Path, config: Mapping[str, Any]) -> bool:
    """Says whether a folder holds CLIP, whole or its image tower."""
    return path.is_dir() and config.get("model_type") in _TYPES


def opened(path: Path, device: str) -> Clip:
    """Returns the encoder of a folder.

    Raises:
        UserError: it holds no CLIP.
    """
    return Clip(path, device)


class Clip:
    """CLIP's towers.

    Args:
        folder: as transformers saves it; with tokenizer.json, or vocab.json and merges.txt, where
            texts are asked.
        device: auto, cpu or cuda.

    Raises:
        UserError: it cannot be opened.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        kind = config_of(folder).get("model_type")
        if kind not in _TYPES:
            raise UserError("holds no CLIP", where=folder, remedy=f"Expected is {FILES}.")
        self.name = f"CLIP ({folder.resolve().name})"
        self._folder, self._device = folder, place(device)
        self._processor = processor_of(folder)
        self._model = model_of(_TYPES[kind], folder, device)
        self.reads_text = kind == "clip"
        """Whether there is a text tower."""
        self._words: ClipTokens | None = None

    def encode(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Returns features (pictures, d), float32, in the space shared with texts.

        Args:
            pictures: of any size. CLIP sees the middle square of a picture only, as its
                preprocessor_config.json says.
        """
        import torch

        weight: Tensor = self._model.visual_projection.weight
        found = [np.zeros((0, weight.shape[0]), np.float32)]
        for start in range(0, len(pictures), BATCH):
            pixels = prepared(self._processor, pictures[start : start + BATCH], weight)
            with torch.inference_mode():
                seen = self._model.vision_model(pixel_values=pixels).pooler_output
                found.append(self._model.visual_projection(seen).cpu().numpy())
        return np.concatenate(found)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Returns features (texts, d), float32; what is beyond CLIP's 77 tokens is not read.

        Raises:
            UserError: the folder holds the image tower alone, or no tokenizer.
        """
        import torch

        if not self.reads_text:
            raise UserError(
                "holds CLIP's image tower alone, so it cannot say whether prompts are followed",
                where=self._folder,
                remedy="Give the folder of the whole CLIP.",
            )
        words, room = self._tokens(), self._model.config.text_config.max_position_embeddings
        rows = [[words.start, *words.numbers(text)[: room - 2], words.end] for text in texts]
        found = [np.zeros((0, self._model.config.projection_dim), np.float32)]
        for start in range(0, len(rows), BATCH):
            # each token sees only those before it, so what fills a row up changes nothing
            part = [row + [words.end] * (room - len(row)) for row in rows[start : start + BATCH]]
            with torch.inference_mode():
                ids = torch.tensor(part, device=self._device)
                read = self._model.text_model(input_ids=ids).pooler_output
                found.append(self._model.text_projection(read).cpu().numpy())
        return np.concatenate(found)

    def following(self, pictures: Sequence[Image.Image], prompts: Sequence[str]) -> np.ndarray:
        """Returns how well each picture fits its own prompt (pictures,), a cosine.

        Leave the trigger out of the prompts: CLIP does not know it.

        Raises:
            UserError: texts cannot be read.
        """
        return paired_cosine(self.encode(pictures), self.encode_texts(prompts))

    def _tokens(self) -> ClipTokens:
        if self._words is None:
            from renma.formats.clip_tokens import ClipTokens

            self._words = ClipTokens.of_folder(self._folder)
        return self._words
