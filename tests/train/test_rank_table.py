"""A7: the held-out loss of every rank that can be cut from a DyLoRA, told once at the end."""

from __future__ import annotations

import math
import types
from pathlib import Path
from typing import Any

import pytest

from renma.config.file_tasks import CutOptions
from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.engine.network import Network
from renma.train import task
from renma.train.procedures import rank_table
from renma.train.procedures.rank_table import Row
from renma.train.validation import Validation
from renma.use import cut
from testbed.heard import Heard
from testbed.trainers import trainer

HELD = "data.validation_split=0.4"
VALUES = (
    HELD, "adapter={algo='dylora',rank=4,alpha=2,unit=2,conv_rank=4}", "output.precision=fp32",
    "train.save_every_steps=0", "train.max_steps=3",
)  # fmt: skip


def train(project: Path, *values: str, resume: bool = False) -> tuple[Heard, list[dict[str, Any]]]:
    heard = Heard()
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "out", resume=resume)
    task.run(options, heard)
    rows = list(read_events(project / "out" / "events.jsonl"))
    return heard, [row for row in rows if row["kind"] == "ranks"]


def test_each_row_is_the_loss_and_size_of_the_file_cut_to_it(project: Path, mame):
    """Against the files that `renma file cut` writes, read as any LoRA is."""
    heard, (told,) = train(project, *VALUES)
    file = project / "out" / "lora" / "lora.safetensors"
    assert [row["rank"] for row in told["rows"]] == [2, 4]
    assert (told["step"], told["path"]) == (3, "lora/lora.safetensors")
    found = {}
    for row in told["rows"]:
        path = project / f"{row['rank']}.safetensors"
        cut.run(CutOptions(file=file, out=path, rank=row["rank"]), Silent())
        with (
            trainer(project, mame, *VALUES) as fresh,  # its own adapters do nothing yet
            Network.from_file(mame, path).at(),
        ):
            measured = Validation.of(fresh.lessons, fresh.run)
            assert measured is not None
            found[row["rank"]] = measured.loss(fresh)
        # the comment that cutting adds is all that differs
        assert row["file_bytes"] == pytest.approx(path.stat().st_size, abs=600)
    assert {row["rank"]: row["loss"] for row in told["rows"]} == pytest.approx(found, rel=1e-5)
    assert abs(found[2] / found[4] - 1) > 1e-4  # otherwise nothing was told apart
    last = [r for r in read_events(project / "out" / "events.jsonl") if r["kind"] == "validated"]
    assert told["rows"][-1]["loss"] == last[-1]["loss"]
    best = next(row for row in told["rows"] if row["rank"] == told["enough"])
    assert best["loss"] <= 1.02 * min(row["loss"] for row in told["rows"])
    assert sum("the smallest within 2 % of the best" in line for line in heard.lines) == 1


def test_a_finished_run_that_is_resumed_measures_nothing(project: Path):
    train(project, *VALUES)
    heard, told = train(project, *VALUES, resume=True)
    assert len(told) == 1
    assert any("nothing to do" in line for line in heard.lines)


def test_a_table_that_was_cut_short_is_measured_on_resume(project: Path):
    _, (before,) = train(project, *VALUES)
    events = project / "out" / "events.jsonl"
    lines = events.read_text().splitlines(keepends=True)
    events.write_text("".join(one for one in lines if '"ranks"' not in one))
    _, (after,) = train(project, *VALUES, resume=True)
    assert after["rows"] == before["rows"]


def test_a_run_that_went_on_is_measured_at_its_new_end(project: Path):
    train(project, *VALUES)
    _, told = train(project, *VALUES, "train.max_steps=5", resume=True)
    assert [row["step"] for row in told] == [3, 5]
    assert told[0]["rows"] != told[1]["rows"]


def test_without_held_out_pictures_it_says_how_to_get_the_table(project: Path):
    heard, told = train(project, *(value for value in VALUES if value != HELD))
    assert not told
    assert any("data.validation_split = 0.1" in line for line in heard.lines)


def test_a_file_that_cannot_be_cut_gets_no_table(project: Path):
    """With DoRA each rank needs magnitudes of its own, and `renma file cut` refuses it."""
    heard, told = train(project, *VALUES, "adapter={algo='dylora',rank=2,alpha=2,dora='output'}")
    assert not told
    assert any("dora_scale" in line and "cannot be cut" in line for line in heard.lines)


def test_plain_lora_has_no_table(project: Path):
    heard, told = train(project, HELD, "train.save_every_steps=0", "train.max_steps=1")
    assert not told
    assert not any("rank table" in line for line in heard.lines)


def network(*ranks: int, unit: int = 1) -> Any:
    """A network of DyLoRA adapters without weights."""
    adapters: list[Any] = [object.__new__(rank_table.DyLoraAdapter) for _ in ranks]
    for adapter, rank in zip(adapters, ranks, strict=True):
        adapter.__dict__.update(rank=rank, unit=unit)
    members = {str(i): types.SimpleNamespace(adapter=a) for i, a in enumerate(adapters)}
    return types.SimpleNamespace(members=members)


def test_few_of_many_ranks_are_measured_small_ones_and_the_whole_always():
    assert rank_table.cuttable(network(8, 8), 1) == list(range(1, 9))
    assert rank_table.cuttable(network(16), 4) == [4, 8, 12, 16]
    for rank, unit in ((128, 1), (512, 4), (17, 1), (4096, 1)):
        found = rank_table.cuttable(network(rank), unit)
        assert 8 <= len(found) <= rank_table.MOST
        assert found == sorted(set(found))
        assert (found[0], found[-1]) == (unit, rank)
        assert all(one % unit == 0 for one in found)


def test_a_cut_goes_no_further_than_the_layer_with_the_fewest_ranks():
    """`renma file cut --rank 8` refuses a layer of rank 4; the whole file is the last row."""
    assert rank_table.cuttable(network(16, 4), 1) == [1, 2, 3, 4, 16]
    assert rank_table.cuttable(network(16, 2), 4) == [16]


def test_the_smallest_rank_within_2_percent_is_named():
    rows = [Row(1, 1.03, 1), Row(2, 1.019, 2), Row(4, 1.0, 3), Row(8, 1.01, 4)]
    assert rank_table.enough(rows) == rows[1]
    assert rank_table.enough([Row(1, None, 1), Row(2, 5.0, 2)]) == Row(2, 5.0, 2)
    assert rank_table.enough([Row(1, None, 1)]) is None


def test_the_table_is_aligned_and_its_command_is_exact():
    rows = [Row(1, 0.2, 90_000), Row(16, 0.1, 1_200_000), Row(128, 0.1, 99_000_000)]
    told = rank_table.lines(rows, Path("a run/lora/x.safetensors"))
    table, last = told[:-1], told[-1]
    ends = {line.index("kB") for line in table[1:]}
    assert len(ends) == 1
    assert [line.split()[2:4] for line in table[1:]] == [["100.0", "%"], ["0.0", "%"], ["0.0", "%"]]
    assert "smallest" in table[2]
    assert last == (
        "to cut it out: renma file cut 'a run/lora/x.safetensors' "
        "'a run/lora/x-rank16.safetensors' --rank 16"
    )
    assert "whole file is needed" in rank_table.lines(rows[1:2], Path("x"))[-1]
    assert "went wrong" in rank_table.lines([Row(1, None, 5)], Path("x"))[-1]
    assert "not a number" in rank_table.lines([Row(1, None, 5)], Path("x"))[1]
    assert math.isclose(rank_table.NEAR, 0.02)
