"""What a run that erases learns from: ways and losses worked out again with diffusers (A10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from renma.config import Run
from renma.config.adapter import Lora
from renma.config.targets import TargetConfig
from renma.engine.network import Network
from renma.engine.text_states import TextStates
from renma.families._base import Family
from renma.families._twins import Kind, tiny
from renma.train.erase_lessons import EraseLesson, EraseLessons, dynamic_sides

RANK, ALPHA = 2, 3.0
SAMPLERS = {
    "ddim": diffusers.DDIMScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_a": diffusers.EulerAncestralDiscreteScheduler,
    "lms": diffusers.LMSDiscreteScheduler,
    "dpmsolver++": diffusers.DPMSolverMultistepScheduler,
}
TARGET, LIKE, AWAY = "a red ball, a cat", "a cat", "a red ball"
CONCEPT = {"target": TARGET, "neutral": LIKE, "positive": AWAY, "resolution": 64, "batch_size": 2}


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Kind], Family]:
    """Makes each twin once."""
    folder = tmp_path_factory.mktemp("twins")
    return cache(lambda kind: tiny(kind, folder))


@contextmanager
def lessons(family: Family, concept: dict[str, Any], **erase: Any) -> Iterator[EraseLessons]:
    """Lessons with a network as after some training, taken off again."""
    concepts = {"steps": 6, "prompts": (CONCEPT | concept,), **erase}
    run = Run.model_validate({"erase": concepts, "train": {"seed": 7}})
    some = TargetConfig(only=("*mid_block*", "*down_blocks.1.attentions.0*"))
    network = Network.fresh(family, Lora(rank=RANK, alpha=ALPHA, targets=some), 0, ("unet",))
    for number, member in enumerate(network.members.values()):
        adapter: Any = member.adapter
        adapter.up.data = normal(number, *adapter.up.shape) * 0.3
    network.attach()
    try:
        yield EraseLessons(run, family, network, TextStates(family))
    finally:
        network.detach()


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def changed(own: EraseLessons) -> dict[str, Tensor]:
    """W + alpha / rank * B A of each trained layer."""
    weights = dict(own.family.parts()["unet"].named_parameters())
    found = {}
    for member in own.network.members.values():
        adapter: Any = member.adapter
        weight = weights[f"{member.target.path}.weight"].detach()
        change = (adapter.up.flatten(1) @ adapter.down.flatten(1)).reshape(weight.shape)
        found[f"{member.target.path}.weight"] = (weight + ALPHA / RANK * change).detach()
    return found


def asked(own: EraseLessons, inputs: Tensor, times: Tensor, text: str, sizes: Tensor, *, on: bool):
    """The prediction of the plain U-Net, with the LoRA in its weights or without it."""
    condition = own.family.encode_text([text] * len(inputs))
    words: dict[str, Any] = {"encoder_hidden_states": condition.states, "return_dict": False}
    if condition.pooled is not None:
        words["added_cond_kwargs"] = {"text_embeds": condition.pooled, "time_ids": sizes}
    weights = changed(own) if on else {}
    unet = own.family.parts()["unet"]
    own.network.detach()
    try:
        with torch.no_grad():
            return functional_call(unet, weights, (inputs, times), words)[0]
    finally:
        own.network.attach()


@pytest.mark.parametrize("kind", ["sd1", "sd2", "sd2-v", "sdxl"])
@pytest.mark.parametrize("action", ["erase", "enhance"])
def test_the_loss_is_the_formula(twins, kind, action):
    """MSE(target with the LoRA, neutral -+ g (positive - unconditional) without it) in float32."""
    crops = {"dynamic_crops": kind == "sdxl"}
    with lessons(twins(kind), {"action": action, "guidance_scale": 1.5, **crops}, points=2) as own:
        lesson = own.lesson(3, 0)
        x, t = lesson.inputs, lesson.steps
        sizes = lesson.drawn.sizes.repeat(2, 1)
        frozen = {w: asked(own, x, t, w, sizes, on=False) for w in (LIKE, AWAY, "")}
        sign = -1 if action == "erase" else 1
        goal = frozen[LIKE] + sign * 1.5 * (frozen[AWAY] - frozen[""])
        off = asked(own, x, t, TARGET, sizes, on=True) - goal
        expected = off.square().mean((1, 2, 3)).sum()
        loss = lesson.loss()
        torch.testing.assert_close(loss, expected, rtol=2e-4, atol=1e-6)
        assert loss.dtype == torch.float32
        loss.backward()
        adapters: list[Any] = [member.adapter for member in own.network.members.values()]
        assert sum(each.down.grad.abs().sum() > 0 for each in adapters) > len(adapters) / 2


@pytest.mark.parametrize(
    ("concept", "rows"),
    [
        ({}, 3),
        ({"neutral": ""}, 2),  # neutral is the unconditional text
        ({"neutral": AWAY}, 2),
        ({"guidance_scale": 0.0}, 1),
        ({"unconditional": "grey"}, 3),
    ],
)
def test_no_answer_is_asked_twice_and_none_for_nothing(twins, monkeypatch, concept, rows):
    """LECO computes 8 sample evaluations a step for these 2 to 4 (two halves of 4 predictions)."""
    family, seen = twins("sd1"), []
    with lessons(family, concept) as own:
        lesson, predict = own.lesson(0, 0), family.predict
        monkeypatch.setattr(
            family, "predict", lambda x, t, c: seen.append(len(x)) or predict(x, t, c)
        )
        lesson.loss()
    assert seen == [2 * rows, 2]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_way_is_that_of_diffusers_sampler(twins, sampler):
    """Guidance 3 on the target with the LoRA; the timestep is the sampler's own next one."""
    family = twins("sd1")
    with lessons(family, {"unconditional": "grey"}, sampler=sampler, points=3) as own:
        lesson = own.lesson(5, 0)
        scheduler = SAMPLERS[sampler].from_config(family.scheduler_config)
        scheduler.set_timesteps(6)
        seeds = lesson.drawn.seeds
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        z = torch.stack([torch.randn(4, 8, 8, generator=g) for g in generators])
        z = z * scheduler.init_noise_sigma
        extra = {"generator": generators} if sampler in ("euler_a",) else {}
        found = []
        for number, t in enumerate(scheduler.timesteps):
            x = scheduler.scale_model_input(z, t)
            if number in lesson.drawn.gone:
                found.append((x, t.expand(2)))
            without = asked(own, x, t.expand(2), "grey", lesson.drawn.sizes, on=True)
            words = asked(own, x, t.expand(2), TARGET, lesson.drawn.sizes, on=True)
            z = scheduler.step(without + 3 * (words - without), t, z, **extra).prev_sample
    inputs, steps = (torch.cat(each) for each in zip(*found, strict=True))
    torch.testing.assert_close(lesson.inputs, inputs, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(lesson.steps, steps)


def test_the_network_as_it_is_leads_the_way(twins):
    with lessons(twins("sd1"), {}) as own:
        before = own.lesson(1, 0).inputs
        for member in own.network.members.values():
            adapter: Any = member.adapter
            adapter.up.data *= 2
        assert (own.lesson(1, 1).inputs - before).abs().max() > 1e-3


def test_lessons_are_a_function_of_seed_and_number(twins):
    prompts = (CONCEPT, CONCEPT | {"target": "a dog", "batch_size": 1, "dynamic_resolution": True})
    with lessons(twins("sd1"), {}, prompts=prompts, points=2) as own:
        numbers = range(60)
        draws = [own.draw(number) for number in numbers]
        assert [own.draw(n).seeds for n in reversed(numbers)] == [d.seeds for d in draws[::-1]]
        assert [own.count(n) for n in numbers] == [2 * d.concept.batch_size for d in draws]
        assert {d.concept.target for d in draws} == {TARGET, "a dog"}
        assert {place for d in draws for place in d.gone} == {1, 2, 3, 4, 5}
        assert all(len(set(d.gone)) == 2 for d in draws)
        assert len({seed for d in draws for seed in d.seeds}) == sum(len(d.seeds) for d in draws)
        two: list[EraseLesson] = [own.lesson(9, step) for step in (0, 5)]
        assert torch.equal(two[0].inputs, two[1].inputs)
        assert len(two[0].names) == len(two[0].timesteps) == own.count(9)


def test_sizes_and_crops(twins):
    """SDXL is told original size, crop and target size; LECO's crops grow a side up to threefold."""
    with lessons(twins("sdxl"), {"dynamic_crops": True}) as own:
        rows = torch.cat([own.draw(n).sizes for n in range(40)])
        high, wide, top, left = rows[:, :4].T
        assert (rows[:, 4:] == 64).all()
        assert high.min() >= 64
        assert wide.max() <= 192
        assert (high - top).min() >= 64
        assert (wide - left).min() >= 64
        assert min(top.min(), left.min()) >= 0
        assert len(set(map(tuple, rows.tolist()))) > 70
    with lessons(twins("sdxl"), {}) as own:
        assert own.draw(0).sizes.tolist() == [[64, 64, 0, 0, 64, 64]] * 2


@pytest.mark.parametrize(
    ("side", "native", "sides"),
    [
        (512, 512, [256, 320, 384, 448, 512]),
        (1024, 1024, list(range(512, 1025, 64))),
        (128, 128, [64, 80, 96, 112, 128]),
        (500, 512, [192, 256, 320, 384, 448]),
    ],
)
def test_sides_drawn_anew_reach_from_half_to_the_whole(side, native, sides):
    assert list(dynamic_sides(side, native)) == sides
