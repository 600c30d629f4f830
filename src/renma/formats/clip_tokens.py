"""CLIP's tokens (Radford et al., arXiv 2103.00020), counted and numbered without torch.

The text is put into lower case and cut into words; each word becomes byte pairs by the merges that
OpenAI published, of which renma holds a copy. Numbers are those of transformers' CLIPTokenizer.
"""

from __future__ import annotations

import gzip
import json
import math
from functools import cache
from itertools import islice
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

from renma import assets
from renma.core.errors import UserError
from renma.formats import prompt_weights

ROOM = 75
"""Tokens of a row, without start and end."""
START, END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 49_152 - 256 - 2
"""The file holds more than CLIP uses."""
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


class ClipTokens:
    """Texts to numbers.

    Args:
        tokenizer: of the tokenizers library.
        pad: the token that fills a row up.
        where: named in errors.

    Attributes:
        start: number of the token that begins a row.
        end: number of the token that ends a text.
        pad: number of the token that fills a row up.
        size: how many tokens there are.

    Raises:
        UserError: the vocabulary lacks one of these tokens.
    """

    def __init__(self, tokenizer: Tokenizer, pad: str = END, where: Path | None = None) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.tokenizer = tokenizer
        self.size = tokenizer.get_vocab_size()
        self.start, self.end, self.pad = (self._number(t, where) for t in (START, END, pad))

    @classmethod
    def shipped(cls, pad: str = END) -> ClipTokens:
        """Returns the tokens of every published CLIP, 49,408 of them."""
        return cls(_build(*_shipped()), pad)

    @classmethod
    def of_folder(cls, folder: Path, pad: str = END) -> ClipTokens:
        """Returns the tokens of a folder that transformers saved.

        Raises:
            UserError: it holds no tokenizer that can be read.
        """
        whole, words, merges = (folder / n for n in ("tokenizer.json", "vocab.json", "merges.txt"))
        try:
            if whole.exists():
                return cls(Tokenizer.from_file(str(whole)), pad, folder)
            lines = merges.read_text(encoding="utf-8").splitlines()
            pairs = [pair for line in lines if len(pair := tuple(line.split())) == 2]
            table = json.loads(words.read_text(encoding="utf-8"))
            pairs = [(first, second) for first, second in pairs if first + second in table]
            return cls(_build(table, pairs), pad, folder)
        except UserError:
            raise
        except Exception as error:  # the library raises plain exceptions
            raise UserError(
                f"holds no tokenizer that can be read ({type(error).__name__})",
                where=folder,
                remedy="tokenizer.json is expected, or vocab.json and merges.txt.",
            ) from None

    def _number(self, token: str, where: Path | None) -> int:
        number = self.tokenizer.token_to_id(token)
        if number is None:
            raise UserError(f"lacks CLIP's token '{token}'", where=where)
        return number

    def numbers(self, text: str) -> list[int]:
        """Returns a text's tokens, without start and end."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def weighted(self, prompt: str) -> tuple[list[int], list[float]]:
        """Returns the tokens of a prompt with brackets, and the weight of each."""
        numbers: list[int] = []
        weights: list[float] = []
        for text, weight in prompt_weights.parse(prompt):
            own = self.numbers(text)
            numbers += own
            weights += [weight] * len(own)
        return numbers, weights

    def count(self, prompt: str, *, weighted: bool = False) -> int:
        """Returns how many tokens a prompt takes, without start and end."""
        return len(self.weighted(prompt)[0] if weighted else self.numbers(prompt))

    def rows(self, numbers: list[int], rows: int) -> list[list[int]]:
        """Returns a prompt as rows of 77: start, up to 75 tokens, end, filled up.

        Every row is a text of its own, the way kohya-ss/sd-scripts encodes long prompts; tokens
        beyond the last row are cut.
        """
        found = []
        for first in range(0, rows * ROOM, ROOM):
            own = [self.start, *numbers[first : first + ROOM], self.end]
            found.append(own + [self.pad] * (ROOM + 2 - len(own)))
        return found


def rows_for(tokens: int) -> int:
    """Returns how many rows so many tokens take, at least one."""
    return max(1, math.ceil(tokens / ROOM))


def _build(words: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    model = models.BPE(
        vocab=words, merges=merges, end_of_word_suffix="</w>", unk_token=END, fuse_unk=False
    )
    tokenizer = Tokenizer(model)
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [normalizers.NFC(), spaces, normalizers.Lowercase()]
    )
    split = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    special = [AddedToken(token, normalized=False, special=True) for token in (START, END)]
    tokenizer.add_special_tokens(special)
    return tokenizer


@cache
def _shipped() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Returns the vocabulary and the merges, from the file that OpenAI published."""
    with gzip.open(
        assets.STABLE_DIFFUSION / "bpe_simple_vocab_16e6.txt.gz", "rt", encoding="utf-8"
    ) as file:
        lines = [line.split() for line in islice(file, 1, _MERGES + 1)]
    merges = [(first, second) for first, second in lines]
    letters = _letters()
    words = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), START, END]
    return {word: number for number, word in enumerate(words)}, merges


def _letters() -> list[str]:
    """Returns a printable letter for each byte, the printable bytes first (GPT-2's table)."""
    ranges = (
        range(ord("!"), ord("~") + 1),
        range(ord("¡"), ord("¬") + 1),
        range(ord("®"), ord("ÿ") + 1),
    )
    printable = [chr(byte) for part in ranges for byte in part]
    return printable + [chr(256 + extra) for extra in range(256 - len(printable))]
