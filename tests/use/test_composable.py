"""Sub-prompts joined by AND, each with LoRAs of its own. Rows F6 and F2."""

from __future__ import annotations

import pytest
import torch

from renma.core.errors import UserError
from renma.drawing.prompt_loras import LoraTag, split
from renma.engine.cast import NONE, Cast, Role
from renma.engine.compose import (
    Area,
    Scene,
    Words,
    denoise_scenes,
    draw_scenes,
    predictor,
    pulled,
)
from renma.engine.sample import Shot, denoise
from testbed.every_algorithm import CONFIGS

FULL = (1.0, 1.0)
SHOT = Shot("", width=64, height=96, seed=3, steps=2, scale=5.0)
TIME = torch.tensor(500)


def inputs(count: int = 1) -> torch.Tensor:
    return torch.randn(count, 4, 12, 8, generator=torch.Generator().manual_seed(4))


def alone(mame, text: str, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        condition = mame.encode_text([text], chunks=1, weighted=True)
        return mame.predict(x, TIME.expand(len(x)), condition)


def composed(mame, scene: Scene, cast: Cast) -> torch.Tensor:
    with torch.no_grad(), cast.on_stage():
        return predictor(mame, [scene], cast, (64, 96))(inputs(), TIME)


def test_and_is_the_formula(mame):
    """Noise away from what to avoid, each text by its own weight times guidance."""
    x = inputs()
    pulls = (("smile", 1.2), ("(red hair:1.3)", 0.7), ("glasses", -0.4))
    scene = Scene(SHOT, (Area(Words("bad"), tuple((Words(t), w) for t, w in pulls)),))
    avoided = alone(mame, "bad", x)
    expected = avoided + sum(5.0 * w * (alone(mame, t, x) - avoided) for t, w in pulls)
    torch.testing.assert_close(composed(mame, scene, Cast()), expected, rtol=1e-4, atol=1e-4)


def test_weights_count_without_guidance_too():
    away, one, other = torch.randn(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pulled(None, [(one, 1.0)], 1.0), one)
    torch.testing.assert_close(
        pulled(away, [(one, 0.5), (other, 0.5)], 1.0), (one + other) / 2, rtol=1e-5, atol=1e-5
    )


def test_one_prompt_is_plain_sampling_bit_by_bit(mame, case):
    made = case("lora")
    shots = [Shot(t, "bad", 64, 96, seed, steps=2) for seed, t in enumerate(("smile", "frown"))]
    scenes = [
        Scene(s, (Area(Words(s.negative, (FULL,)), ((Words(s.prompt, (FULL,)), 1.0),)),))
        for s in shots
    ]
    with made.network.at():
        plain = denoise(mame, shots)
    assert torch.equal(denoise_scenes(mame, scenes, Cast([Role(made.network)])), plain)
    assert not torch.equal(denoise(mame, shots), plain)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_lora_acts_on_its_own_sub_prompt_and_leaves_the_others_bit_identical(
    mame, case, name, monkeypatch
):
    """In the text encoder and in the U-Net, whatever the algorithm."""
    cast, seen = Cast([Role(case(name).network)]), []
    predict = type(mame).predict

    def watched(*arguments):
        seen.append((arguments[2].states, predict(mame, *arguments)))
        return seen[-1][1]

    def rows(second) -> tuple[torch.Tensor, torch.Tensor]:
        pulls = ((Words("smile", (NONE,)), 1.0), (Words("frown", (second,)), 1.0))
        composed(mame, Scene(SHOT, (Area(Words("bad", (NONE,)), pulls),)), cast)
        return seen[-1]

    monkeypatch.setattr(mame, "predict", watched)
    without, scoped = rows(NONE), rows((0.7, 0.7))
    for before, after in zip(without, scoped, strict=True):
        assert torch.equal(before[:2], after[:2])
        assert not torch.equal(before[2], after[2])
    composed(
        mame,
        Scene(SHOT, (Area(Words("x", ((0.7, 0.7),)), ((Words("frown", ((0.7, 0.7),)), 1.0),)),)),
        cast,
    )
    for after, everywhere in zip(scoped, seen[-1], strict=True):
        torch.testing.assert_close(after[2], everywhere[1], rtol=2e-3, atol=2e-4)


def test_long_prompts_give_every_row_of_tokens_its_strength(mame, case):
    """A text of two rows of tokens takes two rows in the text encoder."""
    long, cast = "smile, " * 40, Cast([Role(case("lora").network)])
    for powers in ((NONE,), (FULL,)):
        pulls = ((Words(long, powers), 1.0), (Words("frown", (FULL,)), 1.0))
        got = composed(mame, Scene(SHOT, (Area(Words("", powers), pulls),)), cast)
        each = []
        for text, power in (("", powers), (long, powers), ("frown", (FULL,))):
            with (
                case("lora").network.at(unet=power[0][0], text_encoder=power[0][1]),
                torch.no_grad(),
            ):
                condition = mame.encode_text([text], chunks=2, weighted=True)
                each.append(mame.predict(inputs(), TIME[None], condition))
        expected = each[0] + 5 * (each[1] - each[0]) + 5 * (each[2] - each[0])
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-3)


def test_several_loras_and_blocks_have_their_own_strengths(mame, case):
    """The U-Net alone, blocks at 0, and two LoRAs whose changes add up."""
    first, second = case("lora").network, case("loha").network
    scene = Scene(SHOT, (Area(Words(""), ((Words("smile", ((0.5, 0.0), (0.0, 0.8))), 1.0),)),))
    one = Scene(Shot("", scale=1), scene.areas)
    got = composed(mame, one, Cast([Role(first), Role(second)]))
    with first.at(unet=0.5, text_encoder=0), second.at(unet=0, text_encoder=0.8):
        torch.testing.assert_close(got, alone(mame, "smile", inputs()), rtol=1e-4, atol=1e-5)
    labels = {target.block for target in mame.targets().values()}
    nothing = composed(mame, one, Cast([Role(first, dict.fromkeys(labels, 0.0)), Role(second)]))
    with second.at(unet=0, text_encoder=0.8):
        torch.testing.assert_close(nothing, alone(mame, "smile", inputs()), rtol=1e-5, atol=1e-6)
    some = composed(mame, one, Cast([Role(first, {"M00": 0.0}), Role(second)]))
    assert not torch.equal(some, got)
    assert not torch.equal(some, nothing)


def test_nothing_stays_on_the_model(mame, case):
    before = {name: vars(t.layer).get("forward") for name, t in mame.targets().items()}
    cast = Cast([Role(case("lora").network), Role(case("lora").network, {"M00": 0.5})])
    with pytest.raises(RuntimeError, match="stop"), cast.on_stage():
        raise RuntimeError("stop")
    assert {name: vars(t.layer).get("forward") for name, t in mame.targets().items()} == before


def test_pictures_of_other_texts_share_a_batch_and_are_the_same_alone(mame):
    scenes = [
        Scene(
            Shot("", width=64, height=64, seed=s, steps=1, sampler="euler_a"),
            (Area(Words(""), pulls),),
        )
        for s, pulls in enumerate((((Words("a"), 1.0),), ((Words("b"), 0.6), (Words("c"), 0.6))))
    ]
    together = {k: v for batch in draw_scenes(mame, scenes, Cast()) for k, v in batch.items()}
    for place, scene in enumerate(scenes):
        ((alone_,),) = [b.values() for b in draw_scenes(mame, [scene], Cast())]
        pairs = zip(alone_.tobytes(), together[place].tobytes(), strict=True)
        assert max(abs(a - b) for a, b in pairs) <= 1


def test_a_prompt_is_taken_apart_as_web_uis_do():
    assert [(p.text, p.weight) for p in split("a b AND c :1.2 AND d: .5 AND e :-1")] == [
        ("a b", 1.0), ("c", 1.2), ("d", 0.5), ("e", -1.0),
    ]  # fmt: skip
    assert [p.text for p in split("SAND and ANDROID, (a:1.3)")] == ["SAND and ANDROID, (a:1.3)"]
    (one,) = split("a <lora:x:0.5> b <lora:y:1:0.2:lbw=INS> <lora:z:unet=0.1:te=2> :0.7")
    assert (one.text, one.weight) == ("a b", 0.7)
    assert one.loras == (LoraTag("x", 0.5, 0.5), LoraTag("y", 0.2, 1, "INS"), LoraTag("z", 0.1, 2))
    (one,) = split("<lora:w> <lyco:v:1:OUTD> a")
    assert one.loras == (LoraTag("w"), LoraTag("v", 1, 1, "OUTD"))


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("<lora::1>", "names no LoRA"),
        ("<lora:a:x>", "'x' is no strength"),
        ("<lora:a:nan>", "'nan' is no strength"),
        ("<lora:a:1:2:3>", "'3' is one value too many"),
        ("<lora:a:start=3>", "'start=' means nothing to renma"),
    ],
)
def test_mistakes_in_angle_brackets_are_told(prompt: str, message: str):
    with pytest.raises(UserError, match=message):
        split(prompt)
