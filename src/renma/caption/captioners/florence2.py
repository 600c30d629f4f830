"""Florence-2: a caption; the prompt is one of its tasks.

``<CAPTION>``, ``<DETAILED_CAPTION>`` and ``<MORE_DETAILED_CAPTION>`` describe a picture.

Xiao et al., https://arxiv.org/abs/2311.06242
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

TYPES = ("florence2",)
PROMPT = "<DETAILED_CAPTION>"
ONE_BY_ONE = False


def load(folder: Path, how: Mapping[str, Any]) -> tuple[Any, Any]:
    """Returns model and processor."""
    from transformers import Florence2ForConditionalGeneration, Florence2Processor

    model = Florence2ForConditionalGeneration.from_pretrained(folder, **how)
    return model, Florence2Processor.from_pretrained(folder, **how)


def ask(processor: Any, pictures: Sequence[Image.Image], prompt: str) -> Mapping[str, Any]:
    """Returns the model's inputs."""
    return processor(images=list(pictures), text=[prompt] * len(pictures), return_tensors="pt")


def read(processor: Any, ids: Any, inputs: Mapping[str, Any], prompt: str) -> list[str]:  # noqa: ARG001
    """Returns the captions."""
    return processor.batch_decode(ids, skip_special_tokens=True)
