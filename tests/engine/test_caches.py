"""Latents on disk: what they depend on, and what mirrored and transparent pictures become."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from renma.config.data import Dataset, Subset
from renma.core.errors import UserError
from renma.core.store import Store, file_hash
from renma.data.buckets import Fit, fit
from renma.data.item import Item
from renma.engine.latents import Latents, Wanted

SUBSET = Subset(image_dir="pictures", background=(10, 20, 30))
ITEM = Item(Path("a.png"), 96, 64, "aa12", True, SUBSET, "d1")
FIT = Fit(64, 32, (70, 40), (3, 4))
WANTED = Wanted(ITEM, FIT, flip=False)


def with_options(**values) -> Wanted:
    return replace(WANTED, item=replace(ITEM, subset=SUBSET.model_copy(update=values)))


def on(background: tuple[int, int, int]) -> Wanted:
    return with_options(background=background)


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
    "interpolation": with_options(resize_interpolation="area"),
    "transparency as mask": replace(
        with_options(alpha_mask=True),
        item=replace(with_options(alpha_mask=True).item, transparent=True),
    ),
    "mask": replace(WANTED, item=replace(ITEM, mask=Path("m.png"), mask_digest="m1")),
    "mask drawn anew": replace(WANTED, item=replace(ITEM, mask=Path("m.png"), mask_digest="m2")),
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
    others = {"num_repeats": 7, "flip_aug": True, "image_dir": "b", "alpha_mask": True}
    subset = SUBSET.model_copy(update=others)  # alpha_mask: of an opaque picture
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


class Pool:
    """A VAE that anyone can compute: the mean colour of 8 x 8 pixels; it counts its batches."""

    def __init__(self, factor: float = 1.0) -> None:
        self.batches: list[int] = []
        self.factor = factor

    def encode_image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.batches.append(len(pixels))
        mean = torch.nn.functional.avg_pool2d(pixels, 8) * self.factor
        return mean, torch.ones_like(mean)


def never() -> Any:
    raise AssertionError("no model is needed")


def quiet(done: int, total: int) -> None:
    pass


def many(folder: Path, count: int) -> list[Wanted]:
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        path = folder / f"{index}.png"
        Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(path)
        found.append(wanted(path))
    return found


def pooled(store: Store, vae: Any = None, maker: str = "pool cpu", **options: Any) -> Latents:
    model = vae or Pool()
    return Latents(maker, lambda: model, store, **options)


def store_in(folder: Path) -> Store:
    return Store("latents", ".safetensors", folder)


def test_a_warm_cache_needs_no_model(tmp_path: Path):
    """E7: what is missing is known, and what is there is read, without loading anything."""
    pictures, store = many(tmp_path, 3), store_in(tmp_path)
    first = pooled(store)
    first.prepare(pictures[:2], quiet)
    cold = Latents("pool cpu", never, store)
    assert cold.missing(pictures) == pictures[2:]
    assert cold.missing([*pictures[:2], *pictures[:2]]) == []
    assert cold.prepare(pictures[:2], quiet) == 0
    for picture in pictures[:2]:
        assert torch.equal(cold.get(picture).mean, first.get(picture).mean)
    assert Latents("another cpu", never, store).missing(pictures) == pictures


@pytest.mark.parametrize(("maker", "sizes"), [("pool cpu", [1] * 7), ("pool cuda", [3, 3, 1])])
def test_a_gpu_encodes_several_at_once_and_a_cpu_one(tmp_path: Path, maker: str, sizes: list[int]):
    vae = Pool()
    seen = []
    latents = pooled(store_in(tmp_path), vae, maker, batch_size=3)
    latents.prepare(many(tmp_path, 7), lambda done, total: seen.append((done, total)))
    assert vae.batches == sizes
    assert seen == [(done, 7) for done in [0, *np.cumsum(sizes).tolist()]]


@pytest.mark.parametrize("mib", [0, 1])
def test_memory_holds_no_more_than_it_may(tmp_path: Path, mib: int):
    """What does not fit is read from disk, the same to the last bit."""
    pictures, store = many(tmp_path, 4), store_in(tmp_path)
    whole, small = pooled(store), pooled(store, memory_mib=mib)
    whole.prepare(pictures, quiet)
    big = replace(whole.get(pictures[0]), mean=torch.zeros(3 * 2**18 // 4, 1, 1))
    for picture in [*pictures, *pictures]:
        assert torch.equal(small.get(picture).mean, whole.get(picture).mean)
        assert small._size == sum(entry.bytes for entry in small._kept.values()) <= mib * 2**20
    for key in ("one", "two"):
        small._keep(key, big)
        assert small._size <= mib * 2**20
    assert list(small._kept) == (["two"] if mib else [])


def test_a_mask_is_kept_beside_the_latents_as_shares_of_area(tmp_path: Path):
    pictures, store = many(tmp_path, 1), store_in(tmp_path)
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:4, :8], pixels[:, 32:] = 255, 51
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    item = replace(pictures[0].item, mask=tmp_path / "mask.png", mask_digest="m")
    masked = replace(pictures[0], item=item)
    pooled(store).prepare([masked, pictures[0]], quiet)
    read = Latents("pool cpu", never, store)
    mask = read.get(masked).mask
    assert mask is not None
    expected = torch.zeros(1, 8, 8)
    expected[0, 0, 0], expected[:, :, 4:] = 0.5, 0.2
    torch.testing.assert_close(mask, expected)
    assert read.get(pictures[0]).mask is None


def test_a_picture_that_becomes_nan_is_named(tmp_path: Path):
    pictures = many(tmp_path, 2)
    with pytest.raises(UserError, match=r"0\.png: the VAE turns this picture into NaN"):
        pooled(store_in(tmp_path), Pool(float("nan"))).prepare(pictures, quiet)
    assert pooled(store_in(tmp_path)).missing(pictures) == pictures


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damage_is_mended_with_one_warning(tmp_path: Path, damage: str):
    pictures, store = many(tmp_path, 3), store_in(tmp_path)
    before = pooled(store)
    before.prepare(pictures, quiet)
    for path in sorted((tmp_path / "latents").rglob("*.safetensors"))[:2]:
        data = path.read_bytes()
        path.write_bytes({"cut": data[:-9], "empty": b"", "text": b"no tensors here"}[damage])
    told: list[str] = []
    again = pooled(store, warn=told.append)
    assert again.prepare(pictures, quiet) == 2
    assert told == ["2 damaged entries of the latent cache were made anew"]
    assert again.prepare(pictures, quiet) == 0
    assert len(told) == 1
    for picture in pictures:
        assert torch.equal(again.get(picture).mean, before.get(picture).mean)


def test_an_entry_that_vanishes_meanwhile_is_made_again(tmp_path: Path):
    pictures, store = many(tmp_path, 2), store_in(tmp_path)
    latents = pooled(store, memory_mib=0)
    latents.prepare(pictures, quiet)
    before = latents.get(pictures[0]).mean
    for path in (tmp_path / "latents").rglob("*.safetensors"):
        path.unlink()
    assert torch.equal(latents.get(pictures[0]).mean, before)


def test_two_at_once_leave_whole_entries(tmp_path: Path):
    """Writers of the same entries, beside each other: each reads what it wants, nothing is torn."""
    pictures, store = many(tmp_path, 12), store_in(tmp_path)
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(pooled(store).prepare, pictures, quiet) for _ in range(3)]
        assert all(0 <= run.result() <= 12 for run in runs)
    assert Latents("pool cpu", never, store).missing(pictures) == []
    assert not list((tmp_path / "latents").rglob("*.part"))
