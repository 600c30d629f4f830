"""A LoRA file tells nobody how its maker's disk is laid out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from renma.config import Run, dump
from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent
from renma.formats import safetensors
from renma.train import task
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


def metadata(project: Path, *values: str) -> dict[str, str]:
    """Returns what the file of a run of one step says."""
    given = ("train.max_steps=1", "train.text_encoder=false", *values)
    out = project / "out"
    task.run(TrainOptions(run=project / "run.toml", set=given, out=out), Silent())
    return dict(safetensors.read_header(out / "lora" / "lora.safetensors")[1])


@pytest.mark.parametrize("kind", ["folders", "data sets", "metadata file"])
def test_a_finished_file_holds_no_path(tmp_path: Path, kind: str):
    """Whatever the pictures come from; row of `ss_datasets` in kohya's words."""
    folder = tmp_path / "someone" / "1_cat"
    (folder / "masks").mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (64, 64), "red").save(folder / f"{name}.png")
        Image.new("L", (64, 64), 128).save(folder / "masks" / f"{name}.png")
        (folder / f"{name}.txt").write_text("cat")
    (tmp_path / "meta.json").write_text('{"a": {"tags": "cat"}, "b": {"tags": "dog"}}')
    (tmp_path / "prompts.txt").write_text("a cat --w 64 --h 64 --s 1")
    data = f"train_folder = '{folder.parent}'"
    if kind != "folders":
        more = f"metadata_file = '{tmp_path / 'meta.json'}'" if kind == "metadata file" else ""
        data = (
            "[[data.datasets]]\n[[data.datasets.subsets]]\n"
            f"image_dir = '{folder}'\nmask_dir = '{folder / 'masks'}'\n{more}"
        )
    (tmp_path / "run.toml").write_text(
        "[train]\nthreads = 1\nprecision = 'fp32'\ntensorboard = false\n"
        f"[sample]\nprompts_file = '{tmp_path / 'prompts.txt'}'\n[data]\nresolution = 64\n{data}"
    )
    found = metadata(tmp_path)
    assert not [key for key, value in found.items() if str(tmp_path) in value]
    assert not [key for key, value in found.items() if str(Path.cwd()) in value]
    (row,) = json.loads(found["ss_datasets"])
    assert row["is_dreambooth"] == (kind != "metadata file")
    (subset,) = row["subsets"]
    assert subset["image_dir"] == "1_cat"
    assert subset["img_count"] == 2
    assert subset["mask_dir"] == ("" if kind == "folders" else "masks")
    assert subset["metadata_file"] == ("meta.json" if kind == "metadata file" else "")
