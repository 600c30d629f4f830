"""The fault matrix is complete, points at tests that exist, and is what the manual shows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_no_promise_is_missing(matrix):
    ids = [row.id for row in matrix.MATRIX]
    assert set(matrix.DUE) <= set(ids)
    assert len(ids) == len(set(ids))
    assert ids == sorted(ids, key=lambda name: int(name[1:]))
    assert {f"F{number}" for number in range(1, 28)} <= set(matrix.DUE)


def test_every_promise_has_a_class_and_words(matrix):
    for row in matrix.MATRIX:
        assert row.proofs
        assert row.fault
        assert row.promise
        assert set(row.kind.split("/")) <= matrix.KINDS.keys()


def functions(file: Path) -> set[str]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    return {node.name for node in body if isinstance(node, ast.FunctionDef)}


def test_every_proof_is_a_test_that_exists(matrix):
    for proof in matrix.proofs():
        file, _, name = proof.partition("::")
        assert name.startswith("test_")
        assert name in functions(ROOT / file), proof


def test_every_test_of_this_folder_proves_a_promise(matrix):
    """But those of the matrix itself, and the slow form of one that does."""
    here = Path(__file__).parent
    found = {
        f"tests/faults/{file.name}::{name}"
        for file in here.glob("test_*.py")
        if file.name != Path(__file__).name
        for name in functions(file)
        if name.startswith("test_")
    }
    slow = "tests/faults/test_kill_trials.py::test_killed_and_continued_twenty_times"
    assert found - set(matrix.proofs()) == {slow}


def test_the_manual_shows_this_table(matrix):
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert matrix.table() in text, "python tests/faults/matrix.py --table writes it"


def test_what_to_run_is_printed_for_pytest(matrix):
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "faults" / "matrix.py"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    printed = done.stdout.split()
    assert printed[0] == "tests/faults"
    inside = [proof for proof in matrix.proofs() if proof.startswith("tests/faults/")]
    assert sorted([*printed[1:], *inside]) == sorted(matrix.proofs())


@pytest.mark.parametrize(
    ("outcomes", "word"),
    [
        ({}, "not run"),
        ({"a.py::test_x[1]": "passed", "a.py::test_y": "passed"}, "kept"),
        ({"a.py::test_x[1]": "passed", "a.py::test_x[2]": "failed"}, "BROKEN"),
        ({"a.py::test_xx": "failed", "a.py::test_y": "passed"}, "in part"),
        ({"a.py::test_y": "skipped"}, "not run"),
    ],
)
def test_the_printed_result_says_what_happened(matrix, monkeypatch, outcomes, word: str):
    row = matrix.Promise("F1", "fault", "A", "promise", ("a.py::test_x", "a.py::test_y"))
    monkeypatch.setattr(matrix, "MATRIX", (row,))
    (line,) = matrix.results(outcomes)
    assert word in line


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_result_is_printed_whoever_runs_the_tests(workers: str):
    """pytest-xdist's workers print nothing; a folder's own conftest.py is read by them alone."""
    here = Path(__file__).parent
    others = [f"--ignore={p}" for p in here.parent.iterdir() if p.is_dir() and p != here]
    words = ["-n", workers, "-p", "no:cacheprovider", "-k", "no_promise_is_missing", *others]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], capture_output=True, text=True, cwd=ROOT
    )
    assert "F1   A    not run" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0
