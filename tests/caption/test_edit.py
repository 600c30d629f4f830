"""``renma caption edit``: many captions at once (C3)."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from renma.caption import edit, undo
from renma.caption.drafts import edited, tags_of
from renma.caption.recipe import recipe_of
from renma.config.caption.edit import EditOptions
from renma.config.caption.undo import UndoOptions
from renma.core.errors import UserError


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data) -> None:
        if kind == "warned":
            self.lines.append(data["text"])

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def pics(tmp_path: Path) -> Path:
    folder = tmp_path / "pics"
    (folder / "in").mkdir(parents=True)
    for name in ("a", "b", "in/c", "d"):
        (folder / f"{name}.png").touch()
    (folder / "a.txt").write_bytes(b"1girl, blue_hair,smile\r\n")
    (folder / "b.txt").write_bytes(b"\xef\xbb\xbfhat, blue_hair\nsecond line, hat")
    (folder / "in" / "c.txt").write_bytes("青髪, smile".encode("cp932"))
    return folder


def run(place: Path, **options) -> list[str]:
    told = Told()
    edit.run(EditOptions.model_validate({"folder": place, **options}), told)
    return told.lines


def one(text: str, **options) -> str:
    """Returns one caption after an edit."""
    recipe = recipe_of(EditOptions.model_validate({"folder": ".", **options}))
    return edited([{"caption": text}], recipe, tokens=lambda line: len(line.split()))[0]["caption"]


@pytest.mark.parametrize(
    ("options", "before", "after"),
    [
        ({"add": ["x"]}, "a, b", "a, b, x"),
        ({"add": ["b, x"], "at": "first"}, "a, b", "x, a, b"),
        ({"add": ["x", "y"], "at": 2}, "a, b", "a, x, y, b"),
        ({"add": ["x"], "at": 9}, "a, b", "a, b, x"),
        ({"add": ["x"], "at": 3, "keep": 1}, "a, b, c", "a, b, x, c"),
        ({"add": ["x"], "at": "first", "keep": 1}, "a, b", "a, x, b"),
        ({"remove": ["b*"]}, "a, b, bc, cb", "a, cb"),
        ({"replace": ["a=x"]}, "a, b", "x, b"),
        ({"replace": ["a=b", "b=c"]}, "a", "c"),
        ({"replace": [r"\=_\==face"]}, "=_=, b", "face, b"),
        ({"replace": ["* hair=* locks, hair"]}, "blue hair", "blue locks, hair"),
        ({"search": ["a(.)"], "with": [r"\1a"]}, "ab, a c", "ba,  ac"),
        ({"search": ["b"], "with": [""]}, "a, b", "a"),
        ({"search": ["a"], "with": ["x"], "keep": 1}, "a, ba , a", "a, bx , x"),
        ({"prepend": ["x"]}, "a, x, b", "x, a, b"),
        ({"append": ["a"]}, "a, x, b", "x, b, a"),
        ({"sort": "alphabet"}, "b, A, c", "A, b, c"),
        ({"sort": "length", "reverse": True}, "a, ccc, bb", "ccc, bb, a"),
        ({"sort": "alphabet", "keep": 1}, "z, b, a", "z, a, b"),
        ({"dedupe": True, "keep": 1}, "a, b, a, b", "a, b"),
        ({"underscores": "to-spaces", "remove": ["long hair"]}, "long_hair, red_hat, ^_^", "red hat, ^_^"),
        ({"underscores": "to-underscores", "keep": 1}, "a b, c d", "a b, c_d"),
        ({"parentheses": "escape"}, "a (b), c", r"a \(b\), c"),
        ({"parentheses": "unescape"}, r"a \(b\)", "a (b)"),
        ({"truncate_tokens": 2}, "a, b, c", "a, b"),
        ({"truncate_tokens": 1, "keep": 2}, "a, b, c", "a, b"),
        ({"truncate_tokens": 1}, "a b c", "a b c"),
        ({"separator": "|", "add": ["x"]}, "a, b|c", "a, b| c| x"),
        ({"sort": "alphabet", "prepend": ["z"], "append": ["a"]}, "b, a, c", "z, b, c, a"),
        ({"add": ["x"]}, "", "x"),
        ({"add": ["x"]}, "\n\n", "x\n\n"),
        ({"remove": ["q"]}, " a,b ,, c", " a,b ,, c"),
        ({"add": ["x"]}, "a\r\n\r\nb\rc\n", "a, x\r\n\r\nb, x\rc, x\n"),
    ],
)  # fmt: skip
def test_each_edit(options, before, after):
    assert one(before, **options) == after


def test_implied_tags(tmp_path):
    table = tmp_path / "table.txt"
    table.write_text("# clothes\nwhite_shirt=shirt\n\nshirt = clothes\n")
    given = {"implications": table, "underscores": "to-spaces"}
    assert one("shirt, white_shirt, hat, clothes", **given) == "white shirt, hat"
    assert one("white_shirt, hat", implied="add", **given) == "white shirt, hat, shirt, clothes"
    assert one("white_shirt, shirt", keep=1, implications=table) == "white_shirt"
    table.write_text("a=b\nb=a")
    with pytest.raises(UserError, match=r"table.txt: 'a' implies itself"):
        one("a", implications=table)
    table.write_text("a=b\nnothing")
    with pytest.raises(UserError, match=r"table.txt:2: 'nothing' is not old=new"):
        one("a", implications=table)


def test_frequency_counts_captions_as_they_are_then():
    recipe = recipe_of(
        EditOptions(folder=Path(), sort="frequency", remove=("gone",), replace=("b1=b",))
    )
    found = edited(
        [{"caption": "a, gone, b1"}, {"caption": "b1"}],
        recipe,
        [{"caption": "b, a, a, a, a"}, {"caption": "b, q"}],
    )
    assert found == [{"caption": "b, a"}, {"caption": "b"}]


def test_a_folder_is_edited_and_brought_back(pics):
    before = {p: p.read_bytes() for p in pics.rglob("*.txt")}
    told = run(pics, replace=["blue_hair=green hair"], add=["x"])
    assert (pics / "a.txt").read_bytes() == b"1girl, green hair, smile, x\r\n"
    assert (pics / "b.txt").read_bytes() == b"hat, green hair, x\nsecond line, hat, x"
    assert (pics / "in" / "c.txt").read_bytes() == "青髪, smile, x".encode()
    assert "1 pictures have no caption and are left alone" in told
    assert any("cp932" in line and "c.txt" in line for line in told)
    assert told[-1] == f"3 caption files changed; `renma caption undo {pics}` takes it back"
    assert not (pics / "d.txt").exists()
    undo.run(UndoOptions(folder=pics), Told())
    assert {p: p.read_bytes() for p in pics.rglob("*.txt")} == before


def test_where_chooses_captions_and_leaves_others_as_they_are(pics):
    told = run(pics, where="smile and not 1girl", add=["x"], flat=False)
    assert "1 of 3 captions fit 'smile and not 1girl'" in told
    assert (pics / "in" / "c.txt").read_text(encoding="utf-8") == "青髪, smile, x"
    assert (pics / "b.txt").read_bytes().startswith(b"\xef\xbb\xbf")
    run(pics, where="smile", add=["y"], flat=True)
    assert "y" not in (pics / "in" / "c.txt").read_text(encoding="utf-8")


def test_other_encodings_stay_until_asked(pics):
    run(pics, where="1girl", add=["x"], utf8=True)
    assert (pics / "in" / "c.txt").read_bytes() == "青髪, smile".encode()
    assert (pics / "b.txt").read_bytes() == b"hat, blue_hair\nsecond line, hat"


def test_a_near_miss_is_told(pics):
    """C3: 'blue hair' where the captions say blue_hair."""
    miss = "no caption has 'blue hair'; 2 have 'blue_hair'"
    for options in (
        {"remove": ["blue hair"]},
        {"replace": ["blue hair=x"]},
        {"where": "blue hair", "dedupe": True},
    ):
        assert miss in run(pics, **options), options
    found = run(pics, underscores="to-spaces", remove=["blue_hair"], dry_run=True)
    assert "no caption has 'blue_hair'; 2 have 'blue hair'" in found
    assert not any("no caption has" in line for line in run(pics, remove=["blue_hair"]))


def test_captions_that_say_nothing_any_more_are_named(pics):
    told = run(pics, remove=["*"], where="1girl")
    assert "captions that say nothing now: a.txt." in told
    assert (pics / "a.txt").read_bytes() == b"\r\n"


def test_tokens_are_those_of_clip(pics):
    from renma.formats.clip_tokens import ClipTokens

    (pics / "a.txt").write_text(", ".join(["extraordinarily"] * 40))
    (pics / "b.txt").write_text("word " * 100)
    told = run(pics, truncate_tokens=75)
    text = (pics / "a.txt").read_text()
    count = ClipTokens.shipped().count
    assert count(text) <= 75 < count(f"{text}, extraordinarily")
    assert "still more than 75 tokens: no tag may be dropped: b.txt." in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing says what to change"),
        ({"where": "a and", "add": ["x"]}, "--where: a tag is expected at column 6"),
        ({"where": "a and"}, "--where: a tag is expected at column 6"),
        ({"search": ["("], "with": [""]}, "--search: missing .* at column 1"),
        ({"search": ["a"], "with": [r"\2"]}, r"--search: invalid group reference 2 at column 2"),
        ({"search": ["a"]}, "--search is given 1 times and --with 0 times"),
        ({"replace": ["a"]}, "--replace: 'a' is not old=new"),
        ({"replace": ["a="]}, "--replace: 'a=' is not old=new"),
        ({"replace": ["a=*"]}, r"more \* behind the = than before"),
        ({"add": [" , "]}, "--add: names no tag"),
        ({"prepend": ["a\nb"]}, "--prepend: a tag is one line"),
        ({"folder": "nowhere", "add": ["x"]}, "nowhere: there is no such folder"),
        ({"folder": "no.json", "add": ["x"]}, "no.json: there is no such file"),
        ({"implications": "none.txt", "dedupe": True}, "none.txt: cannot be read"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(pics, options, message):
    before = {p: p.read_bytes() for p in pics.rglob("*.txt")}
    with pytest.raises(UserError, match=message):
        run(pics, **options)
    assert {p: p.read_bytes() for p in pics.rglob("*.txt")} == before
    assert not (pics / ".renma").exists()


def test_places_are_counted_from_one():
    with pytest.raises(ValidationError):
        EditOptions(folder=Path(), at=0)


def test_options_without_effect_are_told(pics):
    told = run(pics, at=2, reverse=True, only="tags", dedupe=True)
    assert [line for line in told if "no effect" in line] == [
        "--at has no effect without --add",
        "--reverse has no effect without --sort",
        "--only has no effect: it is for metadata",
    ]


def test_another_ending_is_proposed(pics):
    assert any(
        "There are .txt files: give --extension .txt" in x
        for x in run(pics, extension="caption", dedupe=True)
    )


ROWS = {
    "a.png": {"caption": "a girl\na hat", "tags": "1girl, blue_hair", "image_size": [1, 2]},
    "b": {"tags": ["hat", "blue_hair"]},
    "c": {"caption": "hat, x"},
    "d": {"image_size": [3, 4]},
}


@pytest.mark.parametrize("name", ["meta.json", "meta.jsonl"])
def test_metadata_goes_in_and_out(tmp_path, name):
    """C3, in sd-scripts' format: both keys, texts and lists, everything else as it was."""
    file = tmp_path / name
    lines = [json.dumps({"image_path": key, **row}) for key, row in ROWS.items()]
    file.write_text("\n".join(lines) if name.endswith("l") else json.dumps(ROWS))
    before = file.read_bytes()
    told = run(
        file, underscores="to-spaces", remove=["hat"], prepend=["aa12"], add=["new"], diff=True
    )
    rows = json.loads(file.read_text()) if name == "meta.json" else {
        row.pop("image_path"): row for row in map(json.loads, file.read_text().splitlines())
    }  # fmt: skip
    assert rows == {
        "a.png": {
            "caption": "aa12, a girl\naa12, a hat",
            "tags": "1girl, blue hair, new",
            "image_size": [1, 2],
        },
        "b": {"tags": ["aa12", "blue hair", "new"]},
        "c": {"caption": "aa12, x, new"},
        "d": {"image_size": [3, 4]},
    }
    assert "3 of 4 pictures change" in told
    assert told[told.index("b tags") :][:3] == [
        "b tags",
        "  - hat, blue_hair",
        "  + aa12, blue hair, new",
    ]
    undo.run(UndoOptions(folder=file), Told())
    assert file.read_bytes() == before


def test_metadata_into_another_file_and_one_key_only(tmp_path):
    (tmp_path / "in.json").write_text(json.dumps(ROWS))
    run(tmp_path / "in.json", out=tmp_path / "out.jsonl", only="tags", remove=["blue_hair"])
    assert json.loads((tmp_path / "in.json").read_text()) == ROWS
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0] == {"image_path": "a.png", **ROWS["a.png"], "tags": "1girl"}
    assert rows[1:] == [{"image_path": "b", "tags": ["hat"]}, {"image_path": "c", **ROWS["c"]}, {"image_path": "d", **ROWS["d"]}]  # fmt: skip
    run(tmp_path / "in.json", dry_run=True, add=["x"])
    assert json.loads((tmp_path / "in.json").read_text()) == ROWS


def test_what_moves_to_the_front_leaves_the_other_text():
    recipe = recipe_of(EditOptions(folder=Path(), prepend=("x",), append=("y",), add=("z", "c")))
    found = edited([{"caption": "c, y", "tags": "x, t"}], recipe)
    assert found == [{"caption": "x, c", "tags": "t, z, y"}]


WORD = st.sampled_from(["a", "b", "hat", "red hat", "long_hair", "^_^", "a (b)"])
TEXT = st.lists(st.lists(WORD, max_size=5).map(", ".join), min_size=1, max_size=3).map("\n".join)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "remove": st.lists(WORD, min_size=1, max_size=2),
        "replace": st.lists(st.builds("{}={}".format, WORD, WORD), min_size=1, max_size=2),
        "dedupe": st.booleans(),
        "sort": st.sampled_from(["alphabet", "frequency", "length"]),
        "reverse": st.booleans(),
        "add": st.lists(WORD, min_size=1, max_size=2),
        "at": st.sampled_from(["first", "last", 1, 3]),
        "keep": st.integers(0, 3),
        "prepend": st.lists(WORD, min_size=1, max_size=2),
        "append": st.lists(WORD, min_size=1, max_size=2),
    },
)  # fmt: skip


@given(st.lists(TEXT, max_size=3), OPTIONS)
def test_no_edit_loses_what_it_was_not_asked_to_lose(texts, options):
    recipe = recipe_of(EditOptions.model_validate({"folder": ".", **options}))
    found = edited([{"caption": text} for text in texts], recipe)
    asked = {*options.get("remove", ()), *(r.split("=")[0] for r in options.get("replace", ()))}
    written = {
        *(r.split("=")[1] for r in options.get("replace", ())),
        *(w for key in ("add", "prepend", "append") for w in options.get(key, ())),
    }
    assert len(found) == len(texts)
    for text, parts in zip(texts, found, strict=True):
        lines = list(zip(text.split("\n"), parts["caption"].split("\n"), strict=True))
        for old, new in lines:
            before, after = (tags_of({"caption": line}) for line in (old, new))
            kept = before[: options.get("keep", 0)]
            assert after[: len(kept)] == kept
            assert {*before} - asked <= {*after}
            assert {*after} <= {*before} | written
            if not options.get("dedupe"):
                for tag, count in Counter(before).items():
                    assert tag in asked | written or after.count(tag) == count


@given(TEXT, st.sampled_from([{"sort": "alphabet"}, {"dedupe": True}, {"underscores": "to-spaces"}, {"add": ["q"], "at": 2}, {"prepend": ["a", "q"]}, {"append": ["a"]}, {"parentheses": "escape"}]))  # fmt: skip
def test_these_edits_are_done_once(text, options):
    assert one(one(text, **options), **options) == one(text, **options)
