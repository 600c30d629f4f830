"""Buckets, captions, and the order of showings: laws over random data sets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renma.config.data import Dataset, Subset
from renma.core.errors import UserError
from renma.data.buckets import bucket_sizes, fit, validate_sizes
from renma.data.captions import is_random, shown_caption, tags
from renma.data.folder import ScannedSet
from renma.data.item import Item
from renma.data.order import Order


def item(
    index: int, subset: Subset, size: tuple[int, int] = (64, 64), caption: str = "a, b"
) -> Item:
    return Item(Path(f"{index}.png"), *size, caption, True, subset, f"{index}")


@st.composite
def data_sets(draw):
    dataset = Dataset(
        resolution=(128, 128), enable_bucket=True, min_bucket_reso=64, max_bucket_reso=256,
        bucket_reso_steps=32, batch_size=draw(st.integers(1, 5)),
    )  # fmt: skip
    sizes = st.tuples(st.integers(20, 400), st.integers(20, 400))
    subsets = [
        Subset(
            image_dir=f"d{i}",
            num_repeats=draw(st.integers(1, 4)),
            is_reg=i == 2,
            flip_aug=draw(st.booleans()),
        )
        for i in range(3)
    ]
    counts = [draw(st.integers(1, 6)), draw(st.integers(0, 3)), draw(st.integers(0, 9))]
    items = [
        item(i, s, draw(sizes)) for s, n in zip(subsets, counts, strict=True) for i in range(n)
    ]
    return ScannedSet(dataset, tuple(items))


@settings(max_examples=60, deadline=None)
@given(sets=st.lists(data_sets(), min_size=1, max_size=2), number=st.integers(0, 400))
def test_batches_are_located_as_counting_them_one_by_one_does(sets, number):
    """Regularisation pictures come round again, so that epochs far away need no counting."""
    order, counted = Order(sets, 0), Order(sets, 0)
    epoch, before = 0, 0
    while before + (size := len(counted.epoch(epoch))) <= number:
        before += size
        epoch += 1
    assert order.locate(number) == (epoch, number - before)
    assert order.batches_in(epoch) == before
    assert Order(sets, 0).batches_in(epoch) == before


@settings(max_examples=60, deadline=None)
@given(scanned=data_sets(), seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_an_epoch_shows_every_picture_exactly_repeats_times(scanned, seed, epoch):
    order = Order([scanned], seed)
    batches = order.epoch(epoch)
    shown = Counter(s.item_index for b in batches for s in b.showings)
    wanted = {i: x.subset.num_repeats for i, x in enumerate(scanned.items) if not x.subset.is_reg}
    assert {i: n for i, n in shown.items() if i in wanted} == wanted
    regular = [i for i, x in enumerate(scanned.items) if x.subset.is_reg]
    counts = [shown[i] for i in regular]
    if regular:
        assert sum(counts) == sum(wanted.values())
        assert max(counts) - min(counts) <= 1
    positions = [s.position for b in batches for s in b.showings]
    assert sorted(positions) == list(range(len(positions)))
    for batch in batches:
        assert 1 <= len(batch.showings) <= scanned.dataset.batch_size
        for s in batch.showings:
            fitted = order.fits[0][s.item_index]
            assert (fitted.width, fitted.height) == batch.size


@settings(max_examples=40, deadline=None)
@given(scanned=data_sets(), seed=st.integers(0, 99))
def test_place_of_a_batch_does_not_depend_on_the_calls_before(scanned, seed):
    order = Order([scanned], seed)
    flat = [(e, i) for e in range(4) for i in range(len(order.epoch(e)))]
    assert [order.locate(n) for n in range(len(flat))] == flat
    late = Order([scanned], seed)
    assert late.locate(len(flat) - 1) == flat[-1]
    assert late.epoch(3) == order.epoch(3)
    assert order.batches_in(4) == len(flat)


def test_all_regularisation_pictures_have_their_turn():
    train, reg = Subset(image_dir="t"), Subset(image_dir="r", is_reg=True)
    scanned = ScannedSet(
        Dataset(resolution=(64, 64)),
        (*(item(i, train) for i in range(4)), *(item(9 + i, reg) for i in range(10))),
    )
    order = Order([scanned], 1)
    shown = Counter(s.item_index for e in range(5) for b in order.epoch(e) for s in b.showings)
    assert [shown[i] for i in range(4, 14)] == [2] * 10


def test_epochs_and_seeds_differ():
    scanned = ScannedSet(
        Dataset(resolution=(64, 64)), tuple(item(i, Subset(image_dir="t")) for i in range(30))
    )
    orders = [Order([scanned], seed).epoch(epoch) for seed, epoch in [(1, 0), (1, 1), (2, 0)]]
    assert len(set(orders)) == 3


def test_half_of_the_showings_are_mirrored():
    subset = Subset(image_dir="t", flip_aug=True, num_repeats=1000)
    order = Order([ScannedSet(Dataset(resolution=(64, 64)), (item(0, subset),))], 0)
    flips = [s.flip for b in order.epoch(0) for s in b.showings]
    assert 430 < sum(flips) < 570


@pytest.mark.parametrize(
    ("resolution", "high", "count"),
    [
        ((512, 512), 1024, 17),
        ((768, 768), 1024, 19),
        ((1024, 1024), 2048, 41),
        ((384, 512), 1024, 13),
    ],
)
def test_bucket_lists_are_the_references(resolution, high, count):
    """Counts measured on kohya-ss/sd-scripts."""
    sizes = bucket_sizes(Dataset(resolution=resolution, enable_bucket=True, max_bucket_reso=high))
    assert len(sizes) == count
    assert all(w * h <= resolution[0] * resolution[1] for w, h in sizes)


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(1, 3000), height=st.integers(1, 3000), bucketed=st.booleans(),
    resolution=st.tuples(st.sampled_from([64, 128, 256]), st.sampled_from([64, 128, 256])),
)  # fmt: skip
def test_a_fitted_picture_covers_its_bucket(width, height, bucketed, resolution):
    dataset = Dataset(
        resolution=resolution,
        enable_bucket=bucketed,
        min_bucket_reso=32,
        max_bucket_reso=512,
        bucket_reso_steps=32,
    )
    found = fit(width, height, dataset)
    assert found.resized[0] >= found.width
    assert found.resized[1] >= found.height
    assert found.resized[0] == found.width or found.resized[1] == found.height
    for total, kept, start in zip(
        found.resized, (found.width, found.height), found.crop, strict=True
    ):
        assert 0 <= start <= total - kept
        assert abs(2 * start - (total - kept)) <= 1
    assert 0 <= found.cropped_away < 1


def test_never_enlarged():
    dataset = Dataset(resolution=(512, 512), enable_bucket=True, bucket_no_upscale=True)
    assert (fit(300, 300, dataset).width, fit(300, 300, dataset).height) == (256, 256)
    assert fit(300, 300, dataset).resized == (300, 300)
    found = fit(1000, 1500, dataset)
    assert (found.width, found.height) == (384, 576)
    with pytest.raises(UserError, match="smaller than bucket_reso_steps"):
        fit(40, 400, dataset)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resolution": (500, 512)}, "multiples of 8"),
        ({"resolution": (128, 128), "enable_bucket": True}, "min_bucket_reso = 256: is larger"),
        ({"resolution": (1536, 512), "enable_bucket": True}, "max_bucket_reso = 1024: is smaller"),
    ],
)
def test_impossible_sizes_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        validate_sizes(Dataset(**values))


CAPTION = "aa12, person, smile, red hair, blue eyes, hat"


@settings(max_examples=60, deadline=None)
@given(
    keep=st.integers(0, 8),
    seed=st.integers(0, 50),
    epoch=st.integers(0, 9),
    position=st.integers(0, 50),
)
def test_shuffling_keeps_the_tags_and_protects_the_first(keep, seed, epoch, position):
    one = item(0, Subset(image_dir="x", shuffle_caption=True, keep_tokens=keep), caption=CAPTION)
    shown = tags(shown_caption(one, seed, epoch, position))
    assert Counter(shown) == Counter(tags(CAPTION))
    assert shown[:keep] == tags(CAPTION)[:keep]
    assert shown_caption(one, seed, epoch, position) == ", ".join(shown)


def test_every_showing_is_shuffled_anew():
    one = item(0, Subset(image_dir="x", shuffle_caption=True, keep_tokens=1), caption=CAPTION)
    assert len({shown_caption(one, 0, 0, p) for p in range(60)}) > 40


def test_tag_dropout_spares_the_first_and_drops_its_share():
    one = item(
        0, Subset(image_dir="x", caption_tag_dropout_rate=0.4, keep_tokens=1), caption=CAPTION
    )
    shown = [tags(shown_caption(one, 0, 0, p)) for p in range(500)]
    assert all(s[0] == "aa12" for s in shown)
    kept = sum(len(s) - 1 for s in shown) / (5 * 500)
    assert 0.55 < kept < 0.65
    order = tags(CAPTION)
    assert all(sorted(s, key=order.index) == s for s in shown)


def test_caption_dropout():
    rate = item(
        0, Subset(image_dir="x", caption_dropout_rate=0.3, caption_prefix="p"), caption=CAPTION
    )
    shown = [shown_caption(rate, 0, 0, p) for p in range(500)]
    assert 110 < shown.count("") < 190
    assert set(shown) == {"", f"p {CAPTION}"}
    every = item(0, Subset(image_dir="x", caption_dropout_every_n_epochs=3), caption=CAPTION)
    assert [shown_caption(every, 0, e, 0) == "" for e in range(6)] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]


def test_plain_captions_are_untouched():
    odd = item(0, Subset(image_dir="x", keep_tokens=1), caption="a,,b ;  c")
    assert shown_caption(odd, 0, 3, 4) == "a,,b ;  c"
    assert not is_random(odd.subset)


def test_other_separators():
    one = item(
        0,
        Subset(image_dir="x", shuffle_caption=True, keep_tokens=1, caption_separator=";"),
        caption="a; b, c; d",
    )
    shown = shown_caption(one, 1, 1, 1)
    assert shown.startswith("a; ")
    assert Counter(tags(shown, ";")) == Counter(["a", "b, c", "d"])
