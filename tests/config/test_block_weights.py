"""Strengths by block, as web UIs list them. Row F2."""

from __future__ import annotations

import pytest

from renma.config.block_weights import (
    LISTS,
    NAMES,
    PRESETS,
    SD_ATTENTION,
    block_factors,
    is_written,
)
from renma.core.errors import UserError

# the 17 values of each preset, as users of block weights know them
SEVENTEEN = {
    "INS": "1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0",
    "IND": "1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "INALL": "1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0",
    "MIDD": "1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0",
    "OUTD": "1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0",
    "OUTS": "1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1",
    "OUTALL": "1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1",
}


@pytest.mark.parametrize("name", SEVENTEEN)
def test_presets_are_the_known_lists(name: str):
    found = block_factors(name.lower(), False, "")
    assert [found[label] for label in SD_ATTENTION] == [
        float(v) for v in SEVENTEEN[name].split(",")
    ]
    assert found == block_factors(SEVENTEEN[name], False, "")
    assert set(PRESETS) == set(SEVENTEEN)


@pytest.mark.parametrize(("sdxl", "lengths"), [(False, (17, 26)), (True, (12, 20))])
def test_lists_name_every_block_of_the_model(sdxl: bool, lengths: tuple[int, int]):
    """Against the labels that layers have."""
    assert tuple(len(labels) for labels in LISTS[sdxl]) == lengths
    for count, labels in zip(lengths, LISTS[sdxl], strict=True):
        found = block_factors(",".join(map(str, range(count))), sdxl, "")
        assert [found[label] for label in labels] == list(range(count))
        assert set(found) == set(LISTS[sdxl][1])
    for name, value in (("ALL", 1), ("NONE", 0), ("ALL0.5", 0.5)):
        assert set(block_factors(name, sdxl, "").values()) == {value}


def test_blocks_that_short_lists_and_presets_do_not_name_do_not_act():
    """As sd-webui-lora-block-weight widens 17 and 12 values."""
    for sdxl, count, preset in ((False, 17, "INALL"), (True, 12, "OUTALL")):
        for text in (",".join("1" * count), preset):
            found = block_factors(text, sdxl, "")
            unnamed = set(LISTS[sdxl][1]) - set(LISTS[sdxl][0])
            assert len(unnamed) == len(LISTS[sdxl][1]) - count
            assert {found[label] for label in unnamed} == {0.0}
            assert 1.0 in found.values()


def test_lists_and_presets_are_told_from_numbers():
    assert all(map(is_written, (*NAMES, "outd", "1,0")))
    assert not any(map(is_written, ("1", "0.5", "x")))


@pytest.mark.parametrize(
    ("text", "sdxl", "message"),
    [
        ("OUTDD", False, "Did you mean 'OUTD'?"),
        ("0.5", False, "is no preset of blocks"),
        ("1,x", False, "'x' in the blocks' values is no number"),
        ("1,nan", False, "'nan' in the blocks' values is no number"),
        (",".join("1" * 17), True, "17 values for the blocks, this model has 12 or 20"),
    ],
)
def test_mistakes_are_told(text: str, sdxl: bool, message: str):
    with pytest.raises(UserError, match=message):
        block_factors(text, sdxl, "--blocks")
