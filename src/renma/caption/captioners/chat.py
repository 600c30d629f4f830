"""Models that are shown a picture in a conversation: Qwen-VL, LLaVA (JoyCaption) and their like.

The processor's chat template writes question and picture the way each of them was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

TYPES = (
    "gemma3", "idefics3", "internvl", "llava", "llava_next", "llava_onevision", "mistral3",
    "qwen2_5_vl", "qwen2_vl", "qwen3_vl", "qwen3_vl_moe", "smolvlm",
)  # fmt: skip
PROMPT = "Describe this picture in one or two sentences, without an introduction."
ONE_BY_ONE = True


def load(folder: Path, how: Mapping[str, Any]) -> tuple[Any, Any]:
    """Returns model and processor."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, **how)
    return model, AutoProcessor.from_pretrained(folder, **how)


def ask(processor: Any, pictures: Sequence[Image.Image], prompt: str) -> Mapping[str, Any]:
    """Returns the model's inputs."""
    words = {"type": "text", "text": prompt}
    shown = [
        [{"role": "user", "content": [{"type": "image", "image": p}, words]}] for p in pictures
    ]
    return processor.apply_chat_template(
        shown, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )


def read(processor: Any, ids: Any, inputs: Mapping[str, Any], prompt: str) -> list[str]:  # noqa: ARG001
    """Returns what was said after the question."""
    said = ids[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(said, skip_special_tokens=True)
