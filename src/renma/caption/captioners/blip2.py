"""BLIP-2: a caption, or the answer to ``Question: ... Answer:``.

Li et al., https://arxiv.org/abs/2301.12597
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

TYPES = ("blip-2",)
PROMPT = ""
ONE_BY_ONE = False


def load(folder: Path, how: Mapping[str, Any]) -> tuple[Any, Any]:
    """Returns model and processor."""
    from transformers import Blip2ForConditionalGeneration, Blip2Processor

    model = Blip2ForConditionalGeneration.from_pretrained(folder, **how)
    return model, Blip2Processor.from_pretrained(folder, **how)


def ask(processor: Any, pictures: Sequence[Image.Image], prompt: str) -> Mapping[str, Any]:
    """Returns the model's inputs."""
    text = [prompt] * len(pictures) if prompt else None
    return processor(images=list(pictures), text=text, return_tensors="pt")


def read(processor: Any, ids: Any, inputs: Mapping[str, Any], prompt: str) -> list[str]:  # noqa: ARG001
    """Returns the captions, without a prompt that the model repeats."""
    texts = processor.batch_decode(ids, skip_special_tokens=True)
    return [text.strip().removeprefix(prompt) for text in texts]
