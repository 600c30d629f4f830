"""Makes the tagger inside renma: its attribute reader as an ONNX file with the WD14 contract.

    python tools/make_tagger.py src/renma/assets/tagger

The weights are those of ``src/renma/assets/attributes``, unchanged. What the graph adds: it takes
a padded square of 448 pixels (height, width, BGR, 0 to 255) as WD14 taggers do, takes white bars
off again, scales to the reader's size, and turns the chances of labels into chances of tags.
Needs the package onnx.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

ASSETS = Path(__file__).parent.parent / "src" / "renma" / "assets"
SIDE, AREA = 448, 128 * 128
NEVER = "no clothes"
"""A label of the reader, but no tag of any caption: the head of a drawing has no body to dress."""
HIDES = {("eyewear", "sunglasses"): "eyes", ("hair", "bald"): "hair_colour"}
"""What cannot be seen where another label holds; the captions of the base model leave it out."""


class Graph:
    """Nodes and constants in the order they are added; every method returns a value's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        """A node with one output."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, values, dtype: type = np.float32) -> str:
        """Numbers that lie in the file."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def whole(self, *values: int) -> str:
        """Whole numbers: sizes, axes, indices."""
        return self.constant(values, np.int64)

    def weight(self, values: np.ndarray) -> str:
        """Half-precision weights are kept as they are and widened once, when the file is loaded."""
        half = self.constant(values, np.float16)
        return self.add("Cast", half, to=TensorProto.FLOAT)


def unpadded(g: Graph, picture: str) -> str:
    """Takes off the white bars that made a square; (1, 448, 448, 3) to (1, 3, height, width).

    Bars are equally wide on both sides (to a pixel of the original) and only across one direction.
    """
    painted = g.add("ReduceMin", picture, g.whole(3), keepdims=0)
    painted = g.add("Cast", g.add("Less", painted, g.constant(250.0)), to=TensorProto.FLOAT)
    bars = []
    for across in (2, 1):  # rows, then columns
        line = g.add("ReduceMax", painted, g.whole(across), keepdims=0)  # (1, 448)
        first = g.add("ArgMax", line, axis=1, keepdims=0)  # (1,)
        last = g.add("ArgMax", line, axis=1, keepdims=0, select_last_index=1)
        after = g.add("Sub", g.whole(SIDE - 1), last)
        skew = g.add("Abs", g.add("Sub", first, after))
        even = g.add("LessOrEqual", skew, g.whole(4))
        bars.append(g.add("Where", even, g.add("Min", first, after), g.whole(0)))
    above, beside = bars
    tall = g.add("Greater", beside, above)
    above = g.add("Where", tall, g.whole(0), above)
    beside = g.add("Where", tall, beside, g.whole(0))
    starts = g.add("Concat", above, beside, axis=0)
    part = g.add("Slice", picture, starts, g.add("Sub", g.whole(SIDE), starts), g.whole(1, 2))
    return g.add("Transpose", g.add("Gather", part, g.whole(2, 1, 0), axis=3), perm=[0, 3, 1, 2])


def scaled(g: Graph, picture: str) -> str:
    """Scales to an area of about 128 x 128, sides multiples of 8, values -1 to 1."""
    size = g.add("Cast", g.add("Shape", picture, start=2), to=TensorProto.FLOAT)  # (2,)
    pixels = g.add("ReduceProd", size, keepdims=1)
    scale = g.add("Sqrt", g.add("Div", g.constant([float(AREA)]), pixels))
    eighths = g.add("Round", g.add("Div", g.add("Mul", size, scale), g.constant([8.0])))
    sides = g.add("Max", g.add("Mul", eighths, g.constant([8.0])), g.constant([32.0]))
    sides = g.add("Cast", sides, to=TensorProto.INT64)
    sides = g.add("Concat", g.whole(1, 3), sides, axis=0)
    small = g.add(
        "Resize", picture, "", "", sides, mode="cubic", cubic_coeff_a=-0.5, antialias=1
    )  # as Pillow's bicubic
    small = g.add("Clip", small, g.constant(0.0), g.constant(255.0))
    return g.add("Sub", g.add("Div", small, g.constant(127.5)), g.constant(1.0))


def block(g: Graph, x: str, weights: dict[str, np.ndarray], name: str, stride: int) -> str:
    def norm(value: str, which: str) -> str:
        keys = ("weight", "bias", "running_mean", "running_var")
        parts = [g.weight(weights[f"{name}.{which}.{key}"]) for key in keys]
        return g.add("BatchNormalization", value, *parts, epsilon=1e-5)

    def conv(value: str, which: str, pad: int, step: int) -> str:
        kernel = g.weight(weights[f"{name}.{which}.weight"])
        return g.add("Conv", value, kernel, pads=[pad] * 4, strides=[step] * 2)

    y = g.add("Relu", norm(conv(x, "first", 1, stride), "norm"))
    y = norm(conv(y, "second", 1, 1), "norm2")
    return g.add("Relu", g.add("Add", y, conv(x, "shortcut", 0, stride)))


def read(g: Graph, x: str, weights: dict[str, np.ndarray], heads: list[str]) -> dict[str, str]:
    """Returns head -> name of its labels' chances (1, labels)."""
    for stage in range(5):
        x = block(g, x, weights, f"stages.{stage}", 2 if stage < 4 else 1)
    channels = weights["look.weight"].shape[1]
    look = g.add("Conv", x, g.weight(weights["look.weight"]), g.weight(weights["look.bias"]))
    gaze = g.add("Softmax", g.add("Reshape", look, g.whole(1, len(heads), -1)), axis=2)
    places = g.add("Reshape", x, g.whole(1, channels, -1))
    seen = g.add("MatMul", gaze, g.add("Transpose", places, perm=[0, 2, 1]))
    overall = g.add("ReduceMean", places, g.whole(2), keepdims=0)
    chances = {}
    for index, head in enumerate(heads):
        own = g.add("Gather", seen, g.constant(index, np.int64), axis=1)  # (1, channels)
        both = g.add("Concat", own, overall, axis=1)
        matrix, bias = (g.weight(weights[f"read.{index}.{key}"]) for key in ("weight", "bias"))
        chances[head] = g.add("Softmax", g.add("Gemm", both, matrix, bias, transB=1), axis=1)
    return chances


def tags_of(g: Graph, chances: dict[str, str], heads: dict[str, list[str]], words) -> dict:
    """Returns tag -> name of its chance (1, 1): the sum over the labels that carry it."""
    found: dict[str, list[str]] = {}
    shown = dict(chances)
    for (head, label), hidden in HIDES.items():
        chance = g.add("Gather", chances[head], g.whole(heads[head].index(label)), axis=1)
        shown[hidden] = g.add("Mul", shown[hidden], g.add("Sub", g.constant(1.0), chance))
    for head, labels in heads.items():
        carried: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            for tag in filter(None, map(str.strip, words[head][label].split(","))):
                carried.setdefault(tag, []).append(index)
        for tag, indices in carried.items():
            part = g.add("Gather", shown[head], g.whole(*indices), axis=1)
            found.setdefault(tag, []).append(g.add("ReduceSum", part, g.whole(1), keepdims=1))
    found.pop(NEVER, None)
    # everybody in the reader's world is a person: as sure as it is of being in that world at all
    found["person"] = [g.add("ReduceMax", chances["style"], g.whole(1), keepdims=1)]
    return {
        tag: g.add("Max", *parts) if len(parts) > 1 else parts[0] for tag, parts in found.items()
    }


def build() -> tuple[onnx.ModelProto, list[str]]:
    """Returns the model and the names of its tags, in order."""
    weights = load_file(ASSETS / "attributes" / "model.safetensors")
    heads = json.loads((ASSETS / "attributes" / "heads.json").read_text())["heads"]
    words = json.loads((ASSETS / "mame" / "tags.json").read_text())["heads"]
    g = Graph()
    chances = read(g, scaled(g, unpadded(g, "input")), weights, list(heads))
    tags = tags_of(g, chances, heads, words)
    row = g.add("Concat", *tags.values(), axis=1)
    low, high = g.constant(0.0), g.constant(1.0)
    g.nodes.append(helper.make_node("Clip", [row, low, high], ["predictions"]))
    graph = helper.make_graph(
        g.nodes,
        "renma-tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("predictions", TensorProto.FLOAT, [1, len(tags)])],
        g.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model, list(tags)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    model, tags = build()
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    with (folder / "selected_tags.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["tag_id", "name", "category", "count"])
        rows.writerows([i, tag.replace(" ", "_"), 0, 0] for i, tag in enumerate(tags))


if __name__ == "__main__":
    main()
