"""Copy-machine LoRA: two runs from one file (E11), exact resume in either (E9)."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from renma.config import load_run
from renma.config.adapter import Lora
from renma.config.run_tasks import TrainOptions
from renma.core.errors import Interrupted, UserError
from renma.core.events import Silent
from renma.data import folder as folders
from renma.train import task
from renma.train.folder import begun, with_places
from renma.train.loop import Trainer
from renma.train.places import without_places
from renma.train.plan import prepare
from renma.train.procedures import copier_check
from renma.train.procedures.copier_stage import first_run
from testbed.heard import Heard
from testbed.pairs import made
from testbed.runs import final, kinds, rows, train


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A project with two pairs of pictures."""
    return made(tmp_path)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the project's two runs end with, undisturbed."""
    return lora(train(made(tmp_path_factory.mktemp("straight")), "out"))


ASKED = ("copier.prompts=['a cat', 'a red car']", "copier.least_likeness=0.0")


def numbers(path: Path) -> dict[str, bytes]:
    """The tensors of a file, without what it says about its settings."""
    return {name: value.tobytes() for name, value in load_file(path).items()}


def lora(folder: Path) -> dict[str, bytes]:
    return numbers(folder / "lora" / "lora.safetensors")


def stopped_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Sends SIGTERM while the given step of this process is at work."""
    step, done = Trainer.step, []

    def stopping(self: Trainer):
        done.append(1)
        if len(done) == count:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(Trainer, "step", stopping)


def test_one_file_is_the_two_runs_done_by_hand(pairs: Path):
    """E11: over-train on A, merge, learn B. The same with two run files of plain options (E9)."""
    out = train(pairs, "both", "copier.rank=4", "copier.learning_rate=2e-3")
    copier = out / "copier" / "lora" / "copier.safetensors"
    off = ("copier.train_folder=",)
    first = ("data.train_folder=before", "adapter.rank=4", "adapter.alpha=4")
    more = ("optimizer.learning_rate=2e-3", "output.precision=fp32")
    by_hand = train(pairs, "first", *off, *first, *more) / "lora" / "lora.safetensors"
    assert numbers(copier) == numbers(by_hand)
    second = train(pairs, "second", *off, f"start.base_weights=['{by_hand}']")
    assert lora(out) == lora(second)
    assert lora(out) != lora(train(pairs, "plain", *off))  # the copier made a difference


def test_what_lies_in_the_folder(pairs: Path, straight: dict):
    """The first run is an ordinary one; the second's run.toml names no copier to draw with."""
    out = train(pairs, "out", *ASKED)
    assert lora(out) == straight  # asking changes nothing
    assert {"run.toml", "events.jsonl", "state", "lora"} <= {
        p.name for p in (out / "copier").iterdir()
    }
    assert not load_run(out / "copier" / "run.toml").copier.on
    run = load_run(out / "run.toml")
    assert run.copier.on
    assert run.start.base_weights == ()
    assert kinds(out)[0] == "copied"
    assert "finished" in kinds(out / "copier")
    with Image.open(out / rows(out, "copied")[0]["path"]) as sheet:
        assert sheet.size == (2 * 64, 2 * 64)  # two prompts; without the copier, and with it
    assert str(pairs).encode() not in final(out)


def test_stopped_in_the_first_run_it_says_how_to_go_on_and_does(
    pairs: Path, straight: dict, monkeypatch
):
    """E9: the same bytes as without the stop; what was said works without naming the run file."""
    out = pairs / "b"
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(Interrupted) as caught:
            train(pairs, "b")
    assert str(caught.value).endswith(
        f"of the copier; go on with: renma train --resume --out {out}"
    )
    assert begun(task.RunFolder(out))
    with pytest.raises(UserError, match="already holds a run"):
        train(pairs, "b")
    task.run(TrainOptions(out=out, resume=True), Silent())
    assert lora(out) == straight
    assert [row["step"] for row in rows(out / "copier", "step")] == [1, 2, 3]


def test_stopped_in_the_second_run_the_first_is_not_done_again(
    pairs: Path, straight: dict, monkeypatch
):
    """E9: the first run's folder is not even opened."""
    with monkeypatch.context() as patch:
        stopped_after(patch, 4)
        with pytest.raises(Interrupted, match="stopped after step 1; go on with"):
            train(pairs, "b", *ASKED)
    before = (pairs / "b" / "copier" / "events.jsonl").read_bytes()
    out = train(pairs, "b", *ASKED, resume=True)
    assert lora(out) == straight
    assert (out / "copier" / "events.jsonl").read_bytes() == before
    assert kinds(out).count("copied") == 1


def test_a_finished_first_run_is_not_repeated(pairs: Path, straight: dict, monkeypatch):
    """Stopped between the two: nothing of the first is trained again."""
    real = copier_check.check
    with monkeypatch.context() as patch:
        patch.setattr(copier_check, "check", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train(pairs, "b", *ASKED)
    calls = []
    monkeypatch.setattr(copier_check, "check", lambda *a: calls.append(1) or real(*a))
    heard = Heard()
    options = TrainOptions(out=pairs / "b", resume=True)
    task.run(options, heard)
    assert any(line.startswith("the copier is trained already") for line in heard.lines)
    assert len(rows(pairs / "b" / "copier", "step")) == 3
    assert calls == [1]
    assert lora(pairs / "b") == straight


def test_a_moved_project_goes_on(pairs: Path, straight: dict, monkeypatch):
    """Its pictures lie beside it; the copier is found inside the run's folder."""
    for name, count in (("001", 2), ("002", 5)):  # in the first run, and in the second
        with monkeypatch.context() as patch:
            stopped_after(patch, count)
            with pytest.raises(Interrupted):
                train(pairs, f"runs/{name}")
    there = pairs.parent / "moved"
    shutil.move(pairs, there)
    for name in ("001", "002"):
        out = there / "runs" / name
        assert str(pairs) not in (out / "run.toml").read_text()
        assert str(pairs) not in (out / "copier" / "run.toml").read_text()
        task.run(TrainOptions(out=out, resume=True), Silent())
        assert lora(out) == straight


def test_a_poor_copier_is_told_or_stops(pairs: Path):
    """What to do is said; with when_unlike = stop, more steps go on with the same first run."""
    strict = (ASKED[0], "copier.least_likeness=1.0")
    warned = rows(train(pairs, "warned", *strict), "warned")
    assert any(
        "does not copy yet" in row["text"] and "copier.steps" in row["text"] for row in warned
    )
    stop = (*strict, "copier.when_unlike=stop")
    with pytest.raises(UserError, match=r"Raise copier\.steps and go on with --resume"):
        train(pairs, "out", *stop)
    assert not (pairs / "out" / "lora" / "lora.safetensors").exists()
    more = ("copier.steps=5", "copier.prompts=[]")
    out = train(pairs, "out", *more, resume=True)
    assert [row["step"] for row in rows(out / "copier", "step")] == [1, 2, 3, 4, 5]
    assert lora(out) == lora(train(pairs, "straight", "copier.steps=5"))
    assert load_run(out / "run.toml").copier.steps == 5


def test_the_first_run_cannot_change_under_the_second(pairs: Path):
    out = train(pairs, "out")
    for value in ("copier.steps=6", "copier.rank=4", "copier.learning_rate=0.1"):
        with pytest.raises(UserError, match=value.partition("=")[0].replace(".", r"\.")):
            train(pairs, "out", value, resume=True)
    assert kinds(out)[-1] == "finished"
    train(pairs, "out", "copier.prompts=['x']", "train.max_steps=4", resume=True)
    (out / "copier" / "lora" / "copier.safetensors").unlink()
    with pytest.raises(UserError, match="is gone"):
        train(pairs, "out", "train.max_steps=5", resume=True)


def test_what_the_first_run_was_trained_with_cannot_change_in_it(pairs: Path, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(Interrupted):
            train(pairs, "out")
    with pytest.raises(UserError, match="adapter.rank: 2 -> 4"):
        train(pairs, "out", "adapter.rank=4", resume=True)
    train(pairs, "out", "train.max_steps=5", resume=True)  # of the second run, not begun yet
    assert rows(pairs / "out", "step")[-1]["step"] == 5


def test_a_run_without_a_copier_gets_none_on_the_way(pairs: Path):
    train(pairs, "out", "copier.train_folder=")
    with pytest.raises(UserError, match="begun without a copier"):
        train(pairs, "out", "train.max_steps=5", resume=True)


def test_other_base_weights_lie_under_both_runs(pairs: Path, straight: dict):
    """E9: what the user merges is there in the first run and in the second."""
    base = train(pairs, "base", "copier.train_folder=") / "lora" / "lora.safetensors"
    given = (f"start.base_weights=['{base}']", "start.base_strengths=[0.5]")
    out = train(pairs, "out", *given)
    run = load_run(out / "copier" / "run.toml")
    assert (out / "copier" / run.start.base_weights[0]).resolve() == base
    assert run.start.base_strengths == (0.5,)
    assert lora(out) != straight


def test_the_plan_shows_both_runs(pairs: Path):
    run = load_run(pairs / "run.toml", [ASKED[0], "copier.rank=16", "copier.learning_rate=2e-3"])
    told = dict(prepare(run, pairs).plan.method)
    assert told["copier"] == "two runs; 2 pairs of pictures"
    assert "3 steps, rank 16, learning rate 0.002" in told["  first"]
    assert "2 unrelated prompts" in told["  first"]
    assert prepare(load_run(pairs / "run.toml", ["copier.train_folder="]), pairs).plan.method == ()


def test_the_first_run_has_the_seconds_options_but_its_own_ends(pairs: Path):
    """Everything that decides how it computes is the second's."""
    values = [
        "copier={train_folder='before', rank=8, learning_rate=4e-3, save_every_steps=2}",
        "optimizer={learning_rate=1e-3, text_encoder_lr=5e-4}", "adapter={rank=4, alpha=2}",
        "data.validation_split=0.4", "train.max_epochs=3", "stop.every_checkpoints=1",
        "output.trigger=aa12", "start.weights=later.safetensors",
    ]  # fmt: skip
    run = load_run(pairs / "run.toml", values)
    first = first_run(run, pairs, folders.expand(run.data, pairs))
    assert isinstance(first.adapter, Lora)
    assert (first.adapter.rank, first.adapter.alpha) == (8, 4)
    assert first.optimizer.learning_rate == 4e-3
    assert first.optimizer.text_encoder_lr == 2e-3  # half of the rate, as in the second run
    assert (first.train.max_steps, first.train.max_epochs, first.train.save_every_steps) == (
        600,
        None,
        2,
    )
    (dataset,) = first.data.datasets
    assert dataset.validation_split == 0
    assert [Path(s.image_dir) for s in dataset.subsets] == [pairs / "before" / "2_face"]
    assert (first.stop.every_checkpoints, first.output.trigger, first.start.weights) == (0, "", "")
    assert (first.output.name, first.output.precision) == ("copier", "fp32")
    assert first.train.seed == run.train.seed
    assert first.objective == run.objective


def test_the_first_run_is_wider_block_by_block_and_sees_the_same_masks(pairs: Path):
    values = [
        "copier={train_folder='before', rank=8}",
        "adapter={rank=4, alpha=2, blocks={ranks=[0, 4, 1, " + "4, " * 22 + "], alphas=[1"
        + ", 2" * 24 + "]}}",
    ]  # fmt: skip
    run = load_run(pairs / "run.toml", values)
    masked = [
        dataset.model_copy(
            update={
                "subsets": tuple(s.model_copy(update={"mask_dir": "m"}) for s in dataset.subsets)
            }
        )
        for dataset in folders.expand(run.data, pairs)
    ]
    first = first_run(run, pairs, masked)
    assert isinstance(first.adapter, Lora)
    assert first.adapter.blocks.ranks == (0, 8, 2, *[8] * 22)
    assert first.adapter.blocks.alphas == (2, *[4] * 24)
    assert (
        {s.mask_dir for d in first.data.datasets for s in d.subsets}
        == {
            s.mask_dir
            for d in with_places(run, pairs, tuple(masked)).data.datasets
            for s in d.subsets
        }
        != {""}
    )


def test_captions_of_one_side_only_are_refused(pairs: Path):
    run = load_run(pairs / "run.toml")
    (dataset,) = folders.expand(run.data, pairs)
    subsets = tuple(s.model_copy(update={"metadata_file": "m.json"}) for s in dataset.subsets)
    with pytest.raises(UserError, match="captions before it"):
        first_run(run, pairs, [dataset.model_copy(update={"subsets": subsets})])


def test_a_file_tells_no_folders(pairs: Path):
    run = load_run(pairs / "run.toml", ["copier.train_folder=/home/somebody/before"])
    assert without_places(run).copier.train_folder == "before"


def test_a_missing_folder_is_named_at_its_option(pairs: Path):
    with pytest.raises(UserError, match="there is no such folder"):
        prepare(load_run(pairs / "run.toml", ["copier.train_folder=nowhere"]), pairs)
    (pairs / "before" / "2_face").rename(pairs / "before" / "3_face")
    with pytest.raises(UserError, match="holds no folder '2_face'"):
        prepare(load_run(pairs / "run.toml"), pairs)


def test_likeness_by_hand():
    """RMS pixel distance to the nearest picture, against the base model's own answer."""
    known = [np.full((2, 2, 3), value, dtype=np.uint8) for value in (0, 200)]

    def grey(value: int) -> Image.Image:
        return Image.new("RGB", (2, 2), (value, value, value))

    assert copier_check.distance(grey(150), known) == 50
    # base: 50 off, 90 off and 10 off; copier: 10 off, nothing off, 40 off
    found = copier_check.likeness(
        known, [grey(150), grey(90), grey(190)], [grey(10), grey(200), grey(160)], ["a", "b", "c"]
    )
    assert found.each == (0.8, 1.0, 0.0)
    assert found.likeness == 0.6


def test_figures_of_other_prompts_or_damaged_ones_are_not_believed(tmp_path: Path):
    assert copier_check.remembered(tmp_path) is None
    (tmp_path / "copied.json").write_text("{")
    assert copier_check.remembered(tmp_path) is None
    (tmp_path / "copied.json").write_text('{"likeness": 0.5, "prompts": ["a"], "each": [0.5]}')
    assert copier_check.remembered(tmp_path) == copier_check.Copied(0.5, ("a",), (0.5,))
