"""What is said of ReLoRA before anything is trained (rows A9, G2)."""

from __future__ import annotations

from pathlib import Path

import pytest

from renma.config import load_run
from renma.core.errors import UserError
from renma.train.plan import Plan, prepare
from renma.train.rules import relora
from testbed.runs import train

GROUPS = {"attention", "feed_forward", "projection"}
CYCLES = ("train.max_steps=60", "relora.every_steps=20", "train.text_encoder=false")


def planned(project: Path, *values: str) -> Plan:
    return prepare(load_run(project / "run.toml", [*CYCLES, *values]), project).plan


def test_the_plan_tells_cycles_merges_and_the_rank_of_the_file(project: Path):
    rows = dict(planned(project, "relora.rate_factor=0.5", "relora.merged=true").method)
    assert rows["cycles"] == "3 of 20 steps, each at 0.5 of the rate; merged after step 20, 40"
    assert "rank 6" in rows["their sum"]
    assert "merged/lora" in rows["merged"]
    assert "rank 4, the best" in dict(planned(project, "relora.file_rank=4").method)["their sum"]
    assert not planned(project, "relora.every_steps=0").method
    assert not planned(project, "relora.every_steps=60").method  # one cycle


def test_every_rule_finds_what_it_is_for_and_nothing_in_a_run_without_relora(project: Path):
    """Errors are in test_relora.py; each names its option."""
    off = {finding.rule for finding in planned(project, "relora.every_steps=0").findings}
    found = {
        finding.rule
        for values in (
            ("relora.keep=0.2",), (), ("relora.file_rank=2",), ("adapter.max_norm=1",),
        )
        for finding in planned(project, *values).findings
    }  # fmt: skip
    ids = {rule.id for rule in relora.RULES if rule.level != "error"}
    assert ids <= found
    assert not ids & off


@pytest.mark.parametrize(
    ("values", "where"),
    [
        (("adapter.dora=output",), "adapter.dora"),
        (('adapter={algo="dylora",rank=2}',), "adapter.algo"),
        (("relora.reset=magnitude", "optimizer={name='prodigy'}"), "relora.reset"),
    ],
)
def test_errors_name_the_option(project: Path, values, where):
    with pytest.raises(UserError) as caught:
        planned(project, *values)
    assert caught.value.where == where
    assert caught.value.remedy


def test_a_short_last_cycle_is_told(project: Path):
    plan = planned(project, "train.max_steps=48")
    assert "the last has 8 steps" in dict(plan.method)["cycles"]
    assert any("the last cycle has only 8 steps" in text for text in plan.warnings)


def test_the_plan_counts_the_past_and_the_original_weights(project: Path):
    """float32: each trained weight once more, and two of three cycles; in few bits only those."""
    plain, full = planned(project, "relora.every_steps=0"), planned(project)
    assert "cycles" not in plain.memory
    slots = prepare(load_run(project / "run.toml", list(CYCLES)), project).model.slots()
    trained = [s for s in slots if s.part == "unet" and s.group in GROUPS]
    weights = sum(s.outputs * s.columns for s in trained)
    past = 2 * 2 * sum(s.outputs + s.columns for s in trained)
    assert full.memory["cycles"] == pytest.approx(4 * (weights + past) / 2**20, abs=0.06)
    few = planned(project, "model.quantize=nf4").memory["cycles"]
    assert few == pytest.approx(4 * past / 2**20, abs=0.06)
    assert full.memory_mib == pytest.approx(plain.memory_mib + full.memory["cycles"], abs=1)


@pytest.mark.parametrize("values", [(), ("relora.file_rank=5",), ("relora.every_steps=0",)])
def test_the_file_is_as_large_as_foretold(project: Path, values):
    """Numbers alone; its header comes on top."""
    few = ("train.max_steps=3", "relora.every_steps=1", "train.save_every_steps=0")
    foretold = planned(project, *few, *values).file_bytes
    out = train(project, "a", *CYCLES, *few, *values)
    path = out / "lora" / "lora.safetensors"
    header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    assert path.stat().st_size - header == foretold


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (("schedule.name=cosine",), "does not let the rate rise anew"),
        (('schedule={name="jagged_cosine",cycle_steps=30}',), "differ"),
        (('schedule={name="jagged_cosine",cycle_steps=20,restart_warmup_steps=20}',), "all of a cycle"),
        (("relora.every_steps=60",), "no effect: the run has 60 steps"),
        (("relora.every_steps=0", 'schedule={name="jagged_cosine",cycle_steps=20}'), "do not come"),
        (("relora.keep=0.2",), "relora.keep has no effect"),
        (("relora.file_rank=2",), "what a single cycle has"),
        (("relora.file_rank=6",), "no effect: all cycles together have 6"),
        (("adapter.max_norm=1",), "not for their sum"),
        (("optimizer.name=prodigy", "optimizer.learning_rate=1"), "searches anew"),
        (("model.quantize=nf4", "relora.where=weights"), "loses what is small"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_warned_of(project: Path, values, told):
    assert any(told in text for text in planned(project, *values).warnings)
    fits = ('schedule={name="jagged_cosine",cycle_steps=20,restart_warmup_steps=4}',)
    assert not any(told in text for text in planned(project, *fits).warnings)
