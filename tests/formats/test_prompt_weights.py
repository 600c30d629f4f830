"""C9: the grammar of weighted prompts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.formats.prompt_weights import parse

# written by hand from the rules that web UIs document
CASES = [
    ("a cat", [("a cat", 1)]),
    ("", [("", 1)]),
    ("a (red) cat", [("a ", 1), ("red", 1.1), (" cat", 1)]),
    ("(red:1.3)", [("red", 1.3)]),
    ("(red: .5 )", [("red", 0.5)]),
    ("[red]", [("red", 1 / 1.1)]),
    ("((red))", [("red", 1.1 * 1.1)]),
    ("((red:2) hair:1.5)", [("red", 3), (" hair", 1.5)]),
    ("[(red:2)]", [("red", 2 / 1.1)]),
    (r"cat \(animal\)", [("cat (animal)", 1)]),
    (r"(cat \(animal\):1.2)", [("cat (animal)", 1.2)]),
    (r"a \\ b", [("a \\ b", 1)]),
    (r"a \ b", [("a \\ b", 1)]),
    ("(red", [("red", 1.1)]),
    ("red) cat]", [("red) cat]", 1)]),
    ("red:1.3) cat", [("red:1.3) cat", 1)]),
    ("(ratio 3:4)", [("ratio 3", 4)]),
    ("(a:b)", [("a:b", 1.1)]),
    ("a:b, c", [("a:b, c", 1)]),
    ("(red:-1)", [("red", -1)]),
    ("(a)(b)", [("ab", 1.1)]),
]


@pytest.mark.parametrize(("prompt", "expected"), CASES)
def test_known_prompts(prompt: str, expected: list[tuple[str, float]]):
    found = parse(prompt)
    assert [text for text, _ in found] == [text for text, _ in expected]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in expected])


@given(st.text(alphabet=st.characters(blacklist_characters="()[]\\"), max_size=60))
def test_text_without_brackets_comes_back_whole(text: str):
    assert parse(text) == [(text, 1.0)]


@given(st.text(alphabet="ab ,:1.2()[]\\", max_size=40))
def test_no_letter_is_lost(text: str):
    letters = [letter for letter in "".join(piece for piece, _ in parse(text)) if letter in "ab,"]
    assert letters == [letter for letter in text if letter in "ab,"]
