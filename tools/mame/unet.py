"""The U-Net: predicts the noise in a latent, given the step and the caption.

min-SNR weights (Hang et al., https://arxiv.org/abs/2303.09556), extra weight on mouths and eyes.
Flat colours survive white noise, so the noise has low-frequency parts and the steps lean to
the noisy end: without both, colours are read off the latents and the caption is ignored.
"""

from __future__ import annotations

import random
import types
from collections.abc import Callable
from dataclasses import dataclass

import avatar
import torch
from budget import Budget
from compute import Machine, Run
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from graphs import GraphedLoss
from pictures import PictureSet, detail_mask, shuffled_caption
from text import token_ids
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer


def new_unet(budget: Budget) -> UNet2DConditionModel:
    """Return an untrained U-Net with the module names of Stable Diffusion 1.x."""
    torch.manual_seed(budget.seed)
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=budget.unet_channels,
        layers_per_block=1,
        cross_attention_dim=budget.text_width,
        attention_head_dim=2,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )


def scheduler() -> DDIMScheduler:
    """Return the noise schedule of Stable Diffusion 1.x."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def quicken_on_cpu(unet: nn.Module, device: torch.device) -> None:
    """Make CPU steps twice as fast: float32 convolutions, plain attention (same results).

    bfloat16 matrix products gain a factor of three on recent CPUs, but the backward pass of
    bfloat16 convolutions loses a factor of twenty, and fused attention is slow for small heads.
    """
    if device.type != "cpu":
        return
    unet.set_attn_processor(AttnProcessor())

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return F.conv2d(x.float(), self.weight, self.bias, self.stride, self.padding)

    for module in unet.modules():
        if isinstance(module, nn.Conv2d):
            module.forward = types.MethodType(forward, module)


def noise_like(x: Tensor, generator: torch.Generator) -> Tensor:
    """Return noise with low-frequency parts: e = white + .2 per channel + .15 of a 4 x 4 grid."""
    batch, channels, height, width = x.shape

    def draw(h: int, w: int) -> Tensor:
        return torch.randn(batch, channels, h, w, generator=generator)

    coarse = F.interpolate(draw(4, 4), size=(height, width), mode="nearest")
    return (draw(height, width) + 0.2 * draw(1, 1) + 0.15 * coarse).to(x.device)


@dataclass
class Latents:
    """Scaled latents by shape, what they show, and where the details are."""

    values: dict[str, Tensor]  # shape -> (count, 4, h, w)
    tags: dict[str, list[list[str]]]
    weights: dict[str, Tensor]  # shape -> (count, 1, h, w)


def seen_latents(
    encoded: dict[str, Tensor], scale: float, pictures: PictureSet, emphasis: float = 3.0
) -> Latents:
    """Return the latents of the training looks; details weigh up to 1 + emphasis."""
    found = Latents({}, {}, {})
    for shape in avatar.SHAPES:
        entries = pictures.of("seen", shape=shape)
        found.values[shape] = encoded[shape][[e.row for e in entries]] * scale
        found.tags[shape] = [e.tags for e in entries]
        masks = {
            style: F.max_pool2d(torch.from_numpy(detail_mask(style, shape))[None], 8)
            for style in avatar.table()["styles"]
        }
        rows = [1 + emphasis * masks[e.labels["style"]] for e in entries]
        found.weights[shape] = torch.stack(rows) if rows else torch.zeros(0, 1, 1, 1)
    return found


class Denoising:
    """The training objective: one call is the loss of one step."""

    def __init__(
        self,
        both: nn.ModuleDict,
        tokenizer: CLIPTokenizer,
        latents: Latents,
        machine: Machine,
        batch: int,
    ) -> None:
        self.unet, self.encoder, self.tokenizer = both["unet"], both["encoder"], tokenizer
        self.latents, self.machine, self.batch = latents, machine, batch
        self.alphas = scheduler().alphas_cumprod
        self.graphed = GraphedLoss(self.loss, list(both.parameters()))

    def __call__(self, step: int) -> Tensor:
        """Return the loss of a step; every draw is a function of the step alone."""
        rng = random.Random(f"unet{step}")
        shape = rng.choices(list(avatar.SHAPES), (0.7, 0.15, 0.15))[0]
        values = self.latents.values[shape]
        rows = [rng.randrange(len(values)) for _ in range(self.batch)]
        generator = torch.Generator().manual_seed(step)
        x = values[rows]
        noise = noise_like(x, generator)
        u = (torch.arange(self.batch) + torch.rand(self.batch, generator=generator)) / self.batch
        t = (1000 * u**0.6).long().clamp(max=999)
        alpha = self.alphas[t][:, None, None, None]
        noisy = alpha.sqrt() * x + (1 - alpha).sqrt() * noise
        snr = alpha / (1 - alpha)
        weight = self.latents.weights[shape][rows] * snr.clamp(max=5.0) / snr
        captions = [shuffled_caption(self.latents.tags[shape][i], rng) for i in rows]
        ids = token_ids(self.tokenizer, captions, self.machine.device)
        inputs = (part.to(self.machine.device) for part in (noisy, noise, t, weight))
        return self.graphed(*inputs, ids)

    def loss(self, noisy: Tensor, noise: Tensor, t: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
        """Return the weighted squared error of the noise prediction."""
        with self.machine.autocast():
            states = self.encoder(ids).last_hidden_state
            guess = self.unet(noisy, t, states).sample.float()
        return ((guess - noise).square() * weight).mean()


def train_unet(
    budget: Budget,
    machine: Machine,
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    latents: Latents,
    each_save: Callable[[nn.ModuleDict], None] | None = None,
) -> nn.ModuleDict:
    """Train the U-Net (and, a little, the text encoder); return both, averaged."""
    unet = new_unet(budget)
    quicken_on_cpu(unet, machine.device)
    encoder.requires_grad_(budget.unet_trains_text)
    both = nn.ModuleDict({"unet": unet, "encoder": encoder})
    run = Run("unet", both, machine, budget.unet_rate, budget.unet_steps, decay=0.998)
    objective = Denoising(both, tokenizer, latents, machine, budget.unet_batch)

    def score() -> None:
        if each_save:
            kept = [p.detach().clone() for p in both.parameters()]
            run.average.copy_to(both)
            each_save(both.eval())
            with torch.no_grad():
                for p, value in zip(both.parameters(), kept, strict=True):
                    p.copy_(value)

    run.loop(objective, score)
    return both
