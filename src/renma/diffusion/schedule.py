"""The noise schedule: one object for the noised input, the target, the weights and the sampler.

x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) e, with abar the running product of 1 - beta
(DDPM, arXiv 2006.11239). The model predicts e, or the velocity
v = sqrt(abar_t) e - sqrt(1 - abar_t) x_0 (arXiv 2202.00512).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from renma.core.errors import UserError, did_you_mean

Prediction = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """How much of the picture is left at each timestep, and what the model says about it.

    Args:
        alphas_cumprod: (timesteps,) abar in float64, falling.
        prediction: what the model's output means.
        zero_terminal_snr: whether nothing of the picture is left at the last timestep.
        origin: the model's own ``scheduler_config.json``.
    """

    alphas_cumprod: Tensor
    prediction: Prediction = "epsilon"
    zero_terminal_snr: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Mapping[str, Any], zero_terminal_snr: bool | None = None) -> NoiseSchedule:
        """Returns the schedule of a diffusers ``scheduler_config.json``.

        Args:
            config: the model's own file.
            zero_terminal_snr: rescale the schedule so that the last timestep is pure noise; None
                does what the model's file says.

        Raises:
            UserError: a schedule or a kind of prediction that renma does not know, or zero terminal
            SNR with noise prediction.
        """
        prediction = config.get("prediction_type", "epsilon")
        if prediction not in ("epsilon", "v_prediction"):
            raise UserError(
                f"the model predicts '{prediction}'; renma trains models that predict the noise "
                "('epsilon') or the velocity ('v_prediction')",
                where="prediction_type in the model's scheduler_config.json",
            )
        if zero_terminal_snr is None:
            zero_terminal_snr = bool(config.get("rescale_betas_zero_snr", False))
        if zero_terminal_snr and prediction == "epsilon":
            raise UserError(
                "a schedule that ends in pure noise (zero terminal SNR) needs a model that "
                "predicts the velocity; this one predicts the noise",
                remedy="Leave objective.zero_terminal_snr out, or set it to false.",
            )
        left = torch.cumprod(1 - _betas(config), 0)
        if zero_terminal_snr:
            left = without_terminal_signal(left)
        return cls(left, prediction, zero_terminal_snr, dict(config))

    @property
    def timesteps(self) -> int:
        """Number of timesteps."""
        return len(self.alphas_cumprod)

    @property
    def betas(self) -> Tensor:
        """Variance of the noise that each timestep adds, (timesteps,) float64."""
        before = torch.cat([torch.ones(1, dtype=torch.float64), self.alphas_cumprod[:-1]])
        return 1 - self.alphas_cumprod / before

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns noised latents (batch, channels, h, w) for timesteps (batch,)."""
        signal, spread = self._factors(timesteps, latents)
        return signal * latents + spread * noise

    def velocity(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns v (batch, channels, h, w) for timesteps (batch,)."""
        signal, spread = self._factors(timesteps, latents)
        return signal * noise - spread * latents

    def target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Returns what a perfect model would answer, (batch, channels, h, w)."""
        if self.prediction == "epsilon":
            return noise
        return self.velocity(latents, noise, timesteps)

    def snr(self, timesteps: Tensor) -> Tensor:
        """Returns the signal-to-noise ratio abar / (1 - abar), (batch,) float32.

        It is finite everywhere, and 0 at the last timestep of a zero-terminal schedule.
        """
        ratio = (self.alphas_cumprod / (1 - self.alphas_cumprod)).float()
        return ratio.to(timesteps.device)[timesteps]

    def sampler_config(self) -> dict[str, Any]:
        """Returns what :func:`renma.diffusion.samplers.build` wants, to draw as was trained."""
        config = {
            **self.origin,
            "prediction_type": self.prediction,
            "rescale_betas_zero_snr": self.zero_terminal_snr,
        }
        if self.zero_terminal_snr:
            # the last timestep was trained for sampling to begin there (arXiv 2305.08891, 3.3)
            config |= {"trained_betas": self.betas.tolist(), "timestep_spacing": "trailing"}
        return config

    def _factors(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Returns sqrt(abar) and sqrt(1 - abar), (batch, 1, 1, 1), in the precision of ``like``."""
        tables = self.alphas_cumprod.sqrt(), (1 - self.alphas_cumprod).sqrt()
        signal, spread = (t.to(like)[timesteps].view(-1, 1, 1, 1) for t in tables)
        return signal, spread


def without_terminal_signal(alphas_cumprod: Tensor) -> Tensor:
    """Returns abar shifted and scaled so that its last value is exactly 0 and its first stays.

    Source: arXiv 2305.08891, algorithm 1.
    """
    signal = alphas_cumprod.sqrt()
    first, last = signal[0], signal[-1]
    return ((signal - last) * first / (first - last)).square()


def _betas(config: Mapping[str, Any]) -> Tensor:
    """Returns the betas of a diffusers configuration, (timesteps,) float64."""
    if given := config.get("trained_betas"):
        return torch.tensor(given, dtype=torch.float64)
    count, kind = config["num_train_timesteps"], config["beta_schedule"]
    if kind == "squaredcos_cap_v2":  # arXiv 2102.09672
        edges = torch.arange(count + 1, dtype=torch.float64) / count
        left = ((edges + 0.008) / 1.008 * math.pi / 2).cos().square()
        return (1 - left[1:] / left[:-1]).clamp(max=0.999)
    start, end = config["beta_start"], config["beta_end"]
    if kind == "linear":
        return torch.linspace(start, end, count, dtype=torch.float64)
    if kind == "scaled_linear":  # sqrt(beta) rises linearly
        return torch.linspace(start**0.5, end**0.5, count, dtype=torch.float64) ** 2
    known = ["scaled_linear", "linear", "squaredcos_cap_v2"]
    raise UserError(
        f"'{kind}' is not a noise schedule that renma knows",
        where="beta_schedule in the model's scheduler_config.json",
        remedy=did_you_mean(str(kind), known) or f"Known: {', '.join(known)}.",
    )
