"""kohya's data set file: ``[general]``, ``[[datasets]]``, ``[[datasets.subsets]]``.

Its keys are the keys of our ``[data]``, with ``general`` as the outermost level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renma.config.data import DataConfig, Dataset, DatasetOptions, Subset
from renma.config.load import find_line, read_toml, validate
from renma.core.errors import UserError, did_you_mean

KOHYA_EXTENSION = ".caption"
"""Where such a file names no caption_extension, sd-scripts looks for this one."""
LATER = frozenset(
    {
        "alpha_mask", "cache_info", "color_aug", "conditioning_data_dir", "custom_attributes",
        "enable_wildcard", "face_crop_aug_range", "keep_tokens_separator", "metadata_file",
        "network_multiplier", "random_crop", "resize_interpolation", "secondary_separator",
        "token_warmup_min", "token_warmup_step", "validation_seed", "validation_split",
    }
)  # fmt: skip
"""Keys of sd-scripts that this version does not have."""


def read_dataset_toml(path: Path) -> dict[str, Any]:
    """Returns the raw ``[data]`` section of a data set file.

    Raises:
        UserError: no TOML, an unknown table or key (with its line), no data set.
    """
    raw = read_toml(path)
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
    _check_keys(path, general, datasets)
    data = {"caption_extension": KOHYA_EXTENSION, **general, "datasets": datasets}
    validate(DataConfig, data, path)
    return data


def _check_keys(path: Path, general: dict[str, Any], datasets: list[Any]) -> None:
    options = set(DatasetOptions.model_fields) | set(Subset.model_fields) - {"image_dir", "is_reg"}
    _known(path, ["general"], general, options)
    for i, dataset in enumerate(datasets):
        _known(path, ["datasets", i], dataset, set(Dataset.model_fields))
        for j, subset in enumerate(dataset.get("subsets", [])):
            _known(path, ["datasets", i, "subsets", j], subset, set(Subset.model_fields))


def _known(path: Path, place: list[Any], table: Any, known: set[str]) -> None:
    if not isinstance(table, dict):
        raise UserError(f"'{place[0]}' must hold tables", where=path)
    for name in table:
        if name not in known:
            line = find_line(path, [*place, name])
            if name in LATER:
                raise UserError(
                    f"'{name}' is a key of sd-scripts that this version of renma does not have",
                    where=f"{path}:{line}" if line else path,
                    remedy="Take it out to train without it.",
                )
            table_name = ".".join(p for p in place if isinstance(p, str))
            raise UserError(
                f"unknown key '{name}' in [{table_name}]",
                where=f"{path}:{line}" if line else path,
                remedy=did_you_mean(name, known) or f"Known: {', '.join(sorted(known))}.",
            )
