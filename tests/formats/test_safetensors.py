"""Files of our writer read by the library, and broken files refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save as library_save

from renma.core.errors import UserError
from renma.formats import safetensors

DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.uint8,
    torch.bool,
]


@settings(max_examples=30, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=4), min_size=1, max_size=6),
    dtypes=st.lists(st.sampled_from(DTYPES), min_size=6, max_size=6),
    metadata=st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=4),
)
def test_library_reads_what_we_write(tmp_path_factory, shapes, dtypes, metadata):
    metadata.pop("__metadata__", None)
    torch.manual_seed(0)
    tensors = {
        f"t{i}": (torch.randn(s) * 9).to(d)
        for i, (s, d) in enumerate(zip(shapes, dtypes, strict=False))
    }
    path = tmp_path_factory.mktemp("st") / "x.safetensors"
    safetensors.save(path, tensors, metadata)
    with safe_open(path, "pt") as file:
        assert (file.metadata() or {}) == metadata
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor)
    assert safetensors.read_header(path)[1] == metadata


def test_equal_content_gives_equal_bytes_in_any_order():
    a = {"x": torch.ones(3), "y": torch.zeros(2, dtype=torch.float16)}
    b = dict(reversed(a.items()))
    meta = {str(i): "v" for i in range(20)}
    assert safetensors.serialize(a, meta) == safetensors.serialize(b, dict(reversed(meta.items())))


def test_payload_hash_is_that_of_the_bytes_after_the_header():
    import hashlib

    tensors = {"x": torch.randn(5), "y": torch.randn(2, 2)}
    data = safetensors.serialize(tensors, {"a": "b"})
    length = struct.unpack("<Q", data[:8])[0]
    assert safetensors.payload_hash(tensors) == hashlib.sha256(data[8 + length :]).hexdigest()


GOOD = library_save({"x": torch.ones(4)}, {"a": "b"})


def header(value: object) -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x00" * 4, b"<html>not found</html>", GOOD[:20], struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"[]", header([1]), header({"x": 3}),
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}),
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}}) + b"\0" * 16,
        header({"x": {"dtype": "F32", "shape": [4], "data_offsets": ["0", 16]}}) + b"\0" * 16,
        header({"__metadata__": 7}), struct.pack("<Q", 50_000) + b"[" * 50_000,
    ],
)  # fmt: skip
def test_broken_files_are_refused_in_one_line(tmp_path: Path, data: bytes):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        safetensors.read_tensors(path)
    assert "broken.safetensors" in caught.value.line()
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_reading_into_a_precision_equals_casting(tmp_path: Path, dtype: torch.dtype):
    path = tmp_path / "x.safetensors"
    tensors = {
        "a": torch.randn(3, 5).half(),
        "b": torch.randn(7).half(),
        "e": torch.zeros(0, 2).half(),
        "i": torch.arange(4),
    }
    safetensors.save(path, tensors, {"k": "v"})
    read = safetensors.read_tensors_as(path, dtype, torch.device("cpu"))
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        expected = tensor if name == "i" else tensor.to(dtype)
        assert read[name].dtype == expected.dtype
        assert torch.equal(read[name], expected)


def test_real_files_from_the_wild_are_read():
    folder = Path(__file__).parents[3] / "shared" / "real-loras"
    if not folder.exists():
        pytest.skip("the real LoRA files are not beside this checkout")
    for path in folder.glob("*.safetensors"):
        tensors = safetensors.read_tensors(path)
        assert len(tensors) == 256
        assert set(safetensors.read_header(path)[0]) == set(tensors)
