"""Makes a diffusers folder with the full Stable Diffusion 1.5 shape and random weights (2.1 GB).

    python tools/random_sd15.py FOLDER [--seed 0] [--dtype fp16]

For tests and benchmarks where no real checkpoint can be had: shapes, names, memory and time are
the real ones, pictures are noise. The tokenizer is mame's (its ids fit into CLIP's 49,408).
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from renma import assets

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def build(folder: Path, seed: int, dtype: torch.dtype) -> None:
    """Writes vae, text_encoder, unet, tokenizer, scheduler and model_index.json."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in (("unet", unet), ("vae", vae), ("text_encoder", text_encoder)):
        model: Any = make()
        _calm(model)
        model.to(dtype).save_pretrained(folder / name)
    shutil.copytree(assets.MAME / "tokenizer", folder / "tokenizer", dirs_exist_ok=True)
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    shutil.copy(assets.MAME / "model_index.json", folder / "model_index.json")


def unet() -> nn.Module:
    """Returns the SD 1.5 U-Net, 859,520,964 parameters."""
    return UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, layers_per_block=2,
        block_out_channels=(320, 640, 1280, 1280),
    )  # fmt: skip


def vae() -> nn.Module:
    """Returns SD's autoencoder, 83,653,863 parameters."""
    blocks = 4
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        sample_size=512, scaling_factor=0.18215,
    )  # fmt: skip


def text_encoder() -> nn.Module:
    """Returns CLIP ViT-L/14's text encoder, 123,060,480 parameters."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408, hidden_size=768, intermediate_size=3072, projection_dim=768,
            num_hidden_layers=12, num_attention_heads=12, bos_token_id=49406, eos_token_id=49407,
        )
    )  # fmt: skip


def _calm(model: nn.Module) -> None:
    """Shrinks the output of residual branches, so that half precision does not overflow."""
    for name, parameter in model.named_parameters():
        if name.endswith(("conv2.weight", "proj_out.weight", "to_out.0.weight", "net.2.weight")):
            parameter.data.mul_(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=DTYPES, default="fp16")
    arguments = parser.parse_args()
    build(arguments.folder, arguments.seed, DTYPES[arguments.dtype])


if __name__ == "__main__":
    main()
