"""F8: killed at random moments and continued, a run gives the very bytes of the undisturbed one.

Everything random is on: dropouts of captions, tags and adapters, shuffling, mirrored, coloured and
randomly cropped pictures, accumulation, a schedule. Three trials run always, twenty for each
optimizer with ``pytest -m slow``.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

VALUES = (
    "data.flip_aug=true", "data.color_aug=true", "data.random_crop=true",
    "data.caption_dropout_rate=0.1", "data.caption_tag_dropout_rate=0.2",
    "adapter={rank=2,alpha=2,dropout=0.2,rank_dropout=0.2,module_dropout=0.1}",
    "schedule.name=cosine", "objective.noise_offset=0.05",
    "train.max_steps=6", "train.save_every_steps=2", "train.gradient_accumulation_steps=2",
)  # fmt: skip
OPTIMIZERS = {
    "adamw": "learning_rate=1e-3", "adamw8bit": "learning_rate=1e-3",
    "lion": "learning_rate=1e-4", "prodigy": "learning_rate=1.0",
    "adafactor": "learning_rate=1e-3,relative_step=false", "dadaptadam": "learning_rate=1.0",
}  # fmt: skip
SMOKE = (("adamw8bit", 0), ("prodigy", 1), ("adafactor", 2))
TRIALS = 20


def values_of(optimizer: str) -> tuple[str, ...]:
    return (*VALUES, f"optimizer={{name='{optimizer}',{OPTIMIZERS[optimizer]}}}")


def final(out: Path) -> bytes:
    return (out / "lora" / "lora.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(forks, drawn_run, tmp_path_factory: pytest.TempPathFactory):
    """Gives for an optimizer the project, the final file, the run's seconds and file events."""
    project = tmp_path_factory.mktemp("trials")
    drawn_run.draw(project / "train" / "2_aa12 person", ["red", "green", "blue"], "aa12, smile, {}")
    (project / "run.toml").write_text(drawn_run.RUN.replace('reg_folder = "reg"\n', ""))
    known: dict[str, tuple[Path, bytes, float, int]] = {}

    def of(optimizer: str) -> tuple[Path, bytes, float, int]:
        if optimizer not in known:
            out, began = project / optimizer, time.monotonic()
            ended = forks.train(project, out.name, *values_of(optimizer), folder=str(out))
            assert ended["status"] == 0, ended
            known[optimizer] = project, final(out), time.monotonic() - began, ended["events"]
        return known[optimizer]

    return of


def trial(forks, undisturbed, optimizer: str, number: int) -> int:
    """Kills a run up to three times, lets it end, and returns how often it was hit."""
    project, straight, seconds, events = undisturbed(optimizer)
    rng = random.Random(f"{optimizer} {number}")
    name, hits = f"{optimizer}-{number}", 0
    out = project / name
    for attempt in range(rng.choice((1, 1, 2, 3))):
        how = {"kill_after": rng.uniform(0.05, 1) * seconds}
        if rng.random() < 0.5:  # before something is done to a file
            how = {"folder": str(out), "at_event": rng.randint(1, events)}
        ended = forks.train(project, name, *values_of(optimizer), resume=attempt > 0, **how)
        assert ended["status"] in (-9, 0), ended
        hits += ended["status"] == -9
    ended = forks.train(project, name, *values_of(optimizer), resume=True)
    assert ended["status"] == 0, ended
    assert final(out) == straight
    assert not list(out.rglob("*.part"))
    return hits


@pytest.mark.parametrize(("optimizer", "number"), SMOKE)
def test_killed_and_continued(forks, undisturbed, optimizer: str, number: int):
    assert trial(forks, undisturbed, optimizer, number) > 0


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_killed_and_continued_twenty_times(forks, undisturbed, optimizer: str):
    hits = sum(trial(forks, undisturbed, optimizer, 100 + number) for number in range(TRIALS))
    assert hits >= TRIALS // 2  # some kills come after the end


def test_the_trials_could_fail(forks, undisturbed):
    """Another seed gives another file, and another optimizer too: bytes do tell runs apart."""
    project, straight, _, _ = undisturbed("adamw8bit")
    ended = forks.train(project, "other", *values_of("adamw8bit"), "train.seed=43")
    assert ended["status"] == 0
    assert final(project / "other") != straight
    assert undisturbed("prodigy")[1] != straight
