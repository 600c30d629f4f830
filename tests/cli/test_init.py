"""``renma init``: a folder that works, and nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renma import assets
from renma.cli import main
from renma.config import load_run

ABOUT = {
    "trigger": "aa12",
    "class_prompt": "person, white background",
    "preview_prompts": ["aa12, smile", "person, smile"],
    "attributes": {"hair": "braid", "hair_colour": "pink hair"},
    "licence": "CC0",
}


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the shipped sample sets, read-only as an installed package may be."""
    folder = tmp_path / "installed" / "character"
    for name in ("train/1_aa12/a.png", "train/1_aa12/a.txt", "reg/1_person/b.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        path.chmod(0o444)
    (folder / "about.json").write_text(json.dumps(ABOUT))
    monkeypatch.setattr(assets, "SAMPLES", folder.parent)
    return folder


def test_sample_is_copied_and_its_run_filled_in(samples: Path, tmp_path: Path, capfd):
    made = tmp_path / "mine"
    assert main(["init", str(made), "--sample", "character"]) == 0
    for path in samples.rglob("*.*"):
        copy = made / path.relative_to(samples)
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_mode & 0o200, "the user can change what is his"
    run = load_run(made / "run.toml")
    assert run.model.path == "mame"
    assert (run.data.train_folder, run.data.reg_folder) == ("train", "reg")
    assert run.judge.attributes == ABOUT["attributes"]
    assert run.judge.trigger_prompts == ("aa12, person, white background",)
    assert run.judge.class_prompts == ("person, white background",)
    assert run.sample.prompts == tuple(ABOUT["preview_prompts"])
    assert run.output.trigger == "aa12"
    assert f"renma train {made / 'run.toml'}" in capfd.readouterr().out


def test_own_folder_teaches_and_awaits_pictures(tmp_path: Path, capfd):
    made = tmp_path / "mine"
    assert main(["init", str(made)]) == 0
    assert (made / "train" / "1_yourname").is_dir()
    assert (made / "reg").is_dir()
    run = load_run(made / "run.toml")
    assert run.data.train_folder == "train"
    assert run.data.reg_folder == "", (
        "an empty folder of regularisation pictures would be a mistake"
    )
    text = (made / "run.toml").read_text(encoding="utf-8")
    assert "train/1_yourname" in text
    assert str(tmp_path) not in text, "the file can be handed on"
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("sample", [[], ["--sample", "character"]])
def test_folder_with_something_in_it_is_left_alone(samples, tmp_path: Path, capfd, sample):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("mine")
    assert main(["init", str(tmp_path / "mine"), *sample]) == 2
    assert "not empty" in capfd.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["precious.txt"]


def test_empty_folder_is_used_and_a_file_refused(tmp_path: Path, capfd):
    (tmp_path / "empty").mkdir()
    assert main(["init", str(tmp_path / "empty")]) == 0
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file")]) == 2
    assert "is a file" in capfd.readouterr().err


def test_damaged_set_is_named_with_the_key(samples: Path, tmp_path: Path, capfd):
    (samples / "about.json").write_text('{"trigger": "aa12", "class_prompt": "x"}')
    assert main(["init", str(tmp_path / "mine"), "--sample", "character"]) == 2
    err = capfd.readouterr().err
    assert "about.json: 'preview_prompts'" in err
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize("sample", ["character", "style"])
def test_shipped_sets_make_a_folder_that_checks(tmp_path: Path, capfd, sample):
    made = tmp_path / "mine"
    assert main(["init", str(made), "--sample", sample]) == 0
    assert main(["check", str(made / "run.toml")]) == 0
    out, err = capfd.readouterr()
    assert "pictures" in out
    assert err == ""
