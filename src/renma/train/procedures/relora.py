"""ReLoRA (arXiv 2307.05695): train, merge into the base, begin again from zero; again and again.

A sum of n cycles of rank r has up to n r ranks, while only r are trained at a time. Three things
make the new beginnings harmless: the adapter begins anew (A drawn, B zero, so that there is a
gradient from the first step on), the optimizer forgets, and the rate rises again from near zero.

A cycle is merged just before the first step of the next one. So the last one never is, and a run
that goes on for longer merges where the longer run would have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from renma import optimizers
from renma.diffusion.noise import normal
from renma.engine import low_rank
from renma.engine.cycles import CycledNetwork
from renma.engine.low_rank import Factors
from renma.families._base import Condition, Family
from renma.formats import state as states

if TYPE_CHECKING:
    from renma.train.loop import Trainer

KEY = "relora"
_SIDE = 32
"""Side of the latents, at most, on which a merge is looked at."""
_TOKENS, _TIMESTEP = 77, 500
_FELT = 0.01
"""Singular values below this share of the largest do not count as a rank."""


@dataclass(frozen=True)
class Merged:
    """What a merge did.

    Attributes:
        step: steps done.
        cycle: which cycle was merged, from 1.
        change: largest change of the U-Net's output on a fixed input; 0 but for rounding.
        norm: Frobenius norm of what the cycle added, over all layers.
        total_norm: of what all cycles added.
        layer: the layer that all cycles together changed most.
        rank: its ranks that matter: singular values above a hundredth of the largest.
        held: ranks that its factors have.
    """

    step: int
    cycle: int
    change: float
    norm: float
    total_norm: float
    layer: str
    rank: int
    held: int

    def line(self) -> str:
        """Returns it for people."""
        return (
            f"cycle {self.cycle} merged after step {self.step}: the output changed by "
            f"{self.change:.1e}; all cycles together matter in {self.rank} ranks of {self.layer}"
        )


class Relora:
    """Ends the cycles of a trainer whose network can be merged.

    Args:
        trainer: at its first step.
        network: the trainer's.

    Attributes:
        told: what the merge before the last step did, if there was one.
    """

    def __init__(self, trainer: Trainer, network: CycledNetwork) -> None:
        self.trainer, self.network = trainer, network
        self.told: Merged | None = None
        self._fresh = states.to_cpu(optimizers.state(trainer.optimizer))

    @classmethod
    def of(cls, trainer: Trainer) -> Relora | None:
        """Returns what ends the cycles of a trainer, or None where there are none."""
        network = trainer.network
        return cls(trainer, network) if isinstance(network, CycledNetwork) else None

    def before_step(self) -> None:
        """Merges if the step that comes is the first one of a cycle."""
        self.told = None
        step, config = self.trainer.counters.step, self.trainer.run.relora
        if config.cycle(step) > self.network.cycles:
            self.told = self._merge(step)

    def state(self) -> dict[str, Any]:
        """Returns all merged cycles."""
        return self.network.past_state()

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes merged cycles back, into the model too."""
        self.network.load_past(state)

    def _merge(self, step: int) -> Merged:
        """Merges what is trained now, as it is used: averaged, where the optimizer averages."""
        trainer, network, run = self.trainer, self.network, self.trainer.run
        with trainer.evaluating():
            before = _output(trainer.family, run.train.seed)
            norm = network.added_norm()
            network.merge()
        network.restart(run.adapter, run.train.seed)
        keep = run.relora.keep if run.relora.reset == "magnitude" else None
        optimizers.restart(trainer.optimizer, self._fresh, keep)
        change = _output(trainer.family, run.train.seed) - before
        norms = network.past_norms()
        layer = max(norms, key=lambda name: norms[name], default="")
        return Merged(
            step,
            network.cycles,
            change.abs().max().item(),
            norm,
            sum(each**2 for each in norms.values()) ** 0.5,
            layer,
            *_ranks(network.past[layer].factors if layer else None),
        )


def _ranks(factors: Factors | None) -> tuple[int, int]:
    """Returns how many ranks of a sum matter, and how many its factors have."""
    if factors is None:
        return 0, 0
    values = low_rank.spectrum(factors).values
    return int((values > _FELT * values[0]).sum()), factors.rank


@torch.no_grad()
def _output(family: Family, seed: int) -> Tensor:
    """Returns the U-Net's output on an input that is always the same."""
    config: Any = family.parts()["unet"].config
    side = min(_SIDE, family.native_size // family.latent_factor)
    states_of_text = normal((1, _TOKENS, config.cross_attention_dim), seed, "relora text")
    condition = Condition(states_of_text.to(family.device))
    if family.wants_sizes:
        sizes = torch.full((1, 6), float(family.native_size))
        width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        pooled = normal((1, width), seed, "relora pooled")
        condition = Condition(condition.states, pooled.to(family.device), sizes.to(family.device))
    noisy = normal((1, config.in_channels, side, side), seed, "relora latents")
    timesteps = torch.tensor([_TIMESTEP], device=family.device)
    return family.predict(noisy.to(family.device), timesteps, condition).cpu()
