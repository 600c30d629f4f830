"""Mistakes of a command of sd-scripts are said in its own names: what, where, remedy (E1, G2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from renma.compat import sdxl_train_network, train_network
from renma.compat.options import options

BASE = [
    "--pretrained_model_name_or_path=mame", "--train_data_dir=train", "--resolution=64",
    "--network_module=networks.lora", "--network_dim=2", "--learning_rate=1e-3",
    "--output_dir=out", "--caption_extension=.txt", "--max_train_steps=1",
]  # fmt: skip
SETTINGS = "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = 'zzz'\n"

MISTAKES = [
    (
        "--pretrained_model_name_or_path=no.safetensors",
        "there is no such file. Give a .safetensors",
    ),
    ("--pretrained_model_name_or_path=runwayml/sd-v1-5", "there is no such folder or file. Give a"),
    ("--pretrained_model_name_or_path=runs", "holds no U-Net."),
    ("--vae=no.pt", "there is no such file. Paths start at {home}."),
    ("--network_weights=no.safetensors", "there is no such file. Paths start at {home}."),
    ("--base_weights=no.safetensors", "there is no such file. Paths start at {home}."),
    ("--train_data_dir=no", "there is no such folder. Paths start at {home}."),
    ("--reg_data_dir=no", "there is no such folder. Paths start at {home}."),
    ("--in_json=no.json", "there is no such file. Paths start at {home}."),
    ("--sample_prompts=no.txt", "cannot be read: No such file or directory."),
    ("--dataset_config=no.toml", "there is no such file. Paths start at {home}."),
    ("--dataset_config=wrong.toml", "image_dir = {home}/zzz: there is no such folder."),
    ("--config_file=no", "there is no such file. Paths start at {home}."),
    ("--network_dim=0", "input should be greater than or equal to 1."),
    ("--resolution=0", "sides must be multiples of 8."),
    ("--resume=no", "there is no such folder. Give the folder NAME.renma"),
    ("--resume=prompts.txt", "is a file, not a folder. Give the folder NAME.renma"),
    ("--resume=train", "holds no run of renma. Give the folder NAME.renma"),
    ("--resume=theirs", "is a state of sd-scripts, which cannot be read. Give the folder NAME"),
    ("--resume=runs", "is no run's folder, but holds one. Did you mean runs/last.renma?"),
]


@pytest.fixture
def place(home: Path) -> Path:
    """The working folder, with a state of sd-scripts, a run of ours and a wrong data set file."""
    (home / "wrong.toml").write_text(SETTINGS)
    (home / "theirs").mkdir()
    (home / "theirs" / "optimizer.bin").touch()
    run = home / "runs" / "last.renma"
    run.mkdir(parents=True)
    (run / "run.toml").touch()
    (run / "events.jsonl").write_text('{"time": 1, "kind": "started"}\n')
    return home


@pytest.mark.parametrize(("word", "said"), MISTAKES, ids=[word for word, _ in MISTAKES])
def test_where_is_the_option_as_it_was_given(place: Path, capsys, word: str, said: str):
    name = word.partition("=")[0]
    words = [each for each in BASE if not each.startswith(f"{name}=")]
    assert train_network.main([*words, word]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"renma: {word}: {said.format(home=place)}")
    assert err.count("\n") == 1
    # named once, by no name of ours, and no scratch folder
    assert "run.toml" not in err
    assert err.count(word) == 1
    assert name.removeprefix("--") in options()


@pytest.mark.parametrize(
    ("main", "words", "script"),
    [
        (train_network.main, ["--v2"], "train_network with --v2"),
        (sdxl_train_network.main, [], "sdxl_train_network"),
    ],
)
def test_the_script_that_a_model_is_for_is_named(place: Path, capsys, main, words, script):
    assert main([*BASE, *words]) == 2
    err = capsys.readouterr().err
    assert f"=mame: is a model of SD 1.x, which {script} does not train." in err
    assert "SD 1.x: train_network without --v2;" in err


def test_remedies_name_their_options(place: Path, capsys):
    """The same rule that tells `renma train` about train.unet tells it in kohya's names here."""
    words = [*BASE, "--network_train_unet_only", "--unet_lr=0"]
    assert train_network.main(words) == 2
    err = capsys.readouterr().err
    assert "nothing would be trained" in err
    assert "--learning_rate" in err
    assert "optimizer.learning_rate" not in err
