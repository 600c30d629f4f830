"""Options that the schema itself names: every field with ``kohya=`` in its metadata.

Nothing is written down twice: a new field with a name of sd-scripts is taken from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from renma.compat.draft import Draft
from renma.compat.options import options
from renma.config.run import Run

_TAGGED = ("adapter", "optimizer", "schedule")
_PRECISIONS = {"no": "fp32", "float": "fp32", "fp16": "fp16", "bf16": "bf16"}
_CHANGED: dict[str, Callable[[Any], Any]] = {
    "mixed_precision": _PRECISIONS.__getitem__,
    "save_precision": _PRECISIONS.__getitem__,
    "network_train_unet_only": lambda on: not on,
    "network_train_text_encoder_only": lambda on: not on,
    "face_crop_aug_range": lambda text: [float(part) for part in text.split(",")],
}
"""Options whose values are written otherwise here."""
_ONLY_SPEED = frozenset({"vae_batch_size"})
"""Options whose default is not written out: it changes no result."""


def keys(option: str, draft: Draft) -> list[str]:
    """Returns the keys of run.toml that an option decides, as far as this run has them."""
    return [key for key, field in _fields(draft) if _kohya(field) == option]


def elsewhere(option: str) -> str:
    """Returns which choice an option belongs to that this run has not made; empty for none."""
    for section in _TAGGED:
        for model in _models(Run.model_fields[section].annotation):
            if any(_kohya(field) == option for _, field in _walk(section, model)):
                return section
    return ""


def fill(draft: Draft) -> None:
    """Takes all options that no other part of the translation has spoken about."""
    fields = list(_fields(draft))
    for name in options():
        if name in draft.rows or name in draft.settled:
            continue
        fitting = [(key, field) for key, field in fields if _kohya(field) == name]
        if not fitting:
            if draft.given.has(name) and (section := elsewhere(name)):
                chosen = _chosen(section, draft)
                draft.idle(name, f"means nothing to {section} '{_tag(chosen)}'")
            continue
        key, field = fitting[0]
        if draft.given.has(name):
            draft.take(name, key, _value(name, draft.given.get(name)))
        elif name not in _ONLY_SPEED:
            _default(draft, name, key, field)


def _default(draft: Draft, name: str, key: str, field: FieldInfo) -> None:
    """Writes sd-scripts' default out where ours differs; a default of None is ours."""
    theirs = draft.given.get(name)
    if theirs is None:
        return
    theirs = _value(name, theirs)
    ours = None if field.is_required() else field.get_default(call_default_factory=True)
    if theirs != ours and [theirs] != [ours]:
        draft.take(name, key, theirs)


def _value(name: str, value: Any) -> Any:
    return _CHANGED[name](value) if name in _CHANGED else value


def _fields(draft: Draft) -> Iterator[tuple[str, FieldInfo]]:
    for section, field in Run.model_fields.items():
        for model in [_chosen(section, draft)] if section in _TAGGED else _models(field.annotation):
            yield from _walk(section, model)


def _walk(table: str, model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Yields the keys of a section and of single tables in it; lists of tables are not entered."""
    for name, field in model.model_fields.items():
        key = f"{table}.{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(key, field.annotation)
        else:
            yield key, field


def _chosen(section: str, draft: Draft) -> type[BaseModel]:
    """Returns the class of a tagged section that the draft has chosen."""
    models = {_tag(model): model for model in _models(Run.model_fields[section].annotation)}
    raw = draft.raw.get(section, {})
    tag = raw.get("algo", raw.get("name"))
    return models.get(tag) or next(iter(models.values()))


def _tag(model: type[BaseModel]) -> str:
    field = model.model_fields.get("algo") or model.model_fields["name"]
    return str(field.default)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _kohya(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("kohya", "")) if isinstance(extra, dict) else ""
