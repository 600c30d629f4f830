"""kohya's data set file: ``[general]``, ``[[datasets]]``, ``[[datasets.subsets]]``; TOML or JSON.

Its keys are the keys of our ``[data]``, with ``general`` as the outermost level. Three differ and
are translated, two decide nothing any more; whole numbers do for fractions, which the strict schema
of sd-scripts refuses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renma.config.data import DataConfig, Dataset, DatasetOptions, Subset, SubsetOptions
from renma.config.load import find_line, read_toml, validate
from renma.core import json_file
from renma.core.errors import UserError, did_you_mean
from renma.core.text_file import decode

KOHYA_EXTENSION = ".caption"
"""Where such a file names no caption_extension, sd-scripts looks for this one."""
PRESERVATION = "diff_output_preservation"
"""The one key of ``custom_attributes`` that sd-scripts reads; our ``prior_preservation``."""
WITHOUT_EFFECT = {
    "cache_info": "the list of pictures is read anew each time",
    "network_multiplier": "sd-scripts reads it and does nothing with it either",
}
"""Keys that are taken and named in a warning, with the reason."""
_LEVELS = {
    "general": set(DatasetOptions.model_fields) | set(SubsetOptions.model_fields),
    "datasets": set(Dataset.model_fields),
    "subsets": set(Subset.model_fields),
}
_FOREIGN = {"custom_attributes": ("general", "datasets", "subsets")}
_FOREIGN |= {"cache_info": _FOREIGN["custom_attributes"]}
_FOREIGN |= {"network_multiplier": ("general", "datasets"), "conditioning_data_dir": ("subsets",)}
"""Keys of sd-scripts under another name here, and the levels that may hold them."""
_TABLES = {"general": "[general]", "datasets": "[[datasets]]", "subsets": "[[datasets.subsets]]"}


def read_dataset_toml(path: Path) -> dict[str, Any]:
    """Returns the raw ``[data]`` section of a data set file.

    Raises:
        UserError: neither TOML nor JSON, an unknown table or key (with its line), no data set.
    """
    raw = _read_json(path) if path.suffix.lower() == ".json" else read_toml(path)
    known = ("general", "datasets")
    for name in raw:
        if name not in known:
            raise UserError(
                f"unknown table '{name}'",
                where=f"{path}:{find_line(path, [name]) or 1}",
                remedy=did_you_mean(name, known) or "Known: [general], [[datasets]].",
            )
    general, datasets = raw.get("general", {}), raw.get("datasets", [])
    if not isinstance(general, dict) or not isinstance(datasets, list) or not datasets:
        raise UserError("needs at least one [[datasets]] table", where=path)
    dead: list[str] = []
    data = {"caption_extension": KOHYA_EXTENSION, **_ours(path, ["general"], general, dead)}
    data["datasets"] = [_dataset(path, i, dataset, dead) for i, dataset in enumerate(datasets)]
    if dead:
        data["without_effect"] = list(dict.fromkeys(dead))
    validate(DataConfig, data, path)
    return data


def _dataset(path: Path, index: int, table: Any, dead: list[str]) -> dict[str, Any]:
    place = ["datasets", index]
    made = _ours(path, place, table, dead)
    if "subsets" not in made:
        return made
    if not isinstance(made["subsets"], list):
        raise UserError("'subsets' must hold tables", where=path)
    tables = enumerate(made["subsets"])
    made["subsets"] = [_ours(path, [*place, "subsets", j], subset, dead) for j, subset in tables]
    return made


def _ours(path: Path, place: list[Any], table: Any, dead: list[str]) -> dict[str, Any]:
    """Returns one table in our words, its keys checked.

    Raises:
        UserError: a key that this level, or sd-scripts, does not have.
    """
    names = [part for part in place if isinstance(part, str)]
    level, made = names[-1], {}
    if not isinstance(table, dict):
        raise UserError(f"'{place[0]}' must hold tables", where=path)
    for name, value in table.items():
        if level in _FOREIGN.get(name, ()):
            made |= _translated(path, [*place, name], value, dead)
        elif name not in _LEVELS[level]:
            raise _unknown(path, place, name, level)
        elif value is not None:  # JSON's null: not given
            made[name] = value
    return made


def _translated(path: Path, place: list[Any], value: Any, dead: list[str]) -> dict[str, Any]:
    """Returns what a key of sd-scripts is here; what it cannot be is added to ``dead``."""
    name = place[-1]
    if name in WITHOUT_EFFECT:
        dead.append(f"{name} has no effect: {WITHOUT_EFFECT[name]}.")
        return {}
    if name == "conditioning_data_dir":
        return {"mask_dir": value}
    if not isinstance(value, dict):
        line = find_line(path, place)
        raise UserError(f"'{name}' must be a table", where=f"{path}:{line}" if line else path)
    dead += [f"{name}.{key} has no effect: nothing reads it." for key in value.keys() - _READ]
    return {"prior_preservation": value[PRESERVATION]} if PRESERVATION in value else {}


_READ = {PRESERVATION}


def _unknown(path: Path, place: list[Any], name: str, level: str) -> UserError:
    line = find_line(path, [*place, name])
    better = [
        _TABLES[other]
        for other, keys in _LEVELS.items()
        if name in keys - {"subsets"} or other in _FOREIGN.get(name, ())
    ]
    known = _LEVELS[level] | {n for n, levels in _FOREIGN.items() if level in levels}
    remedy = f"It belongs into {' or '.join(better)}." if better else did_you_mean(name, known)
    return UserError(
        f"unknown key '{name}' in [{'.'.join(p for p in place if isinstance(p, str))}]",
        where=f"{path}:{line}" if line else path,
        remedy=remedy or f"Known: {', '.join(sorted(known))}.",
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = decode(path.read_bytes(), path)[0]
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from None
    raw = json_file.parse(text, path)
    if not isinstance(raw, dict):
        raise UserError("holds no JSON object", where=path)
    return raw
