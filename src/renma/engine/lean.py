"""The same step with less work and memory: what frozen weights allow.

Five independent pieces, each taken back by :meth:`Lean.remove`; layers keep their classes, names
and weights, adapters act as before:

* norms with SiLU and gated feed-forwards are computed again in backward (``recompute``);
* convolutions with frozen weights keep no input and reorder no weight twice (``frozen_conv``);
* float32 linear layers on a CPU go through oneDNN (``adapters._product``);
* attention on a CPU does too (``cpu_attention``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any

from torch import Tensor, nn

from renma.adapters._product import linear
from renma.engine import cpu_attention, recompute
from renma.engine.attach import Host
from renma.engine.frozen_conv import FrozenConv, suits


@dataclass
class Lean:
    """What was done to a model part; tells it and takes it back.

    Attributes:
        root: the part.
        recomputed: residual blocks and feed-forwards that keep less.
        convolutions: those with frozen weights, by path.
        linear: how many linear layers oneDNN computes.
        attention: how many attention layers it computes.
    """

    root: nn.Module
    recomputed: int
    convolutions: dict[str, FrozenConv]
    linear: int
    attention: int

    @property
    def packed_bytes(self) -> int:
        """Bytes that packed weights take once every layer has run: two copies each."""
        return sum(_cost(c.layer) for c in self.convolutions.values() if c.packed)

    def facts(self) -> dict[str, int]:
        """Returns how much of the part computes in which way, for the run's events."""
        return {
            "recomputed_blocks": self.recomputed,
            "frozen_convolutions": len(self.convolutions),
            "packed_convolutions": sum(conv.packed for conv in self.convolutions.values()),
            "packed_bytes": self.packed_bytes,
            "onednn_linear_layers": self.linear,
            "onednn_attention_layers": self.attention,
        }

    def remove(self) -> None:
        """Gives all layers back as they were."""
        recompute.remove(self.root)
        cpu_attention.remove(self.root)
        for conv in self.convolutions.values():
            vars(conv.layer).pop("_conv_forward", None)
        for layer in self.root.modules():
            if type(layer) is nn.Linear:
                _release(layer)


def apply(
    root: nn.Module, *, recomputed: bool = True, convolutions: bool = True, products: bool = True,
    attention: bool = True, pack_mib: int = 0,
) -> Lean:  # fmt: skip
    """Makes training through a frozen part leaner; before or after adapters are attached.

    Args:
        root: a U-Net or text encoder; layers with trained weights or adapters are told apart at
            each call.
        recomputed: whether norms with SiLU and gated feed-forwards are computed again.
        convolutions: whether frozen convolutions keep no input.
        products: whether float32 linear layers use oneDNN.
        attention: whether attention on a CPU uses oneDNN.
        pack_mib: memory that packed weights may take, in MiB; largest weights first.
    """
    paths = {path: m for path, m in root.named_modules() if type(m) is nn.Conv2d}
    chosen = _packed(paths, pack_mib * 2**20) if convolutions else set()
    frozen = {p: FrozenConv(m, p in chosen) for p, m in paths.items()} if convolutions else {}
    for conv in frozen.values():
        vars(conv.layer)["_conv_forward"] = conv
    count = sum(_fasten(m) for m in root.modules()) if products else 0
    blocks = recompute.install(root) if recomputed else 0
    mixed = cpu_attention.install(root) if attention and _on_cpu(root) else 0
    return Lean(root, blocks, frozen, count, mixed)


def _packed(layers: dict[str, nn.Conv2d], budget: int) -> set[str]:
    """Returns the paths of the largest weights whose packed copies fit into ``budget`` bytes."""
    chosen: set[str] = set()
    for path in sorted(layers, key=lambda path: -layers[path].weight.numel()):
        layer = layers[path]
        cost = _cost(layer)
        if cost <= budget and layer.weight.device.type == "cpu" and suits(layer, layer.weight):
            chosen.add(path)
            budget -= cost
    return chosen


def _cost(layer: nn.Conv2d) -> int:
    copies = 2 if layer.stride == (1, 1) else 1
    return copies * layer.weight.nbytes


def _product(layer: nn.Linear, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


def _fasten(layer: nn.Module) -> bool:
    if type(layer) is not nn.Linear or not _is_wide(layer):
        return False
    Host.of(layer).base(MethodType(_product, layer))
    return True


def _is_wide(layer: nn.Linear) -> bool:
    return layer.weight.device.type == "cpu" and layer.weight.itemsize == 4


def _on_cpu(root: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in root.parameters())


def _release(layer: nn.Linear) -> None:
    own: Callable[..., Any] | None = vars(layer).get("forward")
    if own is not None:
        Host.of(layer).base(None)
        if getattr(own, "__func__", None) is _product:
            del vars(layer)["forward"]
