"""`renma options NAME`: an option is found by what people call it (G2)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from renma.cli import main
from renma.cli.option_search import search
from renma.config import views


@pytest.mark.parametrize(
    ("word", "paths"),
    [
        ("max_steps", {"train.max_steps"}),
        ("train.max_steps", {"train.max_steps"}),
        ("--max-steps", {"train.max_steps"}),
        ("network_dim", {"adapter.rank"}),
        ("unet_lr", {"optimizer.unet_lr"}),
        ("blocks.ranks", {"adapter.blocks.ranks"}),
        ("data.datasets.subsets.image_dir", {"data.datasets.subsets.image_dir"}),
        ("adapter.algo", {"adapter.algo"}),
        ("optimizer_type", {"optimizer.name", "optimizer.class_path"}),
        ("name", {"output.name", "optimizer.name", "schedule.name"}),
        # no option of that name: names that it is part of
        ("grad_norm", {"train.max_grad_norm"}),
        ("keep_t", {"data.keep_tokens", "data.keep_tokens_separator"}),
        ("nothing_of_the_kind", set()),
    ],
)
def test_what_a_word_finds(word: str, paths: set[str]):
    assert {found.path for found in search(word)} == paths


def test_every_option_is_found_by_its_path_and_by_kohyas_name():
    """Nothing is left out of the search: the chapters of the manual are the witness."""
    for section in views.sections():
        for chapter in views.chapters(section):
            for option in chapter.options:
                path = f"{chapter.table}.{option.key}"
                assert path in {found.path for found in search(path)}
    for kohya, ours in views.from_kohya().items():
        assert {found.path for found in search(kohya)} >= set(ours)


def test_just_that_option_is_shown(capfd):
    assert main(["options", "train.seed"]) == 0
    seed = next(o for c in views.chapters("train") for o in c.options if o.key == "seed")
    assert capfd.readouterr().out.splitlines() == ["[train]", *views.terminal_option(seed)]


def test_choices_that_differ_are_told_apart(capfd):
    """Learning rates of optimizers: each variant is headed by those that have it, none twice."""
    assert main(["options", "learning_rate"]) == 0
    heads = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[")]
    assert heads.count("[optimizer]  every other name") == 1
    assert any(head.endswith('"lion", "lion8bit", "pagedlion8bit", "tiger"') for head in heads)
    assert len(set(heads)) == len(heads)


def test_a_part_of_very_many_names_gives_names_alone(capfd):
    assert main(["options", "e"]) == 0
    first, *rest = capfd.readouterr().out.splitlines()
    assert first == f"'e' is part of {len(rest)} options:"
    assert "  train.max_steps" in rest


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("adaptor", "Did you mean 'adapter'?"),
        ("max_stepps", "Did you mean 'max_steps'?"),
        ("network_dimm", "Did you mean 'network_dim'?"),
        ("qqqq", "Sections: model, data, adapter"),
    ],
)
def test_an_unknown_word_is_one_line_and_exit_code_2(word: str, said: str, capfd):
    assert main(["options", word]) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err


def test_help_of_the_command_is_still_help(capfd):
    assert main(["options", "--help"]) == 0
    assert "Usage: renma options" in capfd.readouterr().out


def test_no_torch_is_loaded_to_look_an_option_up():
    code = (
        "import sys; from renma.cli import main; "
        "rc = main(['options', 'network_dim']); print(rc, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "0 False"
