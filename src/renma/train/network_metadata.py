"""What a LoRA file says about its network, in the words of kohya's and LyCORIS' files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from renma.config.adapter import AdapterSection
from renma.config.targets import TargetConfig
from renma.engine.cycles import CycledNetwork
from renma.engine.network import Network

_KOHYA = {"lora": "networks.lora", "lora_fa": "networks.lora_fa", "dylora": "networks.dylora"}
_LYCORIS = {"oft": "diag-oft"}
"""Names of algorithms in LyCORIS that differ from ours."""
_AS_ARGUMENTS = {
    "conv_rank": "conv_dim", "conv_alpha": "conv_alpha", "unit": "unit", "factor": "factor",
    "decompose_both": "decompose_both", "full_matrix": "full_matrix", "tucker": "use_tucker",
    "rank_dropout": "rank_dropout", "module_dropout": "module_dropout", "dropout": "dropout",
    "rank_stabilized": "rs_lora", "lr_ratio": "loraplus_lr_ratio", "constraint": "constraint",
}  # fmt: skip


def network_facts(adapter: AdapterSection) -> dict[str, str]:
    """Returns what kohya's files say about the network; LyCORIS' algorithms in its own words."""
    plain = adapter.algorithm in _KOHYA and getattr(adapter, "dora", "off") == "off"
    arguments: dict[str, str] = {}
    if not plain:
        arguments["algo"] = _LYCORIS.get(adapter.algorithm, adapter.algorithm)
    if (side := getattr(adapter, "dora", "off")) != "off":
        arguments |= {"dora_wd": "True", "wd_on_output": str(side == "output")}
    defaults = type(adapter).model_fields
    for name, theirs in _AS_ARGUMENTS.items():
        value = getattr(adapter, name, None)
        if name in defaults and value not in (None, defaults[name].default):
            arguments[theirs] = str(value)
    if adapter.targets != TargetConfig():
        arguments["preset"] = adapter.targets.preset
    rank = getattr(adapter, "rank", None)
    alpha = getattr(adapter, "alpha", None)
    return {
        "ss_network_module": _KOHYA[adapter.algorithm] if plain else "lycoris.kohya",
        "ss_network_dim": str(rank),
        "ss_network_alpha": str((alpha or float(rank)) if rank and alpha is not None else None),
        **({"ss_network_args": json.dumps(arguments)} if arguments else {}),
    }


def in_force(network: Network, all_of_it: bool) -> dict[str, str]:
    """Returns algorithm, rank and alpha of a network that began with a file's own."""
    found: list[Any] = [member.adapter for member in network.members.values()]
    pairs = {(a.rank, a.rank * a.scale) for a in found if hasattr(a, "scale")}
    rank, alpha = pairs.pop() if len(pairs) == 1 else ("Dynamic", "Dynamic")
    facts = {"ss_network_dim": str(rank), "ss_network_alpha": str(alpha)} if found else {}
    if not all_of_it:
        return facts
    algorithms = {type(adapter).__module__.rpartition(".")[2] for adapter in found}
    dora = any(getattr(adapter, "magnitude", None) is not None for adapter in found)
    if len(algorithms) == 1 and algorithms <= _KOHYA.keys() and not dora:
        return facts | {"ss_network_module": _KOHYA[algorithms.pop()], "ss_network_args": "{}"}
    names = ", ".join(sorted(_LYCORIS.get(name, name) for name in algorithms))
    arguments = {"algo": names} | ({"dora_wd": "True"} if dora else {})
    return facts | {
        "ss_network_module": "lycoris.kohya",
        "ss_network_args": json.dumps(arguments),
    }


_OF_ONE_CYCLE = ("conv_dim", "conv_alpha", "use_tucker", "rs_lora")
"""Arguments that are not true of several cycles side by side."""


def sum_facts(
    network: Network, adapter: AdapterSection, tensors: Mapping[str, Tensor]
) -> dict[str, str]:
    """Returns what a file that holds several cycles says instead: plain LoRA of their rank.

    Args:
        network: what was trained; nothing is said of one without a merge.
        adapter: its options.
        tensors: of the file.
    """
    if not isinstance(network, CycledNetwork) or not network.cycles:
        return {}
    ranks = {t.shape[0] for name, t in tensors.items() if name.endswith(".lora_down.weight")}
    rank = str(ranks.pop()) if len(ranks) == 1 else "Dynamic"
    told = json.loads(network_facts(adapter).get("ss_network_args", "{}"))
    kept = {name: value for name, value in told.items() if name not in _OF_ONE_CYCLE}
    return {
        "ss_network_module": _KOHYA["lora"],
        "ss_network_dim": rank,
        "ss_network_alpha": rank,
        "ss_network_args": json.dumps(kept | {"relora_cycles": str(network.cycles + 1)}),
    }
