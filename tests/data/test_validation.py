"""Held-out pictures: chosen by their bytes, never trained on, never overlapping."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from renma.config.data import DataConfig, Dataset, Subset
from renma.core.errors import UserError
from renma.data.folder import Scan, expand, scan
from renma.data.item import Item
from renma.data.order import Order
from renma.data.validation import held_out, parted

TRAIN, REG = Subset(image_dir="t"), Subset(image_dir="r", is_reg=True)


def item(digest: str, subset: Subset = TRAIN) -> Item:
    return Item(Path(f"{digest}.png"), 64, 64, "a", True, subset, digest)


def chosen(digests, split: float, seed: int = 0) -> set[str]:
    return held_out(Dataset(validation_split=split, validation_seed=seed), map(item, digests))


NAMES = st.sets(st.text("0123456789abcdef", min_size=4, max_size=8), min_size=2, max_size=40)
SPLIT = st.floats(0.01, 0.99)


@given(NAMES, SPLIT, st.integers(0, 9))
def test_a_share_is_held_out_and_the_rest_is_trained(names: set[str], split: float, seed: int):
    apart = chosen(names, split, seed)
    assert len(apart) == min(max(1, round(len(names) * split)), len(names) - 1)
    trained, measured = parted([item(name) for name in sorted(names)], apart)
    assert {i.digest for i in trained} | {i.digest for i in measured} == names
    assert not {i.digest for i in trained} & {i.digest for i in measured}
    assert len(trained) + len(measured) == len(names)
    # neither order nor repetition matters
    assert chosen([*sorted(names), *sorted(names)], split, seed) == apart


@given(NAMES, SPLIT)
def test_one_picture_more_moves_at_most_one_other(names: set[str], split: float):
    before, after = chosen(names, split), chosen(names | {"zzzz"}, split)
    assert len((before ^ after) - {"zzzz"}) <= 1


def test_the_choice_hangs_on_its_own_seed():
    names = [f"{i:04}" for i in range(40)]
    assert len({frozenset(chosen(names, 0.3, seed)) for seed in range(5)}) == 5


def test_regularisation_pictures_are_never_measured():
    items = [item(f"t{i}") for i in range(4)] + [item(f"r{i}", REG) for i in range(40)]
    apart = held_out(Dataset(validation_split=0.5), items)
    assert len(apart) == 2
    assert all(name.startswith("t") for name in apart)
    trained, measured = parted([*items, item(min(apart), REG)], apart)
    assert not any(i.subset.is_reg for i in measured)
    assert not apart & {i.digest for i in trained}


def project(base: Path, **values) -> Scan:
    for index in range(10):
        for folder in ("a", "b"):
            (base / folder).mkdir(exist_ok=True)
            Image.new("RGB", (16, 16), (index, 0, 0)).save(base / folder / f"{folder}{index}.png")
    data = DataConfig.model_validate({"class_tokens": "x", "resolution": 16, **values})
    return scan(expand(data, base), data)


def test_nothing_leaks_through_another_folder_or_size(tmp_path: Path):
    """The same picture in two data sets of different size is held out of both."""
    sets = [
        {"validation_split": 0.2, "resolution": 16, "subsets": [{"image_dir": "a"}]},
        {"resolution": 32, "subsets": [{"image_dir": "b", "num_repeats": 3}]},
    ]
    found = project(tmp_path, datasets=sets)
    trained = {i.digest for s in found.sets for i in s.items}
    measured = [i.digest for s in found.sets for i in s.held_out]
    assert len(measured) == 4
    assert not trained & set(measured)
    order = Order(found.sets, 1)
    shown = {
        found.sets[s.set_index].items[s.item_index].digest
        for b in order.epoch(0)
        for s in b.showings
    }
    assert shown == trained


def test_a_set_that_would_be_measured_only_is_refused(tmp_path: Path):
    (tmp_path / "c").mkdir()
    sets = [
        {"validation_split": 0.1, "subsets": [{"image_dir": "a"}]},
        {"subsets": [{"image_dir": "c"}]},
    ]
    for index in range(10):
        Image.new("RGB", (16, 16), (index, 0, 0)).save(tmp_path / f"{index}.png")
    first = project(tmp_path, datasets=sets[:1]).sets[0].held_out[0].path
    (tmp_path / "c" / "twin.png").write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=r"all pictures of a data set are held out"):
        project(tmp_path, datasets=sets)
