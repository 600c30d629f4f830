"""A run without the folders of the machine it ran on."""

from __future__ import annotations

from pathlib import Path

from renma.config import Run
from renma.config.data import Subset

_OF_A_FOLDER = ("image_dir", "metadata_file", "mask_dir")


def without_places(run: Run) -> Run:
    """Returns the run with folders cut to their own names: a file tells no one's disk layout."""
    name, data = _name, run.data
    datasets = tuple(
        d.model_copy(update={"subsets": tuple(map(without_folders, d.subsets))})
        for d in data.datasets
    )
    folders = {
        "train_folder": name(data.train_folder),
        "reg_folder": name(data.reg_folder),
        "datasets": datasets,
    }
    sample = run.sample.model_copy(update={"prompts_file": name(run.sample.prompts_file)})
    model = run.model.model_copy(update={"path": name(run.model.path), "vae": name(run.model.vae)})
    start = run.start.model_copy(
        update={
            "weights": name(run.start.weights),
            "base_weights": tuple(map(name, run.start.base_weights)),
        }
    )
    targets = run.adapter.targets
    targets = targets.model_copy(update={"preset_file": name(targets.preset_file)})
    copier = run.copier.model_copy(update={"train_folder": name(run.copier.train_folder)})
    return run.model_copy(
        update={
            "data": data.model_copy(update=folders),
            "copier": copier,
            "model": model,
            "sample": sample,
            "start": start,
            "adapter": run.adapter.model_copy(update={"targets": targets}),
        }
    )


def without_folders(subset: Subset) -> Subset:
    """Returns a folder's options with folders and files cut to their own names."""
    return subset.model_copy(update={key: _name(getattr(subset, key)) for key in _OF_A_FOLDER})


def _name(path: str) -> str:
    return Path(path).name if path else ""
