"""Mistakes that show only in the plan name the line of their option (F30)."""

from __future__ import annotations

from pathlib import Path

import pytest

from renma.core.errors import UserError
from renma.train.pointing import pointed

TOML = """\
# a run
[data]
train_folder = "train" # image_dir = "x"
[[data.datasets]]
resolution = 8
  [[data.datasets.subsets]]
  image_dir = "a"
[adapter.blocks]
mid_rates = 0.5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(TOML)
    return path


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("data.train_folder = /a/b", 3),
        ("data.resolution", 5),
        ("image_dir = /a/b", 7),
        ("adapter.blocks", 8),
        ("adapter.blocks.mid_rates", 9),
        ("adapter.blocks.ranks", 8),
    ],
)
def test_line_of_the_option(file: Path, where: str, line: int):
    found = pointed(UserError("is wrong", where=where, remedy="Mend it."), file)
    assert found.line() == f"{file}:{line}: {where}: is wrong. Mend it."


@pytest.mark.parametrize("where", ["train.max_steps", "a picture.png", Path("data.png"), None])
def test_what_is_not_written_there_stays_as_it_is(file: Path, where):
    error = UserError("is wrong", where=where, remedy="Mend it.")
    assert pointed(error, file).line() == error.line()


def test_an_option_named_in_the_sentence(file: Path):
    found = pointed(UserError("both data.train_folder and another are given"), file)
    assert found.line().startswith(f"{file}:3: both data.train_folder and")


def test_set_wins_over_the_file(file: Path):
    error = UserError("is wrong", where="data.resolution")
    for assignment in ("data.resolution=3", "data={resolution=3}"):
        assert pointed(error, file, (assignment,)).line().startswith("--set data")
    assert pointed(error, file, ("data.res=3",)).line().startswith(str(file))


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("data.train_folder = /a/b", "--set data.train_folder=/a/b: is wrong."),
        ("data.train_folder", "--set data.train_folder: is wrong."),
    ],
)
def test_an_option_that_set_names_is_not_named_twice(file: Path, where: str, line: str):
    error = UserError("is wrong", where=where, remedy="Mend it.")
    assert pointed(error, file, ("data.train_folder=b",)).line() == f"{line} Mend it."


def test_the_same_key_twice_is_nobodys(tmp_path: Path):
    path = tmp_path / "settings.toml"
    path.write_text(
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir='a'\n[[datasets.subsets]]\nimage_dir='b'\n"
    )
    error = UserError("there is no such folder", where="image_dir = /a")
    assert pointed(error, path).where == "image_dir = /a"


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("trian", "Did you mean 'train'?"),
        ("E:\train", "in single quotes"),
        ("zzz", "There is no 'zzz' in"),
    ],
)
def test_a_path_that_leads_nowhere(file: Path, name: str, remedy: str):
    (file.parent / "train").mkdir()
    error = UserError("there is no such folder", where=f"data.train_folder = {file.parent / name}")
    assert remedy in pointed(error, file).remedy
