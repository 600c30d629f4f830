"""Latents on disk: what they depend on, and what mirrored and transparent pictures become."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from renma.config.data import Dataset, Subset
from renma.core.store import Store, file_hash
from renma.data.buckets import Fit, fit
from renma.data.item import Item
from renma.engine.latents import Latents, Wanted

SUBSET = Subset(image_dir="pictures", background=(10, 20, 30))
ITEM = Item(Path("a.png"), 96, 64, "aa12", True, SUBSET, "d1")
FIT = Fit(64, 32, (70, 40), (3, 4))
WANTED = Wanted(ITEM, FIT, flip=False)


def on(background: tuple[int, int, int]) -> Wanted:
    subset = SUBSET.model_copy(update={"background": background})
    return replace(WANTED, item=replace(ITEM, subset=subset))


OTHERS = {
    "picture": replace(WANTED, item=replace(ITEM, digest="d2")),
    "red": on((11, 20, 30)),
    "green": on((10, 21, 30)),
    "blue": on((10, 20, 31)),
    "width": replace(WANTED, fit=replace(FIT, width=32)),
    "height": replace(WANTED, fit=replace(FIT, height=64)),
    "resized across": replace(WANTED, fit=replace(FIT, resized=(71, 40))),
    "resized down": replace(WANTED, fit=replace(FIT, resized=(70, 41))),
    "crop left": replace(WANTED, fit=replace(FIT, crop=(2, 4))),
    "crop top": replace(WANTED, fit=replace(FIT, crop=(3, 5))),
    "flip": replace(WANTED, flip=True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_key_hangs_on_each_thing_that_makes_other_latents(name: str):
    assert OTHERS[name].key("vae") != WANTED.key("vae")


def test_a_key_hangs_on_the_vae():
    assert WANTED.key("vae") != WANTED.key("another")


def test_no_two_keys_are_equal():
    keys = [wanted.key(vae) for wanted in (WANTED, *OTHERS.values()) for vae in ("1", "2")]
    assert len(set(keys)) == len(keys)


def test_a_key_hangs_on_nothing_else():
    """Moved, described otherwise, shown more often: the latents are the same."""
    subset = SUBSET.model_copy(update={"num_repeats": 7, "flip_aug": True, "image_dir": "b"})
    moved = replace(ITEM, path=Path("b/z.png"), caption="zz, frown", subset=subset)
    assert replace(WANTED, item=moved).key("vae") == WANTED.key("vae")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A transparent picture with one opaque red corner."""
    array = np.zeros((64, 64, 4), np.uint8)
    array[:24, :40] = (200, 30, 30, 255)
    Image.fromarray(array).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def wanted(path: Path, *, flip: bool = False, background=(255, 255, 255)) -> Wanted:
    subset = Subset(image_dir=str(path.parent), background=background)
    size = (64, 64)
    item = Item(path, *size, "", True, subset, file_hash(path))
    return Wanted(item, fit(*size, Dataset(resolution=(64, 64))), flip)


@torch.inference_mode()
def encoded(family, array: np.ndarray) -> torch.Tensor:
    pixels = torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    return family.encode_image(pixels)[0][0]


def laid_upon(path: Path, background: tuple[int, int, int]) -> np.ndarray:
    below = Image.new("RGBA", (64, 64), (*background, 255))
    with Image.open(path) as picture:
        return np.array(Image.alpha_composite(below, picture).convert("RGB"))


def test_a_mirrored_picture_is_encoded_mirrored(picture: Path, mame, tmp_path: Path):
    latents = Latents.of(mame, Store("latents", ".safetensors", tmp_path / "cache"))
    plain, mirrored = wanted(picture), wanted(picture, flip=True)
    assert latents.prepare([plain, mirrored], lambda done, total: None) == 2
    array = laid_upon(picture, (255, 255, 255))
    close = {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(latents.get(plain).mean, encoded(mame, array), **close)
    torch.testing.assert_close(latents.get(mirrored).mean, encoded(mame, array[:, ::-1]), **close)
    # pixels are mirrored, not latents: the VAE is not its own mirror image
    assert not torch.allclose(latents.get(mirrored).mean, latents.get(plain).mean, atol=0.1)


def test_another_background_is_another_entry(picture: Path, mame, tmp_path: Path):
    """Also where the entry of the first background already lies on disk."""
    store = Store("latents", ".safetensors", tmp_path / "cache")
    colours = [(255, 255, 255), (0, 0, 0), (0, 0, 255)]
    for colour in colours:
        latents = Latents.of(mame, store)
        entry = wanted(picture, background=colour)
        assert latents.prepare([entry], lambda done, total: None) == 1
        expected = encoded(mame, laid_upon(picture, colour))
        torch.testing.assert_close(latents.get(entry).mean, expected, rtol=1e-3, atol=1e-4)


def test_another_vae_is_another_entry(picture: Path, mame, tmp_path: Path):
    """The entries of one model do not serve another with other weights."""
    store = Store("latents", ".safetensors", tmp_path / "cache")
    other = copy.copy(mame)
    other.hashes = {**mame.hashes, "vae": "of other weights"}
    made = [
        Latents.of(f, store).prepare([wanted(picture)], lambda d, t: None) for f in (mame, other)
    ]
    assert made == [1, 1]


def test_latents_on_disk_are_not_encoded_again_and_equal(picture: Path, mame, tmp_path: Path):
    store = Store("latents", ".safetensors", tmp_path / "cache")
    first, second = Latents.of(mame, store), Latents.of(mame, store)
    entries = [wanted(picture), wanted(picture, flip=True)]
    assert first.prepare(entries, lambda done, total: None) == 2
    assert second.prepare(entries, lambda done, total: None) == 0
    for entry in entries:
        one, other = first.get(entry), second.get(entry)
        assert torch.equal(one.mean, other.mean)
        assert torch.equal(one.deviation, other.deviation)
