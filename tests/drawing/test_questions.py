"""Prompts to judge by: the run's own, and those that its captions give (G3)."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.config import Run
from renma.core.errors import UserError
from renma.drawing.questions import FEWEST, Questions, made, questions, without
from renma.formats.prompt_weights import parse

TAGS = [
    "aa12, person, smile, red hat, park",
    "aa12, person, frown, green hat, sea",
    "aa12, person, wink, blue hat, room",
    "aa12, person, smile, red hat, sea",
]


def asked(captions: list[str], trigger: str = "aa12", **judge: Any) -> Questions:
    weighted = {"weighted_captions": judge.pop("weighted", False)}
    values = {"output": {"trigger": trigger}, "judge": judge, "model": weighted}
    return questions(Run.model_validate(values), captions)


def texts(found: Questions) -> tuple[list[str], list[str]]:
    return [one.text for one in found.trigger], [one.text for one in found.plain]


def test_a_run_with_three_prompts_is_asked_those_alone() -> None:
    own = ["aa12, smile", "aa12, wink", "aa12, frown"]
    found = asked(TAGS, trigger_prompts=own, class_prompts=["person"], pictures=5)
    assert texts(found) == (own, ["person"])
    assert {(one.pictures, one.own) for one in (*found.trigger, *found.plain)} == {(5, True)}


def test_what_is_missing_is_made_of_captions_that_have_least_in_common() -> None:
    found = asked(TAGS, pictures=8)
    # the fourth shares its hat with the first and its sea with the second
    assert texts(found) == (TAGS[:3], [text.removeprefix("aa12, ") for text in TAGS[:3]])
    assert {(one.pictures, one.own) for one in (*found.trigger, *found.plain)} == {(4, False)}
    assert texts(asked(TAGS[::-1])) == (
        [TAGS[3], TAGS[2], TAGS[1]],
        [text.removeprefix("aa12, ") for text in (TAGS[3], TAGS[2], TAGS[1])],
    )


def test_own_prompts_stand_first_and_are_made_up_to_three() -> None:
    found = asked(TAGS, trigger_prompts=[TAGS[0]], class_prompts=["person", "person, crowd"])
    trigger, plain = texts(found)
    assert trigger[0] == TAGS[0]
    assert len(trigger) == len(set(trigger)) == FEWEST
    assert plain[:2] == ["person", "person, crowd"]
    assert plain[2:] == [text.removeprefix("aa12, ") for text in trigger[1:]]
    assert [one.own for one in found.trigger] == [True, False, False]


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5).map(", ".join), max_size=12),
    st.lists(st.sampled_from(["aa12, a", "aa12, b, c", "aa12"]), unique=True, max_size=4),
)
def test_no_prompt_is_asked_twice_and_the_trigger_stands_on_one_side_only(
    captions: list[str], own: list[str]
) -> None:
    found = asked([f"aa12, {text}" for text in captions], trigger_prompts=own)
    trigger, plain = texts(found)
    assert trigger[: len(own)] == own
    for rows in (trigger, plain):
        assert len(rows) == len(set(rows))
    assert all(text.split(", ")[0] == "aa12" for text in trigger)
    assert all(text and "aa12" not in text for text in plain)
    assert trigger


@pytest.mark.parametrize(
    ("text", "trigger", "bare"),
    [
        ("aa12, smile", "aa12", "smile"),
        ("smile, aa12 , hat", "aa12", "smile, hat"),
        ("aa12girl, aa123, xaa12, aa12_hat", "aa12", "aa12girl, aa123, xaa12, aa12_hat"),
        ("A photo of aa12 in a park, at night", "aa12", "A photo of in a park, at night"),
        ("AA12, Aa12 smiling", "aa12", "smiling"),
        ("aa12's hat, near aa12’s house", "aa12", "hat, near house"),
        ("aa12 girl, aa12", "aa12 girl", "aa12"),
        ("初音ミク, 笑顔", "初音ミク", "笑顔"),
        ("初音ミクさん, 笑顔", "初音ミク", "初音ミクさん, 笑顔"),
        ("ミク(仮)+?, 帽子", "ミク(仮)+?", "帽子"),
        ("a.b, axb", "a.b", "axb"),
        ("aa12", "aa12", ""),
    ],
)
def test_the_trigger_leaves_as_a_whole_word_only(text: str, trigger: str, bare: str) -> None:
    assert without(text, trigger) == bare


def test_sentences_stay_sentences() -> None:
    captions = [
        "a photo of aa12 woman walking a dog, in the rain",
        "aa12 woman reads a book on a bench.",
        "aa12 woman and a cat at home",
        "aa12 woman and a cat at home",
    ]
    trigger, plain = texts(asked(captions))
    assert trigger == [
        "aa12, a photo of woman walking a dog, in the rain",
        "aa12, woman reads a book on a bench.",
        "aa12, woman and a cat at home",
    ]
    assert plain == [text.removeprefix("aa12, ") for text in trigger]


def test_long_captions_are_cut_but_keep_what_all_share() -> None:
    own = [[f"{name}{i}" for i in range(20)] for name in "abc"]
    captions = [", ".join(["aa12", "1girl", *tags, "anime"]) for tags in own]
    for prompt, tags in zip(made(captions, "aa12", 3), own, strict=True):
        assert prompt == ", ".join(["aa12", "1girl", *tags[:6], "anime"])


def test_what_most_captions_share_tells_none_of_them_apart() -> None:
    shared = "p, q, r"
    captions = [f"{shared}, a, b", f"{shared}, a", f"{shared}, a, b, x, y"]
    captions += [f"{shared}, m", f"{shared}, n"]
    # of the second all was shown, of the third half
    found = [captions[0], captions[3], captions[4], captions[2]]
    assert made(captions, "aa12", 4) == [f"aa12, {text}" for text in found]
    # a tag of seven in ten is shared, one of five in ten is a caption's own
    rows = [[f"{i}{letter}" for letter in "abcdef"] for i in range(10)]
    captions = [
        ", ".join([*tags, *(["seven"] if i < 7 else []), *(["five"] if i < 5 else [])])
        for i, tags in enumerate(rows)
    ]
    assert made(captions, "aa12", 1) == [", ".join(["aa12", *rows[0], "seven"])]


@pytest.mark.parametrize("captions", [["aa12"] * 4, ["", ""], []])
def test_a_trigger_is_asked_alone_where_captions_say_nothing(captions: list[str]) -> None:
    assert texts(asked(captions)) == (["aa12"], [])
    assert texts(asked(captions, trigger_prompts=["aa12"])) == (["aa12"], [])


def test_brackets_of_captions_are_words_where_they_were_to_the_run() -> None:
    """In a prompt they would weigh; escaped, the drawn prompt says what the caption said."""
    captions = [r"ミク(仮), miku (vocaloid), hat [red]", r"ミク(仮), rin \(vocaloid\)"]
    trigger, plain = texts(asked(captions, trigger="ミク(仮)"))
    assert [parse(text) for text in trigger] == [
        [("ミク(仮), miku (vocaloid), hat [red]", 1.0)],
        [("ミク(仮), rin (vocaloid)", 1.0)],
    ]
    assert [parse(text) for text in plain] == [
        [("miku (vocaloid), hat [red]", 1.0)],
        [("rin (vocaloid)", 1.0)],
    ]
    weighted, _ = texts(asked(["aa12, (hat:1.3)"], weighted=True))
    assert weighted == ["aa12, (hat:1.3)"]
    own, _ = texts(asked(captions, trigger_prompts=["ミク(仮), (hat:1.2)"]))
    assert own[0] == "ミク(仮), (hat:1.2)"


def test_loras_and_and_in_captions_ask_for_nothing() -> None:
    """Captions are often copied from prompts; a LoRA named there may be nowhere."""
    trigger, plain = texts(asked(["aa12, hat <lora:detail:0.8>, cat AND dog, <LyCO:x:1>, <o>"]))
    assert trigger == ["aa12, hat, cat and dog, <o>"]
    assert plain == ["hat, cat and dog, <o>"]


def test_nothing_to_ask_is_said_in_one_line() -> None:
    with pytest.raises(UserError) as caught:
        asked(TAGS, trigger=" ")
    line = caught.value.line()
    assert re.fullmatch(r"run\.toml.*no prompt and no trigger word.*output\.trigger.*", line)
    # prompts of one's own need no trigger word
    found = asked(TAGS, trigger="", trigger_prompts=["aa12, hat"])
    assert texts(found) == (["aa12, hat"], [])
