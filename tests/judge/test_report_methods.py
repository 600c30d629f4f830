"""G4, A7, A9-A11, E9, E11: what a report tells of methods beyond plain training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from renma.config.judge_task import JudgeOptions
from renma.core.errors import UserError
from renma.judge import report, score
from renma.judge.folder import RunRecord
from renma.judge.report.methods import MOST_ROWS, Method, methods
from testbed.html_page import Page

HOSTILE = '</td><script>alert(1)</script><img src=x onerror="alert(2)">'
ODD = ("x", [1], {"a": 1}, True, None, 1e30, -1e30, float("nan"), float("inf"), 10**400)
ERASE = """
[[erase.prompts]]
target = "sunglasses"
neutral = "person"
guidance_scale = 1.5
[[erase.prompts]]
target = "smile"
action = "enhance"
"""
DYLORA = "[adapter]\nalgo = 'dylora'\nrank = 8\n"
ROWS = [
    {"rank": 2, "loss": 0.150, "file_bytes": 90_000},
    {"rank": 4, "loss": 0.101, "file_bytes": 170_000},
    {"rank": 8, "loss": 0.100, "file_bytes": 330_000},
]


def changed(folder: Path, toml: str, *events: dict[str, Any]) -> RunRecord:
    """Adds sections and events to a finished run."""
    with (folder / "run.toml").open("a", encoding="utf-8") as file:
        file.write(toml)
    with (folder / "events.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(event) + "\n" for event in events)
    return RunRecord.open(folder)


def only(record: RunRecord) -> Method:
    (found,) = methods(record)
    return found


def make(folder: Path) -> Page:
    return Page(report.write_report(folder).read_text(encoding="utf-8"))


def ranks(**other: Any) -> dict[str, Any]:
    told = {"kind": "ranks", "step": 20, "rows": ROWS, "enough": 4, "path": "lora/girl.safetensors"}
    return told | other


def test_plain_training_has_no_such_section(finished: Path):
    assert methods(RunRecord.open(finished)) == []
    assert "#method" not in {one["href"] for one in make(finished).all("a")}


def test_concepts_are_told_with_what_became_of_them(finished: Path):
    table = only(changed(finished, ERASE)).table
    assert table is not None
    assert [dict(zip(table.heads, row, strict=True)) for row in table.rows] == [
        {
            "Concept": "sunglasses", "Action": "erase", "Guidance": "1.5", "Drawn like": "person",
            "Taken away or added": "sunglasses",
        },
        {
            "Concept": "smile", "Action": "enhance", "Guidance": "1",
            "Drawn like": "(the empty text)", "Taken away or added": "smile",
        },
    ]  # fmt: skip


def test_a_run_from_words_says_so_instead_of_missing_its_pictures(finished: Path):
    shutil.rmtree(finished / "pictures")
    changed(finished, ERASE)
    page = make(finished)
    for lost in ("cannot be shown", "Lint", "renma judge", "Pictures and captions"):
        assert lost not in page.text, lost
    assert "learnt from words alone" in page.text
    assert {one["href"] for one in page.all("a")} == {
        f"#{one['id']}" for one in page.all("section")
    }
    assert "#method" in {one["href"] for one in page.all("a")}


def test_concepts_of_a_file_are_read_and_a_lost_file_is_said(finished: Path):
    (finished / "leco.yaml").write_text("- target: hat\n  neutral: person\n")
    record = changed(finished, "[erase]\nprompts_file = 'leco.yaml'\n")
    table = only(record).table
    assert table is not None
    assert table.rows[0][:2] == ("hat", "erase")
    (finished / "leco.yaml").unlink()
    gone = only(record)
    assert gone.table is None
    assert "cannot be read any more" in gone.said
    assert "cannot be read any more" in make(finished).text


def test_judge_refuses_a_run_from_words_and_names_what_works(finished: Path, lines: Any):
    changed(finished, ERASE)
    with pytest.raises(UserError, match="no pictures to judge it by") as refused:
        score.run(JudgeOptions(folder=finished), lines)
    assert f"renma grid {finished}" in refused.value.line()


def test_the_cut_that_is_enough_is_shown_with_its_command(finished: Path):
    record = changed(finished, DYLORA, ranks(rows=[]), ranks())
    found = only(record)
    assert [(one.rank, one.above, one.enough) for one in found.ranks] == [
        ("2", "50.0 %", False), ("4", "1.0 %", True), ("8", "0.0 %", False),
    ]  # fmt: skip
    assert [round(one.bar, 2) for one in found.ranks] == [1.0, 0.02, 0.0]
    assert found.command == (
        "renma file cut lora/girl.safetensors lora/girl-rank4.safetensors --rank 4"
    )
    page = make(finished)
    for text in ("Rank 4 is the smallest", found.command, "0.10100", "170.0 kB", "by rank"):
        assert text in page.text, text
    assert "at rank 2" in page.text  # what the chart shows, in words
    assert page.count("svg") == 3


def test_no_command_where_the_whole_file_is_needed_or_nothing_was_measured(finished: Path):
    shutil.copytree(finished, finished.parent / "other")
    whole = only(changed(finished, DYLORA, ranks(enough=8)))
    assert (whole.command, len(whole.ranks)) == ("", 3)
    blind = only(changed(finished.parent / "other", DYLORA))
    assert not blind.ranks
    assert "data.validation_split" in blind.said
    make(finished.parent / "other")


def test_merges_are_told_once_a_step_with_the_rank_of_the_file(finished: Path):
    layers = {
        f"lora_unet_{i}.lora_down.weight": np.zeros((rank, 3), np.float16)
        for i, rank in enumerate((8, 12))
    }
    save_file(layers, finished / "lora" / "girl.safetensors")
    merged = {"kind": "merged", "step": 5, "cycle": 1, "change": 1e-7, "time": 3.0}
    again = merged | {"change": 2e-7}
    record = changed(
        finished, "[relora]\nevery_steps = 5\n", merged, again, merged | {"step": 10, "cycle": 2}
    )
    found = only(record)
    assert found.table is not None
    assert found.table.heads == ("Step", "Cycle", "Output changed by")
    assert found.table.rows == (("5", "1", "2e-7"), ("10", "2", "1e-7"))
    assert dict(found.facts)["Rank of the file"] == "8 to 12, trained with 4"
    assert dict(found.facts)["Merges"] == "2"
    make(finished)


def test_the_copier_shows_both_sides_and_how_alike_its_copy_was(finished: Path):
    shutil.copytree(finished / "pictures", finished / "before")
    (finished / "copier").mkdir()
    Image.new("RGB", (320, 128), "red").save(finished / "copier" / "copied.png")
    told = {"kind": "copied", "steps": 300, "likeness": 0.93, "path": "copier/copied.png"}
    found = only(changed(finished, "[copier]\ntrain_folder = 'before'\nsteps = 300\n", told))
    assert ("How alike its answers were to those pictures", "93 %") in found.facts
    assert ("First stage", "300 steps") in found.facts
    assert found.picture is not None
    assert found.picture.width == 320
    page = make(finished)
    assert "Before the change: 2 pictures" in page.text
    # newest preview, 2 previews, twice 2 pictures, the copies
    assert page.count("img") == 8


def test_storage_and_beginnings_are_told(finished: Path):
    plan = {"kind": "started", "plan": {"memory": {"weights": 1234.5}, "method": [["One", "two"]]}}
    toml = """
[model]
quantize = "nf4"
[start]
weights = "old/first.safetensors"
base_weights = ["a/flat.safetensors", "b.safetensors"]
base_strengths = [0.5]
"""
    found = {one.title: dict(one.facts) for one in methods(changed(finished, toml, plan))}
    quantized, before, on = found.values()
    assert quantized["Frozen weights"].startswith("nf4: 4-bit")
    assert quantized["Frozen model, estimated"] == "1234 MiB"
    assert quantized["Peak memory, measured"] == "512 MiB"
    assert before == {"flat.safetensors": "strength 0.5", "b.safetensors": "strength 1"}
    assert on["File"] == "first.safetensors"
    page = make(finished)
    assert "One" in page.text  # a row of the plan
    assert "difference learning" in page.text


def test_hostile_words_of_every_method_stay_words(finished: Path):
    said = json.dumps(HOSTILE)
    toml = f"""
[[erase.prompts]]
target = {said}
neutral = {said}
positive = {said}
[copier]
train_folder = {said}
[relora]
every_steps = 5
[start]
weights = {said}
base_weights = [{said}]
{DYLORA}
"""
    plan = {"kind": "started", "plan": {"method": [[HOSTILE, HOSTILE]]}}
    merged = {"kind": "merged", "step": 5, HOSTILE: HOSTILE}
    copied = {"kind": "copied", HOSTILE: HOSTILE}
    changed(finished, toml, plan, merged, copied, ranks(path=f"{HOSTILE}.safetensors"))
    page = make(finished)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not any("onerror" in attributes for _, attributes in page.tags)
    # thrice in the concept, twice in the plan, a file and more in settings
    assert page.text.count(HOSTILE) >= 8


@pytest.mark.parametrize("odd", ODD, ids=lambda value: str(value)[:8])
def test_odd_fields_of_their_events_break_nothing(finished: Path, odd: Any):
    toml = "[relora]\nevery_steps = 5\n[copier]\ntrain_folder = 'gone'\n" + DYLORA
    changed(
        finished, toml + "[model]\nquantize = 'int8'\n",
        {"kind": "merged", "step": odd, "cycle": odd}, {"kind": "merged", "step": 5, "cycle": odd},
        {"kind": "copied", "likeness": odd, "path": odd}, {"kind": "started", "plan": {"method": odd, "memory": odd}},
        ranks(rows=[{"rank": odd, "loss": 1.0}, {"rank": 1, "loss": odd}, odd], enough=odd),
        ranks(rows=odd),
    )  # fmt: skip
    assert "Cycles that were merged" in make(finished).text


def test_long_tables_are_cut_and_say_so(finished: Path):
    merges = [{"kind": "merged", "step": step, "cycle": step} for step in range(1, 3001)]
    found = only(changed(finished, "[relora]\nevery_steps = 1\n", *merges))
    assert found.table is not None
    assert len(found.table.rows) == MOST_ROWS
    assert f"and {3000 - MOST_ROWS} more" in found.table.left_out
