"""Opens the base model that a run names."""

from __future__ import annotations

from pathlib import Path

import torch

from renma.config.model import ModelConfig
from renma.core import registry
from renma.core.errors import UserError
from renma.families._base import Family

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def pick_device(name: str) -> torch.device:
    """Returns the device of ``train.device``.

    Raises:
        UserError: CUDA is asked for and there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "train.device = 'cuda', but torch sees no CUDA device", remedy="Use 'auto'."
        )
    return torch.device(name)


def load_family(
    model: ModelConfig, *, device: str = "auto", precision: str = "fp32", base: Path | None = None
) -> Family:
    """Returns the loaded, frozen base model.

    Args:
        model: the ``[model]`` section.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``fp32`` or ``bf16``: precision of the frozen weights.
        base: folder that a relative ``model.path`` starts from.

    Raises:
        UserError: no such model, or a family this version does not know.
    """
    folder = model.folder(base or Path())
    families = registry.names("renma.families")
    for name in families if model.family == "auto" else (model.family,):
        module = registry.load("renma.families", name)
        if module.detect(folder):
            family = module.Family(
                folder,
                device=pick_device(device),
                dtype=DTYPES[precision],
                clip_skip=model.clip_skip,
            )
            if model.quantize != "none":
                from renma.engine.quantize import quantize

                quantize(family.parts()["unet"], model.quantize)
            return family
    raise UserError(
        f"is not a model that this version can train ({', '.join(families)})", where=folder
    )
