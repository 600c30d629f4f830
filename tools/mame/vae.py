"""The autoencoder: 3 x 128 x 128 pixels to 4 x 16 x 16 latents and back.

Loss: L1 at three scales + gradients at two + squared error + pooled chroma + a little KL. Without
the chroma term the colours collapse onto one axis; default weights stall, hence `prepare`.
Kingma & Welling, https://arxiv.org/abs/1312.6114.
"""

from __future__ import annotations

import numpy as np
import torch
from avatar import SHAPES
from budget import Budget
from compute import Machine, Run
from diffusers import AutoencoderKL
from graphs import GraphedLoss
from pictures import PictureSet, detail_mask
from torch import Tensor, nn
from torch.nn import functional as F


def new_vae(budget: Budget) -> AutoencoderKL:
    """Return an untrained VAE with variance-preserving weights."""
    levels = len(budget.vae_channels)
    vae = AutoencoderKL(
        block_out_channels=budget.vae_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=1,
        norm_num_groups=budget.vae_groups,
        latent_channels=4,
        sample_size=128,
    )
    prepare(vae, budget.seed)
    return vae


def prepare(module: nn.Module, seed: int) -> None:
    """Set weights to unit gain, biases to zero, the last layer of every residual branch to zero."""
    generator = torch.Generator().manual_seed(seed)
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        fan_in = layer.weight[0].numel()
        gain = 0.0 if name.endswith(("conv2", "to_out.0")) else 1.0
        with torch.no_grad():
            layer.weight.normal_(0, gain * fan_in**-0.5, generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()


def pixels(array: np.ndarray, device: torch.device) -> Tensor:
    """Return uint8 (batch, h, w, 3) as float (batch, 3, h, w) in -1..1."""
    x = torch.from_numpy(np.array(array)).to(device)
    return x.permute(0, 3, 1, 2).float().div(127.5).sub(1)


def loss(
    x: Tensor, y: Tensor, mean: Tensor, logvar: Tensor, weight: Tensor, square: float
) -> Tensor:
    """Return the reconstruction loss of pictures x and their copies y (batch, 3, h, w)."""
    error = (x - y) * weight
    total = square * error.square().mean()
    for scale in (1, 2, 4):
        e = F.avg_pool2d(error, scale) if scale > 1 else error
        total = total + e.abs().mean()
        if scale < 4:
            total = total + (e[..., 1:] - e[..., :-1]).abs().mean()
            total = total + (e[..., 1:, :] - e[..., :-1, :]).abs().mean()
    small = F.avg_pool2d(x - y, 8)
    chroma = small - small.mean(1, keepdim=True)
    total = total + 2.0 * chroma.abs().mean()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return total + 3e-4 * kl


class Crops:
    """Draws training batches: half of the crops lie on the face details."""

    def __init__(self, pictures: PictureSet, seed: int, device: torch.device) -> None:
        self.pictures, self.seed, self.device = pictures, seed, device
        self.entries = {shape: pictures.of("seen", "other", shape=shape) for shape in SHAPES}

    def batch(self, step: int, size: int, crop: int | None) -> tuple[Tensor, Tensor]:
        """Return (pictures, loss weights) of a step, cut to `crop` pixels if given."""
        rng = np.random.default_rng((self.seed, step))
        shape = str(rng.choice(list(SHAPES), p=(0.7, 0.15, 0.15)))
        entries = self.entries[shape]
        chosen = [entries[i] for i in rng.integers(0, len(entries), size)]
        x = [self.pictures.picture(e) for e in chosen]
        w = [1 + 0.7 * detail_mask(e.labels["style"], shape) for e in chosen]
        if crop:
            corners = [self._corner(rng, mask, crop) for mask in w]
            x = [a[i : i + crop, j : j + crop] for a, (i, j) in zip(x, corners, strict=True)]
            w = [a[i : i + crop, j : j + crop] for a, (i, j) in zip(w, corners, strict=True)]
        weight = torch.from_numpy(np.stack(w)).to(self.device)[:, None]
        return pixels(np.stack(x), self.device), weight

    @staticmethod
    def _corner(rng: np.random.Generator, mask: np.ndarray, crop: int) -> tuple[int, int]:
        """Return the corner of a crop, every second one around a detail."""
        height, width = mask.shape
        rows, columns = np.nonzero(mask > 1)
        if len(rows) and rng.random() < 0.5:
            k = rng.integers(len(rows))
            i, j = rows[k] - rng.integers(crop), columns[k] - rng.integers(crop)
        else:
            i, j = rng.integers(height - crop + 1), rng.integers(width - crop + 1)
        return int(np.clip(i, 0, height - crop)), int(np.clip(j, 0, width - crop))


def train_vae(budget: Budget, pictures: PictureSet, machine: Machine) -> AutoencoderKL:
    """Train the VAE (crops, then whole pictures) and set its scaling factor."""
    vae = new_vae(budget)
    steps = budget.vae_crop_steps + budget.vae_full_steps
    run = Run("vae", vae, machine, budget.vae_rate, steps, weight_decay=1e-3)
    crops = Crops(pictures, budget.seed, machine.device)

    def loss_of_tensors(x: Tensor, weight: Tensor, noise: Tensor) -> Tensor:
        with machine.convolving():
            moments = vae.encode(x).latent_dist
            y = vae.decode(moments.mean + moments.std * noise).sample
        mean, logvar = moments.mean.float(), moments.logvar.float()
        return loss(x, y.float(), mean, logvar, weight, budget.vae_square)

    graphed = GraphedLoss(loss_of_tensors, run.parameters)

    def loss_of(step: int) -> Tensor:
        cropping = step < budget.vae_crop_steps
        x, weight = crops.batch(step, 32 if cropping else 8, 64 if cropping else None)
        generator = torch.Generator().manual_seed(step)
        size = (len(x), 4, x.shape[2] // 8, x.shape[3] // 8)
        return graphed(x, weight, torch.randn(size, generator=generator).to(x))

    run.loop(loss_of)
    deviation = float(encode_all(vae, pictures, machine, limit=512)["square"].std())
    vae.register_to_config(scaling_factor=1 / deviation)
    return vae


@torch.no_grad()
def encode_all(
    vae: AutoencoderKL, pictures: PictureSet, machine: Machine, limit: int | None = None
) -> dict[str, Tensor]:
    """Return the latent means by shape, float32 (count, 4, h, w), not yet scaled."""
    found = {}
    for shape, array in pictures.arrays.items():
        parts = [_encode(vae, array[i : i + 64], machine) for i in range(0, len(array[:limit]), 64)]
        found[shape] = torch.cat(parts) if parts else torch.zeros(0, 4, 1, 1)
    return found


def _encode(vae: AutoencoderKL, array: np.ndarray, machine: Machine) -> Tensor:
    x = pixels(array, machine.device)
    with machine.convolving():
        return vae.encode(x).latent_dist.mean.float().cpu()


@torch.no_grad()
def psnr(vae: AutoencoderKL, pictures: PictureSet, machine: Machine, count: int = 200) -> float:
    """Return the mean PSNR in dB over fresh pictures of the training styles, in float32."""
    values = []
    for entry in pictures.of("seen")[:count]:
        x = pixels(pictures.picture(entry)[None], machine.device)
        y = vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1)
        values.append(-10 * torch.log10((x - y).div(2).square().mean()))
    return float(torch.stack(values).mean())
