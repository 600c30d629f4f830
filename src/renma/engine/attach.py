"""Adapters on one layer: a host that stands in for the layer's ``forward``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from renma.adapters._base import Adapter, Strength, own_forward


class Host:
    """Lets adapters act on one layer by standing in for its ``forward``.

    The layer keeps its class and its weight names; the changes of several adapters add up.
    """

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer
        self.entries: list[tuple[Adapter, Callable[[], Strength]]] = []
        self._base = layer.forward
        self._before = vars(layer).get("forward")  # another stand-in for the class's forward

    @classmethod
    def of(cls, layer: nn.Module) -> Host:
        """Returns the layer's host, made on first use."""
        hosted = getattr(layer.forward, "__self__", None)
        return hosted if isinstance(hosted, Host) else cls(layer)

    def add(self, adapter: Adapter, strength: Callable[[], Strength]) -> None:
        """Lets an adapter act; the first one takes over the layer's forward.

        Args:
            adapter: the adapter.
            strength: asked at every call for how strongly it acts.
        """
        self.entries.append((adapter, strength))
        # an own attribute hides the class's method: no key, hook or class of the layer changes
        vars(self.layer)["forward"] = self.forward

    def remove(self, adapter: Adapter) -> None:
        """Stops an adapter; the last one gives the layer's own forward back."""
        self.entries = [entry for entry in self.entries if entry[0] is not adapter]
        if not self.entries:
            vars(self.layer).pop("forward", None)
            self.base(self._before)

    def base(self, stand_in: Callable[[Tensor], Tensor] | None) -> None:
        """Lets a stand-in, or None for the class's own forward, compute the layer itself."""
        self._before = stand_in
        self._base = stand_in or own_forward(self.layer)
        if not self.entries and stand_in is not None:
            vars(self.layer)["forward"] = stand_in

    def forward(self, x: Tensor) -> Tensor:
        """Runs the layer with every adapter at its strength."""
        run = self._base
        for adapter, strength in self.entries:
            run = partial(adapter.run, base=run, layer=self.layer, strength=strength())
        return run(x)


def hosted(layer: nn.Module) -> bool:
    """Says whether adapters act on a layer."""
    return isinstance(getattr(layer.forward, "__self__", None), Host)
