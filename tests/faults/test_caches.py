"""F13-F17, F26, F27: caches that are cut off, damaged, old or shared; pictures that go away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.families._stable import StableDiffusion
from renma.train import task
from renma.train.loop import Trainer

FIXED = ("train.max_steps=3", "train.save_every_steps=0")


def train(project: Path, out: str, *values: str) -> Path:
    options = TrainOptions(run=project / "run.toml", set=(*FIXED, *values), out=project / out)
    task.run(options, Silent())
    return project / out


def final(out: Path) -> bytes:
    return (out / "lora" / "lora.safetensors").read_bytes()


def warned(out: Path) -> list[str]:
    return [row["text"] for row in read_events(out / "events.jsonl") if row["kind"] == "warned"]


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch) -> Path:
    """An empty cache of this test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("RENMA_CACHE", str(folder))
    return folder


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Counts the pictures that the VAE encodes."""
    counts: list[int] = []
    encode = StableDiffusion.encode_image

    def counted(self, pixels):
        counts.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(StableDiffusion, "encode_image", counted)
    return counts


def entries(cache: Path) -> list[Path]:
    return sorted(path for path in (cache / "latents").rglob("*") if path.is_file())


def test_a_picture_that_becomes_nan_is_named_and_not_cached(
    project: Path, cache: Path, monkeypatch
):
    encode = StableDiffusion.encode_image

    def overflowing(self, pixels):
        mean, deviation = encode(self, pixels)
        green = pixels[:, 1].mean() > pixels[:, 0].mean() + 0.1
        return (mean * float("nan") if green else mean), deviation

    with monkeypatch.context() as patch:
        patch.setattr(StableDiffusion, "encode_image", overflowing)
        with pytest.raises(UserError, match=r"green\.png: .*NaN"):
            train(project, "a")
    assert not (project / "a" / "lora").exists()
    assert final(train(project, "b")) == final(train(project, "c", "data.batch_size=2"))


def test_killed_while_caching_goes_on_where_it_was(
    forks, project: Path, cache: Path, encoded: list[int]
):
    """Every entry that was finished is used, none is unreadable."""
    how = {"folder": str(cache / "latents"), "cache": str(cache)}
    whole = forks.train(project, "whole", *FIXED, cache=str(cache / "other"))
    assert whole["status"] == 0
    done = []
    for moment in (1, 9, 4, 12):
        assert forks.train(project, "a", *FIXED, at_event=moment, **how)["status"] == -9
        done.append(len([path for path in entries(cache) if path.suffix == ".safetensors"]))
    assert done == sorted(done)
    assert 0 < done[-1] < 5
    straight = final(project / "whole")
    assert final(train(project, "b")) == straight
    assert sum(encoded) == 5 - done[-1]
    assert final(train(project, "c")) == straight
    assert sum(encoded) == 5 - done[-1]


DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "flipped": lambda data: data[:-9] + bytes([data[-9] ^ 16]) + data[-8:],
    "foreign": lambda data: b"PK\3\4" * 99,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_entries_are_made_anew_with_one_word(
    project: Path, cache: Path, encoded: list[int], kind: str
):
    straight = final(train(project, "a"))
    before = {path: path.read_bytes() for path in entries(cache)}
    encoded.clear()
    for path in list(before)[:2]:
        path.write_bytes(DAMAGE[kind](before[path]))
    out = train(project, "b")
    assert final(out) == straight
    assert sum(encoded) == 2
    assert len([text for text in warned(out) if "damaged" in text]) == 1
    assert {path: path.read_bytes() for path in entries(cache)} == before


def test_an_edited_picture_is_seen_whatever_its_size_and_time(
    project: Path, cache: Path, encoded: list[int]
):
    path = project / "train" / "2_aa12 person" / "green.png"
    shown = "train.max_steps=6"  # every picture
    first, times = final(train(project, "a", shown)), path.stat()
    data = bytearray(path.read_bytes())
    with Image.open(path) as picture:
        size = picture.size
    Image.new("RGB", size, "orange").save(path)
    grown = path.read_bytes()
    path.write_bytes(grown + b"\0" * (len(data) - len(grown)))  # bytes after the end are not read
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    encoded.clear()
    assert final(train(project, "b", shown)) != first
    assert sum(encoded) == 1
    path.write_bytes(data)
    assert final(train(project, "c", shown)) == first
    assert sum(encoded) == 1


def test_two_runs_fill_one_cache_at_once(forks, project: Path, cache: Path, encoded: list[int]):
    assert forks.train(project, "alone", *FIXED, cache=str(cache / "other"))["status"] == 0
    values = [*FIXED]
    places = {"run": str(project / "run.toml"), "values": values}
    beside = {
        "job": "train", "cache": str(cache), "args": {**places, "out": str(project / "two")},
    }  # fmt: skip
    ended = forks.train(project, "one", *FIXED, cache=str(cache), beside=beside)
    assert (ended["status"], ended["beside"]["status"]) == (0, 0)
    assert final(project / "one") == final(project / "two") == final(project / "alone")
    train(project, "later")
    assert encoded == []


def test_same_stem_twice_are_two_pictures_and_told(project: Path, cache: Path, encoded: list[int]):
    folder = project / "train" / "2_aa12 person"
    Image.new("RGB", (64, 64), "purple").save(folder / "green.jpg")
    out = train(project, "a")
    assert sum(encoded) == 6
    assert any("green.jpg" in text and "green.png" in text for text in warned(out))


def vanish(monkeypatch, path: Path) -> None:
    """Removes a picture before the second step."""
    step = Trainer.step

    def removing(self: Trainer):
        if self.counters.step == 1:
            path.unlink()
        return step(self)

    monkeypatch.setattr(Trainer, "step", removing)


def test_a_picture_that_vanishes_is_trained_from_the_cache(project: Path, cache: Path, monkeypatch):
    straight = final(train(project, "a"))
    with monkeypatch.context() as patch:
        vanish(patch, project / "train" / "2_aa12 person" / "green.png")
        assert final(train(project, "b")) == straight


def test_a_picture_that_vanishes_and_is_not_cached_ends_the_run_by_name(
    project: Path, cache: Path, monkeypatch
):
    folder = project / "train" / "2_aa12 person"
    for name in ("red", "blue"):
        (folder / f"{name}.png").unlink()
    vanish(monkeypatch, folder / "green.png")
    with pytest.raises(UserError, match=r"green\.png"):
        train(project, "a", "data.color_aug=true", "train.max_steps=9")
