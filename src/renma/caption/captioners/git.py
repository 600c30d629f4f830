"""GIT: a caption, or the rest of a sentence that the prompt begins.

Wang et al., https://arxiv.org/abs/2205.14100
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

TYPES = ("git",)
PROMPT = ""
ONE_BY_ONE = False


def load(folder: Path, how: Mapping[str, Any]) -> tuple[Any, Any]:
    """Returns model and processor."""
    from transformers import GitForCausalLM, GitProcessor

    model = GitForCausalLM.from_pretrained(folder, **how)
    return model, GitProcessor.from_pretrained(folder, **how)


def ask(processor: Any, pictures: Sequence[Image.Image], prompt: str) -> Mapping[str, Any]:
    """Returns the model's inputs; a prompt stays open at its end."""
    import torch

    inputs = dict(processor(images=list(pictures), return_tensors="pt"))
    if prompt:
        tokenizer = processor.tokenizer
        ids = [tokenizer.cls_token_id, *tokenizer(prompt, add_special_tokens=False)["input_ids"]]
        inputs["input_ids"] = torch.tensor([ids] * len(pictures))
    return inputs


def read(processor: Any, ids: Any, inputs: Mapping[str, Any], prompt: str) -> list[str]:  # noqa: ARG001
    """Returns the captions; a prompt is part of them."""
    return processor.batch_decode(ids, skip_special_tokens=True)
