r"""Low-rank updates: W' = W + scale B A, with A (rank, inputs) and B (outputs, rank).

     x ----> W (frozen) ----------------> + ----> y
       \--> A (rank) --> B (outputs) --> * scale

Linear layers: Hu et al., arXiv 2106.09685. Convolutions (LoCon, LoRA-C3Lier): A keeps the layer's
kernel, stride, padding and dilation, B is a 1x1 convolution; in Tucker form A is 1x1 too and a
small (rank, rank, k, k) core stands between. Factors stay 2-D (optimizers that factor their state
need it) and take the layer's shape only in files and in the convolution.

Orders of computation after RunLoRA (arXiv 2312.03415).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from renma.adapters import _base
from renma.adapters._additive import Additive, dora_of, magnitudes, norms
from renma.adapters._product import product
from renma.config.adapter import DyLora, Lora, LoraFA, scale, stored_alpha

SUFFIXES = frozenset({"lora_down.weight", "lora_up.weight"})


class Factors(NamedTuple):
    """The factors in force."""

    down: Tensor
    """(rank, columns); in Tucker form (rank, inputs)."""
    up: Tensor
    """(outputs, rank)"""
    scale: float


class LowRank(Additive):
    """An up and a down factor.

    Args:
        spec: the layer's shape.
        config: rank, alpha and the rest.
        generator: source of A's start; B starts at zero, so the layer is unchanged.
    """

    def __init__(
        self,
        spec: _base.LayerSpec,
        config: Lora | LoraFA | DyLora,
        generator: torch.Generator,
    ) -> None:
        super().__init__(spec, config)
        self.rank = config.rank
        self.rank_dropout = config.rank_dropout
        self.scale = scale(config.rank, stored_alpha(config))
        taps, tucker = spec.taps, has_core(spec, config)
        columns = spec.inputs // spec.groups if tucker else spec.columns
        start = _base.uniform((config.rank, columns), columns, generator)
        self.down = nn.Parameter(start)
        self.up = nn.Parameter(torch.zeros(spec.outputs, config.rank))
        core = _base.uniform((config.rank, config.rank * taps), config.rank * taps, generator)
        self.mid = nn.Parameter(core) if tucker else None
        self.visible: Tensor | None = None  # (batch, rank) of T-LoRA, set for one batch

    def reset_draws(self) -> None:
        """Forgets what is random about one batch."""
        super().reset_draws()
        self.visible = None

    def factors(self) -> Factors:
        """Returns the factors in force."""
        return Factors(self.down, self.up, self.scale)

    def parts(self) -> tuple[Tensor, ...]:
        """Returns down, up and the Tucker core if there is one."""
        down, up, _ = self.factors()
        return (down, up) if self.mid is None else (down, up, self.mid)

    def update(self, *parts: Tensor) -> Tensor:
        """Returns scale * B A."""
        down, up, *mid = parts
        if mid:
            down = self._unfold(down, mid[0])
        return (up @ down) * self.factors().scale

    def low_rank(self) -> tuple[Tensor, Tensor] | None:
        """Returns (scale B, A); None with DoRA or a bias, which have no low-rank form."""
        if self.magnitude is not None or self.diff_b is not None:
            return None
        down, up, factor = self.factors()
        down = down if self.mid is None else self._unfold(down, self.mid)
        return up.detach() * factor, down.detach()

    def update_norm(self) -> float:
        """Returns ||scale B A|| from the two small Gram matrices."""
        down, up, factor = self.factors()
        down = down if self.mid is None else self._unfold(down, self.mid)
        square = ((up.t() @ up) * (down @ down.t())).sum()
        return square.clamp_min(0).sqrt().item() * abs(factor)

    def scalable(self) -> list[nn.Parameter]:
        """Returns the trained factors."""
        factors = [self.down, self.up] if self.mid is None else [self.down, self.mid, self.up]
        return [factor for factor in factors if factor.requires_grad]

    def fast_parameters(self) -> list[nn.Parameter]:
        """Returns B."""
        return [self.up]

    def changed(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns the changed layer's output, the cheaper of the orders that are exact here."""
        # grouped: every output sees its own inputs, no shared A exists
        if self.spec.groups > 1 or self.diff_b is not None:
            return super().changed(x, base, layer, strength)
        if self.magnitude is not None:
            return self._run_dora(x, base, layer, strength)
        if not isinstance(strength, Tensor) and self._cheaper_merged(x, base, layer):
            down, up, factor = self.factors()
            weight, bias = layer.weight, _base.bias_of(layer)
            return _Merged.apply(x, weight, bias, down, up, factor * strength)
        return self._beside(x, base(x), strength)

    def tensors(self) -> dict[str, Tensor]:
        """Returns lora_down.weight, lora_up.weight, alpha (and mid, magnitude) as files hold them.

        Convolutions: down (rank, inputs, k, k), up (outputs, rank, 1, 1).
        """
        down, up, factor = self.factors()
        rank, found = down.shape[0], {"alpha": torch.tensor(factor * down.shape[0])}
        if self.mid is not None:
            core = self.mid.detach().reshape(rank, rank, *self.spec.kernel)
            found["lora_mid.weight"] = core
        if self.spec.kind == "conv2d":
            kernel = (1, 1) if self.mid is not None else self.spec.kernel
            down = down.reshape(rank, -1, *kernel)
            up = up[:, :, None, None]
        found |= {"lora_down.weight": down.detach(), "lora_up.weight": up.detach()}
        return found | self.other_tensors()

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes factors and alpha from a file; a missing alpha means alpha = rank."""
        for suffix, parameter in {
            "lora_down.weight": self.down,
            "lora_up.weight": self.up,
            "lora_mid.weight": self.mid,
        }.items():
            if parameter is not None:
                parameter.data.copy_(_base.take(tensors, suffix, tuple(parameter.shape)))
        self.load_others(tensors)
        self.scale = _base.scale_of(tensors, self.rank)

    def _cheaper_merged(
        self, x: Tensor, base: Callable[[Tensor], Tensor], layer: nn.Module
    ) -> bool:
        """Says whether x (W + B A) costs fewer operations than x W + (x A) B, and is as exact."""
        if self.spec.kind != "linear" or self._masked() or not _base.owns(base, layer):
            return False
        weight: Any = layer.weight
        if not _base.is_wide(x.dtype, weight.dtype):
            return False
        down, up, _ = self.factors()
        if up.requires_grad and not down.requires_grad:
            return False  # LoRA-FA need not keep x, which the merged form would
        inputs, outputs = self.spec.inputs, self.spec.outputs
        return x.numel() // inputs * (inputs + outputs) > 2 * inputs * outputs

    def _masked(self) -> bool:
        dropping = self.chance is not None and (self.dropout or self.rank_dropout)
        return bool(dropping) or self.visible is not None

    def _beside(self, x: Tensor, y: Tensor, strength: _base.Strength) -> Tensor:
        """Returns y + strength * scale * B (A x)."""
        factors = self.factors()
        up, factor = factors.up.to(x.dtype), factors.scale
        inner = self._mask(self._inner(x))
        if isinstance(strength, Tensor):
            inner = inner * _base.rows(strength, inner)
        else:
            factor *= strength
        if self.spec.kind == "conv2d":
            return torch.add(y, functional.conv2d(inner, up[:, :, None, None]), alpha=factor)
        flat = torch.addmm(y.flatten(0, -2), inner.flatten(0, -2), up.t(), alpha=factor)
        return flat.view(y.shape)

    def _run_dora(
        self,
        x: Tensor,
        base: Callable[[Tensor], Tensor],
        layer: nn.Module,
        strength: _base.Strength,
    ) -> Tensor:
        """Returns g o (W x + scale B A x) + b without building W'; per input: of x o g."""
        own = _base.own_forward(layer)  # without other adapters on the layer
        alone = not isinstance(strength, Tensor) and _base.owns(base, layer)
        if alone and strength == 1 and _base.is_wide(x.dtype):
            return self._decomposed(x, own, layer)
        y = base(x)
        change = self._decomposed_change(x, y if alone else own(x), own, layer)
        factor = _base.rows(strength, change) if isinstance(strength, Tensor) else strength
        return y + factor * change

    def _layer_gain(self, x: Tensor, layer: nn.Module) -> Tensor:
        """Returns g in the adapter's precision, shaped to multiply inputs or outputs of x."""
        assert self.magnitude is not None
        norm = self._moved_norm(_base.weight_of(layer, x.dtype))
        around = [1] * (x.dim() - 2) if self.spec.kind == "conv2d" else []
        return self.ratio(self.magnitude, norm).reshape(-1, *around)

    def _decomposed(self, x: Tensor, own: Callable[[Tensor], Tensor], layer: nn.Module) -> Tensor:
        """Returns the layer's output with DoRA at full strength."""
        gain, bias = self._layer_gain(x, layer).to(x.dtype), _base.bias_of(layer)
        if self.dora == "input":
            return self._moved(x * gain, own, layer, with_bias=True)
        full = self._moved(x, own, layer, with_bias=False)
        if bias is None:
            return full * gain
        return torch.addcmul(bias.to(x.dtype).reshape(gain.shape), full, gain)

    def _decomposed_change(
        self, x: Tensor, plain: Tensor, own: Callable[[Tensor], Tensor], layer: nn.Module
    ) -> Tensor:
        """Returns what DoRA at full strength adds to the layer's output ``plain``.

        Small where DoRA has done little: g is taken less one, so nothing is rounded away.
        """
        gain, bias = self._layer_gain(x, layer), _base.bias_of(layer)
        less = (gain - 1).to(x.dtype)
        if self.dora == "input":
            shifted = own(x * less)
            if bias is not None:
                shifted = shifted - bias.to(x.dtype).reshape(-1, *[1] * (gain.dim() - 1))
            return self._beside(x * gain.to(x.dtype), shifted, 1.0)
        if bias is not None:
            plain = plain - bias.to(x.dtype).reshape(gain.shape)
        low = self._beside(x, torch.zeros_like(plain), 1.0)
        return torch.addcmul(low, plain + low, less)

    def _moved(
        self, x: Tensor, base: Callable[[Tensor], Tensor], layer: nn.Module, *, with_bias: bool
    ) -> Tensor:
        """Returns W x + scale B A x, with the layer's bias or without."""
        bias = _base.bias_of(layer) if with_bias else None
        weight: Any = layer.weight
        if self._cheaper_merged(x, base, layer):
            down, up, factor = self.factors()
            return _Merged.apply(x, weight, bias, down, up, factor)
        if weight.is_floating_point():
            return self._beside(x, self.spec.apply(x, weight, bias), 1.0)
        y, own = base(x), _base.bias_of(layer)  # quantised: only the layer knows its weight
        if own is not None and not with_bias:
            around = [1] * (x.dim() - 2) if self.spec.kind == "conv2d" else []
            y = y - own.to(x.dtype).reshape(-1, *around)
        return self._beside(x, y, 1.0)

    def _moved_norm(self, weight: Tensor) -> Tensor:
        """Returns ||W + scale B A|| per output or per input.

        Building B A costs as much as the Gram matrices that would avoid it, and loses no digits
        where W and B A nearly cancel.
        """
        with torch.set_grad_enabled(self.norm_gradient and torch.is_grad_enabled()):
            update = self.update(*self.parts())
            return norms(weight.to(update.dtype) + update.reshape(weight.shape), self.dora)

    def _inner(self, x: Tensor) -> Tensor:
        """Returns A x: (batch, ..., rank) or (batch, rank, height, width)."""
        spec, down = self.spec, self.factors().down.to(x.dtype)
        if spec.kind == "linear":
            return functional.linear(x, down)
        geometry = (None, spec.stride, spec.padding, spec.dilation)
        if self.mid is None:
            return functional.conv2d(x, down.reshape(-1, spec.inputs, *spec.kernel), *geometry)
        rank = down.shape[0]
        core = self.mid.to(x.dtype).reshape(rank, rank, *spec.kernel)
        return functional.conv2d(functional.conv2d(x, down[:, :, None, None]), core, *geometry)

    def _mask(self, inner: Tensor) -> Tensor:
        """Applies dropout, rank dropout (per sample) and T-LoRA's visible ranks."""
        if self.chance is not None and self.dropout:
            inner = inner * self.kept("dropout", self.dropout, tuple(inner.shape), inner)
        if self.chance is not None and self.rank_dropout:
            shape = (inner.shape[0], self.factors().down.shape[0])
            mask = self.kept("rank", self.rank_dropout, shape, inner)
            inner = inner * self._over_ranks(mask, inner)
        if self.visible is not None:
            inner = inner * self._over_ranks(self.visible.to(inner), inner)
        return inner

    def _over_ranks(self, mask: Tensor, inner: Tensor) -> Tensor:
        """Returns a (batch, rank) mask shaped to multiply the inner activations."""
        between = [1] * (inner.dim() - 2)
        if self.spec.kind == "conv2d":
            return mask.reshape(*mask.shape, *between)
        return mask.reshape(mask.shape[0], *between, mask.shape[1])

    def _unfold(self, down: Tensor, mid: Tensor) -> Tensor:
        """Returns the plain down factor (rank, columns) of a Tucker form."""
        rank = down.shape[0]
        core = mid.reshape(rank, rank, *self.spec.kernel)
        return torch.einsum("pqhw,qi->pihw", core, down).reshape(rank, -1)


class _Merged(torch.autograd.Function):
    """x (W + scale B A)^T + b, keeping only x: fewer operations than the chain for many tokens."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        factor: float,
    ) -> Tensor:
        """Returns the output (batch, ..., outputs)."""
        ctx.save_for_backward(x, weight, down, up)
        ctx.factor = factor
        return product(x, torch.addmm(weight, up, down, alpha=factor), bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients to x, down and up; the merged weight is built again, A x too."""
        x, weight, down, up = ctx.saved_tensors
        grad, flat = grads[0].flatten(0, -2), x.flatten(0, -2)
        to_x = to_down = to_up = None
        if ctx.needs_input_grad[0]:
            to_x = product(grads[0], torch.addmm(weight, up, down, alpha=ctx.factor).t())
        if ctx.needs_input_grad[3]:
            to_down = ((grad @ up).t() @ flat) * ctx.factor
        if ctx.needs_input_grad[4]:
            to_up = (grad.t() @ (flat @ down.t())) * ctx.factor
        return to_x, None, None, to_down, to_up, None


def has_core(spec: _base.LayerSpec, config: Lora | LoraFA | DyLora) -> bool:
    """Says whether a layer takes the Tucker form."""
    return not isinstance(config, DyLora) and config.tucker and spec.taps > 1


def rank_alpha(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Returns the options that a layer's tensors tell: rank, alpha, tucker, dora.

    Raises:
        ValueError: the factors are missing.
    """
    down, up = tensors.get("lora_down.weight"), tensors.get("lora_up.weight")
    if down is None or up is None or down.dim() < 2:
        raise ValueError("lora_down.weight or lora_up.weight is missing or no matrix")
    rank, alpha = down.shape[0], tensors.get("alpha")
    return {
        "rank": rank,
        "alpha": float(alpha) if alpha is not None else float(rank),
        "dora": dora_of(tensors, up.shape[0]),
        **({"tucker": True} if "lora_mid.weight" in tensors else {}),
    }


def numbers(spec: _base.LayerSpec, config: Lora | LoraFA | DyLora) -> tuple[int, int, int]:
    """Returns how many numbers down, up and all others (core, magnitude) hold."""
    tucker = has_core(spec, config)
    columns = spec.inputs // spec.groups if tucker else spec.columns
    core = config.rank**2 * spec.taps if tucker else 0
    return config.rank * columns, config.rank * spec.outputs, core + magnitudes(spec, config.dora)
