"""F32: memory that runs out while pictures are encoded, and while a run trains."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.core.errors import UserError
from renma.core.store import Store
from renma.data.latent_key import Wanted, maker_of
from renma.engine.latents import Latents
from renma.formats import state
from renma.train.lessons import PictureLesson, PictureLessons
from testbed.runs import final, train


def too_much(kind: str) -> None:
    """Runs out of memory as a CPU's allocator, a GPU's and Python itself do."""
    if kind == "cpu":
        torch.empty(2**47)  # more bytes than a process has addresses
    raise torch.OutOfMemoryError("CUDA out of memory") if kind == "cuda" else MemoryError


@pytest.mark.parametrize("kind", ["cpu", "cuda", "python"])
def test_training_that_finds_no_memory_ends_with_advice(project: Path, monkeypatch, kind: str):
    """What was saved stays, and a resume with more memory gives the same bytes."""
    lesson = PictureLessons.lesson

    def greedy(self: PictureLessons, number: int, step: int):
        if step == 3:
            too_much(kind)
        return lesson(self, number, step)

    with monkeypatch.context() as patch:
        patch.setattr(PictureLessons, "lesson", greedy)
        with pytest.raises(UserError, match="memory of the device is too small") as caught:
            train(project, "b")
    assert "\n" not in caught.value.line()
    assert "()" not in caught.value.line()
    assert "train.gradient_checkpointing = true" in caught.value.line()
    assert [state.step_of(path) for path in state.states(project / "b" / "state")] == [2]
    assert final(train(project, "b", resume=True)) == final(train(project, "a"))


@pytest.mark.parametrize("error", [RuntimeError("shapes do not fit"), ValueError("odd")])
def test_other_errors_are_not_taken_for_it(project: Path, monkeypatch, error: Exception):
    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(PictureLesson, "loss", broken)
    with pytest.raises(type(error), match=str(error)):
        train(project, "a")


class Narrow:
    """A model whose VAE takes only so many pictures at once."""

    def __init__(self, family, most: int) -> None:
        self.family, self.most, self.asked = family, most, []

    def encode_image(self, images: torch.Tensor):
        self.asked.append(len(images))
        if len(images) > self.most:
            too_much("cuda")
        return self.family.encode_image(images)


def wanted_of(project: Path) -> list[Wanted]:
    """All that a run caches of three pictures of one size, each in two crops."""
    from renma.config import load_run
    from renma.train.feed import Feed
    from renma.train.plan import prepare

    run = load_run(project / "run.toml", ["data.enable_bucket=false", "data.resolution=64"])
    feed = Feed(run, prepare(run, project), None)  # pyright: ignore[reportArgumentType]
    return list(feed.all_wanted())


def latents_of(family, seen: Narrow, folder: Path, said: list[str]) -> Latents:
    maker = maker_of(family.hashes["vae"], family.name, "cuda")
    store = Store("latents", ".safetensors", folder)
    return Latents(maker, lambda: seen, store, batch_size=4, warn=said.append)  # pyright: ignore


def test_pictures_are_encoded_by_half_as_many(project: Path, mame, tmp_path: Path):
    """With one word each time; what comes out is what one at a time gives, and all are cached."""
    wanted, said = wanted_of(project), []
    narrow = Narrow(mame, 1)
    latents = latents_of(mame, narrow, tmp_path / "a", said)
    assert latents.prepare(wanted, lambda done, total: None) == len(wanted) == 5
    assert narrow.asked == [4, 2, 1, 1, 1, 1, 1]
    assert [text for text in said if "not enough memory" in text] == said
    assert [text.rpartition(": ")[2] for text in said] == [
        "encoding 2 pictures at a time from here on",
        "encoding 1 picture at a time from here on",
    ]
    assert latents.missing(wanted) == []
    alone = latents_of(mame, Narrow(mame, 9), tmp_path / "b", said)
    for entry in wanted:
        (expected,) = alone.encode([entry.item], [_pixels(entry)])
        torch.testing.assert_close(latents.get(entry).mean, expected.mean)


def _pixels(entry: Wanted):
    from renma.data.augment import Augment
    from renma.data.pixels import load_fitted

    return load_fitted(entry.item, Augment(entry.fit, entry.flip))


def test_a_picture_that_memory_is_too_small_for_is_named(project: Path, mame, tmp_path: Path):
    wanted = wanted_of(project)
    latents = latents_of(mame, Narrow(mame, 0), tmp_path / "a", [])
    with pytest.raises(UserError, match=r"\.png.*too small to encode this picture") as caught:
        latents.prepare(wanted, lambda done, total: None)
    assert "\n" not in caught.value.line()
    assert len(latents.missing(wanted)) == len(wanted)
