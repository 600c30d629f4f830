"""Every axis changes its one thing, in any combination, and refuses what it does not know (F1, F2)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from renma.config.block_weights import block_factors
from renma.config.grid_task import GridOptions
from renma.config.picture_recipe import Recipe
from renma.core.errors import UserError
from renma.judge.grid.draft import recipe
from renma.judge.grid.plan import planned

PROMPT = "aa12, smile"


def grid(folder: Path, lines: Any, **given: Any) -> list[list[list[Recipe]]]:
    """Recipes as [z][y][x]."""
    options = GridOptions(**{"sources": (folder,), "prompt": PROMPT, **given})
    plan = planned(options, lines)
    return [[[recipe(d, plan.shelf) for d in row] for row in page] for page in plan.drafts()]


def row(folder: Path, lines: Any, axis: str, **given: Any) -> list[Recipe]:
    ((found,),) = grid(folder, lines, x=axis, **given)
    return found


@pytest.mark.parametrize(
    ("axis", "field", "values"),
    [
        ("seed=3-5", "seed", [3, 4, 5]),
        ("cfg=1-7[3]", "scale", [1, 4, 7]),
        ("sampler=ddim,Euler a,dpmsolver++,PLMS", "sampler", ["ddim", "euler_a", "dpmsolver++", "pndm"]),
        ("steps=5,10-20(+5)", "steps", [5, 10, 15, 20]),
        ('prompt="aa12, cat",dog', "text", ["aa12, cat", "dog"]),
        ("replace=smile,frown,wink", "text", ["aa12, smile", "aa12, frown", "aa12, wink"]),
    ],
)  # fmt: skip
def test_axes_of_the_prompt_change_nothing_else(finished, lines, axis, field, values):
    found = row(finished, lines, axis)
    assert [getattr(one.prompt, field) for one in found] == values
    first, *others = found
    for other in others:
        same = other.prompt.model_copy(update={field: getattr(first.prompt, field)})
        assert other.model_copy(update={"prompt": same}) == first


@pytest.mark.parametrize(
    ("axis", "unet", "text"),
    [
        ("weight=0-1(+0.5)", [0, 0.5, 1], [0, 0.5, 1]),
        ("weight", [0, 1], [0, 1]),  # those of the run
        ("unet-weight=0,-0.5", [0, -0.5], [1, 1]),
        ("text-encoder-weight=0.25,2", [1, 1], [0.25, 2]),
        ("TEXT_ENCODER_WEIGHT = 0", [1], [0]),
    ],
)
def test_weights_of_the_parts_are_apart(finished, lines, axis, unet, text):
    found = row(finished, lines, axis)
    assert [one.loras[0].unet for one in found] == unet
    assert [one.loras[0].text_encoder for one in found] == text


def test_weight_zero_is_the_base_model_for_every_checkpoint(finished, lines):
    (page,) = grid(finished, lines, x="weight=0,1", y="checkpoint=all,base")
    digests = [[one.effective().digest() for one in row] for row in page]
    assert digests[0][0] == digests[1][0] == digests[2][0] == digests[2][1]
    assert len({digests[0][0], digests[0][1], digests[1][1]}) == 3


@pytest.mark.parametrize(
    ("value", "acting"),
    [
        ("IN04-IN05", {"BASE", "IN04", "IN05"}),
        ("in4 - in5 mid", {"BASE", "IN04", "IN05", "M00"}),
        ("IN11-OUT00", {"BASE", "IN11", "M00", "OUT00"}),
        ("BASE", {"BASE"}),
        ("OUTS", {"BASE", "OUT07", "OUT08", "OUT09", "OUT10", "OUT11"}),
        ("NOT IN00-OUT11", {"BASE"}),
        ("NOT BASE IN00-IN11 OUT00-OUT11", {"M00"}),
    ],
)
def test_blocks_are_presets_lists_or_ranges(finished, lines, value, acting):
    (one,) = row(finished, lines, f'block="{value}"')
    factors = block_factors(one.loras[0].blocks, False, "test")
    assert {label for label, factor in factors.items() if factor == 1} == acting
    assert set(factors.values()) <= {0, 1}


def test_a_list_of_strengths_is_quoted(finished, lines):
    numbers = ",".join(["0.5"] * 17)
    (_, one) = row(finished, lines, f'block=INALL,"{numbers}"')
    assert one.loras[0].blocks == numbers
    with pytest.raises(UserError, match="quote a list"):
        row(finished, lines, f"block={numbers}")


def test_three_axes_and_words_replaced_in_new_prompts(finished, lines):
    """A prompt axis is set before words in it are replaced, wherever it stands."""
    pages = grid(
        finished, lines, x="replace=smile,wink", y='prompt="a, smile","b, smile --n smile"', z="seed=1,2"
    )  # fmt: skip
    texts = [[[one.prompt.text for one in row] for row in page] for page in pages]
    assert texts == [[["a, smile", "a, wink"], ["b, smile", "b, wink"]]] * 2
    assert pages[0][1][1].prompt.negative == "wink"
    assert [page[0][0].prompt.seed for page in pages] == [1, 2]


@pytest.mark.parametrize(
    ("axis", "names"),
    [
        ("checkpoint", ["girl-step00000010", "girl"]),
        ("checkpoint=last", ["girl"]),
        ("checkpoint=step 10", ["girl-step00000010"]),
        ("checkpoint=10-20(+10)", ["girl-step00000010", "girl"]),
        ("checkpoint=girl-step00000010,best,last", ["girl-step00000010", "girl"]),
        ("checkpoint=best,base", ["girl-step00000010", None]),
    ],
)
def test_checkpoints_by_name(finished, lines, axis, names):
    best = {"best": "lora/girl-step00000010.safetensors"}
    (finished / "score.json").write_text(json.dumps(best))
    found = row(finished, lines, axis)
    assert [one.loras[0].name if one.loras else None for one in found] == names


def test_a_file_of_elsewhere_is_a_checkpoint_too(finished, lines, tmp_path):
    other = tmp_path / "other.safetensors"
    shutil.copy(finished / "lora/girl.safetensors", other)
    with pytest.raises(UserError, match="--model"):
        row(finished, lines, f"checkpoint=last,{other}")
    found = row(finished, lines, f"checkpoint=last,{other}", model="mame")
    assert [one.loras[0].path for one in found] == [
        str(finished / "lora/girl.safetensors"),
        str(other),
    ]


@pytest.mark.parametrize(
    ("axes", "reason"),
    [
        ({"x": "wieght=1"}, "Did you mean 'weight'"),
        ({"x": "seed"}, "names no value"),
        ({"x": "weight=11"}, "outside of -10 to 10"),
        ({"x": "cfg=0.5"}, "outside of 1 to"),
        ({"x": "steps=0"}, "outside of 1 to"),
        ({"x": "seed=-1"}, "outside of 0 to"),
        ({"x": "sampler=eular"}, "Did you mean 'euler'"),
        ({"x": "block=IN05-IN02"}, "comes after"),
        ({"x": "block=IN12"}, "nor a block"),
        ({"x": "replace=grin,wink"}, "'grin' is not in the prompt"),
        ({"x": "checkpoint=step 11"}, "There are step 10, last"),
        ({"x": "checkpoint=best"}, "renma judge"),
        ({"x": "checkpoint=no/such.safetensors"}, "no such file"),
        ({"x": "seed=1", "y": "seed=2"}, "stands twice"),
        ({"x": "weight=1", "z": "unet-weight=1"}, "sets what 'unet-weight' sets"),
        ({"x": "prompt=a <lora:who:1>"}, "--lora-dir"),
        ({"x": "seed=1-200", "y": "cfg=1-200"}, "40,000 pictures"),
    ],
)
def test_mistakes_are_named(finished, lines, axes, reason):
    with pytest.raises(UserError, match=reason):
        grid(finished, lines, **axes)


def test_options_beside_an_axis_of_their_own_have_no_effect_and_it_is_said(finished, lines):
    row(finished, lines, "seed=1", seed=7, weights=(0.5,))
    told = [data["text"] for kind, data in lines.events if kind == "warned"]
    assert told == ["--seed, --weights have no effect beside the axes that are named"]
