"""The benchmark over thousands of pictures reads what the commands say, and counts rightly (B1, C1)."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.cli import main

SOURCE = Path(__file__).parents[2] / "benchmarks" / "many_pictures.py"


@pytest.fixture(scope="module")
def bench():
    """The benchmark as a module."""
    spec = importlib.util.spec_from_file_location("pictures_benchmark", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_pictures_differ_and_one_of_a_hundred_is_a_near_copy(bench, tmp_path: Path):
    bench.generate(tmp_path / "pictures", 100)
    paths = sorted((tmp_path / "pictures").iterdir())
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in paths}) == 100
    assert [path.name for path in paths if path.suffix == ".jpg"] == ["00099.jpg"]
    with Image.open(paths[98]) as one, Image.open(paths[99]) as copy, Image.open(paths[97]) as no:
        pixels = [np.asarray(picture, float) for picture in (one, copy, no)]
    assert np.abs(pixels[0] - pixels[1]).mean() < 6
    assert np.abs(pixels[0] - pixels[2]).mean() > 30


@pytest.mark.parametrize("name", ["lint", "tag"])
def test_what_commands_print_and_keep_is_read(bench, name, tmp_path: Path, capsys, monkeypatch):
    task = bench.TASKS[name]
    bench.generate(tmp_path / "pictures", 3)
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))
    words = task.command(tmp_path, "one process")[3:]
    serial = ["serial" if word == "processes" else word for word in words if word != "1"]
    serial.remove("--workers")
    for expected in (3, 0):
        assert main(serial) == 0
        assert bench.looked_at(task, capsys.readouterr().out) == expected
        assert bench.entries(task, tmp_path) == 3
    assert task.answer(tmp_path)


def test_a_killed_lint_repeats_nothing(bench, tmp_path: Path):
    """F14's promise for many pictures, counted by the benchmark itself."""
    task = bench.TASKS["lint"]
    bench.generate(tmp_path / "pictures", 24)
    whole, place = bench.a_place(tmp_path, "whole"), bench.a_place(tmp_path, "killed")
    _, text = bench.ran(task, whole, bench.KILLED)
    assert bench.looked_at(task, text) == 24
    row = bench.killed(task, place, 24, task.answer(whole))
    assert row["repeated"] == 0
    assert row["says_the_same"]
    assert row["kept"] >= 12
