"""Rewrites MediaPipe's selfie segmentation (TensorFlow Lite) as an ONNX file of the same layers.

    python selfie_onnx.py selfie_segmentation.tflite OUT.onnx

The source is the npm package @mediapipe/selfie_segmentation 0.1.1675465747 (Apache-2.0); the reader
of its format is the one in ``ai-edge-litert``. Weights stay the 16-bit numbers that the source
holds, so the file stays small; every sum is made in 32 bits, as there. The input becomes
(1, 3, 256, 256), RGB from 0 to 1, the output (1, 1, 256, 256), 0 background to 1 person.
With ``--compare`` both files are run on random pictures and the largest difference is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as lite
from onnx import helper, numpy_helper

_TYPES = {lite.TensorType.FLOAT16: np.float16, lite.TensorType.INT32: np.int32}
_OPERATORS = {
    value: name for name, value in vars(lite.BuiltinOperator).items() if not name.startswith("_")
}
_PRODUCER = "@mediapipe/selfie_segmentation 0.1.1675465747, Apache-2.0"


class Rewriter:
    """Walks through the layers of one graph and writes each one's ONNX counterpart.

    Args:
        data: the bytes of the TensorFlow Lite file.
    """

    def __init__(self, data: bytes) -> None:
        self.model = lite.ModelT.InitFromObj(lite.Model.GetRootAs(data))
        self.graph = self.model.subgraphs[0]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.source: dict[int, int] = {}  # what a DEQUANTIZE layer reads

    def run(self) -> onnx.ModelProto:
        """Returns the ONNX model."""
        for layer in self.graph.operators:
            code = self.model.operatorCodes[layer.opcodeIndex]
            name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
            if name == "CUSTOM":
                name = code.customCode.decode()
            LAYERS[name](self, layer)
        first, last = self.graph.inputs[0], self.graph.outputs[0]
        graph = helper.make_graph(
            self.nodes,
            "selfie_segmentation",
            [self._info(first)],
            [self._info(last)],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], producer_name=_PRODUCER
        )
        model.ir_version = 8
        onnx.checker.check_model(model, full_check=True)
        return model

    def _info(self, index: int) -> onnx.ValueInfoProto:
        n, h, w, c = self.shape(index)
        return helper.make_tensor_value_info(f"t{index}", onnx.TensorProto.FLOAT, [n, c, h, w])

    def shape(self, index: int) -> tuple[int, ...]:
        """Returns a tensor's shape in the source's order (NHWC)."""
        return tuple(int(size) for size in self.graph.tensors[index].shape)

    def constant(self, index: int) -> np.ndarray:
        """Returns a constant of the source, looking through DEQUANTIZE."""
        tensor = self.graph.tensors[self.source.get(index, index)]
        data = self.model.buffers[tensor.buffer].data
        values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), _TYPES[tensor.type])
        return values.reshape([int(size) for size in tensor.shape])

    def weight(self, index: int, value: np.ndarray) -> str:
        """Stores a 16-bit weight and returns the name of its 32-bit copy."""
        half, full = f"w{index}", f"w{index}_32"
        if half not in self.weights:
            self.weights[half] = np.ascontiguousarray(value)
            self.nodes.append(helper.make_node("Cast", [half], [full], to=onnx.TensorProto.FLOAT))
        return full

    def add(self, kind: str, inputs: list[str], layer: Any, fused: int = 0, **options: Any) -> None:
        """Appends a node; ``fused`` is the source's activation inside the layer."""
        out = f"t{layer.outputs[0]}"
        raw = out if fused == lite.ActivationFunctionType.NONE else f"{out}_raw"
        self.nodes.append(helper.make_node(kind, inputs, [raw], **options))
        if fused == lite.ActivationFunctionType.RELU:
            self.nodes.append(helper.make_node("Relu", [raw], [out]))
        elif raw != out:
            raise NotImplementedError(f"activation {fused}")


def dequantize(rewriter: Rewriter, layer: Any) -> None:
    """A 16-bit constant read as 32 bits: only remembered."""
    rewriter.source[layer.outputs[0]] = layer.inputs[0]


def convolution(rewriter: Rewriter, layer: Any) -> None:
    """CONV_2D and DEPTHWISE_CONV_2D; kernels (out, h, w, in) and (1, h, w, channels)."""
    x, kernel, bias = layer.inputs
    options, value = layer.builtinOptions, rewriter.constant(kernel)
    deep = isinstance(options, lite.DepthwiseConv2DOptionsT)
    value = value.transpose(3, 0, 1, 2) if deep else value.transpose(0, 3, 1, 2)
    pad = "SAME_UPPER" if options.padding == lite.Padding.SAME else "VALID"
    rewriter.add(
        "Conv",
        [f"t{x}", rewriter.weight(kernel, value), rewriter.weight(bias, rewriter.constant(bias))],
        layer,
        options.fusedActivationFunction,
        kernel_shape=value.shape[2:],
        strides=[options.strideH, options.strideW],
        group=rewriter.shape(x)[3] if deep else 1,
        auto_pad=pad,
    )


def transposed(rewriter: Rewriter, layer: Any) -> None:
    """MediaPipe's own transposed convolution with bias: 2x2, stride 2, no overlap."""
    x, kernel, bias = layer.inputs
    value = rewriter.constant(kernel).transpose(3, 0, 1, 2)  # (in, out, h, w)
    inputs = [
        f"t{x}",
        rewriter.weight(kernel, value),
        rewriter.weight(bias, rewriter.constant(bias)),
    ]
    rewriter.add("ConvTranspose", inputs, layer, kernel_shape=value.shape[2:], strides=[2, 2])


def average(rewriter: Rewriter, layer: Any) -> None:
    """AVERAGE_POOL_2D over everything."""
    options, x = layer.builtinOptions, layer.inputs[0]
    if (options.filterHeight, options.filterWidth) != rewriter.shape(x)[1:3]:
        raise NotImplementedError("a pool that is not over everything")
    rewriter.add("GlobalAveragePool", [f"t{x}"], layer, options.fusedActivationFunction)


def resize(rewriter: Rewriter, layer: Any) -> None:
    """RESIZE_BILINEAR, with the source's rule for where pixels lie."""
    x, options = layer.inputs[0], layer.builtinOptions
    n, h, w, c = rewriter.shape(layer.outputs[0])
    rewriter.weights[f"size{x}"] = np.array([n, c, h, w], np.int64)
    rule = "align_corners" if options.alignCorners else "asymmetric"
    rewriter.add(
        "Resize",
        [f"t{x}", "", "", f"size{x}"],
        layer,
        mode="linear",
        coordinate_transformation_mode="half_pixel" if options.halfPixelCenters else rule,
    )


def plain(kind: str) -> Callable[[Rewriter, Any], None]:
    """Returns the writer of a layer that works on each number alone."""

    def write(rewriter: Rewriter, layer: Any) -> None:
        fused = getattr(layer.builtinOptions, "fusedActivationFunction", 0)
        rewriter.add(kind, [f"t{x}" for x in layer.inputs], layer, fused)

    return write


LAYERS: dict[str, Callable[[Rewriter, Any], None]] = {
    "DEQUANTIZE": dequantize,
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": convolution,
    "Convolution2DTransposeBias": transposed,
    "AVERAGE_POOL_2D": average,
    "RESIZE_BILINEAR": resize,
    "RELU": plain("Relu"),
    "HARD_SWISH": plain("HardSwish"),
    "LOGISTIC": plain("Sigmoid"),
    "ADD": plain("Add"),
    "MUL": plain("Mul"),
}


def difference(source: Path, written: Path) -> float:
    """Returns the largest difference between both files over random pictures."""
    import onnxruntime
    from ai_edge_litert.interpreter import Interpreter

    before = Interpreter(str(source))
    before.allocate_tensors()
    after = onnxruntime.InferenceSession(str(written), providers=["CPUExecutionProvider"])
    largest = 0.0
    for seed in range(8):
        coarse = np.random.default_rng(seed).random((16, 16, 3), np.float32)
        picture = np.kron(coarse, np.ones((16, 16, 1), np.float32))[None]
        before.set_tensor(before.get_input_details()[0]["index"], picture)
        before.invoke()
        want = before.get_tensor(before.get_output_details()[0]["index"])[0, ..., 0]
        name = after.get_inputs()[0].name
        got: Any = after.run(None, {name: picture.transpose(0, 3, 1, 2)})[0]
        largest = max(largest, float(np.abs(got[0, 0] - want).max()))
    return largest


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--compare", action="store_true")
    given = parser.parse_args()
    onnx.save(Rewriter(given.source.read_bytes()).run(), str(given.out))
    print(f"{given.out}: {given.out.stat().st_size:,} bytes")
    if given.compare:
        print(f"largest difference {difference(given.source, given.out):.2g}")
