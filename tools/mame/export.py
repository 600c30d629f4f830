"""Writes mame as a diffusers folder (fp16) that any StableDiffusionPipeline loads."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import avatar
from classifier import head_tags
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import nn
from transformers import CLIPTokenizer
from unet import scheduler


def write_model(
    unet: nn.Module, encoder: nn.Module, vae: AutoencoderKL, tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write the pipeline and tags.json into `folder`."""
    parts = {name: clean_copy(module) for name, module in (("unet", unet), ("vae", vae))}
    pipeline = StableDiffusionPipeline(
        vae=parts["vae"],
        text_encoder=copy.deepcopy(encoder).cpu().half(),
        tokenizer=tokenizer,
        unet=parts["unet"],
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    table = {**avatar.table(), "heads": head_tags()}
    (folder / "tags.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def clean_copy(module: nn.Module) -> nn.Module:
    """Return an fp16 CPU copy of a diffusers model, free of training-time patches."""
    fresh = type(module).from_config(module.config)
    fresh.load_state_dict(module.state_dict())
    return fresh.cpu().half()
