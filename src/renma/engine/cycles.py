"""A network that is merged into the base again and again (ReLoRA, arXiv 2307.05695).

The past of each layer is kept as factors: those of all cycles side by side, float32, scale
included. Everything follows from them: what acts on the model while the next cycle is trained, the
file, and a resumed run. Where the base is float32 the past is put into its weights
(:mod:`renma.engine.stored_weight`). Where it has fewer bits the past acts beside weights that are
only read: stored in 4 bits, a small change would be lost, and the next cycle would learn it again,
so that the file, which holds the sum of all cycles, had it twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from renma import adapters
from renma.adapters._base import Adapter, LayerSpec, Strength, is_wide
from renma.adapters._lowrank import LowRank
from renma.config.adapter import AdapterSection
from renma.config.relora import ReLoraConfig
from renma.core import keyed
from renma.core.errors import UserError
from renma.engine import low_rank
from renma.engine.attach import Host
from renma.engine.low_rank import Factors
from renma.engine.network import Member, Network
from renma.engine.stored_weight import StoredWeight


class CycledNetwork(Network):
    """A network with a past.

    Args:
        members: what is trained now, by file key.
        config: where the past lives, and the rank of files.

    Attributes:
        cycles: how many have been merged.
    """

    def __init__(self, members: Mapping[str, Member], config: ReLoraConfig) -> None:
        super().__init__(members)
        self.file_rank, self.cycles = config.file_rank, 0
        self.past = {
            name: _Past(member, _in_weights(member, config)) for name, member in members.items()
        }

    @classmethod
    def of(cls, network: Network, config: ReLoraConfig) -> CycledNetwork:
        """Returns a network that can be merged, with no past yet.

        Raises:
            UserError: an adapter has no form that can be merged and begun again.
        """
        for name, member in network.members.items():
            if reason := _refusal(member, config):
                raise UserError(
                    f"ReLoRA cannot merge '{name}': {reason}",
                    where="relora.every_steps",
                    remedy="Train plain LoRA, or set relora.every_steps = 0.",
                )
        return cls(network.members, config)

    def attach(self) -> None:
        """Lets the network and its past act on the model."""
        super().attach()
        for name, past in self.past.items():
            past.attach(self._strength_of(self.members[name].part))

    def detach(self) -> None:
        """Gives the model back unchanged, its original weights bit by bit."""
        super().detach()
        for past in self.past.values():
            past.detach()

    @torch.no_grad()
    def merge(self) -> None:
        """Adds what is trained now to the past; what acts on the model is then twice of it.

        :meth:`restart` has to follow.
        """
        for name, past in self.past.items():
            if (now := _now(self.members[name].adapter)) is not None:
                past.take(now)
        self.cycles += 1

    def restart(self, config: AdapterSection, seed: int) -> None:
        """Begins every adapter again: A drawn anew by (seed, cycle, layer), B zero.

        Args:
            config: the adapter's options.
            seed: the run's seed.
        """
        for name, member in self.members.items():
            adapter: Any = member.adapter
            key = keyed.key(seed, "init", self.cycles, name)
            # of the adapter, not of the options: a file may have brought its own rank and form
            form = {"rank": adapter.rank, "tucker": adapter.mid is not None}
            fresh = adapters.build(
                adapter.spec, config.model_copy(update=form), torch.Generator().manual_seed(key)
            )
            adapter.load_state_dict(fresh.state_dict())

    def layer_tensors(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yields each layer's key and the file form of all cycles together, this one included."""
        for name, member in self.members.items():
            total = self.total(name) if self.cycles else None
            yield name, member.adapter.tensors() if total is None else self._layer(member, total)

    def total(self, name: str) -> Factors | None:
        """Returns what all cycles together add to a layer's weight, as factors; None for nothing.

        Args:
            name: the layer's file key.
        """
        found = [self.past[name].factors, _now(self.members[name].adapter)]
        parts = [Factors(f.up.float().cpu(), f.down.float().cpu()) for f in found if f is not None]
        return low_rank.stack(parts) if parts else None

    def added_norm(self) -> float:
        """Returns the Frobenius norm of what is trained now, over all layers."""
        adapters_now: list[Any] = [member.adapter for member in self.members.values()]
        with torch.no_grad():
            return sum(adapter.update_norm() ** 2 for adapter in adapters_now) ** 0.5

    def past_norms(self) -> dict[str, float]:
        """Returns the Frobenius norm of what all merged cycles added to each layer."""
        found = {name: past.acting for name, past in self.past.items()}
        return {name: acting.update_norm() for name, acting in found.items() if acting is not None}

    def past_state(self) -> dict[str, Any]:
        """Returns the factors of all merged cycles, from which everything else follows."""
        found = {name: past.factors for name, past in self.past.items()}
        layers = {n: {"up": f.up, "down": f.down} for n, f in found.items() if f is not None}
        return {"cycles": self.cycles, "layers": layers}

    def load_past(self, state: Mapping[str, Any]) -> None:
        """Takes the past back, into the model too.

        Raises:
            UserError: it belongs to other layers.
        """
        if not state["layers"].keys() <= self.past.keys():
            raise UserError(
                "the saved state does not fit this run: other layers are trained now",
                remedy="Put changed options and files back, or start a new run.",
            )
        self.cycles = state["cycles"]
        for name, past in self.past.items():
            held = state["layers"].get(name)
            past.put(None if held is None else Factors(held["up"], held["down"]))

    def _layer(self, member: Member, total: Factors) -> dict[str, Tensor]:
        """Returns the sum in a file's form, exact unless a rank is asked for."""
        most = min(total.side, self.file_rank or total.side)
        if total.rank > most:
            total = low_rank.spectrum(total).cut(most)
        spec = LayerSpec.of(member.target.layer)
        return _low_rank(spec, low_rank.balanced(total)).tensors()

    def _strength_of(self, part: str) -> Callable[[], Strength]:
        return lambda: self.strength[part]


class _Past(Adapter):
    """What was merged on one layer.

    In the weights it acts without doing anything, at strength 1; what other strengths mean
    (previews at a weight, the model without LoRA) is put right beside them.

    Args:
        member: the layer.
        in_weights: whether it lives in the layer's weight.
    """

    def __init__(self, member: Member, in_weights: bool) -> None:
        super().__init__()
        self.layer = [member.target.layer]  # in a list: no part of this module
        self.spec = LayerSpec.of(member.target.layer)
        self.stored = StoredWeight(member.target.layer) if in_weights else None
        self.acting: LowRank | None = None
        self.attached = False

    @property
    def factors(self) -> Factors | None:
        """All cycles side by side."""
        return None if self.acting is None else Factors(self.acting.up.data, self.acting.down.data)

    def take(self, factors: Factors) -> None:
        """Adds a cycle."""
        before = self.factors
        if before is not None:
            here = before.up.device
            factors = Factors(factors.up.to(here), factors.down.to(here))
            factors = low_rank.stack([before, factors])
        if factors.rank > factors.side:  # more columns than the sum can have ranks
            factors = low_rank.spectrum(factors).cut(factors.side)
        self.put(factors)

    def put(self, factors: Factors | None) -> None:
        """Makes this the past."""
        self.acting = None
        if factors is not None:
            home = torch.device("cpu") if self.stored else self._device
            self.acting = _low_rank(self.spec, factors).to(home)
        if self.attached:
            self._store()

    def attach(self, strength: Callable[[], Strength]) -> None:
        """Lets it act."""
        offset = 1.0 if self.stored else 0.0
        # outside of what is trained, which then still has the layer's own forward within
        Host.of(self.layer[0]).add(self, lambda: strength() - offset)
        self.attached = True
        if self.acting is not None:
            self._store()

    def detach(self) -> None:
        """Gives the layer its original weight back."""
        Host.of(self.layer[0]).remove(self)
        self.attached = False
        if self.stored and self.acting is not None:
            self.stored.restore()

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: Strength,
    ) -> Tensor:
        """Returns the output with the past at a strength beside the layer."""
        acting, factors = self.acting, self.factors
        if acting is None or factors is None:
            return base(x)
        if factors.up.device != x.device:  # at rest in main memory, seldom needed
            acting = _low_rank(self.spec, factors).to(x.device)
        return acting.changed(x, base, layer, strength)

    def apply_weight(
        self, weight: Tensor, bias: Tensor | None, strength: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the weight with the past added."""
        if self.acting is None:
            return weight, bias
        return self.acting.apply_weight(weight, bias, strength)

    def tensors(self) -> dict[str, Tensor]:
        """Returns the past as a LoRA's tensors."""
        return {} if self.acting is None else self.acting.tensors()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes a LoRA's tensors as the past."""
        pair = adapters.restore(self.spec, tensors).low_rank()
        self.put(None if pair is None else Factors(*pair))

    @property
    def _device(self) -> torch.device:
        return next(t for t in (*self.layer[0].parameters(), *self.layer[0].buffers())).device

    def _store(self) -> None:
        """Writes the past into the weight, where it lives there."""
        if self.stored is None:
            return
        factors = self.factors
        if factors is None:
            self.stored.restore()
            return
        up, down = factors.up.to(self._device), factors.down.to(self._device)
        self.stored.add(up @ down)


def _in_weights(member: Member, config: ReLoraConfig) -> bool:
    if config.where != "auto":
        return config.where == "weights"
    layer: Any = member.target.layer
    return is_wide(layer.weight.dtype)


def _refusal(member: Member, config: ReLoraConfig) -> str:
    """Returns why an adapter cannot be merged and begun again; empty if it can."""
    adapter: Any = member.adapter
    if not isinstance(adapter, LowRank) or hasattr(adapter, "window"):
        return "only LoRA and LoRA-FA can be put side by side"
    if adapter.low_rank() is None:
        return "DoRA, and differences of biases, have no low-rank form"
    if hasattr(adapter, "first_up"):
        return "PiSSA and OLoRA do not begin at zero"
    others = [other for other, _ in Host.of(member.target.layer).entries]
    if _in_weights(member, config) and any(other.low_rank() is None for other in others):
        return "start.base_weights has something beside this weight that depends on it"
    return ""


def _now(adapter: Adapter) -> Factors | None:
    """Returns what an adapter adds to its weight; None while that is nothing."""
    pair = adapter.low_rank()
    assert pair is not None
    return Factors(*pair) if bool(pair[0].any()) else None


def _low_rank(spec: LayerSpec, factors: Factors) -> LowRank:
    """Returns a frozen LoRA of scale 1."""
    alpha = torch.tensor(float(factors.rank))
    tensors = {"lora_down.weight": factors.down, "lora_up.weight": factors.up, "alpha": alpha}
    adapter = adapters.restore(spec, tensors)
    assert isinstance(adapter, LowRank)
    return adapter
