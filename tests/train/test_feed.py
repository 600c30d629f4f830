"""Batches as tensors: masks, sizes, held-out pictures, pictures that no cache can hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

from renma.config import Run
from renma.config.data import DataConfig
from renma.core.store import Store
from renma.data.captions import shown_caption
from renma.data.folder import expand, scan
from renma.data.order import Order
from renma.engine.latents import Latents
from renma.train.feed import HELD_OUT, Fed, Feed


class Pool:
    """A VAE that anyone can compute: the mean colour of 8 x 8 pixels."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def encode_image(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shapes.append(tuple(pixels.shape))
        mean = avg_pool2d(pixels, 8)
        return mean, torch.full_like(mean, 0.5)


def feed(base: Path, vae: Pool | None = None, steps: int = 100, **values: Any) -> Feed:
    run = Run.model_validate({"data": {"class_tokens": "x", "resolution": 64, **values}})
    data: DataConfig = run.data
    found = scan(expand(data, base), data)
    prepared: Any = SimpleNamespace(
        scan=found, order=Order(found.sets, run.train.seed), plan=SimpleNamespace(steps=steps)
    )
    family: Any = vae or Pool()
    store = Store("latents", ".safetensors", base / "cache")
    made = Feed(run, prepared, Latents("pool cpu", lambda: family, store))
    made.latents.prepare(made.all_wanted(), lambda done, total: None)
    return made


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Five pictures of noise, a.png .. e.png, 160 x 96; c and d have transparent right halves."""
    rng = np.random.default_rng(0)
    (tmp_path / "train" / "2_x").mkdir(parents=True)
    for name in "abcde":
        pixels = rng.integers(0, 255, (96, 160, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        if name in "cd":
            pixels[:, 80:, 3] = 0
        mode = pixels if name in "cd" else pixels[..., :3]
        Image.fromarray(mode).save(tmp_path / "train" / "2_x" / f"{name}.png")
        (tmp_path / "train" / "2_x" / f"{name}.txt").write_text(f"{name}, one, two, three")
    return tmp_path


def same(one: Fed, other: Fed) -> bool:
    pairs = zip(one.moments, other.moments, strict=True)
    return one.captions == other.captions and all(torch.equal(a[0], b[0]) for a, b in pairs)


def test_masks_are_shares_of_area_and_whole_for_pictures_without(project: Path):
    """Masks of 5 pictures: a quarter of the middle 64 columns is not enough to notice; half is."""
    made = feed(project, train_folder="train", alpha_mask=True, batch_size=5, num_repeats=1)
    seen = {}
    for number in range(2):
        fed = made.batch(number)
        assert fed.masks is not None
        assert fed.masks.shape == (len(fed.names), 1, 8, 8)
        seen |= dict(zip(fed.names, fed.masks, strict=True))
    # 160 wide is resized to 107 and cut to the middle 64: the edge at 80 is the middle
    expected = torch.tensor([1.0] * 4 + [0.0] * 4).expand(1, 8, 8)
    for name, mask in seen.items():
        wanted = expected if name in ("c.png", "d.png") else torch.ones(1, 8, 8)
        torch.testing.assert_close(mask, wanted, atol=0.1, rtol=0)
    off = feed(project, train_folder="train", batch_size=5)
    assert off.batch(0).masks is None  # and no cache remembers that it was on


def test_a_batch_without_any_mask_has_none(project: Path):
    made = feed(project, train_folder="train", alpha_mask=True, batch_size=1)
    for number in range(10):
        fed = made.batch(number)
        assert (fed.masks is None) == (fed.names[0] not in ("c.png", "d.png"))


def test_sizes_tell_file_crop_and_target(project: Path):
    """SDXL's size conditioning: crop counted in the resized picture (107 x 64, cut to 64 x 64)."""
    made = feed(project, train_folder="train", batch_size=2, flip_aug=True)
    flips = {s.position: s.flip for b in made.prepared.order.epoch(0) for s in b.showings}
    assert len(set(flips.values())) == 2
    for number in range(5):
        fed = made.batch(number)
        assert fed.sizes.dtype == torch.float32
        for (_, position), row in zip(fed.places, fed.sizes.tolist(), strict=True):
            left = 22 if flips[position] else 21  # 43 columns overhang
            assert row == [96, 160, 0, left, 64, 64]


def test_random_places_are_told_in_sizes(project: Path):
    made = feed(project, train_folder="train", random_crop=True, enable_bucket=True, batch_size=1,
                min_bucket_reso=64, max_bucket_reso=64, bucket_reso_steps=64)  # fmt: skip
    lefts = {int(made.batch(n).sizes[0, 3]) for n in range(20)}
    assert len(lefts) > 8
    assert max(lefts) <= 43


def test_who_keeps_the_base_models_prediction_is_told(project: Path):
    (project / "other").mkdir()
    Image.new("RGB", (64, 64)).save(project / "other" / "o.png")
    subsets = [
        {"image_dir": "train/2_x"},
        {"image_dir": "other", "is_reg": True, "prior_preservation": True},
    ]
    made = feed(project, datasets=[{"batch_size": 10, "subsets": subsets}])
    fed = made.batch(0)
    assert fed.preserve.dtype == torch.bool
    assert fed.preserve.tolist() == [name == "o.png" for name in fed.names]
    assert set(fed.names) == {*(f"{n}.png" for n in "abcde"), "o.png"}


AUGMENTED = {"color_aug": True, "random_crop": True, "rotate_degrees": 20, "flip_aug": True}


def test_what_changes_by_showing_is_encoded_when_shown_and_never_cached(project: Path):
    vae = Pool()
    made = feed(project, vae, train_folder="train", batch_size=3, **AUGMENTED)
    assert made.needs_vae
    assert made.all_wanted() == []
    assert vae.shapes == []
    seen = [fed for n in range(4) for fed in [made.batch(n)]]
    assert len(vae.shapes) == sum(len(fed.names) for fed in seen)  # one at a time on a CPU
    assert not list((project / "cache").rglob("*.safetensors"))
    by_name: dict[str, list[torch.Tensor]] = {}
    for fed in seen:
        for name, (mean, _) in zip(fed.names, fed.moments, strict=True):
            by_name.setdefault(name, []).append(mean)
    twice = [means for means in by_name.values() if len(means) > 1]
    assert twice
    assert not any(torch.equal(means[0], means[1]) for means in twice)


def test_decoding_ahead_changes_nothing(project: Path):
    """Also when batches are asked for in leaps, or back and forth."""
    values = {"train_folder": "train", "batch_size": 2, **AUGMENTED}
    fresh = {n: feed(project, **values).batch(n) for n in range(9)}
    for order in (range(9), range(0, 9, 2), range(1, 9, 3), (5, 1, 8, 0, 0, 5)):
        made = feed(project, **values)
        assert all(same(made.batch(n), fresh[n]) for n in order)


def test_pictures_that_cannot_change_stay_cached_beside_others(project: Path):
    """A small picture cannot turn; its latents come from the cache."""
    (project / "train" / "1_small").mkdir()
    Image.new("RGB", (64, 64), "red").save(project / "train" / "1_small" / "s.png")
    made = feed(project, train_folder="train", rotate_degrees=15, batch_size=11)
    assert [w.item.path.name for w in made.all_wanted()] == ["s.png"]
    assert "s.png" in made.batch(0).names


def test_held_out_pictures_are_shown_plainly_and_only_there(project: Path):
    values = {
        "train_folder": "train", "validation_split": 0.4, "batch_size": 2, "flip_aug": True,
        "shuffle_caption": True, "caption_dropout_rate": 0.9, "caption_prefix": "p", "color_aug": True,
    }  # fmt: skip
    made = feed(project, **values)
    measured = made.held_out()
    names = [name for fed in measured for name in fed.names]
    assert len(names) == len(set(names)) == 2
    trained = {name for n in range(12) for name in made.batch(n).names}
    assert trained == {f"{n}.png" for n in "abcde"} - set(names)
    for fed in measured:
        assert fed.captions == [f"p {name[0]}, one, two, three" for name in fed.names]
        assert fed.weights.tolist() == [1.0] * len(fed.names)
        assert all(epoch == HELD_OUT for epoch, _ in fed.places)
        for name, (mean, _) in zip(fed.names, fed.moments, strict=True):
            with Image.open(project / "train" / "2_x" / name) as picture:
                below = Image.new("RGBA", picture.size, "white")
                whole = Image.alpha_composite(below, picture.convert("RGBA")).convert("RGB")
            part = whole.resize((107, 64), Image.Resampling.BICUBIC).crop((21, 0, 85, 64))
            pixels = torch.from_numpy(np.array(part)).permute(2, 0, 1).float() / 127.5 - 1
            torch.testing.assert_close(mean, avg_pool2d(pixels, 8), atol=0.01, rtol=0)
    again = feed(project, **values).held_out()
    assert all(same(one, other) for one, other in zip(measured, again, strict=True))
    positions = [position for fed in measured for _, position in fed.places]
    assert positions == [0, 1]


def test_warm_up_follows_the_step(project: Path):
    made = feed(project, steps=10, train_folder="train", token_warmup_step=0.5)
    assert len(made.batch(0, 0).captions[0].split(", ")) == 1
    assert len(made.batch(0, 5).captions[0].split(", ")) == 4
    item = made.prepared.scan.sets[0].items[0]
    assert shown_caption(item, 0, 0, 0, 5, 10).count(",") == 3


def test_fixed_captions_are_all_that_is_shown(project: Path):
    """E7: with dropout alone the text encoder can leave."""
    made = feed(project, train_folder="train", caption_dropout_rate=0.5, validation_split=0.2)
    found = made.fixed_captions()
    assert found is not None
    assert len(found) == 6
    shown = {c for n in range(20) for c in made.batch(n).captions}
    shown |= {c for fed in made.held_out() for c in fed.captions}
    assert shown == set(found)
    assert feed(project, train_folder="train", shuffle_caption=True).fixed_captions() is None


def test_the_fingerprint_notices_what_is_shown(project: Path):
    def now(**values) -> str:
        return feed(project, train_folder="train", **values).fingerprint()

    plain = now()
    assert now(num_repeats=3, caption_prefix="p") == plain  # told by the options themselves
    others = [now(validation_split=0.2), now(validation_split=0.2, validation_seed=3)]
    (project / "train" / "2_x" / "a.txt").write_text("another")
    others.append(now())
    assert len({plain, *others}) == 4


def test_a_row_of_a_batch_is_that_sample(project: Path):
    fed = feed(project, train_folder="train", alpha_mask=True, batch_size=5).batch(0)
    part = fed.rows(1, 3)
    assert part.names == fed.names[1:3]
    assert part.masks is not None
    assert fed.masks is not None
    assert torch.equal(part.masks, fed.masks[1:3])
    assert torch.equal(part.sizes, fed.sizes[1:3])
