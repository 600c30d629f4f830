"""The pages on pictures and captions are real: what they show runs, exists, or was measured."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageDraw

from renma.cli import app
from renma.config._task import Task
from renma.config.absorbed_task import AbsorbedOptions
from renma.config.caption.tasks import CAPTION_TASKS
from renma.config.prepare.tasks import PREPARE_TASKS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {"pictures.md": PREPARE_TASKS, "captions.md": CAPTION_TASKS}
AVATARS = ROOT / "src/renma/assets/samples/character/train/10_aa12 person"
RESULTS = ROOT / "benchmarks/results"


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def commands(page: str, language: str) -> list[list[str]]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    words = [shlex.split(line) for line in lines]
    assert all(each[0] == "renma" for each in words)
    return [each[1:] for each in words]


def task_of(words: list[str], tasks: tuple[Task, ...]) -> Task:
    (found,) = [task for task in tasks if task.name == " ".join(words[:2])]
    return found


def figure() -> Image.Image:
    """Draws somebody on nothing: what a sprite is, with black stored where it is transparent."""
    picture = Image.new("RGBA", (96, 192), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((30, 6, 66, 50), fill=(250, 210, 190, 255))
    draw.rectangle((40, 50, 56, 60), fill=(250, 210, 190, 255))
    draw.rectangle((18, 60, 78, 192), fill=(40, 90, 160, 255))
    return picture


def make_scene(page: str) -> None:
    """Makes what the page's commands are given, in the working folder."""
    if page == "captions.md":
        Path("pictures").mkdir()
        for number in ("00", "01", "02", "03"):
            shutil.copy(AVATARS / f"{number}.png", "pictures")
        return
    Path("downloads").mkdir()
    for number in ("00", "01"):
        shutil.copy(AVATARS / f"{number}.png", f"downloads/{number}.png")
        Path(f"downloads/{number}.txt").write_text("person, left hand up")
    figure().save("downloads/figure.png")
    with zipfile.ZipFile("more.zip", "w") as archive:
        archive.write(AVATARS / "02.png", "more/02.png")
    Path("boxes.csv").write_text("name,left,top,width,height\n00.png,0,0,50%,80%\n")


def originals() -> dict[str, str]:
    files = [p for p in (*Path("downloads").glob("*"), Path("more.zip")) if p.is_file()]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("page", PAGES)
def test_commands_run_in_their_order(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows B1 to B8, C1, C3 to C5: as a reader types them, on a few small pictures."""
    monkeypatch.chdir(tmp_path)
    make_scene(page)
    before = originals()
    ran = commands(page, "sh")
    for words in ran:
        fields = task_of(words, PAGES[page]).options.model_fields
        alone = ["--executor", "serial"] if "workers" in fields and "made" not in fields else []
        assert app.main([*words, *alone]) == 0, (words, capsys.readouterr().err)
    assert originals() == before
    assert len(ran) > 10
    if page == "pictures.md":
        sheets = {path.parent.name for path in Path().glob("*/sheet.html")}
        assert {"pictures-crop", "pictures-background", "pictures-resize"} <= sheets
    else:
        assert Path("pictures/00.txt").read_text().startswith("aa12")
        assert "sad" in Path("clean.json").read_text()


@pytest.mark.parametrize("page", PAGES)
def test_commands_for_files_nobody_has_offline_are_understood(
    page: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    room = SimpleNamespace(run=lambda options, report: asked.append(type(options)))
    monkeypatch.setattr(app, "_room", lambda task: room)
    wanted = commands(page, "sh no-run")
    for words in wanted:
        assert app.main(words) == 0, (words, capsys.readouterr().err)
    assert asked == [task_of(words, PAGES[page]).options for words in wanted]
    assert asked


@pytest.mark.parametrize("page", PAGES)
def test_every_verb_has_its_place(page: str) -> None:
    text = read(page)
    assert [t.name for t in PAGES[page] if f"renma {t.name} " not in text] == []
    table = text.split("\n## ")[0]
    assert [t.name for t in PAGES[page] if f"`{t.name.split()[1]}`" not in table] == []


@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page: str) -> None:
    known = {
        "--" + (field.alias or name).replace("_", "-")
        for options in (AbsorbedOptions, *(t.options for tasks in PAGES.values() for t in tasks))
        for name, field in options.model_fields.items()
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", read(page)))
    flags = {"--n", "--w", "--h", "--d", "--l", "--s", "--ss"}  # of prompts, as in sd-scripts
    assert named - known <= {"--help", *flags}
    assert len(named) > 20


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", read(page))
    assert links
    assert [link for link in links if not (DOCS / link).exists()] == []


def test_pictures_are_shown_and_light() -> None:
    files = sorted((DOCS / "pictures").glob("prepare-*"))
    assert files
    assert [p.name for p in files if p.stat().st_size > 150_000] == []
    assert [p.name for p in files if f"(pictures/{p.name})" not in read("pictures.md")] == []


def table_under(head: str) -> dict[str, list[str]]:
    """Returns the cells of every line of a table, by the first one."""
    lines = read("pictures.md").split(head)[1].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {line[0].strip("`"): line[1:] for line in cells}


def test_the_lint_table_is_what_was_measured() -> None:
    """Row B1."""
    measured = json.loads((RESULTS / "lint.json").read_text())
    near = measured.pop("near-duplicate")
    found = near["copies"] * near["recall"]
    measured["near-duplicate"] = {
        "recall": near["recall"],
        "precision": found / (found + near["wrong"]),
    }
    table = table_under("| check |")
    assert table.keys() == measured.keys()
    for code, figures in measured.items():
        shown = [f"{figures[name] * 100:.0f} %" for name in ("recall", "precision")]
        assert table[code][1:] == shown, code


def test_the_mask_table_is_what_was_measured() -> None:
    """Row B6."""
    measured = json.loads((RESULTS / "masks.json").read_text())
    grounds = ("white", "bg club", "bg lecturehall", "bg meadow", "bg uni")
    table = table_under("| way |")
    assert table.keys() == measured.keys()
    for way, found in measured.items():
        means = [f"{found[g]['iou_fitted']:.3f}" if g in found else "-" for g in grounds]
        worst = min(each["worst_fitted"] for each in found.values())
        slowest = max(each["seconds"] for each in found.values())
        assert table[way] == [*means, f"{worst:.3f}", f"{slowest:.2f}"], way
