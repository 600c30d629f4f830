"""OFT: rotates the layer's outputs in blocks; BOFT files are read and merged.

Qiu et al., arXiv 2306.07280, in the form of LyCORIS' diag-oft and kohya's networks.oft: outputs
are cut into blocks, each turned by R = (I + Q)(I - Q)^-1 with Q = P - P^T. A constraint (stored as
alpha) cuts ||Q|| to alpha * outputs. BOFT (arXiv 2311.06243) turns several times, with the outputs
shuffled in between (4-D ``oft_blocks``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from renma.adapters import _base
from renma.config.adapter import Oft
from renma.config.estimate import factorization

SUFFIXES = frozenset({"oft_blocks"})


class Adapter(_base.Adapter):
    """A rotation of each block of outputs."""

    def __init__(self, spec: _base.LayerSpec, config: Oft, generator: torch.Generator) -> None:
        super().__init__()
        del generator  # it starts at the identity
        self.spec, self.constraint = spec, config.constraint
        self.module_dropout = config.module_dropout
        size, count = factorization(spec.outputs, config.rank)
        self.blocks = nn.Parameter(torch.zeros(count, size, size))
        self.rescale: nn.Parameter | None = None

    @classmethod
    def of_file(cls, spec: _base.LayerSpec, tensors: Mapping[str, Tensor], config: Oft) -> Adapter:
        """Returns an adapter with the block sizes of a file's tensors."""
        adapter = cls(spec, config, torch.Generator())
        blocks = tensors["oft_blocks"]
        per_stage = blocks.shape[-3] * blocks.shape[-1]
        if blocks.dim() not in {3, 4} or per_stage != spec.outputs:
            raise ValueError(f"oft_blocks {tuple(blocks.shape)} do not fit {spec.outputs} outputs")
        adapter.blocks = nn.Parameter(blocks.float().clone())
        if "rescale" in tensors:
            adapter.rescale = nn.Parameter(tensors["rescale"].float().flatten().clone())
        return adapter

    def unchanged(self, weight: Tensor) -> list[tuple[nn.Parameter, Tensor]]:
        """Returns the factors that a file may have; 1 leaves a row as it is."""
        del weight
        return [] if self.rescale is None else [(self.rescale, torch.ones_like(self.rescale))]

    def rotations(self) -> Tensor:
        """Returns R of every block, shaped like the blocks."""
        skew = self.blocks - self.blocks.transpose(-1, -2)
        if self.constraint > 0:
            limit, norm = self.constraint * self.spec.outputs, skew.norm()
            skew = skew * ((norm.clamp(max=limit) + 1e-8) / (norm + 1e-8))
        one = torch.eye(skew.shape[-1], dtype=skew.dtype, device=skew.device)
        return torch.linalg.solve(one - skew, one + skew, left=False)

    def change(self, rows: Tensor) -> Tensor:
        """Returns what turning adds to (outputs, ...) rows, rescaled if a file says so.

        R less one is small where little was learnt, so nothing is rounded away.
        """
        turns, flat = self.rotations(), rows.reshape(rows.shape[0], -1)
        one = torch.eye(turns.shape[-1], dtype=turns.dtype, device=turns.device)
        if turns.dim() == 4:
            turned = flat
            for stage, turn in enumerate(turns.to(rows.dtype)):
                turned = _butterfly(turned, turn, stage)
            added = turned - flat
        else:
            added = _by_block(flat, (turns - one).to(rows.dtype))
        if self.rescale is not None:
            scale = self.rescale[:, None]
            added = added * scale.to(rows.dtype) + flat * (scale - 1).to(rows.dtype)
        return added.reshape(rows.shape)

    def apply_weight(
        self, weight: Tensor, bias: Tensor | None, strength: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns W + strength * (R W - W), and the bias as it was."""
        if strength == 0:
            return weight, bias
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
        return (wide + strength * self.change(wide)).to(weight.dtype), bias

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns the layer's output turned; no weight is built."""
        if self.spec.groups > 1:
            # outputs of a group see other inputs: turned weights are not turned outputs
            return super().changed(x, base, layer, strength)
        y, bias = base(x), _base.bias_of(layer)
        plain = y if _base.owns(base, layer) else _base.own_forward(layer)(x)
        axis = 1 if self.spec.kind == "conv2d" else -1
        if bias is not None:
            around = [1] * (x.dim() - 2) if axis == 1 else []
            plain = plain - bias.to(x.dtype).reshape(-1, *around)
        change = self.change(plain.movedim(axis, 0)).movedim(0, axis)
        return y + (_base.rows(strength, y) if isinstance(strength, Tensor) else strength) * change

    def tensors(self) -> dict[str, Tensor]:
        """Returns oft_blocks, alpha (the constraint), and rescale where a file had it."""
        found = {"oft_blocks": self.blocks.detach(), "alpha": torch.tensor(self.constraint)}
        if self.rescale is not None:
            shape = (-1, *[1] * (len(self.spec.weight_shape) - 1))
            found["rescale"] = self.rescale.detach().reshape(shape)
        return found

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the blocks from a file."""
        self.blocks.data.copy_(_base.take(tensors, "oft_blocks", tuple(self.blocks.shape)))
        alpha = tensors.get("alpha")
        self.constraint = float(alpha) if alpha is not None else 0.0


def _by_block(flat: Tensor, turns: Tensor) -> Tensor:
    """Returns (outputs, columns) with block k multiplied by the transpose of turns[k]."""
    blocks = flat.reshape(turns.shape[0], turns.shape[1], -1)
    return torch.einsum("knm,knc->kmc", turns, blocks).reshape(flat.shape)


def _butterfly(flat: Tensor, turns: Tensor, stage: int) -> Tensor:
    """Returns one stage of BOFT: rows gathered in strides of 2^stage, turned, put back.

    LyCORIS turns by R here, by its transpose in plain OFT.
    """
    half = turns.shape[1] // 2
    width = 2**stage * half
    split = flat.reshape(-1, 2, width, flat.shape[1]).transpose(1, 2)
    turned = _by_block(split.reshape(flat.shape), turns.transpose(-1, -2))
    return turned.reshape(split.shape).transpose(1, 2).reshape(flat.shape)


def parameters(spec: _base.LayerSpec, config: Oft) -> int:
    """Returns how many numbers are trained: all of every block, half of them effective."""
    size, count = factorization(spec.outputs, config.rank)
    return count * size * size


def config_of(tensors: Mapping[str, Tensor]) -> Oft:
    """Returns the constraint as the tensors of one layer tell it.

    Raises:
        ValueError: the blocks are missing.
    """
    blocks, alpha = tensors.get("oft_blocks"), tensors.get("alpha")
    if blocks is None or blocks.dim() < 3:
        raise ValueError("oft_blocks is missing or no stack of blocks")
    return Oft(rank=blocks.shape[-1], constraint=float(alpha) if alpha is not None else 0.0)
