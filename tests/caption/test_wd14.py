"""C1: each kind of tagger receives exactly the tensor that it was trained on.

The models here are ONNX files with the real interface that answer with numbers of their own input,
so a test sees what arrived. What should arrive is computed in this file, from the published
descriptions, with nothing of renma.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from renma.core.errors import UserError
from renma.data.pictures import read_rgb
from renma.engine.taggers._base import Tag, find
from renma.engine.taggers._session import Session, Settings

CSV = "tag_id,name,category,count\n"
SIZES = [(640, 480), (448, 448), (300, 511), (31, 90), (1000, 3)]


def echo(file: Path, shape: list, places: list[int], *, scale: float = 1.0, shift: float = 0.0):
    """An ONNX tagger that answers with its own input at some places, times scale, plus shift."""
    flat = helper.make_node("Flatten", ["input"], ["flat"], axis=1)
    take = helper.make_node("Gather", ["flat", "places"], ["taken"], axis=1)
    grow = helper.make_node("Mul", ["taken", "scale"], ["grown"])
    move = helper.make_node("Add", ["grown", "shift"], ["predictions"])
    graph = helper.make_graph(
        [flat, take, grow, move],
        "echo",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [shape[0], len(places)])],
        [
            numpy_helper.from_array(np.array(places, np.int64), "places"),
            numpy_helper.from_array(np.array(scale, np.float32), "scale"),
            numpy_helper.from_array(np.array(shift, np.float32), "shift"),
        ],
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), file
    )


def listed(folder: Path, count: int) -> None:
    rows = "".join(f"{i},tag_{i},{9 if i < 4 else 0},1\n" for i in range(count))
    (folder / "selected_tags.csv").write_text(CSV + rows)


def opened(folder: Path, **settings) -> Session:
    return Session(find(str(folder)), Settings(**settings), threads=1)


def painted(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(7)
    shape = (size[1], size[0], len(mode))
    return Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode)


def published(picture: Image.Image, side: int = 448) -> np.ndarray:
    """The WD14 recipe, pixel by pixel: white paper, white square, area or cubic, BGR, floats."""
    rgba = np.asarray(picture.convert("RGBA")).astype(np.float64)
    alpha = rgba[..., 3:] / 255
    rgb = np.floor(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5)
    height, width = rgb.shape[:2]
    longest = max(height, width)
    square = np.full((longest, longest, 3), 255.0)
    for y in range(height):
        square[y + (longest - height) // 2, (longest - width) // 2 :][:width] = rgb[y]
    bgr = np.stack([square[..., 2], square[..., 1], square[..., 0]], axis=2).astype(np.uint8)
    how = cv2.INTER_AREA if longest > side else cv2.INTER_CUBIC
    resized = bgr if longest == side else cv2.resize(bgr, (side, side), interpolation=how)
    return resized.astype(np.float32)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_wd14_gets_the_published_tensor(tmp_path, size, mode):
    """C1. Every value of the tensor is compared; transparent pictures lie on white."""
    picture = painted(size, mode)
    picture.save(tmp_path / "a.png")
    rng = np.random.default_rng(1)
    places = sorted(rng.choice(448 * 448 * 3, 5000, replace=False).tolist())
    echo(tmp_path / "wd" / "model.onnx", ["N", 448, 448, 3], places, scale=1 / 255)
    listed(tmp_path / "wd", len(places))
    session = opened(tmp_path / "wd")
    tensor = session.prepare(read_rgb(tmp_path / "a.png"))
    assert tensor.dtype == np.float32
    expected = published(picture)
    if mode == "RGBA":  # Pillow composites in whole numbers and may round a half the other way
        assert np.abs(tensor - expected).max() <= 1
        assert (tensor == expected).mean() > 0.9
    else:
        assert np.array_equal(tensor, expected)
    arrived = session.probabilities(tensor[None])[0] * 255
    assert np.allclose(arrived, tensor.reshape(-1)[places], atol=1e-3)


def test_a_model_exported_for_one_picture_gets_one_at_a_time(tmp_path):
    """C1. Dimension 0 of many v2 files is 1; a batch of 4 does not fill the last call wrongly."""
    for size in (1, 4):
        echo(tmp_path / f"{size}" / "model.onnx", [size, 448, 448, 3], [0, 1, 2], scale=1 / 255)
        listed(tmp_path / f"{size}", 3)
        batch = np.arange(6, dtype=np.float32)[:, None, None, None] * np.ones((6, 448, 448, 3))
        answers = opened(tmp_path / f"{size}").probabilities(batch)
        assert np.allclose(answers * 255, np.arange(6)[:, None] * np.ones((6, 3)), atol=1e-3)


def test_size_is_read_from_the_model(tmp_path):
    echo(tmp_path / "model.onnx", [1, 64, 64, 3], [0], scale=1 / 255)
    listed(tmp_path, 1)
    picture = painted((200, 100))
    tensor = opened(tmp_path).prepare(np.asarray(picture))
    assert np.array_equal(tensor, published(picture, 64))


def test_timm_export_is_told_by_its_layout_and_its_range(tmp_path):
    """C1. Channels first: -1 to 1, logits; both are told apart from the file."""
    places = [5, 448 * 448 + 5, 2 * 448 * 448 + 5]  # pixel 5 of blue, green, red
    echo(tmp_path / "model.onnx", ["N", 3, 448, 448], places, scale=3, shift=-1)
    listed(tmp_path, 3)
    session = opened(tmp_path)
    assert session.logits
    assert session.form.channels_first
    picture = painted((448, 448))
    tensor = session.prepare(np.asarray(picture))
    assert np.allclose(tensor, published(picture).transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)
    red, green, blue = (int(v) for v in np.asarray(picture)[0, 5])
    raw = 3 * (np.array([blue, green, red]) / 127.5 - 1) - 1
    assert np.allclose(session.probabilities(tensor[None])[0], 1 / (1 + np.exp(-raw)), atol=1e-5)


def test_an_option_overrules_what_the_file_looks_like(tmp_path):
    echo(tmp_path / "model.onnx", ["N", 3, 448, 448], [0], scale=0.5, shift=0.5)
    listed(tmp_path, 1)
    assert not opened(tmp_path).logits
    session = opened(tmp_path, outputs="logits", input_values="unit")
    white = session.prepare(np.full((448, 448, 3), 255, np.uint8))
    assert white.max() == white.min() == 1
    assert session.probabilities(white[None])[0, 0] == pytest.approx(1 / (1 + np.exp(-1)))


def test_numbers_that_are_no_probabilities_are_refused(tmp_path):
    """Never silently wrong: what looked like probabilities at first turns out to be none."""
    echo(tmp_path / "model.onnx", ["N", 448, 448, 3], [0], scale=1 / 200)
    listed(tmp_path, 1)
    session = opened(tmp_path, outputs="probabilities")
    with pytest.raises(UserError, match="no probabilities.*--outputs logits"):
        session.probabilities(np.full((1, 448, 448, 3), 255, np.float32))


def test_cl_tagger_gets_channels_first_and_answers_with_logits(tmp_path):
    """C1. tag_mapping.json, both of its forms; kinds of tags keep their names."""
    echo(tmp_path / "model.onnx", ["N", 3, 448, 448], [0, 1], scale=4, shift=-1)
    names = {"0": {"tag": "1girl", "category": "General"}, "1": {"tag": "x", "category": "Quality"}}
    (tmp_path / "tag_mapping.json").write_text(json.dumps(names))
    session = opened(tmp_path)
    assert session.logits
    assert find(str(tmp_path)).tags() == (Tag("1girl"), Tag("x", "quality"))
    picture = painted((90, 31))
    expected = (published(picture) / 127.5 - 1).transpose(2, 0, 1)
    assert np.allclose(session.prepare(np.asarray(picture)), expected, atol=1e-6)
    split = {
        "idx_to_tag": {"0": "1girl", "1": "x"},
        "tag_to_category": {"1girl": "General", "x": "Quality"},
    }
    (tmp_path / "tag_mapping.json").write_text(json.dumps(split))
    assert find(str(tmp_path)).tags() == (Tag("1girl"), Tag("x", "quality"))


@pytest.mark.parametrize("size", [(640, 480), (100, 300), (512, 512)], ids=str)
def test_deepbooru_fits_and_stretches_its_edges(tmp_path, size):
    """C1. 512, RGB, 0 to 1; bars repeat the outer rows or columns."""
    echo(tmp_path / "model.onnx", [1, 512, 512, 3], [0])
    (tmp_path / "tags.txt").write_text("1girl\nrating:safe\nmiku\n")
    (tmp_path / "tags-character.txt").write_text("miku\n")
    assert find(str(tmp_path)).tags() == (
        Tag("1girl"),
        Tag("safe", "rating"),
        Tag("miku", "character"),
    )
    (tmp_path / "tags.txt").write_text("1girl\n")
    session = opened(tmp_path)
    picture = painted(size)
    width, height = size
    scale = 512 / max(size)
    fitted = np.asarray(
        picture.resize((int(width * scale), int(height * scale)), Image.Resampling.LANCZOS)
    )
    high, wide = fitted.shape[:2]
    expected = np.empty((512, 512, 3))
    for y in range(512):
        for x in range(512) if y in (0, 255, 511) else (0, 511):
            inside = (
                min(max(y - (256 - high // 2), 0), high - 1),
                min(max(x - (256 - wide // 2), 0), wide - 1),
            )
            expected[y, x] = fitted[inside] / 255
    got = session.prepare(np.asarray(picture))
    assert np.allclose(got[[0, 255, 511]], expected[[0, 255, 511]], atol=1e-6)
    assert np.allclose(got[:, [0, 511]], expected[:, [0, 511]], atol=1e-6)


def test_kinds_of_tags_are_danboorus_numbers(tmp_path):
    echo(tmp_path / "model.onnx", [1, 448, 448, 3], [0])
    rows = '9,general,9,1\n1,long_hair,0,1\n2,miku_(x),4,1\n3,vocaloid,3,1\n4,someone,1,1\n5,"a,b",5,1\n'
    (tmp_path / "selected_tags.csv").write_text(CSV + rows)
    kinds = [(tag.name, tag.category) for tag in find(str(tmp_path)).tags()]
    assert kinds == [
        ("general", "rating"), ("long_hair", "general"), ("miku_(x)", "character"),
        ("vocaloid", "copyright"), ("someone", "artist"), ("a,b", "meta"),
    ]  # fmt: skip


BROKEN = {
    "no list": (None, "has no list of tags.*selected_tags.csv"),
    "fewer tags": (CSV + "1,a,0,1\n", "answers with 3 numbers a picture, but its list names 1"),
    "no list at all": ("hello\n", "is no list of tags"),
    "a bad line": (CSV + "1,a,b,1\n", r"selected_tags.csv:2: this line is not that of a tag"),
}


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_model_without_its_list_is_one_line(tmp_path, text, message):
    echo(tmp_path / "model.onnx", [1, 448, 448, 3], [0, 1, 2], scale=1 / 255)
    if text is not None:
        (tmp_path / "selected_tags.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def test_what_is_no_tagger_is_one_line(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no onnx")
    listed(tmp_path, 1)
    with pytest.raises(UserError, match="no ONNX model"):
        opened(tmp_path)
    echo(tmp_path / "model.onnx", [1, 448], [0])
    with pytest.raises(UserError, match="does not take pictures"):
        opened(tmp_path)
    with pytest.raises(UserError, match="there is no such tagger"):
        find(str(tmp_path / "nowhere"))
    (tmp_path / "tags.txt").write_text("a\n")
    with pytest.raises(UserError, match="several lists of tags"):
        find(str(tmp_path))
    (tmp_path / "tags.txt").unlink()
    echo(tmp_path / "model.onnx", [1, 448, 448, 3], [0])
    with pytest.raises(UserError, match="cannot run on directml"):
        opened(tmp_path, device="directml")
