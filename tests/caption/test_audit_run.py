"""``renma caption audit`` of a project: what training makes of the captions counts (G6)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renma.caption import audit, maruzen
from renma.caption.assistant import sets
from renma.config.caption.audit import AuditOptions
from renma.config.caption.maruzen import MaruzenOptions

CAPTIONS = [
    "1girl, smile, red background", "1girl, frown, blue background", "1girl, grin, green background",
    "1girl, pout, grey background",
]  # fmt: skip


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.lines.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "train" / "10_aa12 girl"
    folder.mkdir(parents=True)
    for number, text in enumerate(CAPTIONS):
        (folder / f"{number}.png").touch()
        (folder / f"{number}.txt").write_text(text)
    return tmp_path


def written(project: Path, *options: str) -> None:
    lines = [*options, 'train_folder = "train"']
    (project / "run.toml").write_text("[data]\n" + "\n".join(lines) + "\n")


def found(project: Path, **options) -> dict[str, int]:
    """Returns the findings of the only set: name to how many captions."""
    told = Told()
    audit.run(AuditOptions.model_validate({"folder": project, "json": True, **options}), told)
    (facts,) = json.loads("\n".join(told.lines))
    return {each["code"]: each["count"] for each in facts["findings"]}


def test_prefix_is_part_of_the_caption(project):
    """G6: a trigger that stands in caption_prefix is missing nowhere."""
    written(project)
    assert found(project, trigger="aa12")["trigger-missing"] == len(CAPTIONS)
    written(project, 'caption_prefix = "aa12,"')
    assert "trigger-missing" not in found(project, trigger="aa12")


def test_trigger_that_is_shuffled_away(project):
    """G6: shuffle_caption without keep_tokens moves the trigger, with it the trigger stays."""
    written(project, 'caption_prefix = "aa12,"', "shuffle_caption = true")
    assert found(project, trigger="aa12")["trigger-shuffled"] == len(CAPTIONS)
    written(project, 'caption_prefix = "aa12,"', "shuffle_caption = true", "keep_tokens = 1")
    assert "trigger-shuffled" not in found(project, trigger="aa12")


def test_apply_leaves_a_trigger_that_the_prefix_writes(project):
    """C5: what caption_prefix puts first is not written into the files a second time."""
    for file in (project / "train" / "10_aa12 girl").glob("*.txt"):
        file.write_text(f"{file.read_text()}, blue eyes")
    written(project, 'caption_prefix = "aa12,"')
    options = MaruzenOptions(folder=project, trigger="aa12", apply=True)
    maruzen.run(options, Told())
    files = sorted((project / "train" / "10_aa12 girl").glob("*.txt"))
    assert [file.read_text() for file in files] == CAPTIONS


def test_captions_are_read_once(project, monkeypatch):
    """G6: time grows with the pictures, not with their square; 10,000 take seconds."""
    written(project)
    calls = 0
    real = sets.tags_of

    def counting(*args):
        nonlocal calls
        calls += 1
        return real(*args)

    monkeypatch.setattr(sets, "tags_of", counting)
    found(project, trigger="aa12")
    assert calls <= 3 * len(CAPTIONS)
