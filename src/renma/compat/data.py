"""Pictures and captions: data set file, folders named `<repeats>_<name>`, metadata file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from renma.compat.draft import Draft
from renma.config.dataset_toml import KOHYA_EXTENSION, read_dataset_toml
from renma.config.load import read_toml
from renma.core.errors import UserError

_PLACES = ("image_dir", "metadata_file", "mask_dir")
_FOLDERS = {"train_data_dir": "data.train_folder", "reg_data_dir": "data.reg_folder"}


def fill(draft: Draft) -> None:
    """Takes the options about pictures.

    Raises:
        UserError: a data set file with a mistake, a resolution that is none.
    """
    _resolution(draft)
    if draft.given.has("caption_extention"):
        value = draft.given.get("caption_extention")
        draft.take("caption_extention", "data.caption_extension", value, "the old spelling")
        draft.put("data.caption_extension", value)
        draft.rows["caption_extension"] = draft.rows["caption_extention"]
    if draft.given.has("dataset_class"):
        draft.refuse("dataset_class", "foreign code is not run")
    if draft.given.has("dataset_config"):
        _file(draft)
    elif draft.given.has("in_json"):
        _metadata(draft)
    else:
        _folders(draft)
    _masks(draft)


def after_plain(draft: Draft) -> None:
    """Lets the data set file win over options of the command line, as sd-scripts does."""
    if not draft.given.has("dataset_config"):
        return
    general = _general(_path(draft, "dataset_config"))
    for key, option in list(draft.origin.items()):
        name = key.removeprefix("data.")
        if key.startswith("data.") and name in general:
            draft.put(key, general[name])
            if draft.given.has(option):
                draft.idle(option, "the data set file says otherwise, and wins")
            else:
                draft.rows.pop(option, None)


def _resolution(draft: Draft) -> None:
    if not draft.given.has("resolution"):
        if not draft.given.has("dataset_config"):
            draft.miss("resolution", "give the picture size, such as 512,512.")
        return
    text = draft.given.get("resolution")
    try:
        sides = [int(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise UserError(
            f"'{text}' is no size", where="--resolution", remedy="Such as 512, or 512,768."
        )
    draft.take("resolution", "data.resolution", [sides[0], sides[-1]])


def _file(draft: Draft) -> None:
    """Takes a data set file; its own words win over the command line's."""
    path = _path(draft, "dataset_config")
    data = read_dataset_toml(path)
    if data.get("caption_extension") == KOHYA_EXTENSION:
        del data["caption_extension"]  # written again below, unless the command line has another
    for name in (*_FOLDERS, "in_json"):
        if draft.given.has(name):
            draft.idle(name, "--dataset_config names the pictures, as in sd-scripts")
    for dataset in data["datasets"]:
        for subset in dataset.get("subsets", []):
            for place in _PLACES:
                if subset.get(place):
                    subset[place] = draft.places.moved(subset[place])
    draft.raw.setdefault("data", {}).update({**draft.raw.get("data", {}), **data})
    count = len(data["datasets"])
    draft.tell("dataset_config", f"[data], {count} data set{'s' if count > 1 else ''}")
    if draft.given.has("dataset_repeats"):
        draft.take("dataset_repeats", "data.num_repeats", draft.given.get("dataset_repeats"))


def _metadata(draft: Draft) -> None:
    """Takes a fine-tuning metadata file: one data set whose pictures it names."""
    given = draft.given
    subset: dict[str, Any] = {"metadata_file": draft.places.moved(given.get("in_json"))}
    if given.has("train_data_dir"):
        subset["image_dir"] = draft.places.moved(given.get("train_data_dir"))
        draft.tell("train_data_dir", "data.datasets.subsets.image_dir")
    if given.has("reg_data_dir"):
        draft.idle("reg_data_dir", "fine-tuning has no regularisation pictures, as in sd-scripts")
    draft.put("data.datasets", [{"subsets": [subset]}])
    draft.tell("in_json", "data.datasets.subsets.metadata_file")
    repeats = given.get("dataset_repeats")
    if given.has("dataset_repeats"):
        draft.take("dataset_repeats", "data.num_repeats", repeats)


def _folders(draft: Draft) -> None:
    if not draft.given.has("train_data_dir"):
        draft.miss("train_data_dir", "give the pictures' folder, or a --dataset_config.")
    for name, key in _FOLDERS.items():
        if draft.given.has(name):
            draft.take(name, key, draft.places.moved(draft.given.get(name)))
    if draft.given.has("dataset_repeats"):
        draft.idle("dataset_repeats", "folder names say how often pictures are shown")


def _masks(draft: Draft) -> None:
    """Takes masked loss: pictures that have a mask are always masked."""
    given = draft.given
    if given.has("conditioning_data_dir"):
        folder = draft.places.moved(given.get("conditioning_data_dir"))
        datasets = draft.raw.get("data", {}).get("datasets", [])
        subsets = [subset for dataset in datasets for subset in dataset.get("subsets", [])]
        for subset in subsets:
            subset.setdefault("mask_dir", folder)
        if subsets:
            draft.tell("conditioning_data_dir", "data.datasets.subsets.mask_dir")
        else:
            why = "masks need a data set file that names each folder, as in sd-scripts"
            draft.refuse("conditioning_data_dir", why)
    if given.has("masked_loss"):
        draft.always("masked_loss", "pictures with a mask (mask_dir, alpha_mask) are masked")


def _path(draft: Draft, name: str) -> Path:
    return draft.places.here / draft.given.get(name)


def _general(path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".json":
        return {k: v for k, v in read_dataset_toml(path).items() if k != "caption_extension"}
    return read_toml(path).get("general", {})
