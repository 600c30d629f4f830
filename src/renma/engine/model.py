"""Opens the base model that a run names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch

from renma.config.model import ModelConfig
from renma.core import registry
from renma.core.errors import UserError
from renma.families._base import Family
from renma.formats.model_facts import facts

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
    model: ModelConfig,
    *,
    device: str = "auto",
    precision: str = "fp32",
    base: Path | None = None,
    skip: Collection[str] = (),
) -> Family:
    """Returns the loaded, frozen base model.

    Args:
        model: the ``[model]`` section.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``fp32``, ``fp16`` or ``bf16``: precision of the frozen weights; the VAE's is
            always fp32.
        base: folder that relative paths start from.
        skip: parts that are not read, or only later: because what they would compute is cached,
            or to have room for others first.

    Raises:
        UserError: no such model, one of another kind, or options that do not fit it.
    """
    place = model.place(base or Path())
    found = facts(place, model, base)
    if found.problem:
        raise UserError(found.problem, where=place)
    family = registry.load("renma.families", found.family).Family(
        found, model=model, device=pick_device(device), dtype=DTYPES[precision], skip=skip
    )
    if "unet" not in skip:
        _quantize(family, model)
    return family


def load_unet(family: Family, model: ModelConfig) -> None:
    """Reads a U-Net that was left out at first, as the ``[model]`` section wants it."""
    if "unet" not in family.parts():
        family.load("unet")
        _quantize(family, model)


def _quantize(family: Family, model: ModelConfig) -> None:
    if model.quantize != "none":
        from renma.engine.quantize import quantize

        quantize(family.parts()["unet"], model.quantize)
