"""What SD 1.x, SD 2.x and SDXL share: an autoencoder, a U-Net with cross attention, CLIP texts.

Rombach et al., arXiv 2112.10752. The autoencoder always computes in float32, whatever the precision
of the rest: its activations overflow in fp16 (SDXL's certainly), and it runs once for each picture.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from renma.config.layer_table import slots
from renma.config.model import ModelConfig
from renma.core.errors import UserError
from renma.families import _base
from renma.families._build import build, text_encoder
from renma.families._text_rows import encode_rows, join_rows
from renma.formats.clip_tokens import ClipTokens, rows_for
from renma.formats.model_facts import ModelFacts
from renma.formats.weight_hash import WeightHashes


class StableDiffusion(_base.Family):
    """A loaded Stable Diffusion model.

    Args:
        facts: where its parts lie; without a problem.
        model: the ``[model]`` section: clip_skip, max_tokens, weighted_captions.
        device: where the weights go.
        dtype: precision of text encoders and U-Net.
        skip: parts that are not loaded, for runs whose latents or texts are cached.

    Raises:
        UserError: weights are missing, or the tokenizer is not the text encoder's.
    """

    pads: ClassVar[tuple[str, ...]]
    """The token that fills a row up, for each text encoder."""

    def __init__(
        self,
        facts: ModelFacts,
        *,
        model: ModelConfig,
        device: torch.device,
        dtype: torch.dtype,
        skip: Collection[str] = (),
    ) -> None:
        self.facts, self.model, self.device, self.dtype = facts, model, device, dtype
        self.path, self.base_version = facts.place, facts.base_version
        self.architecture, self.scheduler_config = facts.architecture, facts.scheduler
        self.latent_factor, self.native_size = facts.latent_factor, facts.native_size
        self.hashes = WeightHashes({name: part.file for name, part in facts.parts.items()})
        self.tokens = [
            self._tokens(part, pad) for part, pad in zip(self.text_parts, self.pads, strict=True)
        ]
        self.vae: Any = None if "vae" in skip else _vae(facts, device)
        self.text_encoder: Any = None
        self.text_encoder_2: Any = None
        for part in self.text_parts:
            if part not in skip:
                setattr(self, part, text_encoder(facts.parts[part], device, dtype))
        self.unet: Any = None if "unet" in skip else _unet(facts, device, dtype)

    def _tokens(self, part: str, pad: str) -> ClipTokens:
        folder, known = self.facts.tokenizers[part], self.facts.parts[part].config["vocab_size"]
        tokens = ClipTokens.of_folder(folder, pad) if folder else ClipTokens.shipped(pad)
        if tokens.size > known:
            raise UserError(
                f"has a {part.replace('_', ' ')} of {known:,} tokens, its tokenizer has "
                f"{tokens.size:,}",
                where=self.facts.place,
            )
        return tokens

    def parts(self) -> Mapping[str, nn.Module]:
        """Returns the parts in memory."""
        named = {name: getattr(self, name) for name in ("vae", *self.text_parts, "unet")}
        return {name: part for name, part in named.items() if part is not None}

    def targets(self) -> Mapping[str, _base.Target]:
        """Returns every layer of the parts in memory that an adapter may change."""
        there = self.parts()
        found = {
            name: _base.adaptable(there[name]) if name in there else {}
            for name in ("text_encoder", "text_encoder_2", "unet")
        }
        texts = (_base.shapes(found[name]) or None for name in ("text_encoder", "text_encoder_2"))
        table = slots(_base.shapes(found["unet"]), *texts)
        layers = [layer for part in found.values() for layer in part.values()]  # as in the table
        pairs = zip(layers, table, strict=True)
        return {slot.name: _base.Target(layer, slot) for layer, slot in pairs}

    def encode_text(
        self, prompts: Sequence[str], *, chunks: int | None = None, weighted: bool | None = None
    ) -> _base.Condition:
        """Returns (batch, 75 chunks + 2, width) states; what does not fit is cut."""
        chunks = chunks or self.model.max_tokens // 75
        weighted = self.model.weighted_captions if weighted is None else weighted
        every: list[Tensor] = []
        summary: Tensor | None = None
        for part, tokens in zip(self.text_parts, self.tokens, strict=True):
            rows, weights = encode_rows(tokens, prompts, chunks, weighted=weighted)
            states, pooled = self._states(getattr(self, part), rows.to(self.device))
            states = join_rows(states, chunks)
            if weights is not None:
                states = states * weights.to(states)
            every.append(states)
            # the summary of a long text is that of its first row
            summary = summary if pooled is None else pooled[::chunks]
        return _base.Condition(every[0] if len(every) == 1 else torch.cat(every, -1), summary)

    @abstractmethod
    def _states(self, encoder: Any, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Returns states (rows, 77, width) and a summary (rows, width) of rows of tokens."""

    def count_tokens(self, prompt: str, *, weighted: bool | None = None) -> int:
        """Returns the CLIP tokens of a prompt, without start and end."""
        weighted = self.model.weighted_captions if weighted is None else weighted
        return self.tokens[0].count(prompt, weighted=weighted)

    def chunks_for(self, prompt: str, *, weighted: bool | None = None) -> int:
        """Returns how many rows of 75 tokens a prompt fills, at least one."""
        return rows_for(self.count_tokens(prompt, weighted=weighted))

    def encode_image(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns scaled mean and deviation of the VAE's posterior, always in float32."""
        pixels = pixels.to(self.device, torch.float32)
        posterior = self.vae.encode(pixels).latent_dist
        factor, shift = self._scale()
        return (posterior.mean - shift) * factor, posterior.std * factor

    def decode_image(self, latents: Tensor) -> Tensor:
        """Returns pixels in 0 .. 1, computed in float32."""
        factor, shift = self._scale()
        pixels = self.vae.decode(latents.float() / factor + shift).sample
        return (pixels / 2 + 0.5).clamp(0, 1)

    def _scale(self) -> tuple[float, float]:
        config = self.vae.config
        return config.scaling_factor, config.shift_factor or 0.0

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: _base.Condition) -> Tensor:
        """Returns the predicted noise or velocity (batch, 4, h, w) in float32."""
        output = self.unet(
            noisy.to(self.dtype),
            timesteps,
            condition.states.to(self.dtype),
            added_cond_kwargs=self._added(condition),
            return_dict=False,
        )[0]
        return output.float()

    def _added(self, condition: _base.Condition) -> dict[str, Tensor] | None:  # noqa: ARG002
        """Returns what the U-Net is told besides the states of the text."""
        return None

    def load(self, part: str) -> None:
        """Reads a part that was left out; one in memory stays as it is."""
        if part in self.parts() or part not in {"vae", "unet", *self.text_parts}:
            return
        if part == "vae":
            self.vae = _vae(self.facts, self.device)
        elif part == "unet":
            self.unet = _unet(self.facts, self.device, self.dtype)
        else:
            encoder = text_encoder(self.facts.parts[part], self.device, self.dtype)
            setattr(self, part, encoder)

    def release(self, part: str) -> None:
        """Lets the VAE or a text encoder go."""
        assert part in {"vae", *self.text_parts}, part
        setattr(self, part, None)

    def checkpoint_gradients(self, on: bool) -> None:
        """Switches block checkpointing; the modules must be in training mode to obey."""
        for name, part in self.parts().items():
            if name == "vae":
                continue
            model: Any = part
            model.train(on)
            word = "enable" if on else "disable"
            diffusers, transformers = (
                f"{word}_gradient_checkpointing",
                f"activation_checkpointing_{word}",
            )
            getattr(model, diffusers if name == "unet" else transformers)()


def last_states(encoder: Any, rows: Tensor, clip_skip: int) -> Tensor:
    """Returns (rows, 77, width) states of the layer that ``clip_skip`` names, normed at the end."""
    if clip_skip == 1:
        return encoder(rows).last_hidden_state
    hidden = encoder(rows, output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)
    return inner.final_layer_norm(hidden[-clip_skip])


def _vae(facts: ModelFacts, device: torch.device) -> Any:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return build(AutoencoderKL, facts.parts["vae"], device, torch.float32)


def _unet(facts: ModelFacts, device: torch.device, dtype: torch.dtype) -> Any:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return build(UNet2DConditionModel, facts.parts["unet"], device, dtype)
