"""Adapters on a family: one host per layer, one network per LoRA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from renma import adapters
from renma.adapters._base import Adapter, LayerSpec, Strength
from renma.config.adapter import Lora
from renma.core import keyed, registry
from renma.core.errors import UserError
from renma.families._base import Family, Target
from renma.formats import lora_names, safetensors

PARTS = ("unet", "text_encoder")


class Host:
    """Lets adapters act on one layer by standing in for its ``forward``.

    The layer keeps its class and its weight names; several adapters act one after another.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        self.layer = layer
        self.entries: list[tuple[Network, Adapter]] = []
        self._base = layer.forward

    @classmethod
    def of(cls, layer: nn.Linear | nn.Conv2d) -> Host:
        """Returns the layer's host, made on first use."""
        hosted = getattr(layer.forward, "__self__", None)
        return hosted if isinstance(hosted, Host) else cls(layer)

    def add(self, network: Network, adapter: Adapter) -> None:
        """Lets an adapter act; the first one takes over the layer's forward."""
        self.entries.append((network, adapter))
        # an own attribute hides the class's method: no key, hook or class of the layer changes
        vars(self.layer)["forward"] = self.forward

    def remove(self, adapter: Adapter) -> None:
        """Stops an adapter; the last one gives the layer's own forward back."""
        self.entries = [entry for entry in self.entries if entry[1] is not adapter]
        if not self.entries:
            vars(self.layer).pop("forward", None)

    def forward(self, x: Tensor) -> Tensor:
        """Runs the layer with every adapter at its network's strength."""
        run = self._base
        for network, adapter in self.entries:
            strength = network.strength_of(adapter)
            run = partial(adapter.run, base=run, layer=self.layer, strength=strength)
        return run(x)


class Network:
    """One LoRA: an adapter for each target layer of a family.

    Args:
        members: target and adapter by file key.
    """

    def __init__(self, members: Mapping[str, tuple[Target, Adapter]]) -> None:
        self.members = dict(members)
        self.strength: dict[str, Strength] = dict.fromkeys(PARTS, 1.0)
        self._part = {adapter: target.part for target, adapter in self.members.values()}
        self._attached = False

    @classmethod
    def fresh(cls, family: Family, config: Lora, seed: int, parts: tuple[str, ...]) -> Network:
        """Returns an untrained network on the targets of ``parts``.

        Each adapter's start depends on (seed, its name) alone, not on the order of layers.
        """
        members = {}
        for name, target in family.targets().items():
            if target.part in parts:
                generator = torch.Generator().manual_seed(keyed.key(seed, "init", name))
                adapter = adapters.build(LayerSpec.of(target.layer), config, generator)
                members[name] = (target, adapter.to(target.layer.weight.device))
        return cls(members)

    @classmethod
    def from_file(cls, family: Family, path: Path) -> Network:
        """Returns the network of a LoRA file in kohya's naming.

        Raises:
            UserError: a layer of the file is not in the model, or does not fit.
        """
        targets = family.targets()
        members = {}
        for name, tensors in lora_names.by_layer(safetensors.read_tensors(path)).items():
            if name not in targets:
                raise UserError(
                    f"changes a layer '{name}' that the {family.name} model does not have",
                    where=path,
                    remedy="Is it a LoRA for this model family?",
                )
            members[name] = (targets[name], _restore(targets[name], tensors, name, path))
        if not members:
            raise UserError("holds no LoRA", where=path)
        return cls(members)

    def strength_of(self, adapter: Adapter) -> Strength:
        """Returns how strongly an adapter acts now."""
        return self.strength[self._part[adapter]]

    def attach(self) -> None:
        """Lets the network act on the model."""
        assert not self._attached
        for target, adapter in self.members.values():
            Host.of(target.layer).add(self, adapter)
        self._attached = True

    def detach(self) -> None:
        """Gives the model back unchanged."""
        for target, adapter in self.members.values():
            Host.of(target.layer).remove(adapter)
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

    def parameters(self, part: str) -> list[nn.Parameter]:
        """Returns the trained parameters of ``unet`` or ``text_encoder``."""
        chosen = [a for target, a in self.members.values() if target.part == part]
        return [p for adapter in chosen for p in adapter.parameters() if p.requires_grad]

    def tensors(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Returns the file form of all adapters in a precision."""
        named = ((name, adapter.tensors()) for name, (_, adapter) in self.members.items())
        return {name: tensor.to(dtype) for name, tensor in lora_names.join(named).items()}

    def state(self) -> dict[str, Any]:
        """Returns the exact weights for resume."""
        return {name: dict(adapter.state_dict()) for name, (_, adapter) in self.members.items()}

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes the weights of :meth:`state` back."""
        assert state.keys() == self.members.keys()
        for name, (_, adapter) in self.members.items():
            adapter.load_state_dict(state[name])


def _restore(target: Target, tensors: Mapping[str, Tensor], name: str, path: Path) -> Adapter:
    if "lora_down.weight" not in tensors:
        raise UserError(
            f"'{name}' holds {', '.join(sorted(tensors))}: no algorithm of this version", where=path
        )
    try:
        config = registry.load("renma.adapters", "lora").config_of(tensors)
        adapter = adapters.build(LayerSpec.of(target.layer), config, torch.Generator())
        adapter.load_tensors(tensors)
    except ValueError as error:  # pydantic's errors are ValueErrors too
        text = str(error).splitlines()[0]
        raise UserError(f"'{name}' is damaged: {text}", where=path) from None
    return adapter.to(target.layer.weight.device).requires_grad_(False)
