"""Prompts as rows of 77 tokens and back: how texts of more than 75 tokens are encoded.

The stream of tokens is cut every 75; each piece is encoded as a text of its own. Of the first row
the start is kept, of the last one the end, in between 75 states a row: 75 n + 2 in all. States are
multiplied by the weights of their tokens (kohya-ss/sd-scripts; no mean is restored).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from renma.formats.clip_tokens import ROOM, ClipTokens


def encode_rows(
    tokens: ClipTokens, prompts: Sequence[str], chunks: int, *, weighted: bool
) -> tuple[Tensor, Tensor | None]:
    """Returns prompts as numbers.

    Args:
        tokens: of the text encoder.
        prompts: texts.
        chunks: rows for each prompt.
        weighted: whether brackets weigh.

    Returns:
        (batch * chunks, 77) tokens, the rows of a prompt one after another; and (batch,
        75 chunks + 2, 1) weights, or None where every weight is 1.
    """
    rows: list[list[int]] = []
    weights: list[list[float]] = []
    for prompt in prompts:
        numbers, own = tokens.weighted(prompt) if weighted else (tokens.numbers(prompt), [])
        rows += tokens.rows(numbers, chunks)
        own = own[: chunks * ROOM]
        weights.append([1.0, *own, *[1.0] * (chunks * ROOM + 1 - len(own))])
    plain = all(weight == 1 for row in weights for weight in row)
    return torch.tensor(rows), None if plain else torch.tensor(weights).unsqueeze(-1)


def join_rows(states: Tensor, chunks: int) -> Tensor:
    """Returns (batch, 75 chunks + 2, width) states from rows (batch * chunks, 77, width)."""
    if chunks == 1:
        return states
    rows = states.unflatten(0, (-1, chunks))  # (batch, chunks, 77, width)
    inner = rows[:, :, 1 : ROOM + 1].flatten(1, 2)
    return torch.cat([rows[:, 0, :1], inner, rows[:, -1, -1:]], dim=1)
