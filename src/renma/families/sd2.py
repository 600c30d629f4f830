"""Stable Diffusion 2.x: OpenCLIP ViT-H/14's text encoder; noise (512) or velocity (768) prediction.

Special about it: the text encoder's last layer but one, through the final layer norm. Files of
diffusers leave the last of its 24 layers out, and so does what reads single files here, so the
states are those of the last of 23 layers; clip skip counts from there, as kohya does. Texts are
filled up with ``!``, whose number is 0. U-Net heads are 64 wide. Names as SD 1.x.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from renma.families._stable import StableDiffusion, last_states


class Family(StableDiffusion):
    """A loaded model of Stable Diffusion 2.x."""

    name = "sd2"
    text_parts = ("text_encoder",)
    pads = ("!",)

    def _states(self, encoder: Any, rows: Tensor) -> tuple[Tensor, None]:
        return last_states(encoder, rows, self.model.clip_skip), None
