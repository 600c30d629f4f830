"""`renma init --recipe`: what an installation without the repository makes of a recipe (E11, E12)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import get_args

import pytest

from renma import assets
from renma.cli import main
from renma.config import load_run
from renma.config.run_tasks import RecipeName
from renma.use import recipe_folder

ROOT = Path(__file__).parents[2]
NAMES = get_args(RecipeName)


def test_the_choices_are_the_files():
    assert sorted(NAMES) == sorted(path.stem for path in (ROOT / "recipes").glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_made_from_a_recipe_it_checks_and_needs_nothing_else(name: str, tmp_path: Path, capsys):
    made = tmp_path / "mine"
    assert main(["init", str(made), "--recipe", name]) == 0
    assert f"renma train {made / 'run.toml'}" in capsys.readouterr().out
    assert main(["check", str(made / "run.toml")]) == 0
    told = capsys.readouterr().out
    assert "warning:" not in told, told
    text = (made / "run.toml").read_text(encoding="utf-8")
    assert text.startswith(f"# From the recipe {name}.")
    assert "renma check run.toml" in text
    assert "../" not in text
    # the same run: only where things lie is said differently
    ours, theirs = (
        load_run(path).model_dump(exclude={"data": {"train_folder", "reg_folder"}})
        for path in (made / "run.toml", ROOT / f"recipes/{name}.toml")
    )
    assert ours == theirs
    places = [path for path in made.rglob("*") if path.is_file()]
    assert all(path.stat().st_mode & 0o200 for path in places), "the user can change what is his"


def test_an_installation_has_them_where_this_file_says():
    """The wheel holds the folder, and an sdist what the wheel is made of."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    assert build["wheel"]["force-include"] == {"recipes": "renma/assets/recipes"}
    assert "recipes" in build["sdist"]["include"]
    assert (ROOT / "src" / build["wheel"]["force-include"]["recipes"]).parent == assets.FOLDER
    assert assets.RECIPES == ROOT / "recipes", "a checkout has no copy"


def test_packed_they_are_read_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the wheel there is no source tree beside the recipes; the sample pictures lie elsewhere."""
    packed = tmp_path / "site-packages" / "renma" / "assets" / "recipes"
    packed.mkdir(parents=True)
    for path in (ROOT / "recipes").glob("*.toml"):
        (packed / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(assets, "RECIPES", packed)
    assert main(["init", str(tmp_path / "mine"), "--recipe", "dylora"]) == 0
    assert len(list((tmp_path / "mine/train").rglob("*.png"))) == 14
    assert main(["check", str(tmp_path / "mine/run.toml")]) == 0


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    made = tmp_path / "mine"
    assert main(["init", str(made), "--recipe", "reloraa"]) == 2
    assert 'Did you mean "relora"?' in capsys.readouterr().err
    assert main(["init", str(made), "--recipe", "leco", "--sample", "style"]) == 2
    assert "brings its own pictures" in capsys.readouterr().err
    assert not made.exists()
    made.mkdir()
    (made / "precious.txt").write_text("mine")
    assert main(["init", str(made), "--recipe", "leco"]) == 2
    assert [path.name for path in made.iterdir()] == ["precious.txt"]


def test_a_damaged_installation_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    (tmp_path / "leco-file.toml").write_bytes((ROOT / "recipes/leco-file.toml").read_bytes())
    monkeypatch.setattr(assets, "RECIPES", tmp_path)
    assert main(["init", str(tmp_path / "mine"), "--recipe", "leco-file"]) == 2
    assert "leco-prompts.yaml: is missing. Install renma again." in capsys.readouterr().err
    assert recipe_folder.names() == ["leco-file"]
