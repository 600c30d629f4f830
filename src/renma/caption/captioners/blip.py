"""BLIP: a caption, or the rest of a sentence that the prompt begins.

Li et al., https://arxiv.org/abs/2201.12086
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

TYPES = ("blip",)
PROMPT = ""
ONE_BY_ONE = False


def load(folder: Path, how: Mapping[str, Any]) -> tuple[Any, Any]:
    """Returns model and processor."""
    from transformers import BlipForConditionalGeneration, BlipProcessor

    model = BlipForConditionalGeneration.from_pretrained(folder, **how)
    return model, BlipProcessor.from_pretrained(folder, **how)


def ask(processor: Any, pictures: Sequence[Image.Image], prompt: str) -> Mapping[str, Any]:
    """Returns the model's inputs."""
    text = [prompt] * len(pictures) if prompt else None
    return processor(images=list(pictures), text=text, return_tensors="pt")


def read(processor: Any, ids: Any, inputs: Mapping[str, Any], prompt: str) -> list[str]:  # noqa: ARG001
    """Returns the captions; a prompt is part of them."""
    return processor.batch_decode(ids, skip_special_tokens=True)
