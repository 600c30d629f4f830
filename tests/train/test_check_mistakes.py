"""Beginners' mistakes (G2, D1, D2): each gets its one line, and the page shows the lines of today."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    """A module of tools/."""
    spec = importlib.util.spec_from_file_location(f"_tool_{name}", ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def mistakes() -> ModuleType:
    return tool("mistakes")


@pytest.fixture(scope="module")
def answers(mistakes: ModuleType) -> list:
    return mistakes.rows()


def test_enough_mistakes_are_made(mistakes: ModuleType):
    """The issue asks for at least 25."""
    assert len({m.what for m in (*mistakes.REFUSED, *mistakes.WARNED)}) >= 80


def test_the_project_they_start_from_has_no_mistakes(mistakes: ModuleType):
    nothing = mistakes.Mistake("none", lambda: None)
    assert mistakes.answer(nothing) == mistakes.Answer(0, (), ())


def test_refused_in_one_line_with_a_remedy(mistakes: ModuleType, answers: list):
    """Exit code 2, one line on standard error, no traceback, and what to do."""
    for mistake, told in answers:
        if mistake not in mistakes.REFUSED:
            continue
        assert (told.code, len(told.errors)) == (2, 1), (mistake.what, told)
        (line,) = told.errors
        assert "Traceback" not in line
        assert "defect" not in line
        sentences = re.split(r"(?<=[.?]) (?=[A-Z`])", line)
        asked = "should be" in line  # a limit says what to write
        assert len(sentences) > 1 or asked, (mistake.what, line)


def test_mistakes_in_run_toml_are_told_with_their_line(answers: list):
    """F30: file and line of the option, wherever the message names one."""
    lines = [told.errors[0] for _, told in answers if told.errors]
    with_option = [x for x in lines if re.match(r"renma: (run\.toml:\d+|--set)", x)]
    bare = re.compile(r"renma: '?(data|train|model|adapter|optimizer|schedule|sample|start)\.\w+")
    assert len(with_option) > 35
    assert [line for line in lines if bare.match(line)] == []


def test_warned_and_done_all_the_same(mistakes: ModuleType, answers: list):
    for mistake, told in answers:
        if mistake in mistakes.WARNED:
            assert told.code == 0, (mistake.what, told)
            assert told.errors == ()
            assert told.warnings, mistake.what


def test_the_page_is_what_the_mistakes_get(mistakes: ModuleType, answers: list):
    """`python tools/mistakes.py` writes it anew."""
    assert mistakes.PAGE.read_text(encoding="utf-8") == mistakes.page(answers)


def test_the_page_of_rules_is_up_to_date():
    """`python tools/rules.py` writes it anew."""
    rules = tool("rules")
    assert rules.PAGE.read_text(encoding="utf-8") == rules.page()
