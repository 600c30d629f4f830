"""Adapters: one algorithm per file; the folder is the registry.

An adapter knows one frozen layer's shape and its own options - no model, no family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from renma.core import registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from renma.adapters._base import Adapter, LayerSpec
    from renma.config.adapter import AdapterSection


def build(spec: LayerSpec, config: AdapterSection, generator: torch.Generator) -> Adapter:
    """Returns a fresh adapter of the algorithm that ``config.algorithm`` names."""
    return registry.load(__name__, config.algorithm).Adapter(spec, config, generator)


def algorithm(tensors: Mapping[str, Tensor]) -> str:
    """Returns the algorithm that a layer's file tensors belong to, by their suffixes.

    Raises:
        ValueError: none of them, or the tensors lack something.
    """
    found = [
        n for n in registry.names(__name__) if registry.load(__name__, n).SUFFIXES & tensors.keys()
    ]
    # a bias difference can stand beside any other algorithm
    others = [name for name in found if name != "full"]
    if len(others) > 1:
        raise ValueError(f"holds {' and '.join(others)} for one layer")
    if found:
        return (others or found)[0]
    raise ValueError(f"{', '.join(sorted(tensors))}: no algorithm of this version")


def kinds(tensors: Mapping[str, Tensor]) -> list[str]:
    """Returns a layer's algorithm, and its features that some programs cannot load.

    See :func:`renma.formats.portability.features`; ``unknown`` where no algorithm is told.
    """
    from renma.formats.portability import features

    try:
        name = algorithm(tensors)
    except ValueError:
        name = "unknown"
    blocks, magnitudes = tensors.get("oft_blocks"), tensors.get("dora_scale")
    name = "boft" if blocks is not None and blocks.dim() == 4 else name
    axis = 1 if magnitudes is not None and magnitudes.shape[:1] == (1,) else 0
    return [name, *features(tensors, axis)]


_CARRIED = ("dropout", "rank_dropout", "module_dropout", "dora_norm_gradient", "unit")
"""Options that no file tells."""


def restore(
    spec: LayerSpec,
    tensors: Mapping[str, Tensor],
    algo: str | None = None,
    like: AdapterSection | None = None,
) -> Adapter:
    """Returns the adapter of one layer from its tensors in a file, frozen.

    Args:
        spec: the layer's shape.
        tensors: suffix (``lora_down.weight``, ``hada_w1_a``, ...) to tensor.
        algo: read them as this algorithm: LoRA files serve ``lora_fa`` and ``dylora`` too.
        like: dropouts and other options that a file does not tell.

    Raises:
        ValueError: no known algorithm, a tensor missing, or a shape that does not fit.
    """
    import torch

    module = registry.load(__name__, algo or algorithm(tensors))
    config = module.config_of(tensors)
    if like is not None:
        known = type(config).model_fields.keys() & type(like).model_fields.keys()
        update = {name: getattr(like, name) for name in _CARRIED if name in known}
        config = type(config)(**{**config.model_dump(exclude_unset=True), **update})
    if make := getattr(module.Adapter, "of_file", None):  # its sizes are free, no option has them
        adapter = make(spec, tensors, config)
    else:
        adapter = module.Adapter(spec, config, torch.Generator())
    adapter.load_tensors(tensors)
    return adapter.requires_grad_(False)


def merged_weight(
    weight: Tensor, bias: Tensor | None, tensors: Mapping[str, Tensor], strength: float = 1.0
) -> tuple[Tensor, Tensor | None]:
    """Merges one layer's adapter into its weight: W + strength * (W' - W).

    Args:
        weight: (outputs, inputs), (outputs, inputs, height, width), or (channels,) of a norm.
        bias: (outputs,) or None.
        tensors: the layer's tensors as a file holds them, by suffix; kohya's, LyCORIS' and PEFT's
            spellings of every algorithm. PEFT keeps alpha elsewhere: give it as ``alpha``.
        strength: the LoRA's weight; 0 gives the base bit-exactly.

    Returns:
        Weight and bias in the precision of ``weight``.

    Raises:
        ValueError: no known algorithm, a tensor missing, or a shape that does not fit.
    """
    from renma.adapters._base import LayerSpec
    from renma.formats.peft_names import canonical

    adapter = restore(LayerSpec.of_weight(weight.shape), canonical(tensors, weight.shape))
    adapter = adapter.to(weight.device)
    return adapter.apply_weight(weight, bias, strength)
