"""Presets of the GUI kohya_ss (JSON): its own names for what it passes to sd-scripts.

What a preset holds depends on the GUI's version, so empty values, zeros that mean "none" there and
keys of other tabs are passed over; keys that nobody knows are named, not refused.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from renma.compat import arguments
from renma.compat.draft import Given, Row
from renma.compat.options import options
from renma.core import json_file
from renma.core.errors import UserError

_RENAMED = {
    "max_resolution": "resolution", "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights", "sdxl_no_half_vae": "no_half_vae",
    "sdxl_cache_text_encoder_outputs": "cache_text_encoder_outputs",
}  # fmt: skip
_ZERO_IS_NONE = frozenset(
    {
        "adaptive_noise_scale", "clip_skip", "gradient_accumulation_steps", "ip_noise_gamma",
        "lr_scheduler_num_cycles", "max_train_epochs", "max_train_steps", "min_snr_gamma",
        "multires_noise_discount", "multires_noise_iterations", "network_dropout", "noise_offset",
        "sample_every_n_epochs", "sample_every_n_steps", "save_every_n_epochs",
        "save_every_n_steps", "save_last_n_epochs", "save_last_n_epochs_state",
        "save_last_n_steps", "save_last_n_steps_state", "scale_weight_norms", "v_pred_like_loss",
        "vae_batch_size", "max_data_loader_n_workers", "min_timestep", "text_encoder_lr",
        "unet_lr", "learning_rate", "initial_epoch", "initial_step", "caption_dropout_rate",
        "caption_dropout_every_n_epochs", "token_warmup_step",
    }
)  # fmt: skip
"""Options for which the GUI passes a 0 on as nothing."""
_MODULES = {
    "Standard": ("networks.lora", ""), "Kohya LoCon": ("networks.lora", ""),
    "Kohya DyLoRA": ("networks.dylora", ""), "LoRA-FA": ("networks.lora_fa", ""),
    "LyCORIS/LoCon": ("lycoris.kohya", "locon"), "LyCORIS/LoHa": ("lycoris.kohya", "loha"),
    "LyCORIS/LoKr": ("lycoris.kohya", "lokr"), "LyCORIS/iA3": ("lycoris.kohya", "ia3"),
    "LyCORIS/DyLoRA": ("lycoris.kohya", "dylora"), "LyCORIS/GLoRA": ("lycoris.kohya", "glora"),
    "LyCORIS/Diag-OFT": ("lycoris.kohya", "diag-oft"), "LyCORIS/BOFT": ("lycoris.kohya", "boft"),
    "LyCORIS/Native Fine-Tuning": ("lycoris.kohya", "full"),
}  # fmt: skip
"""LoRA_type to network_module and LyCORIS' algo."""
_BLOCKS = (
    "down_lr_weight", "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold", "block_dims",
    "block_alphas", "conv_block_dims", "conv_block_alphas",
)  # fmt: skip
_PLUS = ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio")
_OWN = frozenset(
    {
        "LoRA_type", "LyCORIS_preset", "additional_parameters", "epoch", "lr_warmup",
        "noise_offset_type", "sdxl", "use_wandb", "multi_gpu", "num_processes", "num_machines",
        "num_cpu_threads_per_process", "gpu_ids", "model_list", "conv_dim", "conv_alpha", "factor",
        "unit", "use_cp", "use_tucker", "use_scalar", "rank_dropout_scale", "constrain", "rescaled",
        "train_norm", "decompose_both", "train_on_input", "rank_dropout", "module_dropout",
        "dora_wd", "full_matrix", "bypass_mode", "stop_text_encoder_training", "dynamo_mode",
        "dynamo_use_dynamic", "dynamo_use_fullgraph", "main_process_port", "extra_accelerate_args",
        "train_data_dir_num", "file_path", "save_as", "weighted", "conv_dims", "conv_alphas",
        "no_token_padding", *_BLOCKS, *_PLUS,
    }
)  # fmt: skip
"""Keys of the GUI that are read here, or belong to the GUI alone."""


def read(text: str, where: str) -> Given:
    """Returns what a preset asks for.

    Args:
        text: the JSON.
        where: what to name in messages.

    Raises:
        UserError: it is no preset, or one of another trainer.
    """
    raw = json_file.parse(text, where)
    if not isinstance(raw, dict) or not {"LoRA_type", "network_dim"} & raw.keys():
        raise UserError(
            "is no LoRA preset of kohya_ss", where=where, remedy="LoRA_type is missing."
        )
    notes: list[Row] = []
    sdxl = bool(raw.get("sdxl") or raw.get("sdxl_checkbox"))
    values = _options(raw, notes, where)
    values |= _network(raw, where)
    _course(raw, values, notes)
    _parts(raw, values)
    if more := str(raw.get("additional_parameters") or "").strip():
        values |= arguments.read(_words(more, where), sdxl, "additional_parameters")
    return Given(values, sdxl, notes=tuple(notes), prompts_written_out=True)


def _options(raw: Mapping[str, Any], notes: list[Row], where: str) -> dict[str, Any]:
    """Returns the options that a preset holds under sd-scripts' names, or one of its own."""
    values: dict[str, Any] = {}
    for key, value in raw.items():
        name = _RENAMED.get(key, key)
        option = options().get(name)
        if option is None:
            if key not in _OWN and not _empty(value) and not key.startswith(_OTHER_MODELS):
                notes.append(Row(f"({key})", str(value), "without effect", why="not known here"))
            continue
        if _empty(value) or (name in _ZERO_IS_NONE and _zero(value)):
            continue
        if name == "xformers":
            values |= _attention(value)
        elif name in ("optimizer_args", "lr_scheduler_args"):
            values[name] = _words(value, where)
        elif name == "max_token_length" and str(value) == "75":
            continue  # the GUI's word for the default
        elif name == "max_timestep" and str(value) in ("1000", "0"):
            continue
        else:
            values[name] = arguments.typed(option, _number(value))
    return values


_OTHER_MODELS = ("flux1_", "sd3_", "lumina_", "anima_", "t5xxl", "clip_l", "clip_g", "logit_", "ae")
"""Keys of tabs for other models."""


def _attention(value: Any) -> dict[str, bool]:
    chosen = "xformers" if value is True else str(value)
    return {chosen: True} if chosen in ("xformers", "sdpa") else {}


def _network(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns network_module and network_args of LoRA_type and the fields it shows.

    Raises:
        UserError: a LoRA_type that is not known.
    """
    kind = str(raw.get("LoRA_type") or "Standard")
    if kind not in _MODULES:
        known = ", ".join(_MODULES)
        raise UserError(f"LoRA_type '{kind}' is not known", where=where, remedy=f"Known: {known}.")
    module, algo = _MODULES[kind]
    found: dict[str, Any] = {}
    if algo:
        found["algo"], found["preset"] = algo, raw.get("LyCORIS_preset") or "full"
    for name in _fields(kind, algo):
        key = {"constraint": "constrain", "block_size": "unit"}.get(name, name)
        if not _empty(raw.get(key)) and not (_zero(raw[key]) and name != "conv_alpha"):
            found[name] = raw[key]
    if kind in ("Kohya LoCon", "Kohya DyLoRA", "LoRA-FA") and "conv_dim" not in found:
        found.pop("conv_alpha", None)
    words = [f"{name}={value}" for name, value in found.items()]
    return {"network_module": module, **({"network_args": words} if words else {})}


def _fields(kind: str, algo: str) -> tuple[str, ...]:
    """Returns the arguments that the GUI passes for a LoRA_type."""
    drop = ("rank_dropout", "module_dropout")
    if kind == "Standard":
        return (*_BLOCKS, *drop, *_PLUS)
    if not algo:
        unit = ("unit",) if kind == "Kohya DyLoRA" else ()
        blocks = () if kind == "Kohya DyLoRA" else _BLOCKS
        drop = () if kind == "Kohya DyLoRA" else drop
        return ("conv_dim", "conv_alpha", *unit, *blocks, *drop, *_PLUS)
    own = {
        "lokr": ("factor", "decompose_both", "full_matrix", "use_cp", "use_scalar"),
        "ia3": ("train_on_input",),
        "dylora": ("block_size", "use_tucker"),
        "diag-oft": ("constraint", "rescaled", "use_tucker", "use_scalar"),
        "full": ("use_tucker", "use_scalar", "rank_dropout_scale"),
    }.get(algo, ("use_tucker", "use_scalar"))
    common = () if algo == "ia3" else ("conv_dim", "conv_alpha", "train_norm", "dora_wd", *drop)
    return (*common, *own, "rank_dropout_scale", "bypass_mode")


def _course(raw: Mapping[str, Any], values: dict[str, Any], notes: list[Row]) -> None:
    """Works out length, warm-up and noise as the GUI does before it calls sd-scripts."""
    epoch = _number(raw.get("epoch") or 0)
    if epoch and not {"max_train_epochs", "max_train_steps"} & values.keys():
        values["max_train_epochs"] = int(epoch)
    if epoch and values.get("lr_scheduler") == "cosine_with_restarts":
        values.setdefault("lr_scheduler_num_cycles", int(epoch))
    warmup = float(_number(raw.get("lr_warmup") or 0))
    steps = values.get("lr_warmup_steps") or (warmup / 100 if warmup else 0)
    if str(values.get("lr_scheduler", "")) in ("constant", ""):
        if steps:
            why = "a constant rate has no warm-up; the GUI leaves it out too"
            notes.append(Row("(lr_warmup)", str(raw.get("lr_warmup")), "without effect", why=why))
        values.pop("lr_warmup_steps", None)
    elif steps:
        values["lr_warmup_steps"] = steps
    _noise(raw, values)
    if not _zero(raw.get("stop_text_encoder_training", 0)):
        why = "sd-scripts has no such option for LoRA"
        value = str(raw["stop_text_encoder_training"])
        notes.append(Row("(stop_text_encoder_training)", value, "without effect", why=why))


def _noise(raw: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Keeps the one kind of noise that is chosen."""
    kind = raw.get("noise_offset_type")
    if kind == "Original":
        for name in ("multires_noise_iterations", "multires_noise_discount"):
            values.pop(name, None)
    elif kind == "Multires":
        for name in ("noise_offset", "adaptive_noise_scale"):
            values.pop(name, None)


def _parts(raw: Mapping[str, Any], values: dict[str, Any]) -> None:
    """Says what is trained: for the GUI, a rate of 0 beside another that is not is "not at all"."""
    encoder, unet = (
        not _zero(raw.get(name)) and not _empty(raw.get(name))
        for name in ("text_encoder_lr", "unet_lr")
    )
    if unet and not encoder and "text_encoder_lr" in raw:
        values["network_train_unet_only"] = True
    if encoder and not unet and "unet_lr" in raw:
        values["network_train_text_encoder_only"] = True


def _words(value: Any, where: str) -> list[str]:
    if isinstance(value, list):
        return [str(each) for each in value]
    try:
        return shlex.split(str(value))
    except ValueError as error:
        raise UserError(f"'{value}' cannot be read: {error}", where=where) from None


def _number(value: Any) -> Any:
    """Returns a number that the GUI stored as a float or a text where it is a whole one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _empty(value: Any) -> bool:
    return value is None or value is False or value in ("", [])


def _zero(value: Any) -> bool:
    if value is None or value == "":
        return True
    try:
        return float(value) == 0
    except (TypeError, ValueError):
        return False
