"""`renma file edit`: metadata changes, the weights' bytes do not."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from renma.config.file_tasks import EditOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.formats import safetensors
from renma.use import edit

METADATA = {
    "ss_tag_frequency": "{}",
    "ss_tags": "x",
    "ss_v2": "False",
    "ss_network_dim": "4",
    "ss_dataset_dirs": '{"10_my private folder": {}}',
    "modelspec.title": "old",
    "modelspec.author": "somebody",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Written by the library, whose order of tensors is its own; two files' worth of types."""
    path = tmp_path / "x.safetensors"
    save_file(
        {"b": torch.randn(3).half(), "a": torch.randn(2, 2), "c": torch.arange(3)}, path, METADATA
    )
    return path


def payload(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 + struct.unpack("<Q", data[:8])[0] :]


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def run(path: Path, **options: object) -> None:
    edit.run(EditOptions(file=path, **options), Silent())  # pyright: ignore[reportArgumentType]


def test_set_and_remove(path: Path):
    before, tensors = payload(path), safetensors.read_tensors(path)
    run(path, set=("modelspec.title=My = LoRA", "new=1"), remove=("ss_tag*",))
    assert metadata(path) == {
        **{k: v for k, v in METADATA.items() if not k.startswith("ss_tag")},
        "modelspec.title": "My = LoRA",
        "new": "1",
    }
    assert payload(path) == before
    assert all(torch.equal(t, tensors[n]) for n, t in safetensors.read_tensors(path).items())


def test_another_file_leaves_the_first_alone(path: Path, tmp_path: Path):
    before = path.read_bytes()
    run(path, set=("a=b",), out=tmp_path / "y.safetensors")
    assert path.read_bytes() == before
    assert metadata(tmp_path / "y.safetensors") == METADATA | {"a": "b"}


def test_scrub_keeps_what_loading_needs(path: Path):
    run(path, scrub="minimal", set=("modelspec.author=me",))
    assert metadata(path) == {
        "ss_v2": "False", "ss_network_dim": "4", "modelspec.title": "old", "modelspec.author": "me",
    }  # fmt: skip
    assert b"private" not in path.read_bytes()
    run(path, scrub="none")
    assert metadata(path) == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "nothing says"),
        ({"remove": ("ss_tag_frequenzy",)}, "ss_tag_frequency"),
        ({"set": ("novalue",)}, "key=value"),
        ({"set": ("=1",)}, "key=value"),
    ],
)
def test_mistakes_change_nothing(path: Path, options, words):
    before = path.read_bytes()
    with pytest.raises(UserError, match=words):
        run(path, **options)
    assert path.read_bytes() == before
