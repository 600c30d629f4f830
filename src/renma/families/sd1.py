"""Stable Diffusion 1.x: one CLIP text encoder, U-Net with cross attention, epsilon prediction.

Special about it: 77 tokens, hidden states of the last layer (or an earlier one through the final
layer norm: clip skip), kohya names with ``lora_te_text_model_...``. Rombach et al.,
arXiv 2112.10752.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from renma.config.layer_table import slots
from renma.core.errors import UserError
from renma.core.store import file_hash
from renma.families import _base
from renma.families._folder import component
from renma.families._sd1_facts import is_sd1, problem
from renma.formats.diffusers_folder import read_json, weight_file

TOKENS = 77


def detect(folder: Path) -> bool:
    """Says whether a diffusers folder holds a model of this family, from its small files alone."""
    return is_sd1(folder)


class Family(_base.Family):
    """A Stable Diffusion 1.x model from a diffusers folder.

    Args:
        folder: the diffusers folder.
        device: where the weights go.
        dtype: precision of the weights.
        clip_skip: which text encoder layer is used, counted from the last (1).
    """

    name = "sd1"
    base_version = "sd_v1"
    architecture = "stable-diffusion-v1"

    def __init__(
        self, folder: Path, *, device: torch.device, dtype: torch.dtype, clip_skip: int = 1
    ) -> None:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
        from transformers.models.clip.tokenization_clip import CLIPTokenizer

        if reason := problem(folder, clip_skip):
            raise UserError(reason, where=folder)
        self.folder, self.device, self.dtype, self.clip_skip = folder, device, dtype, clip_skip
        self.vae: Any = component(AutoencoderKL, folder / "vae", device, torch.float32)
        self.unet: Any = component(UNet2DConditionModel, folder / "unet", device, dtype)
        self.text_encoder: Any = _text_encoder(folder / "text_encoder", device, dtype)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.scheduler_config = read_json(folder / "scheduler" / "scheduler_config.json")
        self.latent_factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        self.native_size = self.unet.config.sample_size * self.latent_factor
        self.hashes = {
            part: file_hash(weight_file(folder / part)) for part in ("vae", "text_encoder", "unet")
        }

    def parts(self) -> Mapping[str, nn.Module]:
        """Returns the parts still in memory."""
        named = {"vae": self.vae, "text_encoder": self.text_encoder, "unet": self.unet}
        return {name: part for name, part in named.items() if part is not None}

    def targets(self) -> Mapping[str, _base.Target]:
        """Returns every layer of the loaded parts that an adapter may change."""
        unet = _base.adaptable(self.unet)
        text = _base.adaptable(self.text_encoder) if self.text_encoder is not None else {}
        layers = [*text.values(), *unet.values()]  # the order of the table
        table = slots(_base.shapes(unet), _base.shapes(text))
        pairs = zip(layers, table, strict=True)
        return {slot.name: _base.Target(layer, slot) for layer, slot in pairs}

    def encode_text(
        self,
        prompts: Sequence[str],
        *,
        chunks: int | None = None,  # noqa: ARG002 - longer prompts follow with the other families
        weighted: bool | None = None,  # noqa: ARG002
    ) -> _base.Condition:
        """Returns (batch, 77, width) states; longer prompts are cut at 75 tokens."""
        tokens = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=TOKENS,
            truncation=True,
            return_tensors="pt",
        ).input_ids.to(self.device)
        if self.clip_skip == 1:
            return _base.Condition(self.text_encoder(tokens).last_hidden_state)
        hidden = self.text_encoder(tokens, output_hidden_states=True).hidden_states
        inner = getattr(self.text_encoder, "text_model", self.text_encoder)
        return _base.Condition(inner.final_layer_norm(hidden[-self.clip_skip]))

    def count_tokens(self, prompt: str) -> int:
        """Returns the CLIP tokens of a prompt, without start and end."""
        return len(self.tokenizer(prompt).input_ids) - 2

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scaled mean and deviation of the VAE's posterior, always in float32."""
        pixels = pixels.to(self.device, torch.float32)
        posterior = self.vae.encode(pixels).latent_dist
        factor = self.vae.config.scaling_factor
        return posterior.mean * factor, posterior.std * factor

    def decode_image(self, latents: Tensor) -> Tensor:
        """Returns pixels in 0 .. 1, computed in float32."""
        pixels = self.vae.decode(latents.float() / self.vae.config.scaling_factor).sample
        return (pixels / 2 + 0.5).clamp(0, 1)

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: _base.Condition) -> Tensor:
        """Returns the predicted noise (batch, 4, h, w) in float32."""
        output = self.unet(
            noisy.to(self.dtype), timesteps, condition.states.to(self.dtype), return_dict=False
        )[0]
        return output.float()

    def release(self, part: str) -> None:
        """Lets the VAE or the text encoder go."""
        assert part in {"vae", "text_encoder"}
        setattr(self, part, None)

    def checkpoint_gradients(self, on: bool) -> None:
        """Switches block checkpointing; the modules must be in training mode to obey."""
        self.unet.train(on)
        if on:
            self.unet.enable_gradient_checkpointing()
        else:
            self.unet.disable_gradient_checkpointing()
        if self.text_encoder is None:
            return
        self.text_encoder.train(on)
        if on:
            self.text_encoder.activation_checkpointing_enable()
        else:
            self.text_encoder.activation_checkpointing_disable()


def _text_encoder(folder: Path, device: torch.device, dtype: torch.dtype) -> nn.Module:
    from transformers.models.clip.configuration_clip import CLIPTextConfig
    from transformers.models.clip.modeling_clip import CLIPTextModel

    class Build(CLIPTextModel):
        """CLIPTextModel that is built from a plain configuration, like diffusers' models."""

        @classmethod
        def from_config(cls, config: Mapping[str, Any]) -> CLIPTextModel:
            return CLIPTextModel(CLIPTextConfig(**config))

    model = component(Build, folder, device, dtype)
    # position ids are no weights: no file holds them, so the empty model has none
    count = model.config.max_position_embeddings
    ids = torch.arange(count, device=device).expand((1, -1))
    embeddings = getattr(model, "text_model", model).embeddings
    embeddings.register_buffer("position_ids", ids, persistent=False)
    return model
