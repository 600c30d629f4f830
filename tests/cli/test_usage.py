"""A command line that is nearly right is told the form that was meant (G2)."""

from __future__ import annotations

import shlex

import pytest

from renma.cli import main
from renma.config import Run, validate
from renma.config.load import set_values

FORMS = [
    ("train run.toml --set adapter.rank = 8", "--set adapter.rank=8"),
    ("train run.toml --set adapter.rank =8", "--set adapter.rank=8"),
    ("train run.toml --set adapter.rank= 8", "--set adapter.rank=8"),
    ("check run.toml --set adapter.rank 8", "--set adapter.rank=8"),
    ("train run.toml --set train.seed=1 --set output.name = 'a b'", "--set 'output.name=a b'"),
    ("file edit a.safetensors --set title = x", "--set title=x"),
    ("train run.toml --max_steps 5", "--set train.max_steps=5"),
    ("train run.toml --max-steps=5", "--set train.max_steps=5"),
    ("check run.toml --train.max_steps 5", "--set train.max_steps=5"),
    ("plan memory run.toml --network_dim 8", "--set adapter.rank=8"),
    ("train run.toml --unet_lr=1e-5", "--set optimizer.unet_lr=1e-5"),
    ("train run.toml --shuffle_caption --out x", "--set data.shuffle_caption=true"),
    ("train run.toml --lr 1e-3", "--set optimizer.learning_rate=1e-3"),
    ("check run.toml --dim=8", "--set adapter.rank=8"),
    ("check run.toml --repeats 3", "--set data.num_repeats=3"),
    ("prepare regularize x --clip_skip 2", "--set model.clip_skip=2"),
    ("sample mame --clip_skip 2 --prompt smile --out x", "--set clip_skip=2"),
    ("sample mame --prompt smile --out x --model.clip-skip=2", "--set clip_skip=2"),
]


@pytest.mark.parametrize(("given", "meant"), FORMS)
def test_the_right_form_is_said_and_is_one(given: str, meant: str, capfd):
    """What is advised is understood: the assignment is one word with its key and value."""
    assert main(shlex.split(given)) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert err.rstrip().endswith(f"{meant}.")
    flag, assignment = shlex.split(meant)
    assert flag == "--set"
    if given.startswith("file"):
        return
    key = assignment if "." in assignment.partition("=")[0] else f"model.{assignment}"
    run = {"model": {"path": "mame"}, "data": {"train_folder": "train"}}
    validate(Run, set_values(run, [key]), "--set", [key])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("train run.toml --nonsense 3", "`renma train --help` shows what there is."),
        ("train run.toml more", "There is no place for 'more'. `renma train --help`"),
        ("train run.toml more --set adapter.rank=8", "There is no place for 'more'. `renma train"),
        ("train run.toml --set adapter.rank=8 more", "There is no place for 'more'. `renma train"),
        ("train run.toml --sett a=b", "Did you mean --set?"),
        # a word that could be any of many options is no hint
        ("train run.toml --rate 3", "`renma train --help` shows what there is."),
        # commands that read no run.toml have no options of one
        ("report run --max_steps 5", "`renma report --help` shows what there is."),
        ("init x --rank 3", "`renma init --help` shows what there is."),
        # its --set writes metadata
        (
            "file edit x.safetensors --rank 3",
            "Unknown option: --rank. `renma file edit --help` shows what there is.",
        ),
        # its --set knows [model] alone, and the model is its first word
        (
            "sample mame --out x --rank 3",
            "Unknown option: --rank.",
        ),
        (
            "sample --path x.safetensors --out x",
            "Unknown option: --path.",
        ),
    ],
)
def test_no_form_is_invented(given: str, said: str, capfd):
    assert main(shlex.split(given)) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert "Unused" not in err
    assert "an option of" not in err
