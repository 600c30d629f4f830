"""The page on using is real: its commands run, its options exist, its figures were measured."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.cli import app
from renma.config.tasks import TASKS
from testbed.lora_files import POINT, TEXT, lora, write

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "using.md").read_text(encoding="utf-8")
RESULTS = DOCS.parent / "benchmarks" / "results"
TOML = """
[data]
train_folder = "pictures"
[sample]
steps = 1
[judge]
trigger_prompts = ["aa12, person, smile"]
class_prompts = ["person, smile"]
[output]
name = "aa12"
trigger = "aa12"
"""


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    lines = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert all(line[0] == "renma" for line in lines)
    return [line[1:] for line in lines]


def make_scene() -> None:
    """Makes what the page's commands are given, in the working folder."""
    run, loras = Path("mine/runs/001"), Path("loras")
    (run / "lora").mkdir(parents=True)
    loras.mkdir()
    (run / "run.toml").write_text(TOML)
    for number, name in enumerate(("aa12", "bb34")):
        layers = {POINT: lora(POINT, 4, 4.0, number), TEXT: lora(TEXT, 4, 4.0, number)}
        write(loras / f"{name}.safetensors", layers)
    (run / "lora" / "aa12.safetensors").write_bytes((loras / "aa12.safetensors").read_bytes())
    Path("prompts.txt").write_text("aa12, person\nperson --s 1\n")
    halves = Image.new("RGB", (64, 32), "red")
    halves.paste("blue", (32, 0, 64, 32))
    halves.save("halves.png")


def as_in_a_shell(words: list[str]) -> list[str]:
    """Returns words with names of files in place of patterns, drawn with one step."""
    found: list[str] = []
    for word in words:
        files = [str(path) for path in Path().glob(word)] if "*" in word else []
        found += files or [word]
    if words[:2] == ["sample", "mame"]:
        found += ["--steps", "1"]
    return found


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"), np.int16)


def test_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows F1, F2, F5 and F6: on LoRAs of two layers, with one step."""
    monkeypatch.chdir(tmp_path)
    make_scene()
    ran = commands()
    for words in ran:
        assert app.main(as_in_a_shell(words)) == 0, (words, capsys.readouterr().err)
    assert {words[0] for words in ran} == {"sample", "grid", "file"}
    assert len(ran) > 15
    (first,), (again,) = (list(Path(name).glob("0001-0-*.png")) for name in ("pictures", "again"))
    # one picture by itself instead of several: with many threads sums are rounded in another order
    assert abs(pixels(first) - pixels(again)).max() <= 1
    assert pixels(next(Path("regions").glob("0001-*.png"))).size == 256 * 128 * 3


def test_options_exist() -> None:
    fields = [pair for task in TASKS for pair in task.options.model_fields.items()]
    known = {"--" + (field.alias or name).replace("_", "-") for name, field in fields}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", PAGE))
    prompts = {"--n", "--w", "--h", "--d", "--l", "--s", "--ss"}
    assert named - known <= prompts
    assert len(named) > 20


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGE)
    assert {"judging.md", "blocks.md"} <= set(links)
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_the_table_of_regions_is_what_was_measured() -> None:
    """Rows F5 and F6."""
    measured = json.loads((RESULTS / "regional.json").read_text())
    lines = PAGE.split("| way | hair |")[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = {line[0].strip("`"): line[1:] for line in cells}
    names = {"and": "AND", "and unscoped": "AND, both LoRAs everywhere"}
    expected = {}
    for way, found in measured["ways"].items():
        shares = [*found["own half"].values()]
        shares += [found["every attribute"], found["something of the other"]]
        expected[names.get(way, way)] = [f"{share * 100:.0f} %" for share in shares]
    assert table == expected
    assert f"{measured['seeds']} seeds, {measured['steps']} steps" in PAGE


def test_the_figures_of_grids_are_what_was_measured() -> None:
    """Row F1."""
    measured = json.loads((RESULTS / "grid.json").read_text())
    first, second = measured["first"], measured["second"]
    assert f"{measured['cells']} cells, {measured['pictures_drawn']} pictures" in PAGE
    for found in (first, second):
        assert f"{found['cpu_seconds']:.1f} CPU seconds" in PAGE
        assert f"{found['seconds']:.0f} by the clock" in PAGE
    assert f"{measured['second_to_first'] * 100:.0f} % of the time" in PAGE
