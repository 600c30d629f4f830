"""Tests that count seconds say so, for `make test` runs them when nothing else runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CLOCKS = re.compile(r"\b(process_time|thread_time|perf_counter|getrusage)\b")


def untimed(text: str) -> list[str]:
    """Tests that read a clock, in code or in a text that another process runs, without the mark."""
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            marks = [ast.unparse(decorator) for decorator in node.decorator_list]
            if CLOCKS.search(ast.unparse(node)) and "pytest.mark.timed" not in marks:
                found.append(node.name)
    return found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("start = time.process_time()", ["test_a"]),
        ("fresh('import time; print(time.perf_counter())')", ["test_a"]),
        ("before = resource.getrusage(resource.RUSAGE_CHILDREN)", ["test_a"]),
        ("deadline = time.monotonic() + 90", []),  # waits, and judges nothing
    ],
)
def test_clocks_are_seen(body: str, found: list[str]):
    assert untimed(f"def test_a():\n    {body}\n") == found
    assert untimed(f"@pytest.mark.timed\ndef test_a():\n    {body}\n") == []


def test_every_test_with_a_clock_is_marked():
    files = sorted(TESTS.rglob("test_*.py"))
    assert len(files) > 100
    here = Path(__file__)
    found = {f.name: untimed(f.read_text(encoding="utf-8")) for f in files if f != here}
    assert {name: tests for name, tests in found.items() if tests} == {}
