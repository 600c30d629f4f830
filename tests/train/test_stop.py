"""A run that judges its checkpoints ends by itself and keeps the best (G3), and stays exact (G5)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from renma.config.stop import StopConfig
from renma.core.errors import UserError
from renma.core.judgement import Judgement
from renma.engine.attach import hosted
from renma.engine.network import Network
from renma.families._base import Family
from renma.formats import safetensors, state
from renma.train.loop import Trainer
from renma.train.stop import Memory, judged_steps
from testbed.heard import Heard
from testbed.referees import FEW, Scripted, careless, judged
from testbed.runs import kinds, rows, train

ON = ("train.save_every_steps=1", "stop.every_checkpoints=1", "stop.patience=2", FEW)
PEAK = {1: 0.1, 2: 0.5, 3: 0.4, 4: 0.45, 5: 0.9, 6: 1.0}
"""Best at step 2; without a rule nobody would know of the better ones that come late."""
RISING = {step: step / 100 for step in range(1, 13)}


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return dict(safetensors.read_tensors(path))


def same(one: Path, other: Path) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=30),
    st.integers(1, 5),
    st.integers(0, 6),
)
def test_it_stops_where_the_definition_says(merits: list[int], patience: int, delta: int):
    """Compared with the definition: the last judging that betters the mark is patience ago."""
    config = StopConfig(every_checkpoints=1, patience=patience, min_delta=float(delta))
    memory, marks, stopped = Memory(), [0], None
    for number, merit in enumerate(merits):
        if number and merit - merits[marks[-1]] > delta:
            marks.append(number)
        best = memory.take(Judgement(float(merit)), f"{number}", number, config)
        assert best == (merits.index(max(merits[: number + 1])) == number)
        assert memory.waiting == number - marks[-1]
        assert memory.best_step == merits.index(max(merits[: number + 1]))
        if memory.over(config):
            stopped = number
            break
    expected = next(
        (n for n in range(len(merits)) if n - last_mark(merits, delta, n) >= patience), None
    )
    assert stopped == expected


def last_mark(merits: list[int], delta: int, until: int) -> int:
    mark = 0
    for number in range(1, until + 1):
        mark = number if merits[number] > merits[mark] + delta else mark
    return mark


@given(st.sets(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 30))
def test_the_plan_names_the_steps_that_the_loop_judges(steps: set[int], every: int, start: int):
    config = StopConfig(every_checkpoints=every, from_step=start, patience=99)
    memory, told = Memory(), []
    for step in sorted(steps):
        memory.written("a", step, config, last=step == max(steps))
        if memory.pending:
            memory.pending = ""
            memory.take(Judgement(0.0), "a", step, config)
            told.append(step)
    assert told == judged_steps(config, steps)


def test_it_stops_and_keeps_the_best(project: Path):
    heard, referee = Heard(), Scripted(PEAK)
    out = judged(project, "a", referee, *ON, report=heard)
    assert referee.asked == [1, 2, 3, 4]
    assert rows(out, "step")[-1]["step"] == 4
    told = rows(out, "judged")
    assert [row["merit"] for row in told] == [0.1, 0.5, 0.4, 0.45]
    assert [row["waiting"] for row in told] == [0, 0, 1, 2]
    assert [row["best_step"] for row in told] == [1, 2, 2, 2]
    assert told[-1]["best"] == "lora/lora-step00000002.safetensors"
    assert told[-1]["error"] == 0.01
    (finished,) = rows(out, "finished")
    assert finished["steps"] == 4
    assert finished["reason"].startswith("stopped early: no betterment in 2 judgings")
    assert same(out / "lora" / "lora.safetensors", out / "lora" / "lora-step00000004.safetensors")
    best = (out / "best" / "lora.safetensors").read_bytes()
    assert best == (out / "lora" / "lora-step00000002.safetensors").read_bytes()
    assert "step 3 judged: merit 0.400 ± 0.010; the best is step 2 with 0.500" in " ".join(
        heard.lines
    )
    assert f"the best of 4 judged: {out / 'best' / 'lora.safetensors'}" in heard.lines


def test_a_rule_that_is_off_leaves_no_trace(project: Path):
    """Off by default: the same files as ever, states included, and nobody is asked."""
    referee = Scripted({})
    out = judged(project, "a", referee, FEW, "train.max_steps=1")
    assert not referee.asked
    assert "judged" not in kinds(out)
    assert not (out / "best").exists()
    assert "stop" not in state.load(state.states(out / "state")[-1])


CROSSED = {
    "text encoder trained, dropouts": (
        "adapter={dropout=0.3,rank_dropout=0.2,module_dropout=0.2}",
    ),
    "text encoder and vae gone, quantised, bf16": (
        "train.text_encoder=false", "data.shuffle_caption=false", "model.quantize='nf4'",
        "train.precision=bf16",
    ),
    "dora, pissa, previews, checkpointing": (
        "adapter={dora='output',start='pissa'}", "train.gradient_checkpointing=true",
        "sample.prompts=['aa12 --w 64 --h 64 --s 1']", "sample.every_steps=1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CROSSED)
def test_training_notices_nothing_of_being_judged(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    """The same bytes as unjudged, the same parts in memory at every step (G5)."""
    held: list[tuple[frozenset[str], int]] = []
    step = Trainer.step

    def noted(self: Trainer):
        held.append((frozenset(self.family.parts()), torch.get_num_threads()))
        return step(self)

    monkeypatch.setattr(Trainer, "step", noted)
    values = (*CROSSED[name], "train.max_steps=2", "train.save_every_steps=1")
    plain = train(project, "a", *values)
    out = judged(project, "b", Scripted(RISING, careless), *values, "stop.every_checkpoints=1")
    assert [row["step"] for row in rows(out, "judged")] == [1, 2]
    assert same(out / "lora" / "lora.safetensors", plain / "lora" / "lora.safetensors")
    assert len(set(held)) == 1
    alike = [[row["loss"] for row in rows(folder, "step")] for folder in (plain, out)]
    assert alike[0] == alike[1]


def test_the_model_is_lent_whole_and_without_the_lora(project: Path, mame: Family):
    lent: list[Family] = []

    def look(checkpoint: Path, step: int, family: Family | None) -> None:
        assert family is not None
        lent.append(family)
        assert checkpoint.is_file()
        assert {"vae", "text_encoder", "unet"} <= family.parts().keys()
        assert not any(
            hosted(m)
            for part in family.parts().values()
            for m in part.modules()
            if hasattr(m, "weight")
        )
        with torch.no_grad():
            states, plain = (f.encode_text(["aa12, smile"]).states for f in (family, mame))
            # the trained layers multiply in another order, which moves the last bits
            torch.testing.assert_close(states, plain, rtol=1e-4, atol=1e-4)
            with Network.from_file(family, checkpoint).at():
                assert (family.encode_text(["aa12, smile"]).states - plain).abs().max() > 0.01

    referee = Scripted(RISING, look)
    values = ("train.max_steps=2", *ON[:2], "optimizer.learning_rate=0.1")
    judged(project, "a", referee, *values)
    assert referee.asked == [1, 2]
    assert lent[0] is lent[1]


def test_a_model_with_loras_merged_into_it_is_not_lent(project: Path):
    first = train(project, "first", "train.max_steps=1", FEW) / "lora" / "lora.safetensors"
    lent: list[object] = []
    referee = Scripted(RISING, lambda _path, _step, family: lent.append(family))
    values = (*ON, "train.max_steps=2", f"start.base_weights=['{first}']")
    judged(project, "a", referee, *values)
    assert lent == [None, None]


def fails(_path: Path, step: int, _family: object) -> None:
    if step == 1:
        raise torch.OutOfMemoryError("CUDA out of memory")
    if step == 2:
        raise UserError("cannot be written (No space left on device)")


def test_a_judging_that_fails_or_gives_no_number_is_said_and_training_goes_on(project: Path):
    referee = Scripted({3: float("nan"), 4: 0.2, 5: 0.3}, fails)
    out = judged(project, "a", referee, *ON, "train.max_steps=5", "stop.patience=1")
    told = [row["text"] for row in rows(out, "warned") if "is not judged" in row["text"]]
    assert [re.findall(r"\d+", text)[0] for text in told] == ["1", "2", "3"]
    for text, why in zip(told, ("memory", "No space", "no number"), strict=True):
        assert why in text
    assert [row["step"] for row in rows(out, "judged")] == [4, 5]
    assert rows(out, "finished")[0]["steps"] == 5


def test_a_defect_of_the_referee_is_no_lack_of_memory(project: Path):
    def fails(*_: object) -> None:
        raise RuntimeError("mat1 and mat2")

    with pytest.raises(RuntimeError, match="mat1"):
        judged(project, "a", Scripted({}, fails), *ON)


def test_the_best_outlives_the_checkpoint_it_was(project: Path):
    bytes_of: dict[int, bytes] = {}
    look = lambda path, step, _: bytes_of.update({step: path.read_bytes()})  # noqa: E731
    values = (*ON, "train.keep_checkpoints=1")
    merits = {1: 0.7, 2: 0.1, 3: 0.2}
    out = judged(project, "a", Scripted(merits, look), *values)
    left = sorted(path.stem for path in (out / "lora").iterdir())
    assert left == ["lora", "lora-step00000003"]
    assert (out / "best" / "lora.safetensors").read_bytes() == bytes_of[1] != bytes_of[3]


def test_checkpoints_of_epochs_count_and_those_of_one_step_once(project: Path):
    """Every second of those that are written from step 3 on, and the finished LoRA."""
    values = (
        "train.save_every_epochs=1", "train.save_every_steps=2", "stop.every_checkpoints=2",
        "stop.from_step=3", "train.max_steps=9", "data.batch_size=4", "stop.keep_best=false", FEW,
    )  # fmt: skip
    out = judged(project, "a", Scripted(RISING), *values)
    saved = sorted({row["step"] for row in rows(out, "saved")})
    counted = [step for step in saved[:-1] if step >= 3]
    expected = [*counted[1::2], 9]
    assert len(expected) > 2
    assert [row["step"] for row in rows(out, "judged")] == expected
    plan = rows(out, "started")[0]["plan"]
    assert list(plan["judgings"]["steps"]) == expected
    assert not (out / "best").exists()
