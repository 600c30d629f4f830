"""What training begins from: LoRAs merged into the base, and a network fresh or from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from renma.adapters._base import Adapter
from renma.config.adapter import AdapterSection
from renma.config.blocks import factors
from renma.config.layer_table import is_sdxl
from renma.config.start import StartConfig
from renma.core.errors import UserError
from renma.core.events import Report
from renma.engine.network import Member, Network, restored
from renma.families._base import Family
from renma.formats import layer_limits, lora_file


def apply_base_weights(family: Family, start: StartConfig, base: Path) -> None:
    """Adds ``start.base_weights`` to the model, for good.

    Into float32 weights they are merged. In lower precision, where a merge would round them away,
    they stay beside the weights as frozen adapters.

    Raises:
        UserError: a file is no LoRA or does not fit the model.
    """
    strengths = (*start.base_strengths, *[1.0] * len(start.base_weights))
    for name, strength in zip(start.base_weights, strengths, strict=False):
        network = Network.from_file(family, base / name)
        kinds = {m.target.layer.weight.dtype for m in network.members.values()}
        if kinds <= {torch.float32, torch.float64}:
            network.merge_into_base(strength)
        else:
            network.strength = dict.fromkeys(network.strength, strength)
            network.attach()


def begin(
    family: Family,
    config: AdapterSection,
    start: StartConfig,
    seed: int,
    parts: tuple[str, ...],
    base: Path,
    report: Report,
) -> Network:
    """Returns the network that is trained.

    Args:
        family: the model, base weights applied.
        config: the adapter's options.
        start: what to begin from.
        seed: the run's seed.
        parts: ``unet``, ``text_encoder``.
        base: folder that relative paths start from.
        report: told what of a file is not used.

    Raises:
        UserError: the file does not fit.
    """
    if not start.weights:
        return Network.fresh(family, config, seed, parts, base)
    path = base / start.weights
    file = lora_file.read(path)
    layers = file.layers
    for key, tensors in layers.items():
        layer_limits.check(key, tensors, path)
    if file.embeddings:
        text = f"the {len(file.embeddings)} embeddings in {path.name} are not used"
        report.event("warned", text=text)
    for note in file.notes:
        report.event("warned", text=note)
    if start.ranks_from_file:
        return _like_file(family, config, layers, parts, path, report)
    network = Network.fresh(family, config, seed, parts, base)
    for name, tensors in layers.items():
        if name in network.members:
            _continue(network.members[name].adapter, tensors, name, path)
    _tell(set(layers) - set(network.members), set(network.members) - set(layers), path, report)
    return network


def _continue(adapter: Adapter, tensors: Mapping[str, torch.Tensor], name: str, path: Path) -> None:
    """Lets an adapter go on from a file's tensors; every one of them must have its place.

    Raises:
        UserError: it is another algorithm, form or size.
    """
    missing = _forms(tensors) ^ _forms(adapter.tensors())
    try:
        if missing:
            kinds = sorted(missing)
            raise ValueError(f"{', '.join(kinds)} stands on one side only")
        if "on_input" in tensors and int(tensors["on_input"]) != int(adapter.tensors()["on_input"]):
            raise ValueError("the other side of the layer is scaled")
        adapter.load_tensors(tensors)
    except ValueError as error:
        raise UserError(
            f"'{name}' does not fit the options in [adapter]: {error}",
            where=path,
            remedy="start.ranks_from_file = true takes algorithm, ranks and alphas from the file.",
        ) from None


def _forms(tensors: Mapping[str, torch.Tensor]) -> set[str]:
    """Returns the suffixes that tell the algorithm and its form; marks and alpha are no form."""
    return set(tensors) - {"alpha", "bias_scaled"}


def _like_file(
    family: Family,
    config: AdapterSection,
    layers: lora_file.Layers,
    parts: tuple[str, ...],
    path: Path,
    report: Report,
) -> Network:
    """Returns a network with the layers, ranks and alphas of a file, and the rates of blocks."""
    targets, members = family.targets(), {}
    rates = factors(config.blocks, is_sdxl([target.slot for target in targets.values()]))
    as_lora = config.algorithm if config.algorithm in {"lora", "lora_fa", "dylora"} else None
    for name, tensors in layers.items():
        if name not in targets or targets[name].part not in parts:
            continue
        slot, plain = targets[name].slot, "lora_down.weight" in tensors
        rate = 1.0 if slot.index is None else rates[slot.index]
        if rate > 0:
            algo = as_lora if plain else None
            adapter = restored(targets[name], tensors, name, path, algo, like=config)
            members[name] = Member(targets[name], adapter.requires_grad_(), rate)
    if not members:
        raise UserError("has no layer that this run trains", where=path)
    _tell(set(layers) - set(members), set(), path, report)
    return Network(members)


def _tell(unused: set[str], fresh: set[str], path: Path, report: Report) -> None:
    if unused:
        text = f"{len(unused)} layers of {path.name} are not trained here and are left out, such as"
        report.event("warned", text=f"{text} {min(unused)}")
    if fresh:
        text = f"{len(fresh)} trained layers are not in {path.name} and start afresh, such as"
        report.event("warned", text=f"{text} {min(fresh)}")
