"""Every recipe passes `renma check` as it lies in the repository, and trains two steps (E11, E12).

They run on mame. What a recipe promises at full length is measured in benchmarks/.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest

from renma.cli import main
from renma.config import load_run
from renma.core.events import read_events
from renma.train.plan import prepare

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.toml"))
SHORT = (
    "train.max_steps=2", "train.save_every_steps=0", "train.validate_every_epochs=0",
    "train.precision=fp32", "train.threads=1", "train.tensorboard=false",
    "sample.every_steps=0", "sample.every_epochs=0", "sample.at_first=false",
    "stop.every_checkpoints=0",
)  # fmt: skip
OF_METHOD = {
    "copier": ("copier.steps=2", "copier.prompts=['a red car']", "sample.steps=2"),
    "relora": ("relora.every_steps=1",),
    "erase": ("erase.steps=4", "erase.points=1"),
}
"""What makes the way of a method short too."""
DONE = {"relora": {"merged"}, "relora-nf4": {"merged"}, "dylora": {"ranks"}, "copier": {"copied"}}
"""Events that only the method itself tells."""
LEFT = {
    "relora": "merged/aa12/model_index.json", "copier": "copier/lora/copier.safetensors",
}  # fmt: skip
"""What it leaves beside the LoRA."""
LARGEST = 300 * 1024
"""Bytes of a file beside the recipes."""


def shortened(name: str) -> list[str]:
    """Returns the options that make a recipe train two steps."""
    raw = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    values = [
        *SHORT,
        *(value for section in raw if section in OF_METHOD for value in OF_METHOD[section]),
    ]
    return [word for value in values for word in ("--set", value)]


def test_there_are_recipes():
    assert {"copier", "difference", "quality-up"} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_checked_without_a_warning_of_its_own(name: str, capsys: pytest.CaptureFixture[str]):
    """`renma check` finds nothing that is likely a mistake."""
    assert main(["check", str(FOLDER / f"{name}.toml")]) == 0
    told = capsys.readouterr().out
    assert "warning:" not in told, told


@pytest.mark.parametrize("name", RECIPES)
def test_trained_for_two_steps(name: str, tmp_path: Path):
    """All of it: model, pictures, method, and a LoRA at the end."""
    words = ["train", str(FOLDER / f"{name}.toml"), "--out", str(tmp_path / "out")]
    assert main([*words, *shortened(name)]) == 0
    rows = list(read_events(tmp_path / "out" / "events.jsonl"))
    assert [row["step"] for row in rows if row["kind"] == "step"] == [1, 2]
    kinds = [row["kind"] for row in rows]
    assert "finished" in kinds
    assert DONE.get(name, set()) <= set(kinds)
    assert (tmp_path / "out" / LEFT.get(name, "run.toml")).exists()
    run = load_run(tmp_path / "out" / "run.toml")
    assert (tmp_path / "out" / "lora" / f"{run.output.name}.safetensors").exists()


@pytest.mark.parametrize("name", RECIPES)
def test_says_what_it_is_for(name: str):
    """Its comments are its documentation: what happens, and what changes for one's own model."""
    text = (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    head = text.partition("\n[")[0]
    comments = [line for line in head.splitlines() if line.startswith("#")]
    assert len(comments) >= 8


def test_works_from_another_folder(tmp_path: Path):
    """Paths start at the recipe: a copy of the repository's folders is enough, wherever it lies."""
    shutil.copytree(FOLDER, tmp_path / "recipes", ignore=shutil.ignore_patterns("runs"))
    shutil.copytree(
        ROOT / "src" / "renma" / "assets" / "samples", tmp_path / "src/renma/assets/samples"
    )
    with_pictures = [name for name in RECIPES if not name.startswith("leco")]
    for name in with_pictures:
        recipe = tmp_path / "recipes" / f"{name}.toml"
        places = [s.image_dir for s in subsets(recipe)]
        assert places, name
        assert all(Path(place).is_relative_to(tmp_path) for place in places)


def subsets(recipe: Path):
    prepared = prepare(load_run(recipe), recipe.parent)
    return [s for scanned in prepared.scan.sets for s in scanned.dataset.subsets]


def test_what_lies_beside_them_is_small():
    files = [p for p in FOLDER.rglob("*") if p.is_file() and "runs" not in p.parts]
    assert [p.name for p in files if p.stat().st_size > LARGEST] == []
    assert sum(p.stat().st_size for p in files) < 1024 * 1024
