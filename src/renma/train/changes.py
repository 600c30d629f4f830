"""What a resumed run may change: listed old and new, refused where it decided what was trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from renma.config import Run
from renma.core.errors import UserError, did_you_mean

FREE = (
    # how long it goes on, and what it leaves behind
    "train.max_steps", "train.max_epochs", "train.save_every_steps", "train.save_every_epochs",
    "train.keep_checkpoints", "train.keep_states", "train.state_every_minutes", "train.tensorboard",
    "train.max_bad_steps", "sample.", "judge.", "stop.", "output.",
    "relora.file_rank", "relora.merged",
    # looked at between the two runs of a copier
    "copier.save_every_steps", "copier.prompts", "copier.least_likeness", "copier.when_unlike",
    # where settings came from; the settings themselves are compared
    "preset",
    # measured beside the training
    "train.validate_every_steps", "train.validate_every_epochs", "train.max_validation_batches",
)  # fmt: skip
"""Options that do not touch what was trained so far; a name ending in a dot is a section."""

MOVED = ("model.path", "copier.train_folder", "image_dir", "metadata_file", "mask_dir")
"""Places that may change because their content is compared on resume: bytes of the base model's
weights, of the pictures, of their masks and of the captions."""

CONTENTS = "data"
"""What ``--allow-change`` has to name for pictures and captions to change."""

FIXED = (
    "adapter.algo", "adapter.rank", "adapter.conv_rank", "adapter.targets.", "adapter.blocks.ranks",
    "adapter.blocks.conv_ranks", "optimizer.name", "start.", "train.text_encoder", "train.unet",
    "copier.steps", "copier.rank", "copier.learning_rate",
)  # fmt: skip
"""Options that the saved weights and the optimizer's memory are made for; never to be changed."""


def check_changes(
    before: Run, now: Run, allow: Iterable[str], where: Path, contents: Sequence[str] = ()
) -> tuple[str, ...]:
    """Returns a line for each option that changed (``train.max_steps: 20 -> 240``).

    Args:
        before: the run as it was begun.
        now: as it is to go on.
        allow: options and sections named by ``--allow-change``.
        where: the run's file, for messages.
        contents: pictures and captions that changed, see :mod:`renma.train.contents`.

    Raises:
        UserError: an option, a picture or a caption that may not change did, or ``allow`` names
            an option that does not exist.
    """
    old, new = flat(before.model_dump()), flat(now.model_dump())
    changes = {
        key: f"{key}: {old.get(key)!r} -> {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _follows(key, old, new)
    }
    allow = tuple(allow)
    _check_names(allow, old.keys() | new.keys())
    if never := [text for key, text in changes.items() if _is(key, FIXED)]:
        raise UserError(
            f"what was trained so far does not fit these options ({_some(never)})",
            where=where,
            remedy="Start a new run in another folder; start.weights can begin from this LoRA.",
        )
    refused = [
        key for key in changes if not (_is(key, FREE) or _is_place(key) or _named(key, allow))
    ]
    if refused:
        options = " ".join(f"--allow-change {key}" for key in refused[:5])
        raise UserError(
            f"cannot resume with other options ({_some([changes[key] for key in refused])})",
            where=where,
            remedy="Take the change back, start a new run in another folder, or, if the rest of "
            f"the run shall go on with it: {options}.",
        )
    if contents and CONTENTS not in allow:
        raise UserError(other_contents(contents), remedy=OTHER_CONTENTS)
    held = (f"pictures or captions: {_some(contents)}",) if contents else ()
    names = [*changes, *(f"{CONTENTS}.contents" for _ in contents)]
    return (*changes.values(), *held, *_remarks(names, old, allow))


OTHER_CONTENTS = (
    "Put them back, start a new run in another folder, or, if the rest of the run shall go on with "
    f"them as they are: --allow-change {CONTENTS}."
)
"""What to do about changed pictures."""


def other_contents(names: Sequence[str] = ()) -> str:
    """Returns that pictures or captions changed, and which if that is known."""
    told = f" ({_some(names)})" if names else ""
    return f"cannot resume: pictures or captions changed since this run began{told}"


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Returns a nested table as one with dotted keys; lists of tables count from 0."""
    if isinstance(value, dict):
        rows = (flat(item, f"{prefix}{key}.") for key, item in value.items())
        return {key: item for row in rows for key, item in row.items()}
    if isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        rows = (flat(item, f"{prefix}{i}.") for i, item in enumerate(value))
        return {key: item for row in rows for key, item in row.items()}
    return {prefix.rstrip("."): list(value) if isinstance(value, tuple) else value}


def _follows(key: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Says whether an option came or went only because its section is of another kind now."""
    section = key.partition(".")[0]
    kinds = (f"{section}.name", f"{section}.algo")
    turned = any(old.get(kind) != new.get(kind) for kind in kinds)
    return turned and (key not in old or key not in new)


def _remarks(changes: Iterable[str], old: dict[str, Any], allow: Iterable[str]) -> list[str]:
    """Returns what a person should know about allowed changes."""
    changed = set(changes)
    said = []
    name = old.get("schedule.name")
    if changed & {"train.max_steps", "train.max_epochs"} and name not in {None, *_ENDLESS}:
        said.append(
            f"the schedule '{name}' goes by the length of the run: from here on the learning rate "
            "is that of the new length"
        )
    said += [f"--allow-change {n}: nothing changed there" for n in allow if not _any(changed, n)]
    return said


_ENDLESS = ("constant", "constant_with_warmup")
"""Schedules that do not know how long the run is."""


def _check_names(allow: Iterable[str], known: Iterable[str]) -> None:
    keys = set(known)
    sections = {key[:at] for key in keys for at, sign in enumerate(key) if sign == "."}
    for name in allow:
        if name not in keys | sections:
            raise UserError(
                "is neither an option nor a section",
                where=f"--allow-change {name}",
                remedy=did_you_mean(name, keys | sections),
            )


def _named(key: str, names: Iterable[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _any(keys: Iterable[str], name: str) -> bool:
    return any(_named(key, (name,)) for key in keys)


def _is(key: str, row: tuple[str, ...]) -> bool:
    return any(key.startswith(name) if name.endswith(".") else key == name for name in row)


def _is_place(key: str) -> bool:
    return key in MOVED or key.rpartition(".")[2] in MOVED


def _some(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - 5} more" if len(texts) > 5 else ""
    return "; ".join(texts[:5]) + more
