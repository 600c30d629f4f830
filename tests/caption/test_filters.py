"""The language that says which captions are meant (C3: and/or/not)."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.caption.filters import parse
from renma.core.errors import UserError

WORDS = ["hat", "red hat", "smile", "a (b)"]
CAPTIONS = st.lists(st.sampled_from(WORDS), unique=True).map(tuple)
ATOM = st.sampled_from(["hat", "red hat", "smile", '"a (b)"', "'a (b)'", "red*", "/^s/", "/HAT/i"])
EXPRESSION = st.recursive(
    ATOM,
    lambda inner: st.one_of(
        inner.map(lambda a: f"not ({a})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}) and ({p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]}) or ({p[1]})"),
    ),
    max_leaves=5,
)
PLAIN = {
    "hat": lambda c: "hat" in c,
    "red hat": lambda c: "red hat" in c,
    "smile": lambda c: "smile" in c,
    '"a (b)"': lambda c: "a (b)" in c,
    "'a (b)'": lambda c: "a (b)" in c,
    "red*": lambda c: any(t.startswith("red") for t in c),
    "/^s/": lambda c: any(t[0] == "s" for t in c),
    "/HAT/i": lambda c: any("hat" in t for t in c),
}


@given(EXPRESSION, EXPRESSION, CAPTIONS)
def test_de_morgan(a, b, tags):
    def fits(text):
        return parse(text).fits(tags)

    assert fits(f"not (({a}) and ({b}))") == fits(f"not ({a}) or not ({b})")
    assert fits(f"not (({a}) or ({b}))") == fits(f"not ({a}) and not ({b})")
    assert fits(f"not not ({a})") == fits(a)
    assert fits(f"({a}) and ({b})") == (fits(a) and fits(b))
    assert fits(f"({a}) or ({b})") == (fits(a) or fits(b))


@given(
    st.lists(st.tuples(st.booleans(), ATOM), min_size=1, max_size=5),
    st.lists(st.sampled_from(["and", "or"]), min_size=4, max_size=4),
    CAPTIONS,
)
def test_not_binds_before_and_before_or_as_in_python(atoms, operators, tags):
    """Without brackets, against Python's own reading of the same expression."""
    text, python = "", ""
    for place, (negated, atom) in enumerate(atoms):
        joint = f" {operators[place - 1]} " if place else ""
        text += joint + ("not " if negated else "") + atom
        python += joint + ("not " if negated else "") + str(PLAIN[atom](tags))
    assert parse(text).fits(tags) == eval(python)


@pytest.mark.parametrize(
    ("text", "tags", "fits"),
    [
        ("", "", True),
        ("smile and not (hat or /^blue/)", "smile,blu", True),
        ("smile and not (hat or /^blue/)", "smile,blue sky", False),
        ("smile and not (hat or /^blue/)", "smile,hat", False),
        ("long  hair AND NOT hat", "long hair", True),
        ("long hair", "long,hair", False),
        ("hat", "Hat", False),
        ('"x*"', "xy", False),
        ('"x*"', "x*", True),
        (r"x\*", "x*", True),
        ('"and"', "and", True),
        (r"saber \(fate\)", r"saber \(fate\)", True),
        (r'"say \"hi\""', 'say "hi"', True),
        ("don't", "don't", True),
        (r"/a\/b/", "xa/bx", True),
        ("not *", "", True),
        ("^_^ or :3", ":3", True),
        ("((hat))", "hat", True),
    ],
)  # fmt: skip
def test_examples(text, tags, fits):
    assert parse(text).fits([t for t in tags.split(",") if t]) is fits


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("smile and", "a tag is expected", 10),
        ("and smile", "a tag is expected", 1),
        ("smile or or hat", "a tag is expected", 10),
        ("a and ()", "a tag is expected, not ')'", 8),
        ("smile and (hat", r"')' is missing for the '('", 11),
        ("hat)", "nothing opened this ')'", 4),
        ("hat not smile", "'and' or 'or' is missing", 5),
        ('hat "b"', "'and' or 'or' is missing", 5),
        ("(hat not b)", "'and' or 'or' is missing", 6),
        ("saber (fate)", "'and' or 'or' is missing", 7),
        ("a or /[/", "no regular expression (unterminated character set)", 7),
        ("/a/x", "/i is the only flag", 1),
        ("(" * 101 + "a" + ")" * 101, "nested too deeply", 101),
        ("not " * 5000 + "a", "nested too deeply", None),
        ("a or 'b", "closing quotation mark is missing for column 6", None),
        ("a or /b", "closing / is missing for column 6", None),
    ],
)  # fmt: skip
def test_a_mistake_names_its_column(text, message, column):
    place = f".* at column {column} of" if column else ""
    with pytest.raises(UserError, match=re.escape(message) + place):
        parse(text)


def test_the_tags_of_a_condition_are_known():
    assert parse('a and not (b* or "c*" or /d/) or a').patterns == ("a", "b*", r"c\*")


@given(st.text("ab ()\"'/*\\notr", max_size=12))
def test_any_text_is_a_condition_or_one_line(text):
    with suppress(UserError):
        assert parse(text).fits(("a", "b")) in (True, False)
