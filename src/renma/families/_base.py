"""What the rest of renma asks of a model family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from renma.config.layer_table import Slot


@dataclass(frozen=True, slots=True)
class Target:
    """One layer that an adapter may change: the module, and its place in the model."""

    layer: nn.Module
    slot: Slot

    @property
    def part(self) -> str:
        """``unet``, ``text_encoder`` or ``text_encoder_2``."""
        return self.slot.part

    @property
    def path(self) -> str:
        """Module path inside the part, in the spelling of the file format."""
        return self.slot.path

    @property
    def block(self) -> str:
        """Block label as block-weight tools count: BASE, IN01, M00, OUT03 ..."""
        return self.slot.block


@dataclass(frozen=True, slots=True)
class Condition:
    """What the text says to the U-Net.

    Args:
        states: (batch, tokens, width) hidden states of the text encoder, SDXL: of both, side by
            side.
        pooled: (batch, width) summary of the text, for families that want it (SDXL).
        sizes: (batch, 6) original height and width, top and left of the crop, target height and
            width in pixels, for families that want it (SDXL, arXiv 2307.01952).
    """

    states: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def with_sizes(self, sizes: Tensor) -> Condition:
        """Returns the same words about pictures of these sizes, (batch, 6)."""
        return replace(self, sizes=sizes)

    def take(self, rows: Tensor) -> Condition:
        """Returns the samples that an index or a mask of the batch chooses."""
        given = (self.states, self.pooled, self.sizes)
        return Condition(*(None if t is None else t[rows] for t in given))  # pyright: ignore


class Family(ABC):
    """A loaded base model; its weights are frozen.

    Parts leave memory when they are no longer needed (:meth:`release`).
    """

    name: ClassVar[str]
    text_parts: ClassVar[tuple[str, ...]]
    """Names of the text encoders among the parts, in the order in which their states stand."""
    base_version: str
    """``ss_base_model_version`` of kohya's metadata."""
    architecture: str
    """``modelspec.architecture`` without ``/lora``."""
    path: Path
    """Folder or file that the model came from."""
    scheduler_config: dict[str, Any]
    """The noise schedule, as diffusers writes it."""
    device: torch.device
    """Where it computes."""
    latent_factor: int
    """Pixels along one side of a latent."""
    native_size: int
    """Side in pixels that the model was made for."""
    hashes: Mapping[str, str]
    """SHA-256 of the file that holds each part: vae, text_encoder, unet ... (also of parts that
    were not loaded)."""
    wants_sizes: ClassVar[bool] = False
    """Whether conditions need ``pooled`` and ``sizes``."""

    @abstractmethod
    def targets(self) -> Mapping[str, Target]:
        """Returns every linear, convolution and norm layer by file key, in module order.

        What of it is trained is chosen by :func:`renma.config.layer_table.choose`.
        """

    @abstractmethod
    def encode_text(
        self, prompts: Sequence[str], *, chunks: int | None = None, weighted: bool | None = None
    ) -> Condition:
        """Returns the condition of prompts, without sizes; gradients flow through adapters.

        Args:
            prompts: texts.
            chunks: rows of 75 tokens that a prompt may fill; longer ones are cut. Default: the
                model section's ``max_tokens``.
            weighted: whether ``(word:1.3)`` and ``[word]`` weigh. Default: the model section's
                ``weighted_captions``.
        """

    @abstractmethod
    def count_tokens(self, prompt: str, *, weighted: bool | None = None) -> int:
        """Returns the tokens a prompt takes, without start and end; ``weighted`` as above."""

    @abstractmethod
    def chunks_for(self, prompt: str, *, weighted: bool | None = None) -> int:
        """Returns how many rows of 75 tokens a prompt fills, at least one; likewise."""

    @abstractmethod
    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation of the latents.

        Args:
            pixels: (batch, 3, height, width) in -1 .. 1.

        Returns:
            Two (batch, channels, height / factor, width / factor) tensors, scaled as the U-Net
            wants them.
        """

    @abstractmethod
    def decode_image(self, latents: Tensor) -> Tensor:
        """Returns pixels (batch, 3, height, width) in 0 .. 1 from scaled latents."""

    @abstractmethod
    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """Returns the U-Net's output (the noise, for epsilon models), shaped like ``noisy``."""

    @abstractmethod
    def load(self, part: str) -> None:
        """Reads a part that was left out and is needed now.

        One that is in memory, or that the family does not have, changes nothing.
        """

    @abstractmethod
    def release(self, part: str) -> None:
        """Lets a part (vae, or one of ``text_parts``) go; using it afterwards is a defect."""

    @abstractmethod
    def checkpoint_gradients(self, on: bool) -> None:
        """Computes activations of U-Net and text encoders twice instead of keeping them."""

    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """Returns the parts in memory by name."""


def adaptable(root: nn.Module) -> dict[str, nn.Module]:
    """Returns the linear, convolution and norm layers of a part by path, in module order."""
    kinds = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)
    return {path: layer for path, layer in root.named_modules() if isinstance(layer, kinds)}


def shapes(layers: Mapping[str, nn.Module]) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of the weights and biases, as a weight file's header has them.

    Shapes are those the layers work with: a quantised weight is stored in another one.
    """
    found: dict[str, tuple[int, ...]] = {}
    for path, layer in layers.items():
        match layer:
            case nn.Linear():
                found[f"{path}.weight"] = (layer.out_features, layer.in_features)
            case nn.Conv2d():
                inputs = layer.in_channels // layer.groups
                found[f"{path}.weight"] = (layer.out_channels, inputs, *layer.kernel_size)
            case nn.LayerNorm():
                found[f"{path}.weight"] = tuple(layer.normalized_shape)
            case nn.GroupNorm():
                found[f"{path}.weight"] = (layer.num_channels,)
        if layer.bias is not None:
            found[f"{path}.bias"] = (found[f"{path}.weight"][0],)
    return found
