"""A LoRA file tells nobody how its maker's disk is laid out."""

from __future__ import annotations

import pytest

from renma.config import Run, dump
from renma.train.places import without_places

HOME = "/home/someone/private"
PLACES = {
    "model": {"path": f"{HOME}/base.safetensors"},
    "data": {"train_folder": f"{HOME}/train", "reg_folder": f"{HOME}/reg"},
    "sample": {"prompts_file": f"{HOME}/prompts.toml"},
    "start": {
        "weights": f"{HOME}/begun.safetensors",
        "base_weights": (f"{HOME}/first.safetensors", f"{HOME}/second.safetensors"),
    },
    "adapter": {"algo": "lora", "targets": {"preset_file": f"{HOME}/preset.toml"}},
}
NAMES = {
    "model": ["base.safetensors"],
    "data": ["train", "reg"],
    "sample": ["prompts.toml"],
    "start": ["begun.safetensors", "first.safetensors", "second.safetensors"],
    "adapter": ["preset.toml"],
}


@pytest.mark.parametrize("section", PLACES)
def test_paths_of_a_run_are_cut_to_names(section):
    run = Run.model_validate({section: PLACES[section]})
    assert HOME in dump(run), "otherwise this test could not fail"
    text = dump(without_places(run))
    assert "someone" not in text
    assert all(f'"{name}"' in text for name in NAMES[section])


def test_folders_of_data_sets_are_cut_to_names():
    subsets = [{"image_dir": f"{HOME}/1_cat"}, {"image_dir": f"{HOME}/1_dog", "is_reg": True}]
    run = Run.model_validate({"data": {"datasets": [{"subsets": subsets}]}})
    assert HOME in dump(run)
    text = dump(without_places(run))
    assert "someone" not in text
    assert '"1_cat"' in text
    assert '"1_dog"' in text


def test_what_is_no_place_stays():
    run = Run.model_validate({"start": {"weights": "x.safetensors", "ranks_from_file": True}})
    assert without_places(run) == run
    assert without_places(Run()) == Run()
