"""Caches: nothing forgotten that cannot be made again, nothing damaged believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from renma import assets
from renma.config.data import Subset
from renma.core.store import Store, file_hash
from renma.data.buckets import Fit
from renma.data.item import Item
from renma.engine.latents import Latents, Wanted


def wanted(folder: Path, colour: str) -> Wanted:
    path = folder / f"{colour}.png"
    Image.new("RGB", (64, 64), colour).save(path)
    item = Item(path, 64, 64, "a", True, Subset(image_dir=str(folder)), file_hash(path))
    return Wanted(item, Fit(64, 64, (64, 64), (0, 0)), flip=False)


def fresh(mame, folder: Path) -> Latents:
    return Latents.of(mame, Store("latents", ".safetensors", folder))


def tensors(latents: Latents, picture: Wanted) -> tuple[torch.Tensor, torch.Tensor]:
    found = latents.get(picture)
    return found.mean, found.deviation


def quiet(done: int, total: int) -> None:
    pass


def test_latents_do_not_depend_on_what_is_encoded_beside_them(mame, tmp_path: Path):
    pictures = [wanted(tmp_path, colour) for colour in ("red", "green", "blue")]
    together, alone = fresh(mame, tmp_path / "a"), fresh(mame, tmp_path / "b")
    assert together.prepare(pictures, quiet) == 3
    assert alone.prepare(pictures[1:2], quiet) == 1
    for one, other in zip(tensors(together, pictures[1]), tensors(alone, pictures[1]), strict=True):
        assert torch.equal(one, other)


def test_damage_that_comes_later_is_told_once(mame, tmp_path: Path):
    """F15: found in the middle of a run; what vanished is made anew without a word."""
    pictures = [wanted(tmp_path, colour) for colour in ("red", "green", "blue")]
    told: list[str] = []
    store = Store("latents", ".safetensors", tmp_path / "c")
    latents = Latents.of(mame, store, memory_mib=0, warn=told.append)
    latents.prepare(pictures, quiet)
    before = [tensors(latents, picture) for picture in pictures]
    files = sorted((tmp_path / "c").rglob("*.safetensors"))
    files[0].unlink()
    again = [tensors(latents, picture) for picture in pictures]
    assert told == []
    for path in files:
        path.write_bytes(path.read_bytes()[:-8])
    again = [tensors(latents, picture) for picture in pictures]
    assert all(
        torch.equal(a, b)
        for x, y in zip(before, again, strict=True)
        for a, b in zip(x, y, strict=True)
    )
    assert len(told) == 1
    assert "damaged entry of the latent cache was made anew, that of red.png" in told[0]


@pytest.mark.parametrize("damage", ["flip", "cut", "foreign"])
def test_damaged_latents_are_made_anew(mame, tmp_path: Path, damage: str):
    picture = wanted(tmp_path, "red")
    first = fresh(mame, tmp_path / "c")
    first.prepare([picture], quiet)
    (path,) = (tmp_path / "c").rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[-3] ^= 64
    foreign = (assets.MAME / "text_encoder" / "model.safetensors").read_bytes()
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[:-8]), "foreign": foreign}[damage])
    again = fresh(mame, tmp_path / "c")
    assert again.prepare([picture], quiet) == 1
    for one, other in zip(tensors(first, picture), tensors(again, picture), strict=True):
        assert torch.equal(one, other)
    assert fresh(mame, tmp_path / "c").prepare([picture], quiet) == 0
