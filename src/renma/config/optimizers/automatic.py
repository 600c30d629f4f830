"""Optimizers that estimate the step size: Prodigy and the D-Adaptation family."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

from renma.config._base import opt
from renma.config.optimizers._base import Decay, Pair, Rates, Traits, Triple


class Automatic(Rates):
    """An optimizer that estimates one step size for everything."""

    kept: ClassVar = 3
    usual: ClassVar = (0.1, 10.0)
    learning_rate: float = opt(1.0, kohya="learning_rate", ge=0)
    """A factor on the step size that is found; leave it at 1."""
    d0: float = opt(1e-6, "advanced", gt=0)
    """First guess of the step size; too small costs steps until it has grown."""

    @property
    def traits(self) -> Traits:
        """One estimate serves all parts."""
        return Traits(one_rate=True, finds_rate=True)


class Prodigy(Automatic):
    """Prodigy: finds the step size by itself (arXiv 2306.06101)."""

    source: ClassVar = "prodigyopt.Prodigy"
    names: ClassVar = {"decoupled_weight_decay": "decouple"}
    more: ClassVar = ("beta3", "slice_p")
    name: Literal["prodigy"] = "prodigy"
    """Optimizer."""
    betas: Pair = opt((0.9, 0.999), "advanced")
    """Decay of the running mean and of the running square of the gradient."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """Decay of the weights."""
    decoupled_weight_decay: bool = opt(True, "expert")
    """Decay apart from the gradient (AdamW). Off: L2, added to the gradient before it is scaled."""
    d_coef: float = opt(1.0, "advanced", gt=0)
    """Factor on the found step size; below 1 is more careful."""
    growth_rate: float | None = opt(None, "expert", ge=1, strict=True)
    """The estimate grows at most by this factor a step (not set: without limit)."""
    safeguard_warmup: bool = opt(True, "expert")
    """Keeps a warm-up from misleading the step size estimate."""
    use_bias_correction: bool = opt(True, "expert")
    """Adam's bias correction."""

    def state_bytes(self, shape: Sequence[int], from_zero: bool = False) -> int:
        """Returns the bytes of state; where weights began is kept unless at zero."""
        count = math.prod(shape)
        sliced = math.ceil(count / self.args.get("slice_p", 1))
        return 4 * (2 * count + sliced * (1 if from_zero else 2))


class _DAdapt(Automatic):
    """D-Adaptation (arXiv 2301.07733)."""

    growth_rate: float | None = opt(None, "expert", ge=1, strict=True)
    """The estimate grows at most by this factor a step (not set: without limit); 1.02 works like
    a warm-up."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """L2 decay, added to the gradient."""


class _DAdaptAdam(_DAdapt):
    """Adam with D-Adaptation."""

    names: ClassVar = {"decoupled_weight_decay": "decouple"}
    betas: Pair = opt((0.9, 0.999), "advanced")
    """Decay of the running mean and of the running square of the gradient."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""
    decoupled_weight_decay: bool = opt(True, "expert")
    """Decay apart from the gradient (AdamW). Off: L2, added to the gradient before it is scaled."""


class DAdaptAdam(_DAdaptAdam):
    """Adam with D-Adaptation (arXiv 2301.07733)."""

    source: ClassVar = "dadaptation.DAdaptAdam"
    name: Literal["dadaptadam"] = "dadaptadam"
    """Optimizer."""
    use_bias_correction: bool = opt(False, "expert")
    """Adam's bias correction."""


class DAdaptAdamPreprint(_DAdaptAdam):
    """Adam with D-Adaptation as in its preprint; what sd-scripts calls DAdaptation."""

    source: ClassVar = "dadaptation.experimental.DAdaptAdamPreprint"
    name: Literal["dadaptadampreprint"] = "dadaptadampreprint"
    """Optimizer."""


class DAdaptAdaGrad(_DAdapt):
    """AdaGrad with D-Adaptation."""

    source: ClassVar = "dadaptation.DAdaptAdaGrad"
    name: Literal["dadaptadagrad"] = "dadaptadagrad"
    """Optimizer."""
    momentum: Decay = opt(0.0, "advanced")
    """Decay of the running mean of the steps."""
    eps: float = opt(1e-6, "expert", ge=0)
    """Added to the denominator."""


class DAdaptSGD(_DAdapt):
    """Gradient descent with D-Adaptation."""

    source: ClassVar = "renma.optimizers.dadapt.DAdaptSGD"
    name: Literal["dadaptsgd"] = "dadaptsgd"
    """Optimizer."""
    momentum: Decay = opt(0.9, "advanced")
    """Decay of the running mean of the steps."""


class DAdaptLion(Automatic):
    """Lion with D-Adaptation."""

    source: ClassVar = "dadaptation.DAdaptLion"
    kept: ClassVar = 2
    name: Literal["dadaptlion"] = "dadaptlion"
    """Optimizer."""
    betas: Pair = opt((0.9, 0.99), "advanced")
    """Share of the momentum in a step, and decay of the momentum."""
    weight_decay: float = opt(0.0, "advanced", ge=0)
    """Decoupled decay, multiplied by the found step size."""


class _DAdaptAdan(_DAdapt):
    """Adan with D-Adaptation."""

    kept: ClassVar = 5
    more: ClassVar = ("no_prox",)
    betas: Triple = opt((0.98, 0.92, 0.99), "advanced")
    """Decay of the mean of the gradient, of its differences, and of their square."""
    eps: float = opt(1e-8, "expert", gt=0)
    """Added to the denominator."""
    weight_decay: float = opt(0.02, "advanced", ge=0)
    """Decoupled decay; after the step unless args.no_prox is true."""


class DAdaptAdan(_DAdaptAdan):
    """Adan with D-Adaptation."""

    source: ClassVar = "dadaptation.DAdaptAdan"
    name: Literal["dadaptadan"] = "dadaptadan"
    """Optimizer."""


class DAdaptAdanIP(_DAdaptAdan):
    """Adan with D-Adaptation by inner products."""

    source: ClassVar = "dadaptation.experimental.DAdaptAdanIP"
    name: Literal["dadaptadanip"] = "dadaptadanip"
    """Optimizer."""
