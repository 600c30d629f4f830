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
    # diffusers loads fp16 files as float32, transformers as whatever the config says: make it so
    config = folder / "text_encoder" / "config.json"
    facts = json.loads(config.read_text(encoding="utf-8")) | {"dtype": "float32"}
    config.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    table = {**avatar.table(), "heads": head_tags()}
    (folder / "tags.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def clean_copy(module: nn.Module) -> nn.Module:
    """Return an fp16 CPU copy of a diffusers model, free of training-time patches."""
    # from_config would put back defaults that were changed after construction
    config = {key: value for key, value in module.config.items() if not key.startswith("_")}
    fresh = type(module)(**config)
    fresh.load_state_dict(module.state_dict())
    return fresh.cpu().half()
