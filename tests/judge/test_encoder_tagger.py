"""G3: a tagger as an encoder, beside an ONNX file whose answers are known by heart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from renma.core.errors import UserError
from renma.judge.encoders._base import encoder_of
from renma.judge.encoders.wd14 import TaggerEncoder

NAMES = [("general", 9), ("blue_world", 0), ("green_world", 0), ("red_world", 0), ("^_^", 0),
         ("red world", 4)]  # fmt: skip
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (51, 51, 51)}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tagger of 16 pixels; scores are the mean blue, green and red, some of them twice."""
    shape = ["N", 16, 16, 3]
    # (pictures, places * 3) @ (places * 3, tags): the order of channels is WD14's, blue first
    mean = np.tile(np.eye(3, dtype=np.float32), (256, 1)) / 256 / 255
    weight = mean[:, [0, 0, 1, 2, 1, 0]] * np.array([1, 1, 1, 1, 0.5, 1], np.float32)
    flat = helper.make_node("Flatten", ["input"], ["flat"], axis=1)
    product = helper.make_node("MatMul", ["flat", "weight"], ["predictions"])
    graph = helper.make_graph(
        [flat, product],
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, ["N", len(NAMES)])],
        [numpy_helper.from_array(weight.astype(np.float32), "weight")],
    )
    made = tmp_path / "colour-tagger"
    made.mkdir()
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), made / "model.onnx")
    rows = "".join(f"{i},{name},{kind},1\n" for i, (name, kind) in enumerate(NAMES))
    (made / "selected_tags.csv").write_text(f"tag_id,name,category,count\n{rows}")
    return made


def plain(name: str, size=(30, 30)) -> Image.Image:
    return Image.new("RGB", size, COLOURS[name])


def test_features_are_the_scores_without_ratings(folder):
    """G3. Rows in the order of the pictures, more of them than go into one batch."""
    encoder = encoder_of(f"wd14:{folder}", "cpu")
    names = [*COLOURS] * 5
    rows = encoder.encode([plain(name) for name in names])
    expected = {"red": [0, 0, 1, 0, 0], "green": [0, 1, 0, 0.5, 0], "blue": [1, 0, 0, 0, 1],
                "grey": [0.2, 0.2, 0.2, 0.1, 0.2]}  # fmt: skip
    assert rows.dtype == np.float32
    assert np.allclose(rows, [expected[name] for name in names], atol=1e-4)
    assert encoder.encode([]).shape == (0, 5)
    assert encoder.name == "tagger (colour-tagger)"


def test_padding_is_white_and_transparency_too(folder):
    """G3. As the tagging of pictures sees them."""
    encoder = encoder_of(str(folder), "cpu")
    assert isinstance(encoder, TaggerEncoder)
    half = encoder.encode([plain("red", (32, 16)), Image.new("RGBA", (16, 16), (9, 9, 9, 0))])
    assert np.allclose(half[0, :3], [0.5, 0.5, 1], atol=1e-3)
    assert np.allclose(half[1, :3], 1, atol=1e-3)


def test_tags_by_name(folder):
    """G3. Tag recall: blanks for underscores; of the same tag twice the likelier."""
    blue, red = TaggerEncoder(folder, "cpu").tags([plain("blue"), plain("red")])
    assert set(blue) == {"blue world", "green world", "red world", "^ ^"}
    assert blue["blue world"] == pytest.approx(1, abs=1e-4)
    assert blue["red world"] == pytest.approx(1, abs=1e-4)  # the character of that name
    assert red["red world"] == pytest.approx(1, abs=1e-4)
    assert red["blue world"] == pytest.approx(0, abs=1e-4)


def test_kind_is_told_by_folder_or_file(folder):
    """G3. WD14's folders also hold a config.json of timm, which names no model of transformers."""
    (folder / "config.json").write_text('{"architecture": "vit_base_patch16_224"}')
    assert isinstance(encoder_of(str(folder), "cpu"), TaggerEncoder)
    assert isinstance(encoder_of(str(folder / "model.onnx"), "cpu"), TaggerEncoder)


def test_the_tagger_inside_renma_tells_pictures_apart():
    """G3. Without any file: a tag for what is shown."""
    encoder = TaggerEncoder(None, "cpu")
    assert encoder.name == "renma's tagger"
    rows = encoder.encode([plain("red"), plain("red"), plain("blue")])
    assert np.allclose(rows[0], rows[1])
    assert np.abs(rows[0] - rows[2]).max() > 0.01


def test_a_list_that_does_not_fit_is_one_line(folder):
    """G3. A user's mistake."""
    with (folder / "selected_tags.csv").open("a") as file:
        file.write("6,more,0,1\n")
    with pytest.raises(UserError, match="its list names 7 tags"):
        encoder_of(f"wd14:{folder}", "cpu").encode([plain("red")])
