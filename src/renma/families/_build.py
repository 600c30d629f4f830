"""Building a model's parts: empty first, then the weights assigned as they lie in the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from renma.core.errors import UserError
from renma.formats.model_parts import ModelPart
from renma.formats.module_names import with_text_model


def build(kind: Any, part: ModelPart, device: torch.device, dtype: torch.dtype) -> Any:
    """Builds one frozen part.

    No random start is computed, no other part of the file is read, and what already has the right
    precision stays memory-mapped, so loading takes the memory of the weights and no more.

    Args:
        kind: a class with ``from_config(dict)``.
        part: where the weights lie.
        device: target.
        dtype: precision of floating-point weights.

    Raises:
        UserError: weights are missing or have other shapes.
    """
    with torch.device("meta"):
        model: nn.Module = kind.from_config(part.config)
    empty = model.state_dict()
    # transformers 5 writes no text_model, earlier versions and kohya's names have it
    names = {name: name if name in part.places else with_text_model(name) for name in empty}
    missing = sorted(set(names.values()) - part.places.keys())
    if missing:
        raise UserError(
            f"lacks {len(missing)} tensors of the {part.name}, such as {missing[0]}",
            where=part.file,
        )
    for name, there in names.items():
        if tuple(empty[name].shape) != part.shapes[there]:
            raise UserError(
                f"has {there} of the shape {part.shapes[there]}, not {tuple(empty[name].shape)}",
                where=part.file,
            )
    weights = part.read(names.values(), dtype, device)
    state = {name: weights[there] for name, there in names.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def text_encoder(part: ModelPart, device: torch.device, dtype: torch.dtype) -> Any:
    """Builds a CLIP text encoder; the second one of SDXL with its projection."""
    from transformers.models.clip import modeling_clip
    from transformers.models.clip.configuration_clip import CLIPTextConfig

    projected = part.name == "text_encoder_2"
    kind: Any = (
        modeling_clip.CLIPTextModelWithProjection if projected else modeling_clip.CLIPTextModel
    )

    class Build:
        """The model, built from a plain configuration like those of diffusers."""

        @classmethod
        def from_config(cls, config: Mapping[str, Any]) -> nn.Module:
            return kind(CLIPTextConfig(**config))

    model = build(Build, part, device, dtype)
    # position ids are no weights: no file holds them, so the empty model has none
    ids = torch.arange(model.config.max_position_embeddings, device=device).expand((1, -1))
    inner = getattr(model, "text_model", model)
    inner.embeddings.register_buffer("position_ids", ids, persistent=False)
    return model
