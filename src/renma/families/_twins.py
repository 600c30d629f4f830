"""Random models that are built like the real ones: tiny ones for tests, full ones for benchmarks.

A twin has the names, the levels and the kinds of layers of its family, with few channels; full
shapes take no longer than writing the file. Numbers are views into a few pools of normal numbers,
a function of the seed alone, scaled by what a layer sums up so that activations stay small.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from renma.config.model import ModelConfig
from renma.core import keyed, registry
from renma.families._base import Family
from renma.formats import checkpoint, safetensors
from renma.formats.clip_tokens import END, ClipTokens
from renma.formats.model_facts import facts
from renma.formats.model_parts import TEXT
from renma.formats.part_configs import heads, published
from renma.formats.stability_file import single_file

Kind = Literal["sd1", "sd2", "sd2-v", "sdxl"]
KINDS: tuple[Kind, ...] = ("sd1", "sd2", "sd2-v", "sdxl")
Config = dict[str, Any]
_QUIET = ("conv2.weight", "proj_out.weight", "to_out.0.weight", "net.2.weight")
"""The last layer of a residual branch: kept small, so that half precision does not overflow."""
_SLACK = 1 << 16


def family_of(kind: Kind) -> checkpoint.Family:
    """Returns the family of a kind of twin."""
    return "sd2" if kind == "sd2-v" else kind


def tiny(
    kind: Kind,
    folder: Path,
    seed: int = 0,
    *,
    layout: Literal["file", "folder"] = "file",
    dtype: torch.dtype = torch.float32,
    model: ModelConfig | None = None,
) -> Family:
    """Returns a loaded tiny twin on the CPU.

    Args:
        kind: of twin.
        folder: where its file, or its folder, is written.
        seed: of its weights.
        layout: how it is written.
        dtype: precision that it is stored and loaded in.
        model: the other options of the ``[model]`` section.
    """
    write = write_file if layout == "file" else write_folder
    name = f"{kind}.safetensors" if layout == "file" else kind
    place = write(kind, folder / name, seed=seed, dtype=dtype)
    model = model or ModelConfig()
    found = facts(place, model)
    made = registry.load("renma.families", found.family).Family
    return made(found, model=model, device=torch.device("cpu"), dtype=dtype)


def configurations(kind: Kind, *, full: bool = False) -> dict[str, Config]:
    """Returns how each part of a twin is built, and its ``scheduler``."""
    found = published(family_of(kind))
    if kind == "sd2-v":
        found["unet"] |= {"sample_size": 96, "upcast_attention": True}
        found["scheduler"]["prediction_type"] = "v_prediction"
    if full:
        return found
    unet, widths = found["unet"], {"text_encoder": 64 if kind.startswith("sd2") else 32}
    if kind == "sdxl":
        widths["text_encoder_2"] = 64
        unet |= {
            "transformer_layers_per_block": [1, 2, 3],
            "projection_class_embeddings_input_dim": 64 + 6 * unet["addition_time_embed_dim"],
        }
    channels = [32, 64, 64, 64][: len(unet["block_out_channels"])]
    unet |= {"block_out_channels": channels, "cross_attention_dim": sum(widths.values())}
    if kind != "sd1":
        unet["attention_head_dim"] = [heads(width) for width in channels]
    found["vae"] |= {"block_out_channels": [32, 32, 64, 64]}
    for part, width in widths.items():
        found[part] |= {
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": 3,
            "num_attention_heads": heads(width),
        }
        if part == "text_encoder_2":
            found[part]["projection_dim"] = width
    return found


def write_file(
    kind: Kind,
    path: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    full: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes a twin as one file in Stability's names.

    Args:
        kind: of twin.
        path: the file.
        seed: of its weights.
        dtype: of its weights.
        full: the shapes of the published model.
        metadata: of the file (default: ModelSpec's name of what it predicts).
    """
    parts = configurations(kind, full=full)
    scheduler = parts.pop("scheduler")
    if metadata is None:
        named = "v" if scheduler["prediction_type"] == "v_prediction" else "epsilon"
        metadata = {"modelspec.prediction_type": named}
    if full and family_of(kind) == "sd2":
        parts["text_encoder"]["num_hidden_layers"] = 24  # published files have one that is not used
    states = {
        part: _state(_empty(part, config), part, seed, dtype) for part, config in parts.items()
    }
    safetensors.save(path, single_file(family_of(kind), states), metadata)
    return path


def write_folder(
    kind: Kind,
    folder: Path,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    full: bool = False,
) -> Path:
    """Writes the same twin as a folder that diffusers reads; arguments as in `write_file`."""
    parts = configurations(kind, full=full)
    scheduler = parts.pop("scheduler")
    classes = {"scheduler": ["diffusers", scheduler["_class_name"]]}
    for part, config in parts.items():
        model = _empty(part, config)
        library = "transformers" if part in TEXT else "diffusers"
        classes[part] = [library, type(model).__name__]
        stem = "model" if part in TEXT else "diffusion_pytorch_model"
        state = _state(model, part, seed, dtype)
        safetensors.save(folder / part / f"{stem}.safetensors", state, {"format": "pt"})
        _write_json(folder / part / "config.json", {"_class_name": classes[part][1], **config})
        if part in TEXT:
            name = part.replace("text_encoder", "tokenizer")
            classes[name] = ["transformers", "CLIPTokenizer"]
            _write_tokenizer(folder / name, END if config["pad_token_id"] else "!")
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    index: Config = {"_class_name": "StableDiffusionPipeline", **classes}
    if kind == "sdxl":
        index |= {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": False}
    else:
        index |= {"safety_checker": [None, None], "requires_safety_checker": False}
    index |= {"feature_extractor": [None, None], "image_encoder": [None, None]}
    _write_json(folder / "model_index.json", index)
    return folder


def _write_tokenizer(folder: Path, pad: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ClipTokens.shipped(pad).tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    words = {"bos_token": "<|startoftext|>", "eos_token": END, "unk_token": END, "pad_token": pad}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **words}
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, value: Config) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _empty(part: str, config: Config) -> Any:
    """Returns a part on the meta device: names and shapes without numbers."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers.models.clip import modeling_clip
    from transformers.models.clip.configuration_clip import CLIPTextConfig

    with torch.device("meta"):
        match part:
            case "unet":
                return UNet2DConditionModel.from_config(config)
            case "vae":
                return AutoencoderKL.from_config(config)
            case "text_encoder":
                return modeling_clip.CLIPTextModel(CLIPTextConfig(**config))
            case _:
                return modeling_clip.CLIPTextModelWithProjection(CLIPTextConfig(**config))


def _state(empty: Any, part: str, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Returns random weights for every name of an empty part."""
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    size = max(shape.numel() for shape in shapes.values()) + _SLACK
    generator = torch.Generator().manual_seed(keyed.key(seed, "twin", part))
    normal = torch.randn(size, generator=generator)
    pools: dict[float, Tensor] = {}
    found: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        scale = _scale(name, shape)
        if scale not in pools:
            pools[scale] = (normal * scale).to(dtype)
        start = keyed.key(seed, "twin", part, name) % (size - shape.numel() + 1)
        numbers = pools[scale][start : start + shape.numel()].view(shape)
        norm = len(shape) == 1 and name.endswith("weight")
        found[name] = numbers + 1 if norm else numbers
    return found


def _scale(name: str, shape: torch.Size) -> float:
    """Returns a power of two near the deviation that keeps what a layer sums up at its size."""
    if len(shape) == 1:
        return 2.0**-5
    scale = 2.0 ** round(math.log2(shape[1:].numel() ** -0.5))
    return scale / 8 if name.endswith(_QUIET) else scale
