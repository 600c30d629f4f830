"""``renma caption audit``: planted mistakes are found, clean captions are not blamed (C6, G6)."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma import assets
from renma.caption import audit
from renma.caption.assistant.trigger_checks import spelled_like
from renma.cli import main
from renma.config.caption.audit import AuditOptions
from renma.core.errors import UserError
from renma.core.events import Silent


class Told(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def run(folder: Path, **options) -> list[str]:
    told = Told()
    audit.run(AuditOptions.model_validate({"folder": folder, **options}), told)
    return told.lines


def findings(folder: Path, **options) -> dict[str, dict]:
    sets = json.loads("\n".join(run(folder, json=True, **options)))
    found: dict[str, dict] = {}
    for each in sets:
        for finding in each["findings"]:
            found.setdefault(finding["code"], finding)  # the gravest comes first
    return found


def write(folder: Path, captions: list[str | None]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place, text in enumerate(captions):
        (folder / f"{place:02}.png").touch()
        if text is not None:
            (folder / f"{place:02}.txt").write_text(text)
    return folder


FACES = ["smile", "frown", "open mouth"]
GROUNDS = ["white background", "outdoors", "indoors", "night"]
CLEAN = [f"aa12, 1girl, {face}, {ground}" for face, ground in itertools.product(FACES, GROUNDS)]


def planted(*texts: str | None) -> list[str | None]:
    return [*texts, *CLEAN[len(texts) :]]


CASES = {
    "trigger-missing": (planted("1girl, smile, outdoors"), 1),
    "trigger-not-first": (planted("1girl, aa12, smile"), 1),
    "trigger-twice": (planted("aa12, smile, aa12"), 1),
    "trigger-misspelt": (planted("aa13, 1girl, smile", "aa 12, night"), 1),
    "caption-missing": (planted(None, ""), 2),
    "conflict": (planted("aa12, short hair, long hair, night"), 1),
    "spelt-twice": (planted("aa12, white_background", "aa12, open mouths"), 1),
    "tag-twice": (planted("aa12, smile, night, smile"), 1),
    "weights": (planted("aa12, (smile:1.3), night"), 1),
    "too-long": (planted("aa12" + ", cat" * 40), 1),
    "sentences": (planted("aa12, a girl with a hat is standing in the rain"), 1),
    "equal-captions": (planted("aa12, 1girl, hat", "1girl, aa12, hat", "aa12, hat, 1girl"), 3),
    "in-every-caption": ([f"{text}, pink hair" for text in CLEAN], 1),
    "one-background": ([t.replace("outdoors", "white background").replace("indoors", "white background").replace("night", "white background") for t in CLEAN], 12),
    "no-background": ([text.rsplit(",", 1)[0] for text in CLEAN], 12),
    "one-gaze": ([f"{text}, looking at viewer" for text in CLEAN], 12),
    "fused-tags": (planted(*(f"aa12, hat, boots, {face}" for face in FACES)), 3),
    "missed-tag": ([f"{text}, pink hair" for text in CLEAN[:-1]] + CLEAN[-1:], 1),
    "several-looks": ([f"{t}, {'pink' if n % 2 else 'blue'} hair" for n, t in enumerate(CLEAN)], 6),
    "seen-once": (planted("aa12, hat, smile"), 1),
    "trigger-ordinary": ([text.replace("aa12", "hat") for text in CLEAN], 1),
}  # fmt: skip


@pytest.mark.parametrize("code", CASES)
def test_a_planted_mistake_is_found_with_its_figure(tmp_path, code):
    captions, count = CASES[code]
    trigger = "hat" if code == "trigger-ordinary" else "aa12"
    found = findings(write(tmp_path, captions), trigger=trigger)
    assert found[code]["count"] == count
    assert found[code]["remedy"]


def test_clean_captions_are_not_blamed(tmp_path):
    found = findings(write(tmp_path, CLEAN))
    grave = {code for code, finding in found.items() if finding["gravity"] != "know"}
    assert grave == set()
    run(tmp_path, strict=True)
    assert {*CASES} & {*found} <= {"in-every-caption"}  # 1girl, which is as it should be


def test_what_excuses_a_contradiction(tmp_path):
    odd = "aa12, blue eyes, red eyes, night"
    assert findings(write(tmp_path, planted(odd)))["conflict"]["names"] == ["00.txt"]
    assert "conflict" not in findings(write(tmp_path, planted(f"{odd}, heterochromia")))


def test_figures_are_counted_by_hand(tmp_path):
    """G6: which tags are fused with the trigger, measured from co-occurrence."""
    write(tmp_path / "train" / "10_aa12 girl", [f"aa12, girl, hat, {w}" for w in FACES])
    write(tmp_path / "reg" / "1_girl", ["girl, smile", "girl, hat"])
    each = json.loads("\n".join(run(tmp_path, json=True)))[0]
    rows = {row["tag"]: row for row in each["tags"]}
    # 5 captions: hat in 4, trigger in 3, both in 3
    bound = rows["hat"]["with_trigger"]
    assert bound["phi"] == pytest.approx((5 * 3 - 4 * 3) / (4 * 3 * 1 * 2) ** 0.5, abs=1e-4)
    assert bound["jaccard"] == pytest.approx(3 / 4)
    assert rows["girl"]["with_trigger"]["phi"] is None  # everywhere
    assert rows["aa12"]["with_trigger"]["phi"] == 1
    assert rows["hat"]["in_regularisation"] == 1


def test_regularisation_pictures_hold_tags_apart(tmp_path):
    """C6, G6: what they say without the trigger is told from it."""
    train = [f"{text}, pink hair" for text in CLEAN]
    write(tmp_path / "train" / "10_aa12 girl", train)
    alone = findings(tmp_path)["in-every-caption"]
    assert (alone["gravity"], "'pink hair'" in alone["text"]) == ("mend", True)
    write(tmp_path / "reg" / "1_girl", ["1girl, pink hair, smile"] * 4)
    found = findings(tmp_path)
    assert "pink hair" in found["held-apart"]["text"]
    assert "in-every-caption" not in found
    write(tmp_path / "reg" / "1_girl", ["aa12, 1girl"])
    assert findings(tmp_path)["trigger-in-regularisation"]["count"] == 1
    write(tmp_path / "reg" / "1_girl", ["person, 1girl"] * 4)
    assert findings(tmp_path)["class-word-missing"]["count"] == 12


def test_class_tokens_stand_in_for_missing_captions_only(tmp_path):
    """C6: class_tokens only used where no caption exists."""
    folder = write(tmp_path / "10_aa12 girl", planted(None))
    assert "'aa12 girl' stands in" in findings(folder)["caption-missing"]["text"]
    whole = write(tmp_path / "b" / "10_aa12 girl", CLEAN)
    assert findings(whole)["class-tokens-unused"]["count"] == 12


def test_the_gravest_comes_first(tmp_path):
    sets = json.loads("\n".join(run(write(tmp_path, planted("smile", "aa13, hat")), json=True)))
    weights = [finding["weight"] for finding in sets[0]["findings"]]
    assert len(weights) > 3
    assert weights == sorted(weights, reverse=True)
    lines = [line for line in run(tmp_path) if "[" in line]
    assert lines[0].startswith("  mend [trigger-missing] 2 of 12")


def test_the_samples_are_clean_and_sets_are_told_apart(tmp_path):
    shutil.copytree(assets.SAMPLES / "character", tmp_path / "a")
    found = findings(tmp_path / "a")
    assert {code for code, f in found.items() if f["gravity"] == "mend"} == set()
    assert "'person'" in found["held-apart"]["text"]
    write(tmp_path / "two" / "5_aa12 girl", CLEAN)
    write(tmp_path / "two" / "5_bb34 girl", [text.replace("aa12", "bb34") for text in CLEAN])
    heads = [line for line in run(tmp_path / "two") if not line.startswith(" ")]
    assert [head.split(":")[0] for head in heads] == ["5_aa12 girl", "5_bb34 girl"]
    assert "'bb34'" in heads[1]


def test_a_run_says_what_is_read(tmp_path):
    """C9: 150 tokens are read where the run says so."""
    write(tmp_path / "train" / "1_aa12", planted("aa12" + ", cat" * 40))
    toml = tmp_path / "run.toml"
    toml.write_text('[data]\ntrain_folder = "train"\n')
    assert findings(tmp_path)["too-long"]["count"] == 1
    toml.write_text('[data]\ntrain_folder = "train"\n[model]\nmax_tokens = 150\n')
    assert "too-long" not in findings(toml)


def test_strict_ignore_and_mistakes(tmp_path, capsys):
    folder = write(tmp_path, planted("smile"))
    assert main(["caption", "audit", str(folder)]) == 0
    assert "[trigger-missing]" in capsys.readouterr().out
    assert main(["caption", "audit", str(folder), "--strict"]) == 2
    assert "to mend or look at" in capsys.readouterr().err
    assert "trigger-missing" not in findings(folder, ignore=("trigger-missing",))
    with pytest.raises(UserError, match=r"trigger-missin'.*Did you mean 'trigger-missing'"):
        run(folder, ignore=("trigger-missin",))
    with pytest.raises(UserError, match="regularisation pictures only"):
        run(write(tmp_path / "reg" / "1_girl", ["girl"]))


def test_every_code_can_be_ignored():
    """A check that is not in the list could not be named."""
    source = "".join(
        (Path(audit.__file__).parent / "assistant" / f"{name}.py").read_text()
        for name in ("trigger_checks", "tag_checks", "coverage")
    )
    assert [code for code in audit.CODES if f'"{code}"' not in source and "one-" not in code] == []
    assert {*CASES} <= {*audit.CODES}


LETTERS = st.text("ab1", min_size=4, max_size=6)


@given(LETTERS, LETTERS)
def test_near_misses_are_a_letter_apart(one, other):
    assert spelled_like(one, other) == spelled_like(other, one)
    if len(one) < 6 or len(other) < 6:
        near = {one}
        for n in range(len(one) + 1):
            near |= {one[:n] + c + one[n:] for c in "ab1"}
            near |= {one[:n] + c + one[n + 1 :] for c in "ab1"} | {one[:n] + one[n + 1 :]}
            near |= {one[:n] + one[n + 1 : n + 2] + one[n : n + 1] + one[n + 2 :]}
        assert spelled_like(one, other) == (other in near)
