"""The README's commands and TOML are real: they run, or at least mean what they say."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from renma.cli.app import main
from renma.config import Run, read_toml, validate
from renma.config.presets import laid_under

ROOT = Path(__file__).parents[2]
READMES = [ROOT / "README.md", ROOT / "README.ja.md"]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def commands(path: Path) -> list[list[str]]:
    lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def quick(words: list[str]) -> list[str]:
    """Returns what makes a command fast here: two steps, no processes of its own."""
    if words[1] in ("train", "erase"):
        return ["--set", "train.max_steps=2", "--set", "train.tensorboard=false"]
    spread = words[1] == "prepare" or words[1:3] == ["caption", "tag"]
    return ["--executor", "serial"] if spread else []


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_commands_run_in_their_order(readme: Path, tmp_path: Path, monkeypatch, capsys):
    """Everything but `make` and `pip`, on three pictures and with two training steps."""
    monkeypatch.chdir(tmp_path)
    Path("my-pictures").mkdir()
    for index, colour in enumerate(("red", "blue", "green")):
        Image.new("RGB", (128, 128), colour).save(f"my-pictures/{index}.png")
        Path(f"my-pictures/{index}.txt").write_text(f"yourname, {colour}")
    shutil.copytree(ROOT / "src/renma/assets/mame", "models/my-sd15")
    # recipes are run where they lie: they name pictures of the source tree
    Path("recipes").symlink_to(ROOT / "recipes")
    Path("settings.toml").write_text(
        "[[datasets]]\nresolution = 128\n[[datasets.subsets]]\nimage_dir = 'my-pictures'\n"
        "caption_extension = '.txt'\n"
    )
    ran = []
    for words in commands(readme):
        if words[0] == "cp":
            copied = [file for pattern in words[1:-1] for file in Path().glob(pattern)]
            assert len(copied) == 6
            for file in copied:
                shutil.copy(file, words[-1])
        elif words[0] == "renma":  # the rest is make and the activation of .venv
            assert main([*words[1:], *quick(words)]) == 0, (words, capsys.readouterr().err)
            ran.append(words[1])
    assert {"prepare", "caption", "init", "check", "train", "grid", "judge", "report"} <= set(ran)
    assert (tmp_path / "mine/runs/001/report.html").exists()


def test_make_verbs_exist():
    verbs = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {w[1] for readme in READMES for w in commands(readme) if w[0] == "make"}
    assert named == {"demo", "test"}
    assert named <= verbs


def test_toml_is_a_run(tmp_path: Path):
    (text,) = blocks(READMES[0], "toml")
    path = tmp_path / "run.toml"
    path.write_text(text)
    run = validate(Run, laid_under(read_toml(path), path), path)
    assert run.optimizer.name == "adamw8bit"
    assert run.data.resolution == (512, 512)


def test_tree_names_the_folders_that_exist():
    tree = max(re.findall(r"```\n(src/renma/.*?)```", READMES[0].read_text(), re.DOTALL), key=len)
    named = set(re.findall(r"\b([a-z]+)/(?=\s)", tree))
    packages = {p.name for p in (ROOT / "src/renma").iterdir() if p.is_dir() and p.name[0] != "_"}
    assert packages <= named


@pytest.mark.parametrize("readme", READMES, ids=lambda p: p.name)
def test_links_lead_somewhere(readme: Path):
    links = re.findall(r"\]\(([^)#]+)\)", readme.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
