"""Sessions of one run: a refused one leaves no trace, and only time at work is counted (G5)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.train import task
from renma.train.held import Held
from renma.train.work import _earlier


class Heard(Silent):
    """Keeps events and lines."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        self.told.append(kind)

    def line(self, text: str) -> None:
        self.told.append(text)


def train(project: Path, *values: str, resume: bool = False) -> Heard:
    heard = Heard()
    out = project / "a"
    options = TrainOptions(run=project / "run.toml", set=values, out=out, resume=resume)
    task.run(options, heard)
    return heard


def everything(out: Path) -> dict[str, bytes]:
    """The run's files but for the lock, which says nothing."""
    files = (path for path in out.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def recaptioned(project: Path) -> tuple[str, ...]:
    """A picture says something else, and an option that may change did."""
    next(project.rglob("green.txt")).write_text("aa12, frown")
    return ("train.max_steps=6",)


def repainted_model(project: Path) -> tuple[str, ...]:
    """The LoRA that the run began with is another file now."""
    (project / "first.safetensors").write_bytes((project / "other.safetensors").read_bytes())
    return ("train.max_steps=6", "start.weights=first.safetensors")


def shorter(project: Path) -> tuple[str, ...]:
    return ("train.max_steps=1", "output.title=again")


@pytest.mark.parametrize("change", [recaptioned, repainted_model, shorter])
def test_a_refused_resume_says_and_writes_nothing(project: Path, change):
    """What is found out only after the model was read is refused like what is found out at once."""
    begun_with: tuple[str, ...] = ()
    if change is repainted_model:
        train(project, "train.max_steps=1")
        made = (project / "a" / "lora" / "lora.safetensors").rename(project / "first.safetensors")
        (project / "a").rename(project / "before")
        train(project, "train.max_steps=1", "train.seed=7")
        (project / "a" / "lora" / "lora.safetensors").rename(project / "other.safetensors")
        (project / "a").rename(project / "before2")
        begun_with = (f"start.weights={made.name}",)
    train(project, "train.max_steps=2", *begun_with)
    values = change(project)
    before, heard = everything(project / "a"), Heard()
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "a", resume=True)
    with pytest.raises(UserError):
        task.run(options, heard)
    assert everything(project / "a") == before
    assert set(heard.told) <= {"caching"}, "progress of reading at most"


def test_an_accepted_resume_says_all_of_it_in_order(project: Path):
    train(project, "train.max_steps=2")
    told = train(project, "train.max_steps=3", resume=True).told
    rows = [row["kind"] for row in read_events(project / "a" / "events.jsonl")]
    second = len(rows) - 1 - rows[::-1].index("started")
    assert rows[second - 1] == "warned" or "warned" in rows[:second]
    texts = [
        row["text"]
        for row in read_events(project / "a" / "events.jsonl")
        if row["kind"] == "warned" and "max_steps: 2 -> 3" in row["text"]
    ]
    assert len(texts) == 1
    assert told.index("warned") < told.index("started")
    assert any("pictures" in text for text in told), "the plan is shown to those who go on, too"


def test_held_back_until_accepted_then_at_once():
    then, live, done = Heard(), Heard(), []
    held = Held(then, live, lambda: done.append(list(then.told)))
    held.event("warned", text="x")
    held.event("caching", done=1, total=2)
    held.line("plan")
    assert (then.told, live.told, done) == ([], ["caching"], [])
    held.accept()
    held.accept()
    assert then.told == ["warned", "plan"]
    assert done == [[]], "the run's file is written first, and once"
    held.event("step")
    held.event("caching")
    assert then.told == ["warned", "plan", "step", "caching"]


def test_seconds_of_work_without_those_between_sessions():
    """Two sessions of 100 s and 50 s, hours apart; preparing took 4 s and 6 s."""
    hour = 3600.0
    rows = [
        {"kind": "warned", "time": 0.0, "text": "odd"},
        {"kind": "started", "time": 10.0, "seconds": 4.0},
        {"kind": "step", "time": 60.0},
        {"kind": "interrupted", "time": 110.0},
        # the next session speaks before it starts
        {"kind": "warned", "time": 5 * hour, "text": "resumed with a changed option"},
        {"kind": "caching", "time": 5 * hour + 1},
        {"kind": "started", "time": 5 * hour + 6, "seconds": 6.0},
        {"kind": "step", "time": 5 * hour + 56},
        {"kind": "warned", "time": 9 * hour, "text": "resumed with a changed option"},
        {"kind": "started", "time": 9 * hour + 1, "seconds": 1.0},
    ]
    assert _earlier(rows) == pytest.approx(100 + 4 + 50 + 6)
    assert _earlier(rows[:3]) == 0
    del rows[1]["seconds"]  # events of an older version
    assert _earlier(rows) == pytest.approx(100 + 50 + 6)


def test_a_night_between_two_sessions_is_not_in_the_time(project: Path):
    """The events of the first session are moved a day into the past, as if it was yesterday's."""
    train(project, "train.max_steps=2")
    log = project / "a" / "events.jsonl"
    rows = [{**row, "time": row["time"] - 86_400} for row in read_events(log)]
    first = rows[-1]["time"] - rows[0]["time"]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train(project, "train.max_steps=3", resume=True)
    finished = [row for row in read_events(log) if row["kind"] == "finished"]
    assert finished[-1]["seconds"] < first + 600
