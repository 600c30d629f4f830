"""Tokenizer and text encoder: every caption word is one token; warmed up on captions alone.

The warm-up asks an attention read-out which tags a caption holds ("red hair" is not "red
clothes"), so that words are bound to attributes before the U-Net sees them.
Radford et al., https://arxiv.org/abs/2103.00020.
"""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import avatar
import torch
from budget import Budget
from classifier import head_tags
from compute import Machine, Run
from pictures import PictureSet, shuffled_caption
from tokenizers import pre_tokenizers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77
EXTRA = (
    "solo portrait face head eyes character picture drawing simple background girl boy man woman"
)


def all_tags() -> list[str]:
    """Return every tag that a caption may hold, sorted."""
    tags = {"person", "no glasses", "clean shaven", "open eyes"}
    for labels in head_tags().values():
        tags |= {tag.strip() for words in labels.values() for tag in words.split(",")}
    for rows in avatar.table()["styles"].values():
        for part in (*avatar.VARIANTS, "clothes"):
            tags |= {
                tag.strip() for words in rows.get(part, {}).values() for tag in words.split(",")
            }
    return sorted(tags - {""})


def new_tokenizer() -> CLIPTokenizer:
    """Return a byte-level BPE tokenizer that has every word of the captions as one token."""
    words = sorted({w for tag in all_tags() for w in tag.replace("-", " - ").split()})
    words = sorted({*words, *EXTRA.split(), "style", ","})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = merges_for(words)
    tokens = [*alphabet, *(f"{c}</w>" for c in alphabet), *(a + b for a, b in merges), START, END]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def merges_for(words: list[str]) -> list[tuple[str, str]]:
    """Return the byte-pair merges that make every word one token; the same on every machine.

    The most frequent pair goes first, ties in alphabetical order. (The trainer of the tokenizers
    library breaks ties differently from run to run.)
    """
    spelt = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while any(len(parts) > 1 for parts in spelt):
        pairs = Counter(pair for parts in spelt for pair in pairwise(parts))
        pair = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(pair)
        spelt = [_merged(parts, pair) for parts in spelt]
    return merges


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    found: list[str] = []
    for part in parts:
        if found and (found[-1], part) == pair:
            found[-1] += part
        else:
            found.append(part)
    return found


def new_text_encoder(budget: Budget, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained CLIP text model with this tokenizer's special ids."""
    torch.manual_seed(budget.seed)
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=budget.text_width,
        intermediate_size=4 * budget.text_width,
        num_hidden_layers=budget.text_layers,
        num_attention_heads=4,
        max_position_embeddings=LENGTH,
        projection_dim=budget.text_width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def token_ids(tokenizer: CLIPTokenizer, captions: list[str], device: torch.device) -> Tensor:
    """Return token ids (batch, 77), padded and cut as the pipeline does."""
    tokens = tokenizer(
        captions, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt"
    )
    return tokens.input_ids.to(device)


class Readout(nn.Module):
    """Twelve learned queries look at the caption; a linear layer names its tags."""

    def __init__(self, width: int, tags: int, queries: int = 12) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, width) * 0.1)
        self.name = nn.Linear(queries * width, tags)

    def forward(self, states: Tensor) -> Tensor:
        """Map (batch, 77, width) to tag logits (batch, tags)."""
        queries = self.queries.expand(len(states), -1, -1)
        seen = F.scaled_dot_product_attention(queries, states, states)
        return self.name(seen.flatten(1))


def warm_up(
    budget: Budget, pictures: PictureSet, machine: Machine, tokenizer: CLIPTokenizer
) -> CLIPTextModel:
    """Train the text encoder to keep every tag of a caption readable."""
    encoder = new_text_encoder(budget, tokenizer)
    if machine.device.type == "cpu":  # twice as fast as fused attention for heads this small
        encoder.set_attn_implementation("eager")
    tags = all_tags()
    place = {tag: i for i, tag in enumerate(tags)}
    both = nn.ModuleDict({"encoder": encoder, "readout": Readout(budget.text_width, len(tags))})
    run = Run("text", both, machine, 1.5e-3, budget.text_steps, decay=0.98)
    entries = pictures.of("seen")

    def loss_of(step: int) -> Tensor:
        rng = random.Random(f"text{step}")
        chosen = rng.choices(entries, k=budget.text_batch)
        captions = [shuffled_caption(e.tags, rng) for e in chosen]
        truth = torch.zeros(len(captions), len(tags))
        for row, caption in enumerate(captions):
            for tag in filter(None, caption.split(", ")):
                truth[row, place[tag]] = 1
        ids = token_ids(tokenizer, captions, machine.device)
        with machine.autocast():
            logits = both["readout"](both["encoder"](ids).last_hidden_state)
        loss = F.binary_cross_entropy_with_logits(
            logits.float(), truth.to(logits.device), reduction="none"
        )
        return loss.sum(1).mean()

    run.loop(loss_of)
    return encoder


def write_text(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write tokenizer and encoder as a pipeline expects them."""
    tokenizer.save_pretrained(folder / "tokenizer")
    encoder.half().save_pretrained(folder / "text_encoder")
