"""SDXL: two text encoders side by side, and a U-Net that is told sizes (arXiv 2307.01952).

Special about it: states are those of the last layer but one of CLIP ViT-L/14 (filled up with the
end token) and of OpenCLIP bigG/14 (filled up with ``!``, number 0), without a final layer norm,
768 + 1280 wide. The second one also gives a summary: its last layer at the text's end, through the
text projection. With it the U-Net gets six numbers: original height and width, top and left of the
crop, target height and width. Kohya names follow Stability's U-Net; ``lora_te1_``, ``lora_te2_``.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from renma.families._base import Condition
from renma.families._stable import StableDiffusion
from renma.formats.clip_tokens import END

LAYER = -2
"""Of the hidden states; the input counts as the first."""


class Family(StableDiffusion):
    """A loaded SDXL model."""

    name = "sdxl"
    text_parts = ("text_encoder", "text_encoder_2")
    pads = (END, "!")
    wants_sizes = True

    def _states(self, encoder: Any, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        output = encoder(rows, output_hidden_states=True)
        return output.hidden_states[LAYER], getattr(output, "text_embeds", None)

    def _added(self, condition: Condition) -> dict[str, Tensor]:
        """Returns the summary and the sizes, one row for each sample.

        Raises:
            ValueError: the condition has no sizes.
        """
        if condition.pooled is None or condition.sizes is None:
            raise ValueError("an SDXL condition needs sizes: condition.with_sizes((batch, 6))")
        pooled, sizes = condition.pooled.to(self.dtype), condition.sizes.to(condition.pooled.device)
        # sines of sizes up to thousands want float32; the U-Net casts them itself
        return {"text_embeds": pooled, "time_ids": sizes.float()}
