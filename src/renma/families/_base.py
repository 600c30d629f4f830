"""What the rest of renma asks of a model family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Target:
    """One layer that an adapter may change."""

    layer: nn.Linear | nn.Conv2d
    part: str
    """``unet`` or ``text_encoder``."""
    path: str
    """Module path inside the part, in the spelling of the file format."""
    block: str
    """Block label as block-weight tools count: BASE, IN01, M00, OUT03 ..."""


@dataclass(frozen=True, slots=True)
class Condition:
    """What the text says to the U-Net.

    Args:
        states: (batch, tokens, width) hidden states of the text encoder.
    """

    states: Tensor


class Family(ABC):
    """A loaded base model; its weights are frozen.

    Parts leave memory when they are no longer needed (:meth:`release`).
    """

    name: ClassVar[str]
    base_version: ClassVar[str]
    """``ss_base_model_version`` of kohya's metadata."""
    architecture: ClassVar[str]
    """``modelspec.architecture`` without ``/lora``."""
    scheduler_config: dict[str, Any]
    """The noise schedule, as diffusers writes it."""
    latent_factor: int
    """Pixels along one side of a latent."""
    native_size: int
    """Side in pixels that the model was made for."""
    hashes: dict[str, str]
    """SHA-256 of the weight file of each part: vae, text_encoder, unet."""

    @abstractmethod
    def targets(self) -> Mapping[str, Target]:
        """Returns the adaptable layers of all loaded parts by file key, in module order."""

    @abstractmethod
    def encode_text(self, prompts: Sequence[str]) -> Condition:
        """Returns the condition of prompts; gradients flow if adapters are attached."""

    @abstractmethod
    def count_tokens(self, prompt: str) -> int:
        """Returns the tokens a prompt takes, without start and end."""

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
    def release(self, part: str) -> None:
        """Lets a part (vae, text_encoder) go; using it afterwards is a defect."""

    @abstractmethod
    def checkpoint_gradients(self, on: bool) -> None:
        """Computes activations of U-Net and text encoder twice instead of keeping them."""

    @abstractmethod
    def parts(self) -> Mapping[str, nn.Module]:
        """Returns the loaded parts by name."""
