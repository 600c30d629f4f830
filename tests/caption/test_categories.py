"""The table of tag categories (C5: character's own tags, meta tags, clothes by choice)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma import assets
from renma.caption.assistant.categories import families, hiding, shipped
from renma.caption.assistant.sentences import in_words, is_sentence

FREQUENT = [
    tag
    for line in Path(__file__).with_name("frequent_tags.txt").read_text().splitlines()[1:]
    for tag in line.split()
]
# by hand, from what the tags mean; not from the table
SUBJECT = """long hair, blue_eyes, ahoge, hair between eyes, two-tone hair, heterochromia, fang, tail, cat ears,
dark-skinned female, large breasts, freckles, facial mark, mole under eye, pointy ears, demon horns, bat wings,
halo, beard, slit pupils, muscular, elf, red lips, forehead mark, scar across eye, whisker markings, third eye"""
ACCESSORY = """glasses, hair ornament, hair ribbon, star hair ornament, earrings, red choker, eyepatch, tiara,
x hair ornament, headphones, hairclip, semi-rimless eyewear, black nails, bandaid on face"""
CLOTHES = """white shirt, pleated skirt, red bow, thighhighs, black gloves, santa hat, school uniform, hood up,
sleeves past wrists, cleavage cutout, fur trim, one-piece swimsuit, brown footwear, maid, hakama skirt, neck ribbon,
jacket on shoulders, blue sailor collar, torn pantyhose, striped bow"""
KEEP = """1girl, solo, 2boys, person, smile, closed eyes, :d, ^_^, open mouth, looking at viewer, looking back,
sitting, arms up, holding sword, hand on own hip, hair tucking, skirt lift, floating hair, from side, upper body,
close-up, foot focus, white background, gradient background, night sky, cherry blossoms, window, depth of field,
sparkle, lens flare, monochrome, chibi, watercolor (medium), photoshop (medium), highres, masterpiece, signature,
english text, lollipop, open book, assault rifle, cat, navel, collarbone, cleavage, adventurer style, head tilt"""


def _split(text: str) -> list[str]:
    return [tag.strip() for tag in text.replace("\n", " ").split(",")]


@pytest.mark.parametrize(
    ("group", "tags"),
    [("subject", SUBJECT), ("accessory", ACCESSORY), ("clothes", CLOTHES), ("keep", KEEP)],
)
def test_tags_are_sorted_by_what_they_mean(group, tags):
    wrong = {tag: shipped().of(tag) for tag in _split(tags)}
    assert {tag: found for tag, found in wrong.items() if not found or found.group != group} == {}


def test_frequent_tags_are_known():
    assert len(FREQUENT) > 1500
    unknown = [tag for tag in FREQUENT if shipped().of(tag) is None]
    assert len(unknown) < 0.005 * len(FREQUENT), unknown


def test_what_mame_draws_is_sorted_as_mame_sorts_it():
    heads = json.loads((assets.MAME / "tags.json").read_text())["heads"]
    group = {
        "hair": "subject", "hair_colour": "subject", "skin": "subject", "facial_hair": "subject",
        "eyewear": "accessory", "clothes": "clothes", "background": "keep", "style": "keep",
        "eyes": "keep", "mouth": "keep",
    }  # fmt: skip
    # worn in the hair; painted on the mouth
    odd = {"flower crown": "accessory", "turban": "clothes", "red lips": "subject"}
    for head, wanted in group.items():
        for text in heads[head].values():
            for tag in filter(None, text.split(", ")):
                found = shipped().of(tag)
                assert found, tag
                assert found.group == odd.get(tag, wanted), tag


@given(st.sampled_from(FREQUENT))
def test_spelling_does_not_matter(tag):
    table, found = shipped(), shipped().of(tag)
    assert table.of(tag.upper()) == found
    assert table.of(tag.replace("_", " ").replace("(", r"\(").replace(")", r"\)")) == found
    if tag[0].isalpha() and "(" not in tag:
        assert table.of(f"({tag}:1.2)") == found


def test_names_are_told_and_unknown_words_are_unknown():
    named = shipped().of(r"ganyu \(genshin impact\)")
    assert named
    assert (named.name, named.group) == ("name", "ask")
    assert [shipped().of(tag) for tag in ("aa12", "zs7", "", "qwertz")] == [None] * 4


def test_tables_fit_together():
    table = shipped()
    for family in families():
        rows = [tag for row in family.options for tag in row]
        assert len(rows) == len({*rows}), family.name
        wanted = {"subject"} if family.kind == "look" else {"keep"}
        for tag in rows:
            found = table.of(tag)
            assert found, tag
            assert found.group in wanted, tag
    assert {*hiding()} <= {*table.all}
    assert all(table.of(tag) for tags in hiding().values() for tag in tags)


def test_sentences_are_told_from_tags():
    """C2: captions in words."""
    assert is_sentence("a girl with long pink hair stands in front of a house")
    assert is_sentence("wearing a blue coat and a hat")
    assert is_sentence("She smiles at the viewer.")
    assert not any(map(is_sentence, (tag.replace("_", " ") for tag in FREQUENT)))
    assert in_words(("A painting of a woman in a red dress", "standing in the rain"))
    assert not in_words(("aa12", "1girl", "solo", "hand on another's shoulder"))
    assert not in_words(())
