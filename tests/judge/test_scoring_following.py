"""Prompt following on features whose answer is known beforehand (G3)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.judge.scoring.following import follows

PROMPTS = np.repeat(np.arange(4), 6)
WIDTH = 16


def prompted(seed: int, apart: float = 10.0) -> tuple[np.ndarray, np.ndarray]:
    """What each of four prompts looks like, and six pictures of each (with noise of size 1)."""
    random = np.random.default_rng(seed)
    looks = np.linalg.qr(random.normal(size=(WIDTH, WIDTH)))[0][:4] * apart
    return looks, looks[PROMPTS] + random.normal(size=(len(PROMPTS), WIDTH))


@given(st.integers(0, 10_000))
def test_prompts_that_are_told_apart_are_followed(seed: int) -> None:
    looks, base = prompted(seed, apart=20)
    assert follows(base, base, PROMPTS).tolist() == [1.0] * 24
    other_noise = looks[PROMPTS] + np.random.default_rng(seed + 1).normal(size=base.shape)
    assert follows(other_noise, base, PROMPTS).mean() == 1


@given(st.integers(0, 10_000))
def test_a_move_that_all_pictures_make_is_no_fault(seed: int) -> None:
    """A LoRA draws everything in another style."""
    _, base = prompted(seed, apart=4)
    random = np.random.default_rng(seed)
    now = base + random.normal(size=base.shape) * 0.5
    shift = random.normal(size=WIDTH) * 100
    assert follows(now + shift, base, PROMPTS).tolist() == follows(now, base, PROMPTS).tolist()


@given(st.integers(0, 10_000), st.floats(0.5, 6))
def test_a_lora_that_changes_nothing_follows_as_the_base_does(seed: int, apart: float) -> None:
    """Else every checkpoint would seem to follow better than the model it was trained on."""
    _, base = prompted(seed, apart)
    assert follows(base.copy(), base, PROMPTS).tolist() == follows(base, base, PROMPTS).tolist()


def test_the_same_picture_whatever_is_asked_follows_as_chance_does() -> None:
    shares = []
    for seed in range(40):
        _, base = prompted(seed)
        collapsed = np.random.default_rng(seed + 100).normal(size=base.shape)
        shares.append(follows(collapsed, base, PROMPTS).mean())
    assert np.mean(shares) == pytest.approx(0.25, abs=0.12)
    assert np.mean(shares) < 0.35


def test_mixed_up_prompts_follow_as_chance_does_and_exchanged_ones_half_the_time() -> None:
    mixed, exchanged = [], []
    for seed in range(40):
        looks, base = prompted(seed)
        random = np.random.default_rng(seed + 1)
        noise = random.normal(size=base.shape)
        mixed.append(follows(looks[random.permutation(PROMPTS)] + noise, base, PROMPTS).mean())
        exchanged.append(follows(looks[PROMPTS ^ 1] + noise, base, PROMPTS).mean())
    assert np.mean(mixed) == pytest.approx(0.25, abs=0.12)
    # the base says one prompt, the LoRA's other pictures say the other
    assert np.mean(exchanged) == pytest.approx(0.5, abs=0.1)


def test_one_lost_prompt_of_four_is_a_quarter() -> None:
    looks, base = prompted(2)
    now = base.copy()
    now[PROMPTS == 3] = looks[0] + np.random.default_rng(1).normal(size=(6, WIDTH))
    found = follows(now, base, PROMPTS)
    assert found[PROMPTS == 3].mean() < 0.4
    assert found[(PROMPTS == 1) | (PROMPTS == 2)].mean() == 1


@given(st.integers(0, 1000), st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_prompts_count(seed: int, random: np.random.Generator) -> None:
    _, base = prompted(seed, apart=3)
    now = base + np.random.default_rng(seed).normal(size=base.shape)
    order = list(range(24))
    random.shuffle(order)
    names = np.array([40, 7, 23, 11])[PROMPTS]
    found = follows(now[order], base[order], names[order])
    assert found.tolist() == follows(now, base, PROMPTS)[order].tolist()


def test_channels_that_tell_seeds_apart_and_not_prompts_do_not_decide() -> None:
    looks, base = prompted(1, apart=30)
    random = np.random.default_rng(3)
    loud = random.normal(size=(24, 40)) * 1000
    wide = np.hstack([base, loud])
    now = np.hstack([looks[PROMPTS] + random.normal(size=base.shape), random.permutation(loud)])
    assert follows(now, wide, PROMPTS).mean() > 0.9


def test_without_any_difference_between_prompts_nothing_is_followed() -> None:
    """A picture must not be found by itself, nor by what the base drew from the same noise."""
    shares = {"base": [], "unchanged": [], "nearly": []}
    for seed in range(20):
        random = np.random.default_rng(seed)
        base = random.normal(size=(24, 300))
        shares["base"].append(follows(base, base, PROMPTS).mean())
        near = base + random.normal(size=base.shape) * 0.2
        shares["nearly"].append(follows(near, base, PROMPTS).mean())
        own = random.normal(size=base.shape)
        shares["unchanged"].append(follows(own, base, PROMPTS).mean())
    for found in shares.values():
        assert np.mean(found) < 0.3


def test_many_channels_that_say_nothing_hide_no_prompt() -> None:
    shares = []
    for seed in range(10):
        looks, base = prompted(seed, apart=4)
        random = np.random.default_rng(seed + 50)
        wide, own = (random.normal(size=(24, 2000)) for _ in range(2))
        now = looks[PROMPTS] + random.normal(size=base.shape)
        shares.append(follows(np.hstack([now, own]), np.hstack([base, wide]), PROMPTS).mean())
    assert np.mean(shares) > 0.7


@pytest.mark.parametrize("prompts", [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 2, 3]])
def test_too_little_to_compare_is_said(prompts: list[int]) -> None:
    rows = np.random.default_rng(0).normal(size=(4, 3))
    with pytest.raises(ValueError, match="two prompts of two pictures"):
        follows(rows, rows, np.array(prompts))
