"""B1, F29: perceptual hashes and the search for near duplicates."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

from renma.data.duplicates import exact_duplicates
from renma.prepare.duplicates import clusters, near_pairs
from renma.prepare.hashes import dhash, distance, phash, small_grey, turned
from renma.prepare.variants import differs_in_place


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture of its own: random blobs of colour at two scales."""
    rng = np.random.default_rng(seed)
    layers = []
    for cells, strength in ((7, 0.75), (60, 0.25)):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        layers.append(np.asarray(noise.resize(size, Image.Resampling.BICUBIC)) * strength)
    return Image.fromarray(np.add(*layers).astype(np.uint8))


def small(picture: Image.Image) -> np.ndarray:
    return small_grey(picture.convert("L"))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=quality)
    return Image.open(data)


def trimmed(picture: Image.Image, share: float) -> Image.Image:
    x, y = int(picture.width * share), int(picture.height * share)
    return picture.crop((x, y, picture.width - x, picture.height - y))


SAME = {
    "half the size": lambda p: p.resize((160, 120), Image.Resampling.BICUBIC),
    "twice the size": lambda p: p.resize((640, 480), Image.Resampling.LANCZOS),
    "JPEG 80": lambda p: jpeg(p, 80),
    "JPEG 40": lambda p: jpeg(p, 40),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.1),
    "more contrast": lambda p: ImageEnhance.Contrast(p).enhance(1.15),
}


def test_phash_is_the_sign_of_the_low_cosines():
    values = small(scene(1))
    low = dctn(values.astype(float), norm="ortho")[:8, :8].ravel()
    bits = low > np.median(low[1:])
    bits[0] = False
    assert int(phash(values)) == int("".join("1" if b else "0" for b in bits), 2)


def test_dhash_compares_neighbours():
    rising = np.tile(np.linspace(0, 255, 32), (32, 1)).astype(np.uint8)
    assert int(dhash(rising)) == 2**64 - 1
    assert int(dhash(rising[:, ::-1])) == 0
    assert int(dhash(np.full((32, 32), 77, np.uint8))) == 0


@given(st.lists(st.integers(0, 2**64 - 1), min_size=2, max_size=6))
def test_distance_counts_differing_bits(values):
    hashes = np.array(values, np.uint64)
    wanted = [[(a ^ b).bit_count() for b in values] for a in values]
    assert distance(hashes[:, None], hashes[None]).tolist() == wanted


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_hashes_stay_near_where_the_picture_is_the_same(change):
    for seed in range(8):
        one, other = small(scene(seed)), small(change(scene(seed)))
        assert distance(phash(one), phash(other)) <= 10
        assert distance(dhash(one), dhash(other)) <= 8


def test_hashes_of_different_pictures_are_far():
    every = np.stack([small(scene(seed)) for seed in range(40)])
    for hashes in (phash(every), dhash(every)):
        apart = distance(hashes[:, None], hashes[None])[np.triu_indices(40, 1)]
        assert np.percentile(apart, 2) > 16
        assert 28 < apart.mean() < 36  # bits of chance agree half the time


def test_turned_holds_each_position_once():
    values = small(scene(3))
    poses = turned(values)
    assert len({pose.tobytes() for pose in poses}) == 8
    assert (poses[0] == values).all()
    mirrored = np.asarray(ImageOps.mirror(Image.fromarray(values)))
    assert any((pose == mirrored).all() for pose in poses)


def pairs_of(pictures: list[Image.Image], **options: bool) -> list[tuple[int, int]]:
    aspects = np.array([p.width / p.height for p in pictures])
    return near_pairs(np.stack([small(p) for p in pictures]), aspects, **options)


def test_near_pairs_are_the_copies_and_nothing_else():
    pictures = [scene(seed) for seed in range(30)]
    copies = [change(pictures[7]) for change in SAME.values()]
    found = pairs_of([*pictures, *copies, trimmed(pictures[3], 0.03)])
    family = [7, *range(30, 36)]
    wanted = {(a, b) for a in family for b in family if a < b} | {(3, 36)}
    assert set(found) == wanted


def test_turned_copies_are_found_when_asked():
    pictures = [scene(seed) for seed in range(12)]
    pictures += [ImageOps.mirror(pictures[2]), pictures[5].rotate(90, expand=True)]
    assert pairs_of(pictures) == []
    assert pairs_of(pictures, turns=True) == [(2, 12), (5, 13)]


def test_another_aspect_ratio_is_another_picture():
    picture = scene(4)
    assert pairs_of([picture, picture.resize((320, 160))]) == []


def test_search_across_blocks_agrees_with_one_by_one():
    rng = np.random.default_rng(0)
    many = gaussian_filter(rng.normal(size=(600, 32, 32)), (0, 4, 4))
    many = (many / many.std() * 40 + 128).clip(0, 255).astype(np.uint8)
    for one, other in ((3, 580), (255, 256), (0, 599), (300, 301)):
        many[other] = np.clip(many[one].astype(int) + 3, 0, 255)
    found = near_pairs(many, np.ones(600))
    assert found == [(0, 599), (3, 580), (255, 256), (300, 301)]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda p: p[0] < p[1])),
    st.permutations(range(10)),
)
def test_clusters_keep_the_best_and_only_its_own_copies(pairs, order):
    """F29: nothing is left out that is not like the picture that stays."""
    near = {*pairs, *((b, a) for a, b in pairs)}
    found = clusters(pairs, order)
    members = [i for cluster in found for i in (cluster.keep, *cluster.others)]
    assert len(members) == len(set(members))
    for cluster in found:
        assert all((cluster.keep, other) in near for other in cluster.others)
        assert all(order.index(cluster.keep) < order.index(other) for other in cluster.others)
    left = [i for i in range(10) if all(i not in cluster.others for cluster in found)]
    assert all((a, b) not in near for a in left for b in left)


def test_variants_differ_in_one_place_copies_everywhere():
    rng = np.random.default_rng(5)
    face = gaussian_filter(rng.normal(size=(176, 120)), 4, truncate=2)
    face = (face / face.std() * 25 + 128).astype(np.float32)
    copy = np.clip(face * 1.1 + rng.normal(size=face.shape) * 4, 0, 255).astype(np.float32)
    assert not differs_in_place(face, copy)
    smile = face.copy()
    smile[60:70, 50:66] -= 70
    assert differs_in_place(face, smile)
    half = np.asarray(Image.fromarray(face).resize((60, 88)), np.float32)
    assert not differs_in_place(half, face)


def test_exact_duplicates_group_by_hash_in_order():
    """F29."""
    hashed = [("a", "1"), ("b", "2"), ("c", "1"), ("d", ""), ("e", ""), ("f", "2"), ("g", "3")]
    assert exact_duplicates(hashed) == [["a", "c"], ["b", "f"]]
