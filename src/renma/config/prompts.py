"""Prompt lines and prompt files as kohya-ss/sd-scripts reads them (no torch).

``text --n negative --w width --h height --d seed --l CFG scale --s steps --ss sampler``
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from pydantic import Field

from renma.config._base import Section
from renma.config.load import read_toml, validate
from renma.config.sample import SampleConfig, Sampler
from renma.core.errors import UserError, did_you_mean

OPTIONS = {
    "n": "negative", "w": "width", "h": "height", "d": "seed", "l": "scale", "s": "steps",
    "ss": "sampler",
}  # fmt: skip
_FILE_NAMES = {
    "prompt": "text", "negative_prompt": "negative", "width": "width", "height": "height",
    "seed": "seed", "scale": "scale", "sample_steps": "steps", "sample_sampler": "sampler",
}  # fmt: skip


class Prompt(Section):
    """One picture to draw."""

    text: str
    negative: str = ""
    width: int | None = Field(None, ge=64, le=8192, multiple_of=8)
    height: int | None = Field(None, ge=64, le=8192, multiple_of=8)
    seed: int | None = Field(None, ge=0, lt=2**63)
    scale: float = Field(7.5, ge=1, le=1000)
    steps: int = Field(20, ge=1, le=1000)
    sampler: Sampler = "ddim"


def prompts(sample: SampleConfig, base: Path) -> list[Prompt]:
    """Returns the preview prompts of a run: those written in it, then those of its file.

    Args:
        sample: the ``[sample]`` section.
        base: folder that a relative ``prompts_file`` starts from.

    Raises:
        UserError: an unknown option or sampler, a missing or malformed file.
    """
    defaults = {"scale": sample.scale, "steps": sample.steps, "sampler": sample.sampler}
    found = [parse(line, defaults, "sample.prompts") for line in sample.prompts]
    if sample.prompts_file:
        found += read_file(base / sample.prompts_file, defaults)
    return found


def parse(line: str, defaults: dict[str, Any], where: object) -> Prompt:
    """Returns the prompt of one line; options start with `` --``."""
    text, *options = line.strip().split(" --")
    values: dict[str, Any] = {**defaults, "text": text.strip()}
    for option in options:
        name, _, value = option.strip().partition(" ")
        if name not in OPTIONS:
            known = ", ".join(f"--{known}" for known in OPTIONS)
            raise UserError(f"'--{name}' in '{line.strip()}' is not one of {known}", where=where)
        values[OPTIONS[name]] = value.strip()
    return _check(values, f"{where}: '{line.strip()}'")


def read_file(path: Path, defaults: dict[str, Any]) -> list[Prompt]:
    """Returns the prompts of a .txt, .toml or .json file."""
    if path.suffix == ".toml":
        return [_from_table(row, defaults, path) for row in _toml_rows(read_toml(path), path)]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=path) from None
    if path.suffix == ".json":
        return [_from_json(row, defaults, path) for row in _json_rows(text, path)]
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [parse(line, defaults, path) for line in lines]


def _toml_rows(raw: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    table = raw.get("prompt")
    if not isinstance(table, dict):
        raise UserError("has no [prompt] table", where=path)
    shared = {key: value for key, value in table.items() if key != "subset"}
    subsets = table.get("subset", [{}])
    return [{**shared, **subset} for subset in subsets]


def _json_rows(text: str, path: Path) -> list[Any]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", where=path) from None
    if not isinstance(rows, list):
        raise UserError("must be a list of prompts", where=path)
    return rows


def _from_json(row: Any, defaults: dict[str, Any], path: Path) -> Prompt:
    if isinstance(row, str):
        return parse(row, defaults, path)
    if not isinstance(row, dict):
        raise UserError(f"{row!r} is neither a text nor an object", where=path)
    return _from_table(row, defaults, path)


def _from_table(row: dict[str, Any], defaults: dict[str, Any], path: Path) -> Prompt:
    for name in row:
        if name not in _FILE_NAMES:
            raise UserError(
                f"unknown key '{name}'", where=path, remedy=did_you_mean(name, _FILE_NAMES)
            )
    return _check({**defaults, **{_FILE_NAMES[k]: v for k, v in row.items()}}, str(path))


def _check(values: dict[str, Any], where: str) -> Prompt:
    name = str(values["sampler"])
    if name not in get_args(Sampler):
        raise UserError(
            f"'{name}' is not a sampler", where=where, remedy=did_you_mean(name, get_args(Sampler))
        )
    return validate(Prompt, values, where)
