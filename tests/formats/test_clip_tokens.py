"""CLIP's tokens: the shipped vocabulary against transformers' own tokenizer (C9, E1)."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from renma import assets
from renma.core.errors import UserError
from renma.formats.clip_tokens import END, ClipTokens, rows_for

FILE = assets.STABLE_DIFFUSION / "bpe_simple_vocab_16e6.txt.gz"


@pytest.fixture(scope="module")
def shipped() -> ClipTokens:
    return ClipTokens.shipped()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vocab.json and merges.txt as OpenAI's code makes them out of the same file."""
    folder = tmp_path_factory.mktemp("tokenizer")
    lines = gzip.decompress(FILE.read_bytes()).decode("utf-8").split("\n")[1 : 49152 - 256 - 2 + 1]
    # bytes_to_unicode of GPT-2 and CLIP
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {byte: chr(byte) for byte in kept}, 0
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + extra)
            extra += 1
    words = list(table.values())
    words += [word + "</w>" for word in words]
    words += ["".join(line.split()) for line in lines] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def theirs(published: Path) -> CLIPTokenizer:
    merges = [
        tuple(line.split())
        for line in (published / "merges.txt").read_text("utf-8").splitlines()[1:]
    ]
    return CLIPTokenizer(vocab=json.loads((published / "vocab.json").read_text()), merges=merges)


def test_published_numbers(shipped: ClipTokens):
    assert (shipped.size, shipped.start, shipped.end, shipped.pad) == (49408, 49406, 49407, 49407)
    assert shipped.numbers("a photo of a cat") == [320, 1125, 539, 320, 2368]
    assert ClipTokens.shipped("!").pad == 0


TEXTS = [
    "A photo of a CAT", "1girl, solo,   (red_hair:1.3)\n", "it's they'll 'd", "初音ミク 練磨", "café ÉCOLE",
    "🎉 party!!! ...", "", "   ", "12345", "<|endoftext|> end", "x" * 300,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_numbers_are_those_of_transformers(shipped: ClipTokens, theirs: CLIPTokenizer, text: str):
    assert shipped.numbers(text) == theirs(text).input_ids[1:-1]


@given(st.text(max_size=40))
@settings(max_examples=60)
def test_any_text_is_numbered_as_by_transformers(shipped, theirs, text: str):
    assert shipped.numbers(text) == theirs(text).input_ids[1:-1]


def test_folders_of_both_kinds(shipped: ClipTokens, published: Path, theirs, tmp_path: Path):
    theirs.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
    for folder in (published, tmp_path):
        tokens = ClipTokens.of_folder(folder, "!")
        assert (tokens.size, tokens.end, tokens.pad) == (49408, 49407, 0)
        assert all(tokens.numbers(text) == shipped.numbers(text) for text in TEXTS)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no tokenizer"),
        ({"tokenizer.json": "{"}, "holds no tokenizer"),
        ({"vocab.json": '{"a": 0}', "merges.txt": ""}, "lacks CLIP's token"),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, files: dict[str, str], words: str):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        ClipTokens.of_folder(tmp_path, "!")
    assert len(caught.value.line().splitlines()) == 1


def test_rows(shipped: ClipTokens):
    numbers = list(range(1000, 1160))  # 160 tokens
    start, end = shipped.start, shipped.end
    assert shipped.rows(numbers, 1) == [[start, *numbers[:75], end]]
    three = shipped.rows(numbers, 3)
    assert three[1] == [start, *numbers[75:150], end]
    assert three[2] == [start, *numbers[150:], end, *[shipped.pad] * 65]
    assert ClipTokens.shipped("!").rows([], 2) == [[start, end, *[0] * 75]] * 2
    assert [rows_for(n) for n in (0, 1, 75, 76, 150, 151)] == [1, 1, 1, 2, 2, 3]


def test_counting_needs_no_torch():
    code = (
        "import sys; from renma.formats.clip_tokens import ClipTokens\n"
        "print(ClipTokens.shipped().count('a (red:1.5) cat', weighted=True), 'torch' in sys.modules,"
        " 'transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False", "False"]
    assert END == "<|endoftext|>"
