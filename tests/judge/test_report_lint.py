"""G4, B1: lint's answer in the report, or how to get one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from renma.cli import main
from renma.judge import report
from testbed.html_page import Page


def make(folder: Path) -> Page:
    return Page(report.write_report(folder).read_text(encoding="utf-8"))


def test_what_the_command_prints_is_shown(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very line that the page gives, run in the run's folder."""
    monkeypatch.setenv("RENMA_CACHE", str(finished.parent / "cache"))
    monkeypatch.chdir(finished)
    command = "renma prepare lint pictures --resolution 64 --json > lint.json"
    assert command in make(finished).text
    words, _, target = command.partition(" > ")
    assert main([*words.split()[1:], "--executor", "serial"]) == 0
    (finished / target).write_text(capsys.readouterr().out, encoding="utf-8")
    page = make(finished)
    assert command not in page.text
    # both pictures are the same pink
    for text in ("Something was found in 2 of 2 pictures", "The same file twice", "two.png"):
        assert text in page.text, text
    assert "changed since" not in page.text


def answer(folder: Path, count: int = 1, name: str = "lint.json", coding: str = "utf-8") -> Path:
    findings = [
        {"code": "blurred", "picture": f"{n}.png", "text": f"blur {n}", "gravity": "mend",
         "remedy": "Leave it out."}
        for n in range(count)
    ]  # fmt: skip
    row = {"folder": "/some/where/pictures", "pictures": 20, "findings": findings}
    path = folder / name
    path.write_text(json.dumps(row), encoding=coding)
    return path


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_answer_is_read_as_every_shell_writes_it(finished: Path, coding: str) -> None:
    answer(finished, 10, coding=coding)
    page = make(finished)
    assert "Something was found in 10 of 20 pictures of pictures ." in page.text
    assert "These teach something unwanted" in page.text
    assert "7.png (blur 7) and 2 more. Leave it out." in page.text
    assert "8.png" not in page.text
    assert "/some/where" not in page.text


def test_titles_are_said_and_older_answers_have_none(finished: Path) -> None:
    found = {"code": "same-stem", "picture": "a.png"}
    row = {"folder": "p", "pictures": 2, "findings": [found, found | {"code": "x", "title": "Odd"}]}
    (finished / "lint.json").write_text(json.dumps(row))
    text = make(finished).text
    assert "Same stem" in text
    assert "Odd" in text


def test_each_folder_is_examined_at_its_own_resolution(finished: Path) -> None:
    sets = """train_folder = ""
[[data.datasets]]
subsets = [{image_dir = "here"}, {image_dir = "reg", is_reg = true}]
[[data.datasets]]
resolution = [128, 32]
subsets = [{image_dir = "there"}]"""
    toml = (finished / "run.toml").read_text()
    toml = toml.replace('train_folder = "pictures"\nresolution = 64', f"resolution = 96\n{sets}")
    (finished / "run.toml").write_text(toml)
    text = make(finished).text
    assert "renma prepare lint here --resolution 96 --json > lint-1.json" in text
    assert "renma prepare lint there --resolution 64 --json > lint-2.json" in text
    assert "lint-3" not in text


def test_nothing_was_found(finished: Path) -> None:
    answer(finished, 0)
    assert "Nothing was found in 20 pictures" in make(finished).text


def test_it_is_found_beside_the_pictures_and_in_the_project(finished: Path) -> None:
    elsewhere = finished.parent / "data"
    elsewhere.mkdir()
    (finished / "pictures").rename(elsewhere / "pictures")
    toml = (finished / "run.toml").read_text().replace('"pictures"', "'../data/pictures'")
    (finished / "run.toml").write_text(toml)
    assert "renma prepare lint ../data/pictures --resolution 64 --json" in make(finished).text
    answer(elsewhere, 3)
    assert "Something was found in 3 of 20" in make(finished).text


def test_pictures_that_changed_afterwards_are_said(finished: Path) -> None:
    path = answer(finished)
    os.utime(path, (1e9, 1e9))
    page = make(finished)
    assert "2001-09-09; pictures were changed since: run lint again" in page.text
    later = next((finished / "pictures").rglob("one.png"))
    Image.new("RGB", (64, 64)).save(later)
    os.utime(path)
    assert "changed since" not in make(finished).text


@pytest.mark.parametrize("text", ["{", "[]", '{"folder": "a"}', "\x00" * 9])
def test_what_is_no_answer_is_named(finished: Path, text: str) -> None:
    (finished / "lint.json").write_text(text)
    page = make(finished)
    assert "Not usable: lint.json: is no answer of `renma prepare lint --json`" in page.text
    assert "Lint was not run" in page.text
