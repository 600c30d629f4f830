"""optimizer_type, optimizer_args and rates: which optimizer they mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from renma.compat.draft import Draft, conflict
from renma.config.optimizers._base import Rates
from renma.config.run import Run
from renma.core.errors import UserError, did_you_mean

_CALLED = {
    "": "adamw", "adamw": "adamw", "dadaptation": "dadaptadampreprint",
    "pagedadamw": "pagedadamw32bit",
}  # fmt: skip
"""Names of sd-scripts that are not ours in small letters."""
_TORCH = frozenset(
    {"ASGD", "Adadelta", "Adagrad", "Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"}
)
"""Other classes of torch.optim, which sd-scripts takes by their names."""
_THEIR_DEFAULTS: dict[str, dict[str, Any]] = {
    "prodigy": {"safeguard_warmup": False, "use_bias_correction": False},
    "lion": {"weight_decay": 0.0}, "lion8bit": {"weight_decay": 0.0},
    "pagedlion8bit": {"weight_decay": 0.0},
    "dadaptadam": {"decoupled_weight_decay": False},
    "dadaptadampreprint": {"decoupled_weight_decay": False},
    "dadaptsgd": {"momentum": 0.0},
}  # fmt: skip
"""Defaults of the classes that sd-scripts takes, where ours are others."""


def fill(draft: Draft) -> None:
    """Takes the options about the optimizer and its rates.

    Raises:
        UserError: two optimizers, or one that does not exist.
    """
    tag, path = _chosen(draft)
    draft.put("optimizer.name", tag)
    draft.settled |= {"optimizer_type", "optimizer_args", "text_encoder_lr"}
    if path:
        draft.put("optimizer.class_path", path)
    if draft.given.has("optimizer_type"):
        draft.take("optimizer_type", "optimizer.name", tag, f"the class {path}" if path else "")
    arguments = draft.given.get("optimizer_args") or []
    if arguments:
        draft.take("optimizer_args", "optimizer.args", list(arguments))
    _defaults(draft, tag, arguments)
    _rates(draft, tag)


def models() -> dict[str, type[Rates]]:
    """Returns the optimizers that run.toml knows, by name."""

    def inside(annotation: Any) -> Iterator[type[Rates]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation  # pyright: ignore[reportReturnType]
        for part in get_args(annotation):
            yield from inside(part)

    found = inside(Run.model_fields["optimizer"].annotation)
    return {str(model.model_fields["name"].default): model for model in found}


def _chosen(draft: Draft) -> tuple[str, str]:
    """Returns name and, for a class by its path, the path."""
    given = draft.given
    short = {"use_8bit_adam": "AdamW8bit", "use_lion_optimizer": "Lion"}
    used = [name for name in short if given.has(name)]
    wanted = given.get("optimizer_type")
    if len(used) + bool(wanted) > 1:
        names = [*used, *(["optimizer_type"] if wanted else [])]
        raise conflict("both name an optimizer", *names)
    if used:
        wanted = short[used[0]]
        draft.put("optimizer.name", wanted.lower())
        draft.take(used[0], "optimizer.name", wanted.lower())
    known = models()
    tag = _CALLED.get(wanted.lower(), wanted.lower())
    if tag in known and tag != "custom":
        return tag, ""
    for name, model in known.items():  # a dotted path of a class that has a name here
        if model.source and model.source == wanted:
            return name, ""
    if wanted.rpartition(".")[2].lower() in known and "." in wanted:
        return wanted.rpartition(".")[2].lower(), ""
    if "." in wanted:
        return "custom", wanted
    if wanted in _TORCH:
        return "custom", f"torch.optim.{wanted}"
    remedy = did_you_mean(tag, known) or f"Known: {', '.join(known)}; or a class' dotted path."
    raise UserError(f"'{wanted}' is not known", where="--optimizer_type", remedy=remedy)


def _defaults(draft: Draft, tag: str, arguments: list[str]) -> None:
    """Writes out defaults that differ from those of the class sd-scripts takes."""
    if tag not in models():
        return
    names = models()[tag].names
    named = {argument.partition("=")[0].strip() for argument in arguments}
    for option, value in _THEIR_DEFAULTS.get(tag, {}).items():
        if not {option, names.get(option, option)} & named:
            draft.put(f"optimizer.{option}", value)


def _rates(draft: Draft, tag: str) -> None:
    """Takes the rates; sd-scripts' default of 2e-6 is kept and remarked on loudly."""
    given = draft.given
    rate = given.get("learning_rate")
    draft.take("learning_rate", "optimizer.learning_rate", rate)
    rates = [given.get("unet_lr"), *(given.get("text_encoder_lr") or [None])]
    own = all(each is not None for each in rates)
    if not given.has("learning_rate") and not own and tag != "adafactor":
        draft.warnings.append(
            f"--learning_rate is not given: sd-scripts' default of {rate:g} is taken, which hardly "
            "teaches a LoRA anything (1e-4 is usual, 1 for Prodigy and D-Adaptation)"
        )
    encoders = given.get("text_encoder_lr")
    if encoders:
        draft.put("optimizer.text_encoder_lr", encoders[0], "text_encoder_lr")
        said, why = f"optimizer.text_encoder_lr = {encoders[0]!r}", ""
        if len(encoders) > 1 and given.sdxl:
            draft.put("optimizer.text_encoder_2_lr", encoders[1], "text_encoder_lr")
            said += f", text_encoder_2_lr = {encoders[1]!r}"
            why = "each encoder has its own here; sd-scripts uses the first for both"
        elif len(encoders) > 1:
            why = "the model has one text encoder; sd-scripts uses the first too"
        draft.tell("text_encoder_lr", said, why)
    elif "text_encoder_lr" in given.values:
        raise UserError("needs a value", where="--text_encoder_lr")
