"""Rules about a copier's pairs find what they are for, and nothing in good pairs (E11, G2)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from renma.config import load_run
from renma.core.errors import UserError
from renma.train.plan import Prepared, prepare
from renma.train.rules import copier
from testbed.pairs import FOLDER, made

GOOD = ("copier.steps=400", "train.max_steps=60")
BEFORE, AFTER = f"before/{FOLDER}", f"after/{FOLDER}"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A project with two good pairs."""
    return made(tmp_path)


def checked(project: Path, *values: str) -> Prepared:
    return prepare(load_run(project / "run.toml", [*GOOD, *values]), project)


def found(project: Path, *values: str) -> set[str]:
    ids = {rule.id for rule in copier.RULES}
    return {f.rule for f in checked(project, *values).plan.findings} & ids


def nothing(project: Path) -> None:
    """Changes nothing: the options alone are odd."""


def other_words(project: Path) -> None:
    (project / BEFORE / "red.txt").write_text("face, frown")


def same_picture(project: Path) -> None:
    shutil.copy(project / BEFORE / "red.png", project / AFTER / "red.png")


def with_reg(project: Path) -> None:
    shutil.copytree(project / "before" / FOLDER, project / "reg" / "1_face")


CASES = {
    "pair-captions": (other_words, []),
    "pair-equal": (same_picture, []),
    "copier-regularised": (with_reg, ["data.reg_folder=reg"]),
    "copier-words": (nothing, ["train.text_encoder=true"]),
    "copier-short": (nothing, ["copier.steps=20"]),
}
OPTIONS = {
    "copier-idle": [
        "copier={steps=9}", "copier.least_likeness=0.1", "copier.when_unlike=stop",
        "adapter={algo='ia3'}\ncopier.rank=4",
    ],
    "copier-random": [
        "data.flip_aug=true", "data.color_aug=true", "data.random_crop=true",
        "data.rotate_degrees=5.0", "data.shuffle_caption=true", "data.caption_dropout_rate=0.1",
        "data.caption_tag_dropout_rate=0.1", "data.enable_wildcard=true",
        "data.caption_dropout_every_n_epochs=2",
    ],
}  # fmt: skip
REFUSED: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "unpaired": (lambda p: (p / AFTER / "red.png").unlink(), [], "without a twin after the change: 2_face/red"),
    "unpaired, the other way": (lambda p: (p / BEFORE / "tan.png").unlink(), [], "without a twin before the change: 2_face/tan"),
    "pair-sizes": (lambda p: resized(p / BEFORE / "red.png"), [], r"2_face/red \(96x64 and 64x64\)"),
    "two-methods": (nothing, ["relora.every_steps=10"], r"\[copier\] and \[relora\] in one run"),
}  # fmt: skip


def resized(path: Path) -> None:
    Image.open(path).resize((96, 64)).save(path)


def test_every_rule_has_a_case():
    tested = CASES.keys() | OPTIONS.keys() | {name.partition(",")[0] for name in REFUSED}
    assert tested == {rule.id for rule in copier.RULES}
    errors = {rule.id for rule in copier.RULES if rule.level == "error"}
    assert errors == {name.partition(",")[0] for name in REFUSED}
    for rule in copier.RULES:
        assert rule.about.endswith(".")
        assert rule.reason.endswith(".")


def test_good_pairs_are_not_called_odd(pairs: Path):
    assert found(pairs) == set()


@pytest.mark.parametrize("rule", CASES)
def test_found_where_it_is(pairs: Path, rule: str):
    change, values = CASES[rule]
    change(pairs)
    assert found(pairs, *values) == {rule}
    off = ("copier.train_folder=", "copier.steps=600", "copier.prompts=[]")
    assert rule not in found(pairs, *values, *off)


@pytest.mark.parametrize(
    ("rule", "values"), [(rule, values) for rule, rows in OPTIONS.items() for values in rows]
)
def test_options_without_effect_or_with_a_bad_one(pairs: Path, rule: str, values: str):
    said = [f for f in checked(pairs, *values.split("\n")).plan.findings if f.rule == rule]
    assert len(said) == 1
    assert said[0].where.rpartition(".")[2] in values
    assert said[0].remedy


@pytest.mark.parametrize("rule", REFUSED)
def test_refused(pairs: Path, rule: str):
    change, values, words = REFUSED[rule]
    change(pairs)
    with pytest.raises(UserError, match=words) as caught:
        checked(pairs, *values)
    assert caught.value.where in {"copier.train_folder", "data.train_folder"}
    assert caught.value.remedy


def test_held_out_pictures_have_twins_too(pairs: Path):
    """Their twins are trained in the first run; nothing is missing on either side."""
    assert found(pairs, "data.validation_split=0.5") == set()


def test_pictures_in_datasets_are_paired_by_the_name_of_their_folder(pairs: Path):
    written = f"data={{resolution=64, datasets=[{{subsets=[{{image_dir='{AFTER}'}}]}}]}}"
    assert found(pairs, written) == set()
    (pairs / BEFORE / "tan.png").unlink()
    with pytest.raises(UserError, match="without a twin before"):
        checked(pairs, written)
