"""Caches: nothing forgotten that cannot be made again, nothing damaged believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from renma.config.data import Subset
from renma.core.store import Store, file_hash
from renma.data.buckets import Fit
from renma.data.item import Item
from renma.engine import text_states
from renma.engine.latents import Latents, Wanted
from renma.engine.text_states import TextStates


def wanted(folder: Path, colour: str) -> Wanted:
    path = folder / f"{colour}.png"
    Image.new("RGB", (64, 64), colour).save(path)
    item = Item(path, 64, 64, "a", True, Subset(image_dir=str(folder)), file_hash(path))
    return Wanted(item, Fit(64, 64, (64, 64), (0, 0)), flip=False)


def fresh(mame, folder: Path) -> Latents:
    return Latents(mame, Store("latents", ".safetensors", folder))


def quiet(done: int, total: int) -> None:
    pass


def test_captions_of_a_text_encoder_that_left_are_all_kept(mame, monkeypatch):
    monkeypatch.setattr(text_states, "TEXT_VARIANTS", 2)
    text = TextStates(mame)
    captions = [f"smile {i}" for i in range(5)]
    text.prepare(captions)
    text.keep_all()
    monkeypatch.setattr(mame, "text_encoder", None)
    for caption in captions * 2:
        assert text.condition([caption]).states.shape == (1, 77, 128)


def test_endless_captions_do_not_fill_the_memory(mame, monkeypatch):
    monkeypatch.setattr(text_states, "TEXT_VARIANTS", 2)
    text = TextStates(mame)
    for i in range(5):
        text.condition([f"smile {i}"])
    assert len(text._kept) == 2


def test_latents_do_not_depend_on_what_is_encoded_beside_them(mame, tmp_path: Path):
    pictures = [wanted(tmp_path, colour) for colour in ("red", "green", "blue")]
    together, alone = fresh(mame, tmp_path / "a"), fresh(mame, tmp_path / "b")
    assert together.prepare(pictures, quiet) == 3
    assert alone.prepare(pictures[1:2], quiet) == 1
    for one, other in zip(together.get(pictures[1]), alone.get(pictures[1]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("damage", ["flip", "cut", "foreign"])
def test_damaged_latents_are_made_anew(mame, tmp_path: Path, damage: str):
    picture = wanted(tmp_path, "red")
    first = fresh(mame, tmp_path / "c")
    first.prepare([picture], quiet)
    (path,) = (tmp_path / "c").rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-3] ^= 64
    foreign = (
        Path(text_states.__file__).parents[1] / "assets/mame/text_encoder/model.safetensors"
    ).read_bytes()
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-8]), "foreign": foreign}[damage])
    again = fresh(mame, tmp_path / "c")
    assert again.prepare([picture], quiet) == 1
    for one, other in zip(first.get(picture), again.get(picture), strict=True):
        assert torch.equal(one, other)
    assert fresh(mame, tmp_path / "c").prepare([picture], quiet) == 0
