"""Stable Diffusion 1.x: CLIP ViT-L/14's text encoder, a U-Net with 8 heads at every level.

Special about it: states of the text encoder's last layer, or of an earlier one through the final
layer norm (clip skip); texts are filled up with the end token; kohya names its text encoder
``lora_te_``. Rombach et al., arXiv 2112.10752.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from renma.families._stable import StableDiffusion, last_states
from renma.formats.clip_tokens import END


class Family(StableDiffusion):
    """A loaded model of Stable Diffusion 1.x."""

    name = "sd1"
    text_parts = ("text_encoder",)
    pads = (END,)

    def _states(self, encoder: Any, rows: Tensor) -> tuple[Tensor, None]:
        return last_states(encoder, rows, self.model.clip_skip), None
