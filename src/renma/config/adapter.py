"""[adapter]: what is trained. One class per file in ``renma/adapters``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from renma.config._base import Section, default_tag, opt
from renma.config.blocks import BlockConfig
from renma.config.targets import TargetConfig

Chance = Annotated[float, Field(ge=0, lt=1)]
Dora = Literal["off", "output", "input"]


class AdapterSection(Section):
    """What every algorithm has: which layers, how strongly by block, chance to be left out."""

    targets: TargetConfig = Field(default_factory=TargetConfig)
    """Which layers are changed."""
    blocks: BlockConfig = Field(default_factory=BlockConfig)
    """Ranks and learning rates block by block."""
    module_dropout: Chance = opt(0.0, "advanced", kohya="module_dropout")
    """Chance of each layer to work without its adapter in a step."""

    @property
    def algorithm(self) -> str:
        """The value of `algo`."""
        return type(self).model_fields["algo"].default

    @property
    def words(self) -> str:
        """Algorithm, rank and alpha in a few words."""
        dora = self.algorithm if getattr(self, "dora", "off") == "off" else f"{self.algorithm} DoRA"
        rank, alpha = getattr(self, "rank", None), getattr(self, "alpha", None)
        shown = [dora] + ([f"rank {rank}"] if rank else [])
        return " ".join(shown) + (f", alpha {alpha:g}" if alpha is not None else "")


class _Ranked(AdapterSection):
    """Algorithms with a rank: the update is scaled by alpha / rank."""

    rank: int = opt(4, kohya="network_dim", ge=1, le=4096)
    """Width of the low-rank bottleneck; file size and capacity grow with it."""
    alpha: float = opt(1.0, kohya="network_alpha", ge=0)
    """The update is scaled by alpha / rank; 0 means alpha = rank (scale 1)."""
    conv_rank: int | None = opt(None, kohya="conv_dim", ge=1, le=4096, strict=True)
    """Rank of 3x3 convolutions (default: rank); they are changed when targets name them."""
    conv_alpha: float | None = opt(None, kohya="conv_alpha", ge=0, strict=True)
    """Alpha of 3x3 convolutions (default: alpha)."""
    rank_stabilized: bool = opt(False, "advanced", kohya="rs_lora")
    """rsLoRA: scale by alpha / sqrt(rank), so that high ranks learn as fast (arXiv 2312.03732)."""
    dropout: Chance = opt(0.0, kohya="network_dropout")
    """Share of the low-rank activations (or of the update's output) left out in a step."""


class Paired(_Ranked):
    """Algorithms with a factor that starts at zero, which LoRA+ trains faster."""

    lr_ratio: float = opt(1.0, "advanced", kohya="loraplus_lr_ratio", gt=0)
    """LoRA+: learning rate of the factor that starts at zero (B in LoRA) is this many times that of
    the others (arXiv 2402.12354; 16 is usual)."""
    unet_lr_ratio: float | None = opt(
        None, "advanced", kohya="loraplus_unet_lr_ratio", gt=0, strict=True
    )
    """LoRA+ ratio of the U-Net alone."""
    text_encoder_lr_ratio: float | None = opt(
        None, "advanced", kohya="loraplus_text_encoder_lr_ratio", gt=0, strict=True
    )
    """LoRA+ ratio of the text encoder alone."""

    def ratio(self, part: str) -> float:
        """Returns LoRA+'s ratio for `unet` or `text_encoder`."""
        own = self.unet_lr_ratio if part == "unet" else self.text_encoder_lr_ratio
        return self.lr_ratio if own is None else own


class _Decomposed(_Ranked):
    """Algorithms that build an update, which DoRA can split into magnitude and direction."""

    dora: Dora = "off"
    """DoRA: train the weight's magnitude apart, per output or per input (arXiv 2402.09353)."""
    dora_norm_gradient: bool = opt(False, "expert")
    """Send gradients through DoRA's norm too; off is the paper's cheaper way."""
    max_norm: float = opt(0.0, "advanced", kohya="scale_weight_norms", ge=0)
    """Updates longer than this (Frobenius norm of a layer) are shortened to it (0 = never)."""


class _Factored(_Decomposed):
    """Algorithms made of an up and a down factor."""

    rank_dropout: Chance = opt(0.0, "advanced", kohya="rank_dropout")
    """Share of ranks left out for each picture of a batch."""


class _Cored(_Factored):
    """Algorithms whose convolutions can have a small core between two 1x1 convolutions."""

    tucker: bool = opt(False, "advanced", kohya="use_tucker")
    """3x3 convolutions as 1x1, small 3x3 core, 1x1 (LoCon's "cp" form); smaller files."""


class Lora(Paired, _Cored):
    """LoRA: W + (alpha / rank) B A (arXiv 2106.09685)."""

    algo: Literal["lora"] = "lora"
    """Adapter algorithm."""
    start: Literal["kaiming", "gaussian", "pissa", "olora"] = opt("kaiming", "expert")
    """Start of the factors: random, or from the weight itself (PiSSA arXiv 2404.02948, OLoRA
    arXiv 2406.01775; the file then holds the difference, twice the rank)."""
    min_timestep_rank: int | None = opt(None, "expert", ge=1, strict=True)
    """T-LoRA: ranks that still learn at the noisiest timestep; more do as noise falls (arXiv
    2507.05964). The file is plain LoRA: programs use all ranks at every timestep."""
    timestep_rank_power: float = opt(1.0, "expert", gt=0)
    """T-LoRA: how fast ranks come in: share ((T - t) / T) to this power."""

    @model_validator(mode="after")
    def _starts_alone(self) -> Lora:
        if self.start in {"pissa", "olora"}:
            others = {
                "max_norm": self.max_norm,
                "min_timestep_rank": self.min_timestep_rank,
                "rank_dropout": self.rank_dropout,
                "tucker": self.tucker,
            }
            for name, value in others.items():
                if value:
                    raise ValueError(f"{name} cannot be combined with start = '{self.start}'")
        return self


class LoraFA(_Cored):
    """LoRA-FA: LoRA with A frozen at its random start (arXiv 2308.03303)."""

    algo: Literal["lora_fa"] = "lora_fa"
    """Adapter algorithm."""


class DyLora(Paired, _Factored):
    """DyLoRA: many ranks trained at once; `renma file cut` takes any of them (arXiv 2210.07558)."""

    algo: Literal["dylora"] = "dylora"
    """Adapter algorithm."""
    unit: int = opt(1, kohya="unit", ge=1)
    """Ranks are trained in groups of this size; the rank must be a multiple."""
    frozen: bool = opt(False, "advanced")
    """Of the ranks in use only the last group learns in a step, and those before it stay as they
    are, as in sd-scripts and LyCORIS; off, all of them learn, so that far more is learnt in the
    same time (the paper has both)."""

    @model_validator(mode="after")
    def _whole_groups(self) -> DyLora:
        ranks = {"rank": self.rank, "conv_rank": self.conv_rank or self.rank}
        for name, rank in ranks.items():
            if rank % self.unit:
                raise ValueError(f"{name} = {rank} is not a multiple of unit = {self.unit}")
        return self


class LoHa(Paired, _Decomposed):
    """LoHa: product, element by element, of two low-rank products (FedPara, arXiv 2108.06098)."""

    algo: Literal["loha"] = "loha"
    """Adapter algorithm."""
    rank_dropout: Chance = opt(0.0, "advanced", kohya="rank_dropout")
    """Share of ranks left out in a step."""
    tucker: bool = opt(False, "advanced")
    """3x3 convolutions with small 3x3 cores."""


class LoKr(Paired, _Decomposed):
    """LoKr: Kronecker product of a small and a low-rank matrix (arXiv 2309.14859)."""

    algo: Literal["lokr"] = "lokr"
    """Adapter algorithm."""
    factor: int = opt(-1, ge=-1)
    """Size of the small factor; -1 splits each side as evenly as it can be."""
    decompose_both: bool = opt(False, "advanced")
    """Make the small factor low-rank too."""
    full_matrix: bool = opt(False, "advanced")
    """Keep the large factor whole; rank and alpha then mean nothing."""
    rank_dropout: Chance = opt(0.0, "advanced", kohya="rank_dropout")
    """Share of the large factor's ranks left out in a step."""


class IA3(AdapterSection):
    """(IA)3: one learned factor for each channel (arXiv 2205.05638); tiny files."""

    algo: Literal["ia3"] = "ia3"
    """Adapter algorithm."""
    on_input: bool = opt(False, "expert")
    """Scale the inputs of every layer, not only of those that `targets.on_input` names."""


class Mora(AdapterSection):
    """MoRA: one square matrix between compressed input and expanded output (arXiv 2405.12130)."""

    algo: Literal["mora"] = "mora"
    """Adapter algorithm."""
    rank: int = opt(4, kohya="network_dim", ge=1, le=4096)
    """Size: as many numbers as LoRA of this rank."""
    kind: Literal["sharing", "rotation"] = "rotation"
    """How inputs are compressed: summed (type 1, high ranks) or rotated (type 6, low ranks)."""
    dora: Dora = "off"
    """DoRA: train the weight's magnitude apart, per output or per input."""
    dora_norm_gradient: bool = opt(False, "expert")
    """Send gradients through DoRA's norm too."""
    dropout: Chance = opt(0.0, kohya="network_dropout")
    """Share of the update's output left out in a step."""
    max_norm: float = opt(0.0, "advanced", kohya="scale_weight_norms", ge=0)
    """Updates longer than this are shortened to it (0 = never)."""


class Full(AdapterSection):
    """The whole difference of each weight and bias: full fine-tuning as a file."""

    algo: Literal["full"] = "full"
    """Adapter algorithm."""
    bias: bool = True
    """Train biases too."""
    dora: Dora = "off"
    """DoRA: train the weight's magnitude apart, per output or per input."""
    dora_norm_gradient: bool = opt(False, "expert")
    """Send gradients through DoRA's norm too."""
    dropout: Chance = opt(0.0, kohya="network_dropout")
    """Share of the update's output left out in a step."""
    max_norm: float = opt(0.0, "advanced", kohya="scale_weight_norms", ge=0)
    """Updates longer than this are shortened to it (0 = never)."""


class GLora(Paired):
    """GLoRA as LyCORIS has it: W + (alpha / rank) (W A + B), both low-rank (arXiv 2306.07967)."""

    algo: Literal["glora"] = "glora"
    """Adapter algorithm."""


class Oft(AdapterSection):
    """OFT: rotates output channels in blocks (arXiv 2306.07280)."""

    algo: Literal["oft"] = "oft"
    """Adapter algorithm."""
    rank: int = opt(4, kohya="network_dim", ge=1, le=4096)
    """Channels of one block, or the nearest divisor below."""
    constraint: float = opt(0.0, "advanced", ge=0)
    """Rotations are cut to this norm times the number of channels (0 = free)."""


AdapterConfig = Annotated[
    Lora | LoraFA | LoHa | LoKr | IA3 | DyLora | Mora | Full | GLora | Oft,
    Field(discriminator="algo"),
    default_tag("algo", "lora"),
]


def scale(rank: int, alpha: float) -> float:
    """Returns alpha / rank, with alpha 0 meaning alpha = rank."""
    return (alpha or rank) / rank


def stored_alpha(config: _Ranked) -> float:
    """Returns the alpha that a file holds: alpha / rank of it is the scale in force.

    Files have no mark for rsLoRA, so its alpha is multiplied by sqrt(rank), as LyCORIS does.
    """
    alpha = config.alpha or float(config.rank)
    return alpha * config.rank**0.5 if config.rank_stabilized else alpha
