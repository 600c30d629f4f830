"""What to write instead (F30): lists, keys one level off, short names, another algorithm's keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from renma.config import load_run
from renma.config.mistakes import known_keys
from renma.config.run import Run
from renma.core.errors import UserError


def refused(folder: Path, text: str, *values: str) -> UserError:
    (folder / "run.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_run(folder / "run.toml", values)
    return caught.value


@pytest.mark.parametrize(
    ("section", "line", "advice"),
    [
        ("data", 'resolution = "512,512"', "Write it as a list, without quotes: [512, 512]."),
        ("data", 'resolution = "512x768"', "Write it as a list, without quotes: [512, 768]."),
        ("data", 'resolution = "[512, 512]"', "Write it as a list, without quotes: [512, 512]."),
        ("data", 'resolution = "512"', "Write it without quotes: 512."),
        ("data", 'resolution = "large"', "Write a list in brackets: [a, b]."),
        ("data", 'face_crop_aug_range = "2.0, 4"', "without quotes: [2.0, 4]."),
        ("data", 'background = "255 255 255"', "without quotes: [255, 255, 255]."),
        ("optimizer", 'betas = "0.9, 0.99"', "without quotes: [0.9, 0.99]."),
        ("judge", "weights = 0.5", "Put it into brackets: [0.5]."),
        ("judge", 'weights = "0.5"', "without quotes: [0.5]."),
        ("sample", 'prompts = "aa12, person"', 'Put it into brackets: ["aa12, person"].'),
        ("sample", 'prompts = "1, 2"', 'Put it into brackets: ["1, 2"].'),
        ("start", 'base_weights = "x.safetensors"', 'brackets: ["x.safetensors"].'),
    ],
)
def test_a_list_that_is_none_is_answered_with_one_that_is(tmp_path: Path, section, line, advice):
    error = refused(tmp_path, f"[{section}]\n{line}\n")
    assert error.line().endswith(advice)
    if "[a, b]" not in advice:  # what is advised is what is taken
        value = advice.rpartition(": ")[2].removesuffix(".")
        key = line.partition(" = ")[0]
        (tmp_path / "run.toml").write_text(f"[{section}]\n{key} = {value}\n")
        load_run(tmp_path / "run.toml")


def test_the_same_advice_for_set(tmp_path: Path):
    error = refused(tmp_path, "", "data.resolution=512,512")
    assert error.where == "--set data.resolution=512,512"
    assert error.remedy == "Write it as a list, without quotes: [512, 512]."


SUBSET = "[[data.datasets]]\n[[data.datasets.subsets]]\n"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('[data]\nmask_dir = "m"', "2: unknown key 'data.mask_dir'. It belongs into [[data.datasets.subsets]]."),
        ('[data]\nmetadata_file = "m.json"', "It belongs into [[data.datasets.subsets]]."),
        ('[data]\nimage_dir = "m"', "It belongs into [[data.datasets.subsets]]."),
        ("[data]\nis_reg = true", "It belongs into [[data.datasets.subsets]]."),
        ('[[data.datasets]]\nimage_dir = "m"', "It belongs into [[data.datasets.subsets]]."),
        (f"{SUBSET}batch_size = 2", "It belongs into [[data.datasets]]."),
        (f'{SUBSET}train_folder = "a"', "It belongs into [data]."),
        ("[adapter]\nmid_rates = 0.5", "It belongs into [adapter.blocks]."),
        ('[adapter]\npreset = "conv"', "It belongs into [adapter.targets]."),
        ("[adapter.targets]\nrank = 3", "It belongs into [adapter]."),
        ('[model]\npreset = "sd15-8gb"', "It belongs to the top of the file, above every [section]."),
        ("[model]\nbatch_size = 2", "It belongs into [data]."),
        ("[train]\nlearning_rate = 1e-4", "It belongs into [optimizer]."),
        ("[optimizer]\nlr = 1e-4", "2: unknown key 'optimizer.lr'. It is called optimizer.learning_rate here."),
        ("lr = 1e-4", "1: unknown key 'lr'. It is called optimizer.learning_rate here."),
        ("[train]\nlr = 1e-4", "It is called optimizer.learning_rate here."),
        ("[adapter]\ndim = 8", "It is called adapter.rank here."),
        (f"{SUBSET}repeats = 8", "It is called data.datasets.subsets.num_repeats here."),
        ("[adapter]\nnetwork_dim = 8", "It is called adapter.rank here."),
        ("[train]\nmax_step = 8", "Did you mean 'max_steps'?"),
    ],
)  # fmt: skip
def test_a_key_one_level_off_is_told_where_it_belongs(tmp_path: Path, text: str, answer: str):
    assert refused(tmp_path, text).line().endswith(answer)


@pytest.mark.parametrize(
    ("text", "values", "answer"),
    [
        ("[adapter]\nrank = 4\nalpha = 2\ndropout = 0.1", ["adapter.algo=ia3"], "2: 'adapter.rank' means nothing to 'ia3'. Remove it, and alpha, dropout too."),
        ("[schedule]\nwarmup_steps = 5", [], "2: 'schedule.warmup_steps' means nothing to 'constant'. Remove it."),
        ('[optimizer]\nname = "prodigy"\nmomentum = 0.9\nlearning_rate = 1.0', [], "3: 'optimizer.momentum' means nothing to 'prodigy'. Remove it."),
    ],
)  # fmt: skip
def test_only_what_has_to_change_is_named(tmp_path: Path, text, values, answer):
    assert refused(tmp_path, text, *values).line().endswith(answer)


def test_every_section_knows_its_keys():
    assert {"adapter", "data", "preset"} <= set(known_keys(Run, []))
    assert "mask_dir" in known_keys(Run, ["data", "datasets", 3, "subsets"])
    assert known_keys(Run, ["nothing"]) == []


def test_a_file_that_may_not_be_opened_is_named_once(tmp_path: Path, monkeypatch):
    """The system's own message ends in the name, which stands in front already."""
    path = tmp_path / "run.toml"
    path.write_text("")

    def closed(self: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(UserError) as caught:
        load_run(path)
    assert caught.value.line() == f"{path}: cannot be read: Permission denied."


def test_a_file_in_another_encoding_says_where(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_bytes(b'[output]\nname = "\xe9"')
    with pytest.raises(UserError, match=r"is no UTF-8 text \(.* at byte 17\)\. Save it as UTF-8"):
        load_run(path)
