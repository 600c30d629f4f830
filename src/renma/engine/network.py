"""One LoRA on a family: an adapter for each trained layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from renma import adapters
from renma.adapters._base import Adapter, LayerSpec, Strength, weight_of
from renma.config.adapter import AdapterSection, DyLora, Paired
from renma.config.layer_table import choose
from renma.core import keyed
from renma.core.errors import UserError
from renma.engine.attach import Host
from renma.families._base import Family, Target
from renma.formats import lora_file, lora_names

PARTS = ("unet", "text_encoder")
"""What has a strength of its own; SDXL's second text encoder goes with the first."""


@dataclass(frozen=True)
class Member:
    """One adapter of a network.

    Attributes:
        target: the layer it changes.
        adapter: what changes it.
        rate: factor on its learning rate, from block weights.
    """

    target: Target
    adapter: Adapter
    rate: float = 1.0

    @property
    def part(self) -> str:
        """``unet`` or ``text_encoder``: whose strength it goes by."""
        return part_of(self.target)


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate.

    Attributes:
        part: ``unet``, ``text_encoder`` or ``text_encoder_2``.
        factor: of the part's learning rate.
        parameters: in the order of the model's layers.
    """

    part: str
    factor: float
    parameters: list[nn.Parameter]

    @property
    def name(self) -> str:
        """The part, and the factor where it is not 1."""
        return self.part if self.factor == 1 else f"{self.part} x{self.factor:g}"


@dataclass(frozen=True)
class NormReport:
    """What max-norm did in one step: layers shortened, mean and largest norm before."""

    shortened: int
    mean: float
    largest: float


class Network:
    """One LoRA: an adapter for each trained layer of a family.

    Args:
        members: by file key.
    """

    def __init__(self, members: Mapping[str, Member]) -> None:
        self.members = dict(members)
        self.strength: dict[str, Strength] = dict.fromkeys(PARTS, 1.0)
        self._attached = False

    @classmethod
    def fresh(
        cls,
        family: Family,
        config: AdapterSection,
        seed: int,
        parts: tuple[str, ...],
        base: Path | None = None,
    ) -> Network:
        """Returns an untrained network on the layers of ``parts`` that ``config`` chooses.

        Each adapter's start depends on (seed, its name) alone, not on the order of layers.

        Args:
            family: the frozen model.
            config: the adapter's options.
            seed: the run's seed.
            parts: which are trained: ``unet``, ``text_encoder``, ``text_encoder_2``.
            base: folder that a relative preset file starts from.

        Raises:
            UserError: no layer is chosen.
        """
        targets = family.targets()
        table = [target.slot for target in targets.values()]
        members = {}
        for slot, own, rate in choose(config, table, base):
            target = targets[slot.name]
            if target.part not in parts:
                continue
            generator = torch.Generator().manual_seed(keyed.key(seed, "init", slot.name))
            adapter = adapters.build(LayerSpec.of(target.layer), own, generator)
            adapter = adapter.to(_device(target.layer))
            adapter.start(weight_of(target.layer, torch.float32))
            members[slot.name] = Member(target, adapter, rate)
        return cls(members)

    @classmethod
    def from_file(cls, family: Family, path: Path) -> Network:
        """Returns the frozen network of a LoRA file in any naming.

        Raises:
            UserError: a layer of the file is not in the model, or does not fit.
        """
        targets = family.targets()
        members = {}
        for name, tensors in lora_file.read(path).layers.items():
            if name not in targets:
                raise UserError(
                    f"changes a layer '{name}' that the {family.name} model does not have",
                    where=path,
                    remedy="Is it a LoRA for this model family?",
                )
            members[name] = Member(targets[name], restored(targets[name], tensors, name, path))
        if not members:
            raise UserError("holds no LoRA", where=path)
        return cls(members)

    def attach(self) -> None:
        """Lets the network act on the model."""
        assert not self._attached
        for member in self.members.values():
            part = member.part
            Host.of(member.target.layer).add(member.adapter, lambda part=part: self.strength[part])
        self._attached = True

    def detach(self) -> None:
        """Gives the model back unchanged."""
        for member in self.members.values():
            Host.of(member.target.layer).remove(member.adapter)
        self._attached = False

    @contextmanager
    def at(self, *, unet: Strength = 1.0, text_encoder: Strength = 1.0) -> Iterator[None]:
        """Acts at given strengths inside a ``with`` block; afterwards all is as before."""
        before, was_attached = dict(self.strength), self._attached
        self.strength = {"unet": unet, "text_encoder": text_encoder}
        if not was_attached:
            self.attach()
        try:
            yield
        finally:
            self.strength = before
            if not was_attached:
                self.detach()

    def merge_into_base(self, strength: float = 1.0) -> None:
        """Changes the model's own weights for good; they must be float32 or float64."""
        for member in self.members.values():
            layer: Any = member.target.layer
            with torch.no_grad():
                weight, bias = member.adapter.apply_weight(layer.weight, layer.bias, strength)
            layer.weight = nn.Parameter(weight, requires_grad=False)
            if bias is not None:
                layer.bias = nn.Parameter(bias, requires_grad=False)

    @contextmanager
    def training_draws(
        self, config: AdapterSection, seed: int, batch: int, visible: Tensor | None = None
    ) -> Iterator[None]:
        """Everything random about the adapters in one batch: dropouts and DyLoRA's ranks.

        It must enclose the backward pass too: gradient checkpointing runs forward again. Outside,
        in previews and judging, nothing is left out.

        Args:
            config: the adapter's options.
            seed: the run's seed.
            batch: number of the batch in the run.
            visible: (samples,) share of ranks that act on each sample (T-LoRA), or None.
        """
        chance = any(getattr(config, name, 0) for name in _DROPOUTS)
        share = keyed.rng(seed, "dylora", batch).random()
        try:
            for name, member in self.members.items():
                adapter: Any = member.adapter
                if chance:
                    adapter.chance = keyed.key(seed, "dropout", batch, name)
                if isinstance(config, DyLora) and hasattr(adapter, "window"):
                    groups = adapter.rank // adapter.unit
                    first = int(share * groups) * adapter.unit
                    learnt = first if config.frozen else 0
                    adapter.window = (learnt, first + adapter.unit)
                if visible is not None and member.part == "unet" and hasattr(adapter, "visible"):
                    least = getattr(config, "min_timestep_rank", None) or adapter.rank
                    adapter.visible = _shown(adapter.rank, least, visible)
            yield
        finally:
            for member in self.members.values():
                member.adapter.reset_draws()

    def groups(self, config: AdapterSection, part: str) -> list[Group]:
        """Returns the trained parameters of a part by the factor on its learning rate.

        Factors come from block weights, and from LoRA+ for the factor that starts at zero.
        """
        found: dict[float, list[nn.Parameter]] = {}
        ratio = config.ratio(part) if isinstance(config, Paired) else 1.0
        for member in self.members.values():
            if member.target.part != part:
                continue
            fast = {id(p) for p in member.adapter.fast_parameters()}
            for parameter in member.adapter.parameters():
                if parameter.requires_grad:
                    factor = member.rate * (ratio if id(parameter) in fast else 1.0)
                    found.setdefault(factor, []).append(parameter)
        return [Group(part, factor, found[factor]) for factor in sorted(found, reverse=True)]

    def parameters(self, part: str) -> list[nn.Parameter]:
        """Returns the trained parameters of ``unet``, ``text_encoder`` or ``text_encoder_2``."""
        chosen = [m.adapter for m in self.members.values() if m.target.part == part]
        return [p for adapter in chosen for p in adapter.parameters() if p.requires_grad]

    def unchanged(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Returns trained numbers that mean no change elsewhere than at 0, with where they do."""
        return [
            pair
            for member in self.members.values()
            for pair in member.adapter.unchanged(weight_of(member.target.layer, torch.float32))
        ]

    def clamp_norms(self, limit: float) -> NormReport:
        """Shortens every update to Frobenius norm ``limit``; shorter ones stay as they are."""
        told = [member.adapter.clamp_norm_(limit) for member in self.members.values()]
        norms = [norm for norm in told if norm is not None]
        if not norms:
            return NormReport(0, 0.0, 0.0)
        return NormReport(sum(n > limit for n in norms), sum(norms) / len(norms), max(norms))

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Returns the file form of all adapters, numbers in a precision and marks as they are.

        An alpha that the precision cannot hold exactly stays float32.
        """
        return {
            name: lora_names.cast(name, tensor, dtype)
            for name, tensor in lora_names.join(self.layer_tensors()).items()
        }

    def layer_tensors(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yields each layer's key with its tensors in the file form, by suffix."""
        for name, member in self.members.items():
            yield name, member.adapter.tensors()

    def state(self) -> dict[str, Any]:
        """Returns the exact weights for resume."""
        return {name: dict(m.adapter.state_dict()) for name, m in self.members.items()}

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes the weights of :meth:`state` back.

        Raises:
            UserError: they belong to other layers or sizes.
        """
        try:
            if state.keys() != self.members.keys():
                raise ValueError("other layers are trained now than when it was saved")
            for name, member in self.members.items():
                member.adapter.load_state_dict(state[name])
        except (ValueError, RuntimeError) as error:
            text = str(error).splitlines()[0]
            raise UserError(
                f"the saved state does not fit this run: {text}",
                remedy="Put changed options and files back, or start a new run.",
            ) from None


_DROPOUTS = ("dropout", "rank_dropout", "module_dropout")


def restored(
    target: Target,
    tensors: Mapping[str, Tensor],
    name: str,
    path: Path,
    algo: str | None = None,
    like: AdapterSection | None = None,
) -> Adapter:
    """Returns the adapter of one layer of a file, frozen.

    Args:
        target: the layer.
        tensors: the layer's tensors by suffix.
        name: the layer's key, for messages.
        path: the file, for messages.
        algo: read them as this algorithm (LoRA files serve LoRA-FA and DyLoRA too).
        like: options that a file does not tell, such as dropouts.

    Raises:
        UserError: no known algorithm, or a tensor that does not fit.
    """
    try:
        adapter = adapters.restore(LayerSpec.of(target.layer), tensors, algo, like)
    except ValueError as error:  # pydantic's errors are ValueErrors too
        text = str(error).splitlines()[0]
        raise UserError(f"'{name}' cannot be used: {text}", where=path) from None
    return adapter.to(_device(target.layer))


def part_of(target: Target) -> str:
    """Returns what a layer's strength goes by: ``unet`` or ``text_encoder``."""
    return "unet" if target.part == "unet" else "text_encoder"


def _device(layer: nn.Module) -> torch.device:
    return next(tensor for tensor in (*layer.parameters(), *layer.buffers())).device


def _shown(rank: int, least: int, visible: Tensor) -> Tensor:
    """Returns the (samples, rank) mask of T-LoRA: the first ranks act, more as noise falls."""
    least = min(least, rank)
    count = (visible * (rank - least)).floor() + least
    return (torch.arange(rank, device=visible.device) < count[:, None]).float()
