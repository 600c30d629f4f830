"""A run keeps every option when its places are written out (G5)."""

from __future__ import annotations

from pathlib import Path

from renma.config import load_run
from renma.config.data import DataConfig, DatasetOptions, SubsetOptions
from renma.data import folder as folders
from renma.train.folder import with_places

OTHER = {
    "bad_pictures": "skip", "empty_captions": "allow", "max_pixels": 999_999,
    "vae_batch_size": 7, "latents_in_memory": 3, "without_effect": ["one"],
}  # fmt: skip


def test_every_option_of_the_run_survives(project: Path):
    """Those of [data] that no data set or folder has; the others go to their folders."""
    levels = {*SubsetOptions.model_fields, *DatasetOptions.model_fields}
    own = set(DataConfig.model_fields) - levels - {"train_folder", "reg_folder", "datasets"}
    assert own == set(OTHER), "give a new option another value here"
    values = [f"data.{name}={value!r}" for name, value in OTHER.items()]
    run = load_run(project / "run.toml", values)
    complete = with_places(run, project, folders.expand(run.data, project))
    for name, value in OTHER.items():
        expected = tuple(value) if isinstance(value, list) else value
        assert getattr(complete.data, name) == expected, name
