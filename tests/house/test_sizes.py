"""Small files, small functions, no drawer for odds and ends."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    p for folder in ("src", "tests", "tools", "benchmarks") for p in (ROOT / folder).rglob("*.py")
)
FILE_LINES, FUNCTION_LINES = 400, 60
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc"}


def functions(text: str) -> list[tuple[str, int]]:
    """Name and number of lines of every function, from ``def`` to its last line."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    return [(node.name, (node.end_lineno or 0) - node.lineno + 1) for node in found]


def test_counts_what_it_says():
    body = "def f():\n" + "    x = 1\n" * 60
    assert functions(body) == [("f", 61)]
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_small_and_well_named(path: Path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    assert [f for f in functions(text) if f[1] > FUNCTION_LINES] == []
    assert not DRAWERS & {part.removesuffix(".py").strip("_") for part in path.parts}
