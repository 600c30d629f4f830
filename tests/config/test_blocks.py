"""Ranks and learning rates block by block: kohya's tables, presets and completion of lists."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.config import Run, validate
from renma.config.adapter import IA3, DyLora, Lora
from renma.config.blocks import BlockConfig, cut_lists, factors
from renma.config.layer_table import choose
from renma.config.targets import TargetConfig
from renma.core.errors import UserError

CONV = TargetConfig(preset="conv")


def blocks(**values) -> BlockConfig:
    return validate(BlockConfig, values, "test")


def split(values, sdxl):
    """Down, middle and up factors, without SDXL's first and last block."""
    if sdxl:
        assert values[0] == values[-1] == 1
        values = values[1:-1]
    ends = (9, 12) if sdxl else (12, 13)
    return values[: ends[0]], values[ends[0] : ends[1]], values[ends[1] :]


@pytest.mark.parametrize(("sdxl", "count"), [(False, 12), (True, 9)])
def test_presets_are_kohyas_curves(sdxl, count):
    shares = [i / (count - 1) for i in range(count)]
    curves = {
        "sine": [math.sin(math.pi / 2 * s) for s in shares],
        "cosine": [math.sin(math.pi / 2 * s) for s in reversed(shares)],
        "linear": shares,
        "reverse_linear": shares[::-1],
    }
    for name, curve in curves.items():
        for text, offset in ((name, 0), (f"{name}+0.25", 0.25), (f" {name} + .25", 0.25)):
            down, mid, up = split(factors(blocks(down_rates=text, up_rates=name), sdxl), sdxl)
            assert down == pytest.approx([x + offset for x in curve], abs=1e-12)
            assert set(mid) == {1}
            assert up == pytest.approx(curve, abs=1e-12)
    assert set(factors(blocks(down_rates="zeros+0.5"), sdxl)[1:count]) == {0.5}


@given(
    rates=st.lists(st.floats(0.01, 2), max_size=15),
    sdxl=st.booleans(),
    kind=st.sampled_from(["list", "text"]),
)
def test_lists_are_completed_with_one_and_cut_with_a_word(rates, sdxl, kind):
    count = 9 if sdxl else 12
    text = ",".join(map(repr, rates)) + ("," if len(rates) == 1 else "")
    given_ = rates if kind == "list" or not rates else text
    if kind == "text" and len(rates) == 1:
        rates = [*rates, 0.0]  # an empty entry is 0
    config = blocks(up_rates=given_)
    _, _, up = split(factors(config, sdxl), sdxl)
    assert list(up) == (rates + [1.0] * count)[:count]
    said = cut_lists(config, sdxl)
    assert len(said) == (len(rates) > count)
    if said:
        assert f"{len(rates)} numbers for {count} blocks" in said[0]


@pytest.mark.parametrize("sdxl", [False, True])
def test_one_number_holds_for_all_blocks_of_a_side(sdxl):
    for number in (0.5, "0.5"):
        down, mid, up = split(factors(blocks(down_rates=number, mid_rates=0.25), sdxl), sdxl)
        assert (set(down), set(mid), set(up)) == ({0.5}, {0.25}, {1.0})


def test_empty_entries_are_zero_and_small_factors_leave_blocks_out():
    values = factors(blocks(down_rates="1,,0.1", zero_threshold=0.1), False)
    assert values[:4] == (1, 0, 0, 1)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ("sin", "Did you mean 'sine'"),
        ("cosinus+0.5", "Did you mean 'cosine'"),
        ("sine+x", "neither a number, a list nor a preset"),
        ("sine-0.5", "Did you mean 'sine'"),
        ("1,x", "no list of numbers"),
        ("-1", "neither a number"),
    ],
)
def test_misspelt_rates(rates, message):
    with pytest.raises(UserError, match=message) as caught:
        factors(blocks(down_rates=rates), False)
    assert "adapter.blocks.down_rates" in caught.value.line()


def test_ranks_by_block(published):
    table = published["sd1"].table
    ranks = [2 * i for i in range(25)]
    config = Lora(rank=7, alpha=3, blocks=blocks(ranks=ranks, alphas=range(25)), targets=CONV)
    choice = choose(config, table)
    by_path = {slot.path: (slot, own) for slot, own, _ in choice}
    for slot, own, factor in choice:
        assert factor == 1
        if slot.part == "text_encoder":
            assert (own.rank, own.alpha) == (7, 3)
        else:
            assert (own.rank, own.alpha) == (ranks[slot.index], slot.index)
    assert by_path["up_blocks.3.attentions.2.proj_in"][1].rank == 48
    assert by_path["up_blocks.2.upsamplers.0.conv"][1].rank == 2 * 21


def test_convolutions_have_ranks_of_their_own(published):
    table = published["sd1"].table
    own = blocks(ranks=[4] * 25, conv_ranks=[0] * 12 + [5] * 13, conv_alphas=[2] * 25)
    choice = choose(Lora(blocks=own, targets=CONV), table)
    small = {(c.rank, c.alpha) for s, c, _ in choice if s.part == "unet" and not s.conv3x3}
    large = {(c.rank, c.alpha) for s, c, _ in choice if s.conv3x3}
    assert (small, large) == ({(4, 1.0)}, {(5, 2.0)})
    assert min(s.index for s, _, _ in choice if s.conv3x3) == 12
    plain = choose(Lora(rank=8, alpha=2, conv_rank=3, conv_alpha=1, targets=CONV), table)
    assert {(c.rank, c.alpha) for s, c, _ in plain if s.conv3x3} == {(3, 1)}
    assert {(c.rank, c.alpha) for s, c, _ in plain if not s.conv3x3} == {(8, 2)}


def test_rank_and_factor_zero_leave_layers_out(published):
    table = published["sd1"].table
    only_middle = blocks(down_rates="zeros", up_rates="zeros")
    left = choose(Lora(blocks=only_middle), table)
    assert {s.block for s, _, _ in left if s.part == "unet"} == {"M00"}
    ranks = [0] * 25
    ranks[12] = 4
    assert choose(Lora(blocks=blocks(ranks=ranks)), table) == [
        (s, c.model_copy(update={"blocks": blocks(ranks=ranks)}), f) for s, c, f in left
    ]
    rates = blocks(up_rates=[0.5] * 12)
    by_block = {s.block: f for s, _, f in choose(Lora(blocks=rates), table)}
    assert (by_block["BASE"], by_block["IN01"], by_block["OUT11"]) == (1, 1, 0.5)


def test_sdxl_counts_23_blocks(published):
    table = published["sdxl"].table
    ranks = list(range(1, 24))
    choice = choose(Lora(blocks=blocks(ranks=ranks), targets=CONV), table)
    named = {s.name: c.rank for s, c, _ in choice}
    assert named["lora_unet_input_blocks_4_1_proj_in"] == ranks[5]
    assert named["lora_unet_middle_block_1_proj_in"] == ranks[11]
    assert named["lora_unet_output_blocks_8_0_in_layers_2"] == ranks[21]
    text = {c.rank for s, c, _ in choice if s.part != "unet"}
    assert text == {4}


def test_wrong_lists_and_algorithms_are_refused(published):
    table = published["sd1"].table
    with pytest.raises(UserError, match="holds 23 numbers, this model has 25 blocks"):
        choose(Lora(blocks=blocks(ranks=[4] * 23)), table)
    with pytest.raises(UserError, match="holds 25 numbers, this model has 23 blocks"):
        choose(Lora(blocks=blocks(alphas=[4] * 25)), published["sdxl"].table)
    with pytest.raises(UserError, match="ranks mean nothing to this algorithm"):
        choose(IA3(blocks=blocks(ranks=[4] * 25)), table)
    with pytest.raises(UserError, match="rank 3 is no multiple of unit = 2"):
        choose(DyLora(rank=4, unit=2, blocks=blocks(ranks=[3] * 25)), table)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ranks": [-1] * 25}, "'adapter.blocks.ranks.0' = -1"),
        ({"down_rates": [-0.5]}, "'adapter.blocks.down_rates' = .-0.5.: neither a number"),
        ({"down_rats": [1]}, "Did you mean 'down_rates'"),
        ({"mid_rates": True}, "'adapter.blocks.mid_rates' = True: neither a number"),
    ],
)
def test_schema_refuses(values, message):
    with pytest.raises(UserError, match=message):
        validate(Run, {"adapter": {"blocks": values}}, "test")


def test_kohyas_names_lead_here():
    fields = {
        f.json_schema_extra["kohya"]
        for f in BlockConfig.model_fields.values()
        if f.json_schema_extra
    }
    assert fields == {
        "block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas", "down_lr_weight",
        "mid_lr_weight", "up_lr_weight", "block_lr_zero_threshold",
    }  # fmt: skip
