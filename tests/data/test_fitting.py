"""From a picture file to training pixels: geometry, strips, buckets that never enlarge."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from renma.config.data import Dataset, Subset
from renma.core.errors import UserError
from renma.data.augment import Augment
from renma.data.buckets import Fit, fit
from renma.data.folder import ScannedSet
from renma.data.item import Item
from renma.data.order import Order
from renma.data.pixels import load_fitted

SUBSET = Subset(image_dir=".")


def item(path: Path, width: int, height: int) -> Item:
    return Item(path, width, height, "", False, SUBSET, "")


def saved(path: Path, width: int, height: int) -> Item:
    ramp = np.add.outer(np.arange(height) * 90 / height, np.arange(width) * 160 / width)
    Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1).astype(np.uint8)).save(path)
    return item(path, width, height)


@pytest.mark.parametrize("size", [(40, 30), (33, 90), (300, 80), (500, 417), (64, 64), (100, 64)])
def test_pixels_are_those_of_resizing_the_whole_and_cropping(tmp_path: Path, size):
    one = saved(tmp_path / "x.png", *size)
    fitted = fit(*size, Dataset(resolution=(64, 64)))
    found = load_fitted(one, Augment(fitted)).rgb
    with Image.open(one.path) as picture:
        smaller = fitted.resized[0] <= size[0] and fitted.resized[1] <= size[1]
        kind = Image.Resampling.BICUBIC if smaller else Image.Resampling.LANCZOS
        left, top = fitted.crop
        whole = picture.resize(fitted.resized, kind).crop((left, top, left + 64, top + 64))
    assert found.shape == (64, 64, 3)
    assert np.abs(found.astype(int) - np.asarray(whole).astype(int)).max() <= 1


def test_a_picture_of_the_right_size_is_not_touched(tmp_path: Path):
    one = saved(tmp_path / "x.png", 64, 64)
    with Image.open(one.path) as picture:
        expected = np.asarray(picture)
    assert np.array_equal(
        load_fitted(one, Augment(fit(64, 64, Dataset(resolution=(64, 64))))).rgb, expected
    )


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_strip_costs_no_more_than_its_bucket(tmp_path: Path):
    """Enlarged whole, this one would be 256 x 5,120,000 pixels."""
    saved(tmp_path / "x.png", 1, 20_000)
    script = """
import resource, sys
from pathlib import Path
from renma.config.data import Dataset, Subset
from renma.data.augment import Augment
from renma.data.buckets import fit
from renma.data.pixels import load_fitted
from renma.data.item import Item
import numpy
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
subset = Subset(image_dir=".")
item = Item(Path(sys.argv[1]), 1, 20_000, "", False, subset, "")
fitted = fit(1, 20_000, Dataset(resolution=(512, 512), enable_bucket=True))
print(fitted.resized, load_fitted(item, Augment(fitted)).rgb.shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "x.png")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "(256, 5120000) (1024, 256, 3)\n", done.stderr


def test_a_file_changed_since_it_was_measured_is_refused(tmp_path: Path):
    one = saved(tmp_path / "x.png", 80, 64)
    fitted = fit(80, 64, Dataset(resolution=(64, 64)))
    saved(one.path, 64, 80)
    with pytest.raises(UserError, match=r"x\.png: changed"):
        load_fitted(one, Augment(fitted))


@settings(max_examples=300, deadline=None)
@given(
    width=st.integers(1, 20_000),
    height=st.integers(1, 20_000),
    step=st.sampled_from([8, 32, 64]),
    resolution=st.sampled_from([(512, 512), (128, 128), (384, 640)]),
)
def test_no_upscale_neither_enlarges_nor_exceeds_the_area(width, height, step, resolution):
    dataset = Dataset(
        resolution=resolution, enable_bucket=True, bucket_no_upscale=True, bucket_reso_steps=step
    )
    try:
        found = fit(width, height, dataset)
    except UserError:
        shrink = min(1.0, math.sqrt(math.prod(resolution) / (width * height)))
        assert min(width, height) * shrink < step
        return
    assert found.resized[0] <= width
    assert found.resized[1] <= height
    assert found.width % step == found.height % step == 0
    assert 0 < found.width <= found.resized[0]
    assert 0 < found.height <= found.resized[1]
    rounding = 2 * (found.width + found.height)
    assert found.width * found.height <= math.prod(resolution) + rounding


def test_the_picture_that_does_not_fit_is_named():
    dataset = Dataset(resolution=(512, 512), enable_bucket=True, bucket_no_upscale=True)
    scanned = ScannedSet(dataset, (item(Path("thin one.png"), 10_000, 40),))
    with pytest.raises(UserError, match=r"thin one\.png: .*bucket_reso_steps = 64"):
        Order([scanned], 0)


def test_extremes_are_cropped_by_rule():
    """4000x500 at 512x512: measured on the reference."""
    found = fit(4000, 500, Dataset(resolution=(512, 512), enable_bucket=True))
    assert found == Fit(1024, 256, (2048, 256), (512, 0))
    assert found.cropped_away == 0.5
