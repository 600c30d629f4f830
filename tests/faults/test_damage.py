"""F11, F12: states that are damaged, of another version or gone; weights that are no numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.formats import safetensors, state
from renma.train import task
from renma.train.loop import Trainer


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def final(out: Path) -> bytes:
    return (out / "lora" / "lora.safetensors").read_bytes()


def warned(out: Path) -> list[str]:
    return [row["text"] for row in read_events(out / "events.jsonl") if row["kind"] == "warned"]


def newest(out: Path) -> Path:
    return state.states(out / "state")[-1]


def flip(data: bytes, place: int) -> bytes:
    changed = bytearray(data)
    changed[place] ^= 1
    return bytes(changed)


def numbers_at(data: bytes) -> int:
    return 8 + int.from_bytes(data[:8], "little")


def an_older_format(data: bytes) -> bytes:
    old, new = b'"renma_state":"2"', b'"renma_state":"1"'
    assert old in data
    return data.replace(old, new)


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda data: b"", "cut off"),
    "half": (lambda data: data[: len(data) // 2], "broken header"),
    "one byte short": (lambda data: data[:-1], "broken header"),
    "one byte long": (lambda data: data + b"\0", "broken header"),
    "length of the header": (lambda data: flip(data, 1), "header"),
    "header": (lambda data: flip(data, data.index(b'"shape"') + 2), "broken header"),
    "metadata": (lambda data: flip(data, data.index(b"counters") + 1), "checksum"),
    "first number": (lambda data: flip(data, numbers_at(data)), "checksum"),
    "last number": (lambda data: flip(data, len(data) - 1), "checksum"),
    "older format": (an_older_format, "format 1; this version of renma reads format 2"),
    "foreign": (lambda data: b"PK\3\4" * 50, "header|cut off"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, drawn_run) -> tuple[Path, bytes]:
    """A run of six steps with states of the last two saves, without its final file."""
    project = tmp_path_factory.mktemp("finished")
    drawn_run.draw(project / "train" / "2_aa12 person", ["red", "green", "blue"], "aa12, {}")
    (project / "run.toml").write_text(drawn_run.RUN.replace('reg_folder = "reg"\n', ""))
    straight = final(train(project, "a"))
    return project, straight


@pytest.fixture
def stopped(finished: tuple[Path, bytes]) -> tuple[Path, bytes, bytes]:
    """The run as if killed before its final file was written; the newest state's bytes."""
    project, straight = finished
    out = project / "a"
    assert [state.step_of(path) for path in state.states(out / "state")] == [4, 6]
    (out / "lora" / "lora.safetensors").unlink()
    (out / "events.jsonl").write_text("")
    return project, straight, newest(out).read_bytes()


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_state_is_told_and_the_one_before_is_used(stopped, kind: str):
    project, straight, data = stopped
    damage, reason = DAMAGE[kind]
    path = newest(project / "a")
    path.write_bytes(damage(data))
    with pytest.raises(UserError, match=reason):
        state.load(path)
    out = train(project, "a", resume=True)
    (line,) = [text for text in warned(out) if "Going back to step 4" in text]
    assert path.name in line
    steps = [row["step"] for row in read_events(out / "events.jsonl") if row["kind"] == "step"]
    assert steps == [5, 6]
    assert final(out) == straight
    assert path.read_bytes() == data  # the damaged one was replaced


def test_a_missing_newest_state_is_made_up_for(stopped):
    project, straight, data = stopped
    path = newest(project / "a")
    path.unlink()
    assert final(train(project, "a", resume=True)) == straight
    assert path.read_bytes() == data


def test_nothing_whole_is_refused_by_name_and_nothing_is_lost(stopped):
    """Never a fresh optimizer in silence."""
    project, _, _ = stopped
    before = {path: path.read_bytes() for path in state.states(project / "a" / "state")}
    for path in before:
        path.write_bytes(before[path][:-1])
    try:
        with pytest.raises(UserError, match=r"no state can be read:.*00000006.*00000004"):
            train(project, "a", resume=True)
        assert [path.read_bytes() for path in before] == [b[:-1] for b in before.values()]
        assert not (project / "a" / "lora" / "lora.safetensors").exists()
    finally:
        for path, whole in before.items():
            path.write_bytes(whole)
        (project / "a" / "lora" / "lora.safetensors").touch()


def test_no_state_at_all_starts_anew_and_says_so(project: Path):
    straight = train(project, "a", "train.max_steps=2")
    out = train(project, "b", "train.max_steps=2")
    for path in state.states(out / "state"):
        path.unlink()
    train(project, "b", "train.max_steps=2", resume=True)
    assert any("no state was saved yet" in text for text in warned(out))
    assert final(out) == final(straight)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no pictures"), ('[train]\nmax_steps = "', r"run\.toml"), ("\0\0", r"run\.toml")],
    ids=["empty", "cut", "zeros"],
)
def test_a_damaged_run_toml_is_refused_by_name(project: Path, text: str, message: str):
    out = train(project, "a", "train.max_steps=2")
    (out / "run.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        task.run(TrainOptions(out=out, resume=True), Silent())


def test_a_log_full_of_holes_is_read_around(project: Path):
    """A resumed run needs nothing of its events but that they can be appended to."""
    straight = train(project, "a", "train.max_steps=4")
    out = train(project, "b", "train.max_steps=2")
    log = out / "events.jsonl"
    data = log.read_bytes()
    log.write_bytes(data[: len(data) // 2] + b"\xff\xfe\0{]\n" + b'{"kind": "st')
    train(project, "b", "train.max_steps=4", resume=True)
    assert final(out) == final(straight)
    assert [row["step"] for row in read_events(log) if row["kind"] == "step"][-2:] == [3, 4]


def test_weights_that_are_no_numbers_never_replace_good_ones(project: Path, monkeypatch):
    """From step 3 on every checkpoint would hold NaN: none is written, and each time it is told."""
    step = Trainer.step

    def poisoned(self: Trainer):
        result = step(self)
        if self.counters.step == 3:
            self.trained[0].data.view(-1)[0] = float("nan")
        return result

    monkeypatch.setattr(Trainer, "step", poisoned)
    out = project / "a"
    with pytest.raises(UserError, match=r"not saved: .*NaN|steps in a row were not finite"):
        train(project, "a", "train.max_bad_steps=9", "train.keep_checkpoints=1")
    assert [path.name for path in (out / "lora").iterdir()] == ["lora-step00000002.safetensors"]
    tensors = safetensors.read_tensors(out / "lora" / "lora-step00000002.safetensors")
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values())
