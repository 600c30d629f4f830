"""C9, E13: long and weighted prompts, clip skip; compared with plain transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from renma.config.model import ModelConfig
from renma.engine.model import load_family

LONG = ", ".join(f"tag{i}" for i in range(60))  # 229 tokens, 3 or 4 for each tag


def load(place: Path, **options):
    skip = ("vae", "unet")
    return load_family(ModelConfig(path=str(place), **options), device="cpu", skip=skip)


def rows(family, prompt: str, chunks: int, pad: int) -> Tensor:
    """kohya's rows, written out: the token stream cut every 75."""
    numbers = family.tokens[0].numbers(prompt)[: 75 * chunks]
    found = []
    for first in range(0, 75 * chunks, 75):
        piece = numbers[first : first + 75]
        found.append([49406, *piece, 49407, *[pad] * (75 - len(piece))])
    return torch.tensor(found)


def rejoined(states: Tensor) -> Tensor:
    middle = [row[1:76] for row in states]
    return torch.cat([states[0][:1], *middle, states[-1][76:]])[None]


@torch.no_grad()
@pytest.mark.parametrize("chunks", [1, 2, 3])
@pytest.mark.parametrize("prompt", ["", "a photo of a cat", LONG], ids=["empty", "short", "long"])
def test_long_prompts_are_rows_encoded_alone(twins, chunks: int, prompt: str):
    for kind, pad in (("sd1", 49407), ("sd2", 0)):
        family = load(twins[kind].folder, max_tokens=75 * chunks)
        text = CLIPTextModel.from_pretrained(twins[kind].folder / "text_encoder")
        expected = rejoined(text(rows(family, prompt, chunks, pad)).last_hidden_state)
        states = family.encode_text([prompt]).states
        assert states.shape[1] == 75 * chunks + 2
        torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_sdxl_takes_both_encoders_and_the_summary_of_the_first_row(twins):
    folder = twins["sdxl"].folder
    family = load(folder)
    first = CLIPTextModel.from_pretrained(folder / "text_encoder")
    second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")
    found = family.encode_text([LONG, "cat"], chunks=2)
    one = first(rows(family, LONG, 2, 49407), output_hidden_states=True).hidden_states[-2]
    two = second(rows(family, LONG, 2, 0), output_hidden_states=True)
    expected = torch.cat([rejoined(one), rejoined(two.hidden_states[-2])], dim=-1)
    torch.testing.assert_close(found.states[:1], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.pooled[:1], two.text_embeds[:1], rtol=1e-5, atol=1e-5)
    alone = family.encode_text(["cat"])
    torch.testing.assert_close(found.pooled[1:], alone.pooled, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_weights_multiply_the_states_of_their_tokens(twins):
    family = load(twins["sd1"].folder)
    plain = family.encode_text(["a red cat"], weighted=False).states
    found = family.encode_text(["a (red:1.5) [cat]"], weighted=True).states
    factors = torch.ones(77)
    factors[2], factors[3] = 1.5, 1 / 1.1  # start, a, red, cat
    torch.testing.assert_close(found, plain * factors[None, :, None], rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_weights_reach_the_second_row(twins):
    family = load(twins["sdxl"].folder, max_tokens=150, weighted_captions=True)
    prompt = LONG.replace("tag30,", "(tag30:0.5),")
    place = family.tokens[0].numbers(LONG.split("tag30")[0])
    assert len(place) > 75
    ratio = family.encode_text([prompt]).states / family.encode_text([LONG]).states
    at = slice(len(place) + 1, len(place) + 1 + len(family.tokens[0].numbers("tag30")))
    torch.testing.assert_close(ratio[0, at], torch.full_like(ratio[0, at], 0.5))
    others = torch.cat([ratio[0, : at.start], ratio[0, at.stop :]])
    torch.testing.assert_close(others, torch.ones_like(others))


@torch.no_grad()
@pytest.mark.parametrize("chunks", [1, 3])
def test_equal_weights_change_no_bit(twins, chunks: int):
    family = load(twins["sdxl"].folder)
    for prompt in ("a photo of a cat", LONG):
        plain = family.encode_text([prompt], chunks=chunks, weighted=False)
        for written in (prompt, f"({prompt}:1.0)"):
            found = family.encode_text([written], chunks=chunks, weighted=True)
            assert torch.equal(found.states, plain.states)
            assert torch.equal(found.pooled, plain.pooled)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sd1", "sd2"])
def test_clip_skip_takes_an_earlier_layer_through_the_final_norm(twins, kind: str):
    family = load(twins[kind].folder, clip_skip=2)
    text = CLIPTextModel.from_pretrained(twins[kind].folder / "text_encoder")
    tokens = rows(family, "a photo of a cat", 1, 0 if kind == "sd2" else 49407)
    hidden = text(tokens, output_hidden_states=True).hidden_states
    found = family.encode_text(["a photo of a cat"]).states
    torch.testing.assert_close(found, text.final_layer_norm(hidden[-2]), rtol=1e-5, atol=1e-5)


def test_tokens_are_counted_as_they_are_read(twins):
    plain = load(twins["sd1"].folder, max_tokens=225)
    weighted = load(twins["sd1"].folder, weighted_captions=True)
    assert plain.count_tokens("a (red:1.5) cat") > weighted.count_tokens("a (red:1.5) cat") == 3
    assert plain.count_tokens("a (red:1.5) cat", weighted=True) == 3
    assert [plain.chunks_for(p) for p in ("", "cat " * 75, "cat " * 76, LONG)] == [1, 1, 2, 4]
