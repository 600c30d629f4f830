"""All fixed numbers of the recipe: how many pictures, steps, channels. One table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """The recipe of mame: about 10,500 core-seconds of CPU work in all (see the model card)."""

    seed: int = 20
    seen: int = 12_000  # pictures of the training looks
    unseen: int = 900  # held-out combinations: for the classifier only
    other: int = 1_500  # held-out styles: for the VAE and the classifier only
    fresh: int = 800  # of each of seen and unseen looks, for the figures

    vae_channels: tuple[int, ...] = (16, 48, 96, 128)
    vae_groups: int = 8
    vae_crop_steps: int = 3_000  # 64 px crops, batch 32
    vae_full_steps: int = 1_000  # whole pictures, batch 8
    vae_rate: float = 1.5e-3
    vae_square: float = 14.0  # weight of the squared error

    text_width: int = 128
    text_layers: int = 3
    text_steps: int = 250
    text_batch: int = 128

    unet_channels: tuple[int, ...] = (48, 96, 128, 128)
    unet_steps: int = 7_200
    unet_batch: int = 48
    unet_rate: float = 1e-3
    unet_emphasis: float = 3.0  # extra weight of mouths and eyes
    unet_trains_text: bool = True

    classifier_steps: int = 1_800
    classifier_batch: int = 48


TINY = Budget(
    seen=96,
    unseen=24,
    other=24,
    fresh=24,
    vae_crop_steps=4,
    vae_full_steps=2,
    text_steps=4,
    unet_steps=4,
    unet_batch=8,
    classifier_steps=4,
    classifier_batch=8,
)
"""A dry run of every stage, in about a minute."""
