"""Files of our writer read by the library, and broken files refused."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save as library_save

from renma.core.errors import UserError
from renma.formats import lora_file, safetensors

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


def row(shape: object = (4,), place: object = (0, 16), dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": place}


def raw(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


NUMBERS = b"\0" * 16
HOSTILE = {
    "the same name twice": raw(f'{{"x": {json.dumps(row())}, "x": {json.dumps(row())}}}') + NUMBERS,
    "metadata twice": raw(f'{{"__metadata__": {{}}, "__metadata__": {{}}, "x": {json.dumps(row())}}}') + NUMBERS,
    "the same metadata key twice": raw(f'{{"__metadata__": {{"a": "1", "a": "2"}}, "x": {json.dumps(row())}}}') + NUMBERS,
    "metadata that is no text": header({"__metadata__": {"a": 1}, "x": row()}) + NUMBERS,
    "overlap": header({"x": row(), "y": row()}) + NUMBERS,
    "partial overlap": header({"x": row((3,), (0, 12)), "y": row((2,), (8, 16))}) + NUMBERS,
    "hole": header({"x": row((2,), (0, 8)), "y": row((1,), (12, 16))}) + NUMBERS,
    "hole at the start": header({"x": row((3,), (4, 16))}) + NUMBERS,
    "bytes left over": header({"x": row()}) + NUMBERS + b"\0",
    "past the end": header({"x": row((8,), (0, 32))}) + NUMBERS,
    "shape and size differ": header({"x": row((5,))}) + NUMBERS,
    "negative shape": header({"x": row((-1, -4))}) + NUMBERS,
    "shape beyond any number": header({"x": row([2**40, 2**40, 4])}) + NUMBERS,
    "shape of fractions": header({"x": row((4.0,))}) + NUMBERS,
    "shape of truths": header({"x": row((True, 4))}) + NUMBERS,
    "a thousand axes": header({"x": row([1] * 1000 + [4])}) + NUMBERS,
    "complex numbers": header({"x": row((2,), dtype="C64")}) + NUMBERS,
    "unknown type": header({"x": row(dtype="F99")}) + NUMBERS,
    "type that is a list": header({"x": row(dtype=["F32"])}) + NUMBERS,
    "newline in a name": header({"a\nb": row()}) + NUMBERS,
    "escape in a name": header({"a\x1b[2Jb": row()}) + NUMBERS,
    "right-to-left override in a name": header({"a\u202eb": row()}) + NUMBERS,
    "a name of 64 kB": header({"x" * 65536: row()}) + NUMBERS,
    "200 000 empty tensors": header({f"t{i}": row((0,), (0, 0)) for i in range(200_000)}),
    "not UTF-8": struct.pack("<Q", 2) + b"\xff\xfe",
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 64,
    "a zip": b"PK\x03\x04" + b"\0" * 64,
    "a pickle": b"\x80\x04\x95" + b"\0" * 64,
}  # fmt: skip


@pytest.mark.timed
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_at_once(tmp_path: Path, what: str):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[what])
    start = time.process_time()
    with pytest.raises(UserError) as caught:
        safetensors.read_header(path)
    assert time.process_time() - start < 1
    line = caught.value.line()
    assert "hostile.safetensors" in line
    assert line.isprintable()
    assert len(line) < 400


@pytest.mark.timed
def test_a_huge_header_is_not_read(tmp_path: Path):
    path = tmp_path / "huge.safetensors"
    with path.open("wb") as file:  # a sparse file: 90 MB of metadata on no disk
        file.write(struct.pack("<Q", 90_000_000))
        file.truncate(100_000_000)
    start = time.process_time()
    with pytest.raises(UserError, match="90,000,000"):
        safetensors.read_header(path)
    assert time.process_time() - start < 0.1


def test_what_is_no_file_is_not_opened(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    for name, words in (
        ("pipe", "no ordinary file"),
        ("folder", "folder"),
        ("none", "no such file"),
    ):
        with pytest.raises(UserError, match=words):
            safetensors.read_header(tmp_path / f"{name}.safetensors")


def test_names_that_look_like_paths_stay_names(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    safetensors.save(path, {"../../etc/x": torch.ones(2)}, {})
    assert list(safetensors.read_tensors(path)) == ["../../etc/x"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_real_files_from_the_wild_are_read(reference: Path):
    for path in (reference / "real-loras").glob("*.safetensors"):
        tensors = safetensors.read_tensors(path)
        assert len(tensors) == 256
        assert set(safetensors.read_header(path)[0]) == set(tensors)


def many(count: int = 3) -> dict[str, torch.Tensor]:
    numbers = torch.arange(120_000, dtype=torch.float32).reshape(300, 400)
    found = {f"lora_unet_x{i}.lora_up.weight": (numbers + i * 7) / 7 for i in range(count)}
    return {
        **found,
        "lora_unet_x0.lora_down.weight": torch.arange(6000).reshape(60, 100).t().bfloat16(),
        "lora_unet_x0.alpha": torch.tensor(3.0, dtype=torch.float16),
        "lora_unet_x0.on_input": torch.tensor(1),
        "lora_unet_x0.mask": torch.tensor([True, False, True]),
        "lora_unet_x0.none": torch.zeros(0, 4),
    }


def test_bytes_of_files_never_change(tmp_path: Path):
    """The same content as in any earlier version: equal runs give equal files."""
    path, metadata = tmp_path / "x.safetensors", {"ss_x": "é", "a": "1"}
    safetensors.save(path, many(), metadata)
    known = "0d02bed8572285385f9a65d21676d201aff9c281f85b65e6885c537ab0157f9e"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == known
    assert path.read_bytes() == safetensors.serialize(many(), metadata)
    assert lora_file.hashes(many(), metadata) == {
        "sshs_model_hash": "fd6f209b3e7395b33b781e5de13e07494c4757fb3ccd0516e4f4b51de5bf7f3b",
        "sshs_legacy_hash": "5fa6b65c",
    }


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 20), (5, 900), (0, 9**9), (0x100000, 0x110000), (2**30, 2**31), (7, 7)]
)
def test_an_excerpt_is_that_of_the_whole(start: int, stop: int):
    whole = safetensors.serialize(many(), {"a": "b"})
    assert safetensors.excerpt(many(), {"a": "b"}, start, stop) == whole[start:stop]


def test_writing_and_hashing_need_no_second_copy(tmp_path: Path):
    tensors = {f"lora_unet_x{i}.diff": torch.ones(1024, 1024) for i in range(16)}  # 64 MiB
    safetensors.save(tmp_path / "warm.safetensors", {"a": torch.ones(1)}, {})
    tracemalloc.start()
    try:
        lora_file.hashes(tensors, {"ss_x": "y"})
        safetensors.save(tmp_path / "x.safetensors", tensors, {})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**21, "numbers were copied"
