"""Text encoder output, kept in memory and on disk: never other bits than encoding anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.core.errors import UserError
from renma.core.store import Store
from renma.engine import text_states
from renma.engine.text_cache import TextCache, Words
from renma.engine.text_states import TextStates
from renma.families._base import Condition

CAPTIONS = [f"aa12, smile {i}" for i in range(5)]


def disk(family, folder: Path, *made_by: object) -> TextCache:
    return TextCache(family, made_by, Store("text", ".safetensors", folder))


class Counting:
    """A family that counts what is encoded, with a pooled output as SDXL has."""

    def __init__(self, family) -> None:
        self._family = family
        self.encoded: list[tuple[str, int | None, bool | None]] = []

    def __getattr__(self, name):
        return getattr(self._family, name)

    def encode_text(self, prompts, *, chunks=None, weighted=None):
        self.encoded += [(prompt, chunks, weighted) for prompt in prompts]
        states = self._family.encode_text(prompts).states
        # stands in for rows of other lengths, weighted or not
        states = states.repeat(1, chunks or 1, 1) * (2 if weighted else 1)
        return Condition(states, states.mean(1))


def test_captions_are_what_encoding_them_one_by_one_gives(mame):
    text = TextStates(mame)
    text.prepare(CAPTIONS[:3])
    states = text.condition(CAPTIONS[::-1]).states
    with torch.no_grad():
        alone = torch.cat([mame.encode_text([caption]).states for caption in CAPTIONS[::-1]])
    assert torch.equal(states, alone)


def test_captions_of_a_text_encoder_that_left_are_all_kept(mame, monkeypatch):
    monkeypatch.setattr(text_states, "MEMORY", 0)
    text = TextStates(mame)
    text.prepare(CAPTIONS)
    text.keep_all()
    monkeypatch.setattr(mame, "text_encoder", None)
    for caption in CAPTIONS * 2:
        assert text.condition([caption]).states.shape == (1, 77, 128)
    with pytest.raises(UserError, match=r"text of 'new' is gone .* --resume"):
        text.condition(["new"])


def test_endless_captions_do_not_fill_the_memory(mame, monkeypatch):
    monkeypatch.setattr(text_states, "MEMORY", 2 * 77 * 128 * 4)
    family = Counting(mame)
    family.encode_text = mame.encode_text
    text = TextStates(family)
    for caption in CAPTIONS:
        text.condition([caption])
    assert text.missing(CAPTIONS) == CAPTIONS[:3]
    text.condition([CAPTIONS[3]])
    text.condition(["new"])
    assert text.missing(CAPTIONS) == [*CAPTIONS[:3], CAPTIONS[4]]


def test_each_text_is_encoded_once_in_each_form(mame):
    """Brackets weigh words; a text without them is the same either way."""
    family, told = Counting(mame), []
    text = TextStates(family)
    assert text.prepare(["a", "b", "a"], lambda *count: told.append(count)) == 2
    assert told == [(0, 2), (1, 2), (2, 2)]
    text.condition(["a", "b"], weighted=True)
    assert family.encoded == [("a", None, False), ("b", None, False)]
    text.condition(["(a)", "a"], chunks=2, weighted=True)
    text.condition(["(a)", "a"], chunks=2)
    assert family.encoded[2:] == [("(a)", 2, True), ("a", 2, False), ("(a)", 2, None)]
    long = text.condition(["a", "(a)"], chunks=2, weighted=True)
    assert long.states.shape == (2, 154, 128)
    assert torch.equal(long.pooled, long.states.mean(1))
    assert len(family.encoded) == 5
    assert text.missing(["a", "c"]) == ["c"]
    assert text.missing(["a"], chunks=3) == ["a"]


@pytest.mark.parametrize("room", [0, 2**30], ids=["read again each time", "kept in memory"])
def test_a_warm_cache_needs_no_text_encoder_and_gives_the_same_bits(
    mame, tmp_path: Path, monkeypatch, room: int
):
    monkeypatch.setattr(text_states, "MEMORY", room)
    first = TextStates(Counting(mame), disk(mame, tmp_path))
    assert first.prepare(CAPTIONS) == 5
    before = first.condition(CAPTIONS)
    monkeypatch.setattr(mame, "text_encoder", None)
    text = TextStates(mame, disk(mame, tmp_path))
    assert text.missing([*CAPTIONS, "new"]) == ["new"]
    assert text.prepare(CAPTIONS) == 0
    text.keep_all()
    after = text.condition(CAPTIONS)
    assert torch.equal(after.states, before.states)
    assert torch.equal(after.pooled, before.pooled)


def test_captions_met_on_the_way_are_not_written(mame, tmp_path: Path):
    """Shuffling makes endless captions; only those prepared are worth a file."""
    text = TextStates(mame, disk(mame, tmp_path))
    text.condition(["a"])
    assert not list(tmp_path.rglob("*.safetensors"))


class Other:
    """A family that differs from mame in a few things."""

    def __init__(self, family, **values: object) -> None:
        self._family = family
        vars(self).update(values)

    def __getattr__(self, name):
        return getattr(self._family, name)


def test_whatever_makes_other_states_has_another_entry(mame, tmp_path: Path):
    words, made_by = Words("(a)", 1, True), ("fp32", 1)
    cache = disk(mame, tmp_path, *made_by)
    TextStates(mame, cache).prepare(["(a)"], chunks=1, weighted=True)
    assert cache.holds(words)
    for other in [
        {"text": "(b)"}, {"chunks": 2}, {"chunks": None}, {"weighted": False}, {"weighted": None}
    ]:  # fmt: skip
        assert not cache.holds(words._replace(**other))
    two = {"text_parts": ("text_encoder", "unet")}
    for changed in [{"name": "sd9"}, two, {"hashes": {"text_encoder": "0"}}]:
        assert not disk(Other(mame, **changed), tmp_path, *made_by).holds(words)
    for changed in [("bf16", 1), ("fp32", 2), ("fp32", 1, "merged")]:
        assert not disk(mame, tmp_path, *changed).holds(words)
    only_text = {"text_encoder": mame.hashes["text_encoder"]}
    assert disk(Other(mame, hashes=only_text), tmp_path, *made_by).holds(words)


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_entries_are_made_anew(mame, tmp_path: Path, damage: str):
    TextStates(mame, disk(mame, tmp_path)).prepare(["a"])
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 64]) + whole[-2:]
    path.write_bytes({"flip": flipped, "cut": whole[:-8], "empty": b""}[damage])
    assert TextStates(mame, disk(mame, tmp_path)).prepare(["a"]) == 1
    assert path.read_bytes() == whole


def test_what_is_encoded_while_drawing_serves_training(mame):
    """Tensors made in inference mode cannot be part of a backward pass."""
    text, weight = TextStates(mame), torch.ones(128, requires_grad=True)
    with torch.inference_mode():
        text.condition(["a"])
    (text.condition(["a"]).states * weight).sum().backward()
    assert weight.grad is not None
