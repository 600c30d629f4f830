"""network_module and network_args: which adapter they mean."""

from __future__ import annotations

import types
import typing
from pathlib import Path
from typing import Any, Literal, get_args

from renma.compat import plain
from renma.compat.draft import Draft
from renma.config.adapter import AdapterSection
from renma.config.blocks import BlockConfig
from renma.config.estimate import ALGORITHMS
from renma.config.targets import Preset, TargetConfig
from renma.core.errors import UserError, did_you_mean

_KOHYA = {"networks.lora": "lora", "networks.lora_fa": "lora_fa", "networks.dylora": "dylora"}
_LYCORIS = ("lycoris.kohya", "lycoris.locon_kohya", "locon.locon_kohya")
_NO_MODULE = {
    "networks.oft": "its network_dim counts blocks, here their size is given; use lycoris.kohya "
    "with algo=diag-oft",
    "networks.lora_flux": "FLUX models are not supported",
    "networks.lora_sd3": "SD3 models are not supported",
    "networks.lora_lumina": "Lumina models are not supported",
    "networks.oft_flux": "FLUX models are not supported",
    "networks.control_net_lllite_for_train": "ControlNet-LLLite is no LoRA",
}
_ALGOS = {
    "lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr", "ia3": "ia3",
    "dylora": "dylora", "full": "full", "glora": "glora", "diag-oft": "oft", "oft": "oft",
}  # fmt: skip
"""LyCORIS' names for algorithms, and ours."""
_PRESETS = {"attn-only": "attention"}
_BLOCKS = frozenset(
    {
        "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas", "down_lr_weight",
        "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold",
    }
)  # fmt: skip
_PLUS = frozenset({"loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"})
_DROPOUTS = frozenset({"rank_dropout", "module_dropout"})
_CONV = frozenset({"conv_dim", "conv_alpha"})
_KOHYA_ARGS = {
    "networks.lora": _CONV | _BLOCKS | _DROPOUTS | _PLUS,
    "networks.lora_fa": _CONV | _BLOCKS | _DROPOUTS,
    "networks.dylora": _CONV | _PLUS | {"unit"},
}
_LYCORIS_NAMES = {
    "conv_dim": "conv_rank", "conv_alpha": "conv_alpha", "use_tucker": "tucker", "unit": "unit",
    "factor": "factor", "decompose_both": "decompose_both", "full_matrix": "full_matrix",
    "constraint": "constraint", "train_on_input": "on_input", "rs_lora": "rank_stabilized",
    "rank_dropout": "rank_dropout", "module_dropout": "module_dropout", "dropout": "dropout",
}  # fmt: skip
"""Arguments of LyCORIS and the adapter's fields, where the schema does not name them."""
_OLD = {
    "use_cp": "use_tucker", "use_conv_cp": "use_tucker", "constrain": "constraint",
    "block_size": "unit", "wd_on_out": "wd_on_output",
}  # fmt: skip
_DORA = frozenset({"dora_wd", "wd_on_output"})
_SPEED = frozenset({"bypass_mode", "disable_conv_cp", "warn_on_unmatched", "verbose"})
"""Arguments of LyCORIS that change how it computes, not what."""
_LACKING = {
    "use_scalar": "a trained scalar before the update",
    "rescaled": "a trained scale of rotated outputs",
    "rank_dropout_scale": "rank dropout scaled by the ranks left",
    "unbalanced_factorization": "LoKr with swapped factors",
    "train_t5xxl": "a T5 text encoder",
    "train_llm_adapter": "a language model's adapter",
}
"""Arguments of LyCORIS that ask for what renma does not have."""
_LYCORIS_ARGS = _PLUS | _DORA | _SPEED | _LACKING.keys() | _LYCORIS_NAMES.keys() | _OLD.keys()
_LYCORIS_ARGS |= {"algo", "preset", "train_norm"}


def fill(draft: Draft) -> None:
    """Takes the options about the network.

    Raises:
        UserError: a module or argument that does not exist, or cannot be had here.
    """
    module = draft.given.get("network_module")
    if not module:
        draft.miss("network_module", "give one, such as networks.lora, which stands in for it.")
        module = "networks.lora"
    draft.settled |= {"network_module", "network_args"}
    arguments = _arguments(draft.given.get("network_args") or [])
    if module in _NO_MODULE:
        draft.refuse("network_module", _NO_MODULE[module])
        return
    if module not in (*_KOHYA, *_LYCORIS):
        remedy = did_you_mean(module, (*_KOHYA, *_LYCORIS)) or "Known: " + ", ".join(_KOHYA)
        raise UserError(f"'{module}' is not known", where="--network_module", remedy=remedy)
    lycoris = module in _LYCORIS
    _known(arguments, module, _LYCORIS_ARGS if lycoris else _KOHYA_ARGS[module])
    arguments = {_OLD.get(name, name): value for name, value in arguments.items()}
    wanted = arguments.pop("algo", "lora").lower()
    algo = _ALGOS.get(wanted) if lycoris else _KOHYA[module]
    if algo is None:
        draft.refuse("network_args", f"LyCORIS' {wanted} cannot be trained here")
        return
    draft.put("adapter.algo", algo)
    if algo == "dylora":  # theirs trains one group of ranks a step
        draft.put("adapter.frozen", True)
    if draft.given.has("network_module"):
        draft.take("network_module", "adapter.algo", algo)
    if lycoris:
        _lycoris(draft, module, arguments)
    else:
        _kohya(draft, arguments)
    _rank(draft, algo)
    if draft.given.has("network_args"):
        draft.tell("network_args", _said(draft))


def _arguments(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            raise UserError(
                f"'{word}' is not of the form key=value",
                where="--network_args",
                remedy='Such as --network_args "conv_dim=4" "conv_alpha=1".',
            )
        found[name.strip()] = value.strip()
    return found


def _known(arguments: dict[str, str], module: str, known: frozenset[str]) -> None:
    for name in arguments:
        if name not in known:
            raise UserError(
                f"{module} has no argument '{name}'",
                where="--network_args",
                remedy=_meant(name, known) or f"Known: {', '.join(sorted(known))}.",
            )


def _meant(name: str, known: frozenset[str]) -> str:
    """Returns the nearest argument: what our own name stands for, else the one spelt alike."""
    theirs = [old for old, ours in _LYCORIS_NAMES.items() if ours == name and old in known]
    return f"Did you mean '{theirs[0]}'?" if theirs else did_you_mean(name, known)


def _kohya(draft: Draft, arguments: dict[str, str]) -> None:
    """Takes the arguments of kohya's own modules.

    Convolutions are trained if conv_dim is given, or conv_block_dims beside other block options;
    conv_alpha is 1 if it is left out.
    """
    dylora = draft.raw["adapter"]["algo"] == "dylora"
    blocks = _BLOCKS - {"conv_block_dims", "conv_block_alphas", "block_alphas"}
    by_block = "conv_block_dims" in arguments and bool(blocks & arguments.keys())
    if "conv_dim" in arguments or by_block:
        draft.put("adapter.targets.preset", "conv")
        arguments = {"conv_alpha": "1", **arguments}
    else:
        for name in ("conv_alpha", "conv_block_dims", "conv_block_alphas"):
            if arguments.pop(name, None) is not None:
                draft.warnings.append(f"--network_args {name} does nothing without conv_dim")
    if dylora and "conv_dim" in arguments:
        if int(arguments["conv_dim"]) != (draft.given.get("network_dim") or 4):
            what = "DyLoRA needs conv_dim and network_dim to be the same"
            raise UserError(what, where="--network_args", remedy="Give both the same rank.")
        arguments.pop("conv_alpha")  # sd-scripts does not use it with DyLoRA
    for name, value in arguments.items():
        _put(draft, name, value)


def _lycoris(draft: Draft, module: str, arguments: dict[str, str]) -> None:
    """Takes the arguments of LyCORIS, whose preset is `full` if none is given."""
    preset = arguments.pop("preset", "full" if module == "lycoris.kohya" else "conv")
    preset = _PRESETS.get(preset, preset)
    if preset in get_args(Preset):
        draft.put("adapter.targets.preset", preset)
    else:
        if not (draft.places.here / Path(preset)).is_file():
            raise UserError(
                f"'{preset}' is neither a preset nor a file",
                where="--network_args preset",
                remedy=did_you_mean(preset, (*get_args(Preset), *_PRESETS)),
            )
        draft.put("adapter.targets.preset_file", draft.places.moved(preset))
    if _switch(arguments.pop("dora_wd", "False")):
        side = "output" if _switch(arguments.get("wd_on_output", "True")) else "input"
        draft.put("adapter.dora", side)
    arguments.pop("wd_on_output", None)
    for name, value in arguments.items():
        if name in _LACKING:
            if _switch(value):
                draft.refuse("network_args", f"{name} ({_LACKING[name]}) is not there")
        elif name not in _SPEED and not (name == "conv_dim" and value == "0"):
            _put(draft, name, value)


def _put(draft: Draft, name: str, text: str) -> None:
    """Writes one argument under the name that the schema, or LyCORIS' table, gives it."""
    algo = draft.raw["adapter"]["algo"]
    if name == "dropout":
        name = "network_dropout"
    keys = plain.keys(name, draft)
    section: type[AdapterSection] = ALGORITHMS[algo]
    if not keys and _LYCORIS_NAMES.get(name) in section.model_fields:
        keys = [f"adapter.{_LYCORIS_NAMES[name]}"]
    if keys:
        draft.put(keys[0], _typed(name, text, _annotation(keys[0], section)), "network_args")
    else:
        draft.warnings.append(f"--network_args {name} means nothing to algo '{algo}'")


def _annotation(key: str, section: type[AdapterSection]) -> Any:
    *tables, last = key.split(".")[1:]
    model: Any = {"blocks": BlockConfig, "targets": TargetConfig}[tables[0]] if tables else section
    return model.model_fields[last].annotation


def _typed(name: str, text: str, annotation: Any) -> Any:
    """Returns a value of network_args, which are all texts, in its field's type.

    Raises:
        UserError: it is none of that type.
    """
    kinds = _kinds(annotation)
    try:
        if name in _BLOCKS:
            return _block_value(name, text)
        if bool in kinds:
            return _switch(text)
        if int in kinds:
            return int(text)
        return float(text) if float in kinds else text
    except ValueError:
        raise UserError(f"'{name}={text}' is no number", where="--network_args") from None


def _block_value(name: str, text: str) -> Any:
    if name.endswith("_lr_weight"):
        return text  # lists and presets are read where their length is known
    if name == "block_lr_zero_threshold":
        return float(text)
    number = int if name.endswith("dims") else float
    return [number(part) for part in text.split(",")]


def _kinds(annotation: Any) -> set[Any]:
    """Returns the plain types in an annotation."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return {kind for part in get_args(annotation) for kind in _kinds(part)}
    return {str} if origin is Literal else {annotation}


def _switch(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "t", "y"):
        return True
    if text.lower() in ("false", "0", "no", "none", "", "f", "n"):
        return False
    raise UserError(f"'{text}' is neither True nor False", where="--network_args")


def _rank(draft: Draft, algo: str) -> None:
    """Takes rank and alpha; a huge rank is LyCORIS' way to ask for LoKr's whole factor."""
    given, fields = draft.given, ALGORITHMS[algo].model_fields
    rank = given.get("network_dim")
    if algo == "lokr" and rank and rank > 4096:
        draft.take("network_dim", "adapter.full_matrix", True, "so large a rank asks for that")
        if given.has("network_alpha"):
            draft.idle("network_alpha", "a whole factor has no scale")
    elif rank is None and "rank" in fields:
        draft.put("adapter.rank", 4)
    if algo == "dylora" and draft.raw["adapter"].get("targets", {}).get("preset") == "conv":
        draft.raw["adapter"].setdefault("conv_rank", rank or 4)


def _said(draft: Draft) -> str:
    keys = [key for key, option in draft.origin.items() if option == "network_args"]
    names = [key.removeprefix("adapter.") for key in keys]
    preset = draft.raw["adapter"].get("targets", {}).get("preset")
    names += [f'targets.preset = "{preset}"'] if preset else []
    return f"adapter: {', '.join(dict.fromkeys(names)) or 'nothing more'}"
