"""Files and words that nobody means to give: each is one line, never a stack trace (G2, D1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from renma.cli.app import main

LONG, DEEP = "n" * 5000, "[" * 100_000
TRAIN = "train/2_aa12 person"
PRESET = {"LoRA_type": "Standard", "network_dim": 4, "max_resolution": "64,64"}
Change = Callable[[Path], object]


def metadata(text: str, name: str = "m.jsonl") -> Change:
    """A data set that takes its captions from a file."""

    def change(project: Path) -> None:
        (project / TRAIN / name).write_text(text)
        subset = f"{{metadata_file='{TRAIN}/{name}'}}"
        place = project / "run.toml"
        lines = [line for line in place.read_text().splitlines() if "_folder" not in line]
        data = f"[data]\ndatasets = [{{subsets = [{subset}]}}]"
        place.write_text("\n".join(lines).replace("[data]", data))

    return change


def file(name: str, text: str) -> Change:
    return lambda project: (project / name).write_text(text)


def nothing(project: Path) -> None:
    """Changes nothing: the words alone are odd."""


def option(value: str) -> tuple[str, ...]:
    return ("check", "run.toml", "--set", value)


CHECK = ("check", "run.toml")
IMPORT = ("import-kohya", "p.json", "-o", "new.toml")
CASES: dict[str, tuple[Change, tuple[str, ...], str]] = {
    "a number for a picture": (metadata('{"image_path": 5}'), CHECK, "m.jsonl:1: 'image_path' = 5"),
    "no picture named": (metadata('\n{"caption": "a"}'), CHECK, "m.jsonl:2: has no 'image_path'"),
    "a list for a picture": (metadata("[1]"), CHECK, "m.jsonl:1: has no 'image_path'"),
    "a picture's name too long": (metadata(json.dumps({"image_path": LONG})), CHECK, "which is not in"),
    "a zero byte in a name": (metadata('{"image_path": "a\\u0000b"}'), CHECK, "which is not in"),
    "half a letter in a name": (metadata('{"image_path": "\\ud800"}'), CHECK, "which is not in"),
    "deep metadata": (metadata(DEEP, "m.json"), CHECK, "nested too deeply"),
    "deep rows": (metadata(DEEP), CHECK, "m.jsonl:1: is nested too deeply"),
    "a huge number": (metadata('{"image_path": ' + "9" * 5000 + "}"), CHECK, "is not JSON"),
    "a model's name too long": (nothing, option(f"model.path={LONG}"), "there is no such"),
    "a zero byte in the model": (nothing, option("model.path='a\0b'"), "a zero byte"),
    "an escaped zero byte": (nothing, option('model.path="a\\u0000b"'), "a zero byte"),
    "a VAE's name too long": (nothing, option(f"model.vae={LONG}"), "there is no such"),
    "a folder's name too long": (nothing, option(f"data.train_folder={LONG}"), "there is no such"),
    "a start's name too long": (nothing, option(f"start.weights={LONG}"), "start.weights"),
    "a preset file's name too long": (nothing, option(f"adapter.targets.preset_file={LONG}"), "cannot be read"),
    "a prompt file's name too long": (nothing, option(f"sample.prompts_file={LONG}.txt"), "cannot be read"),
    "deep prompts": (file("p.json", DEEP), option("sample.prompts_file=p.json"), "nested too deeply"),
    "deep TOML prompts": (file("p.toml", "a=" + DEEP), option("sample.prompts_file=p.toml"), "nested too deeply"),
    "a deep run": (file("run.toml", "a=" + DEEP), CHECK, "nested too deeply"),
    "a deep value": (nothing, option("train.max_steps=" + DEEP), "max_steps"),
    "a deep data set": (file("d.json", DEEP), ("check", "--dataset-config", "d.json"), "nested too deeply"),
    "a deep preset": (file("p.json", DEEP), IMPORT, "nested too deeply"),
    "an open quote": (file("p.json", json.dumps({**PRESET, "additional_parameters": '--seed "1'})), IMPORT, "No closing quotation"),
    "a run's name too long": (nothing, ("check", LONG), "more than 255 letters"),
    "a zero byte in --out": (nothing, ("train", "run.toml", "--out", "a\0b"), "a zero byte"),
    "--out too long": (nothing, ("train", "run.toml", "--out", LONG), "more than 255 letters"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_one_line_and_no_trace(case: str, project: Path, monkeypatch, capsys):
    change, words, said = CASES[case]
    monkeypatch.chdir(project)
    change(project)
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert said in told
    assert not (project / "new.toml").exists()


def test_a_file_name_may_have_letters_of_any_kind(project: Path, monkeypatch):
    """What is refused above is what no disk can hold, and nothing else."""
    name = "絵" * 60 + ".toml"
    (project / "run.toml").rename(project / name)
    monkeypatch.chdir(project)
    assert main(["check", name]) == 0
