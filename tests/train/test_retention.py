"""Which checkpoints and states go (E10), and whether the disk has room for the rest."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.formats import state
from renma.train import retention, task

NUMBERS = st.sets(st.integers(1, 60), min_size=1, max_size=20)


@given(NUMBERS, st.data(), st.integers(0, 8))
def test_the_newest_stay_and_later_ones_are_not_touched(numbers, data, keep: int):
    newest = data.draw(st.sampled_from(sorted(numbers)))
    gone = set(retention.surplus(numbers, newest, keep))
    left = numbers - gone
    assert newest in left
    assert {n for n in numbers if n > newest} <= left
    behind = sorted(n for n in left if n <= newest)
    expected = sorted(n for n in numbers if n <= newest)
    assert behind == (expected[-keep:] if keep else expected)


@given(NUMBERS, st.data(), st.integers(1, 5))
def test_of_states_later_ones_go_first(numbers, data, keep: int):
    """They are the damaged ones that a run went back from."""
    newest = data.draw(st.sampled_from(sorted(numbers)))
    left = numbers - set(state.surplus(numbers, newest, keep))
    assert left == set(sorted(n for n in numbers if n <= newest)[-keep:])


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 30))
def test_last_steps_keeps_what_sd_scripts_keeps(every: int, last: int, saves: int):
    """sd-scripts removes one file a save: that of step (s - last - 1) // every * every."""
    keep = retention.kept_of_last_steps(last, every)
    theirs: set[int] = set()
    ours: set[int] = set()
    for step in range(every, every * saves + 1, every):
        theirs = (theirs | {step}) - {(step - last - 1) // every * every}
        ours |= {step}
        ours -= set(retention.surplus(ours, step, keep))
        assert ours == theirs


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_rows_are_counted_apart_and_strangers_stay(tmp_path: Path):
    own = [f"lora-{n:06d}" for n in (1, 2, 3)] + [f"lora-step{n:08d}" for n in (10, 20, 30)]
    strangers = ["lora", "other-000001", "lora-000001.backup", "lora-final", "lora-2-000001"]
    for name in (*own, *strangers):
        (tmp_path / f"{name}.safetensors").touch()
    gone = retention.remove_surplus(tmp_path / "lora-000003.safetensors", 1)
    assert [path.stem for path in gone] == ["lora-000001", "lora-000002"]
    retention.remove_surplus(tmp_path / "lora-step00000030.safetensors", 2)
    left = ["lora-000003", "lora-step00000020", "lora-step00000030", *strangers]
    assert names(tmp_path) == sorted(f"{name}.safetensors" for name in left)
    assert retention.remove_surplus(tmp_path / "lora.safetensors", 1) == []


def test_a_run_keeps_its_newest_checkpoints_and_states(project: Path):
    values = ("train.save_every_steps=1", "train.keep_checkpoints=2", "train.keep_states=3")
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "a")
    task.run(options, Silent())
    assert names(project / "a" / "lora") == [
        "lora-step00000004.safetensors", "lora-step00000005.safetensors", "lora.safetensors",
    ]  # fmt: skip
    assert names(project / "a" / "state") == [f"step-0000000{n}.safetensors" for n in (4, 5, 6)]
    saved = [r for r in read_events(project / "a" / "events.jsonl") if r["kind"] == "saved"]
    assert len(saved) == 6


@pytest.mark.parametrize(
    ("checkpoints", "keep", "expected"),
    [(0, 0, 10 + 3 * 100), (5, 0, 6 * 10 + 300), (5, 2, 4 * 10 + 300), (1, 2, 2 * 10 + 300)],
)
def test_room_needed_counts_the_new_beside_the_old(checkpoints: int, keep: int, expected: int):
    needed = retention.room_needed(
        checkpoint=10, checkpoints=checkpoints, keep_checkpoints=keep, state=100, keep_states=2
    )
    assert needed == expected


def test_too_little_room_is_told_with_what_is_missing(tmp_path: Path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(retention.shutil, "disk_usage", lambda path: usage(9, 9, 3 * 2**20))
    assert retention.shortage(tmp_path / "not" / "yet", 3 * 2**20) == ""
    text = retention.shortage(tmp_path / "not" / "yet", 5 * 2**20)
    assert "5.0 MiB" in text
    assert "2.0 MiB are missing" in text


def test_a_run_that_will_not_fit_is_told_before_its_first_step(project: Path, monkeypatch):
    """What it says it needs is, within a tenth, what it then writes."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(retention.shutil, "disk_usage", lambda path: usage(9, 9, 0))
    values = (
        "train.save_every_steps=1", "train.keep_states=3", "train.max_steps=4", "adapter.rank=16",
    )  # fmt: skip
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "a")
    task.run(options, Silent())
    rows = list(read_events(project / "a" / "events.jsonl"))
    kinds = [row["kind"] for row in rows]
    (at,) = [i for i, row in enumerate(rows) if "are missing" in row.get("text", "")]
    assert at < kinds.index("started")
    told = float(rows[at]["text"].split("need up to ")[1].split(" MiB")[0])
    sizes = [p.stat().st_size for p in (project / "a").rglob("*.safetensors")]
    states = [p.stat().st_size for p in (project / "a" / "state").iterdir()]
    wanted = (sum(sizes) + max(states) + max(set(sizes) - set(states))) / 2**20
    assert told == pytest.approx(wanted, rel=0.1)
