"""Prompt lines and prompt files as kohya-ss/sd-scripts reads them (no torch).

``text --n negative --w width --h height --d seed --l CFG scale --s steps --ss sampler``

An option begins at a blank and two dashes; nothing before the first one is ever read as an option.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from renma.config._base import Section
from renma.config.load import validate
from renma.config.sample import SampleConfig, Sampler
from renma.core import json_file, text_file
from renma.core.errors import UserError, did_you_mean

OPTIONS = {
    "n": "negative", "w": "width", "h": "height", "d": "seed", "l": "scale", "s": "steps",
    "ss": "sampler",
}  # fmt: skip
_FILE_NAMES = {
    "prompt": "text", "negative_prompt": "negative", "width": "width", "height": "height",
    "seed": "seed", "scale": "scale", "sample_steps": "steps", "sample_sampler": "sampler",
}  # fmt: skip
_NOT_HERE = {
    "cn": "a ControlNet picture; previews are drawn without ControlNet",
    "controlnet_image": "a ControlNet picture; previews are drawn without ControlNet",
    "g": "the guidance input of FLUX models; the scale of Stable Diffusion is --l",
    "guidance_scale": "the guidance input of FLUX models; the scale here is 'scale'",
    "ctr": "the guidance cut-off of Lumina models",
    "cfg_trunc_ratio": "the guidance cut-off of Lumina models",
    "rcfg": "the guidance renormalisation of Lumina models",
    "renorm_cfg": "the guidance renormalisation of Lumina models",
    "fs": "the timestep shift of flow-matching models",
    "flow_shift": "the timestep shift of flow-matching models",
}
"""Options of sd-scripts' prompts that mean nothing to the models of this version."""
_LEAST_SIDE, _GRAIN, _MOST_STEPS = 64, 8, 1000


class Prompt(Section):
    """One picture to draw; without width and height it has the model's own size."""

    text: str
    negative: str = ""
    width: int | None = Field(None, ge=_LEAST_SIDE, le=8192, multiple_of=_GRAIN)
    height: int | None = Field(None, ge=_LEAST_SIDE, le=8192, multiple_of=_GRAIN)
    seed: int | None = Field(None, ge=0, lt=2**63)
    scale: float = Field(7.5, ge=1, le=1000)
    steps: int = Field(20, ge=1, le=_MOST_STEPS)
    sampler: Sampler = "ddim"
    rescale: float = Field(default=0.0, ge=0, le=1)


@dataclass
class PromptList:
    """The prompts of a run, and what its user should know about how they were read."""

    prompts: list[Prompt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def prompts(sample: SampleConfig, base: Path) -> list[Prompt]:
    """Returns the preview prompts of a run without the notes of :func:`read`."""
    return read(sample, base).prompts


def read(sample: SampleConfig, base: Path) -> PromptList:
    """Returns the preview prompts of a run: those written in it, then those of its file.

    Args:
        sample: the ``[sample]`` section.
        base: folder that a relative ``prompts_file`` starts from.

    Raises:
        UserError: an unknown option or sampler, a missing or malformed file.
    """
    found = PromptList()
    how = ("scale", "steps", "sampler", "rescale")
    defaults = {name: getattr(sample, name) for name in how}
    for line in sample.prompts:
        found.prompts.append(parse(line, defaults, "sample.prompts", found.notes.append))
    if sample.prompts_file:
        path = base / Path(sample.prompts_file).expanduser()
        found.prompts += read_file(path, defaults, found.notes.append)
    return found


def parse(
    line: str,
    defaults: dict[str, Any],
    where: object,
    note: Callable[[str], object] = lambda _: None,
) -> Prompt:
    """Returns the prompt of one line; options start with `` --``.

    Args:
        line: the line.
        defaults: values of options it does not give.
        where: the line's file or option, for messages.
        note: told what is read otherwise than it is written.

    Raises:
        UserError: an unknown option, a value that is none.
    """
    text, *options = re.split(r"(?:^|\s)--", line.strip())
    place = f"{where}: '{line.strip()}'"
    given: dict[str, Any] = {}
    for option in options:
        name, value = re.fullmatch(r"(\S*)(.*)", option, re.DOTALL).groups()  # pyright: ignore
        known = OPTIONS.get(name.lower())
        if known is None:
            raise _unknown(f"--{name}", name.lower(), place, [f"--{known}" for known in OPTIONS])
        if known in given:
            note(f"{place}: --{name} stands twice, the last one counts")
        given[known] = value.strip()
    return _check({**defaults, **given, "text": text.strip()}, place, note)


def read_file(
    path: Path, defaults: dict[str, Any], note: Callable[[str], object] = lambda _: None
) -> list[Prompt]:
    """Returns the prompts of a .txt, .toml or .json file; arguments as in :func:`parse`."""
    kind = path.suffix.lower()
    if kind not in (".txt", ".toml", ".json"):
        raise UserError("is neither a .txt, a .toml nor a .json file", where=path)
    try:
        text, encoding = text_file.decode(path.read_bytes(), path)
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}", where=path, remedy="It holds the preview prompts."
        ) from None
    if encoding == text_file.JAPANESE:
        note(f"{path}: not UTF-8, read as cp932 (Shift JIS)")
    rows = {".txt": _lines, ".toml": _toml_rows, ".json": _json_rows}[kind](text, path)
    found = [_prompt(row, defaults, path, note) for row in rows]
    if not found:
        note(f"{path}: holds no prompt")
    return found


def _lines(text: str, _: Path) -> list[str]:
    lines = (line.strip() for line in re.split(r"\r\n|\r|\n", text))
    return [line for line in lines if line and not line.startswith("#")]


def _toml_rows(text: str, path: Path) -> Iterator[dict[str, Any]]:
    try:
        table = tomllib.loads(text).get("prompt")
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"is not valid TOML: {error}", where=path) from None
    except RecursionError:
        raise UserError("is nested too deeply", where=path) from None
    if not isinstance(table, dict):
        raise UserError("has no [prompt] table", where=path, remedy="Write [[prompt.subset]].")
    shared = {key: value for key, value in table.items() if key != "subset"}
    subsets = table.get("subset", [{}])
    if not isinstance(subsets, list):
        subsets = [subsets]  # one [prompt.subset] in place of [[prompt.subset]]
    for subset in subsets:
        if not isinstance(subset, dict):
            raise UserError(f"'prompt.subset': {subset!r} is no table", where=path)
        yield {**shared, **subset}


def _json_rows(text: str, path: Path) -> list[Any]:
    rows = json_file.parse(text, path)
    if not isinstance(rows, list):
        raise UserError("must be a list of prompts", where=path)
    return rows


def _prompt(
    row: Any, defaults: dict[str, Any], path: Path, note: Callable[[str], object]
) -> Prompt:
    if isinstance(row, str):
        return parse(row, defaults, path, note)
    if not isinstance(row, dict):
        raise UserError(f"{row!r} is neither a text nor a table", where=path)
    for name in row:
        if name not in _FILE_NAMES:
            raise _unknown(name, name, str(path), list(_FILE_NAMES))
    if "prompt" not in row:
        raise UserError("a prompt has no 'prompt'", where=path)
    where = f"{path}: '{row['prompt']}'"
    if re.search(r"\s--\w", str(row["prompt"])):
        note(f"{where}: options such as --w are words here; write them as keys")
    # JSON's null is a key that was not given
    given = {_FILE_NAMES[key]: value for key, value in row.items() if value is not None}
    return _check({**defaults, **given}, where, note)


def _unknown(shown: str, name: str, where: str, known: list[str]) -> UserError:
    if reason := _NOT_HERE.get(name):
        return UserError(f"'{shown}' is {reason}", where=where, remedy="Remove it.")
    hint = did_you_mean(shown, known) or f"Known: {', '.join(known)}."
    return UserError(f"'{shown}' is no option of a prompt", where=where, remedy=hint)


def _check(values: dict[str, Any], where: str, note: Callable[[str], object]) -> Prompt:
    name = str(values["sampler"]).lower()
    if name not in get_args(Sampler):
        known = get_args(Sampler)
        raise UserError(
            f"'{name}' is not a sampler",
            where=where,
            remedy=did_you_mean(name, known) or f"Known: {', '.join(known)}.",
        )
    values = {**values, "sampler": name}
    for key in ("width", "height", "steps", "scale", "seed"):
        if isinstance(values.get(key), bool):
            raise UserError(f"'{key}' = {values[key]!r} is no number", where=where)
    for key in ("width", "height", "steps", "scale"):
        _mend(values, key, where, note)
    return validate(Prompt, values, where)


def _mend(values: dict[str, Any], key: str, where: str, note: Callable[[str], object]) -> None:
    """Moves a number into what can be drawn, as sd-scripts does, and says so."""
    try:
        number = float(values.get(key, ""))
    except (TypeError, ValueError):
        return  # not given, or validation says what is wrong with it
    if not math.isfinite(number):
        return
    if key in ("width", "height"):
        near = max(_LEAST_SIDE, int(number // _GRAIN * _GRAIN))
        reason = f"a multiple of {_GRAIN}, at least {_LEAST_SIDE}"
    elif key == "steps":
        near, reason = min(max(number, 1), _MOST_STEPS), f"1 to {_MOST_STEPS}"
    else:
        near, reason = max(number, 1.0), "below 1 there is no guidance"
    if near != number:
        note(f"{where}: {key} {number:g} is drawn as {near:g} ({reason})")
        values[key] = near
