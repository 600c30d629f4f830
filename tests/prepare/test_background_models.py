"""Networks that find subjects get and give exactly what their makers meant (row B6)."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from renma.core.errors import UserError
from renma.prepare import subject
from renma.prepare.subject import onnx as networks
from renma.prepare.subject.person import MODEL, Person

# what MediaPipe's own file gives for the figure of test_background.py on TensorFlow Lite
# (ai-edge-litert 2.3.0), as means of 32 x 32 pixels
REFERENCE = """
0 0 0 .0778 .0851 0 0 0        0 0 .1149 .9429 .954 .1365 0 0
0 0 .3226 1 1 .3552 0 0        0 0 .0649 .9513 .9694 .0863 0 0
0 0 .0064 .6409 .6703 .0087 0 0  0 0 .5717 1 1 .6023 0 0
0 .1095 .9898 1 1 .9951 .1424 0  0 .3363 1 1 1 1 .3732 0
"""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def figure(side: int) -> np.ndarray:
    """Returns the person of test_background.py, float32 0 to 1."""
    y, x = np.mgrid[:side, :side] / side

    def oval(cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 < 1

    picture = np.stack([0.25 + 0.2 * x, 0.45 + 0.2 * y, np.full_like(x, 0.7)], axis=2)
    for part, color in (
        (oval(0.5, 0.3, 0.17, 0.2), (0.25, 0.15, 0.1)),
        ((abs(x - 0.5) < 0.06) & (y > 0.45) & (y < 0.65), (0.85, 0.65, 0.55)),
        (oval(0.5, 1.02, 0.3, 0.45), (0.7, 0.2, 0.2)),
        (oval(0.5, 0.36, 0.14, 0.19) & (y > 0.27), (0.9, 0.7, 0.6)),
        (oval(0.45, 0.35, 0.02, 0.012) | oval(0.55, 0.35, 0.02, 0.012), (0.1, 0.1, 0.15)),
        (oval(0.5, 0.45, 0.04, 0.008), (0.7, 0.3, 0.3)),
    ):
        picture[part] = color
    return picture.astype(np.float32)


def network(path: Path, side: int | str, *, name: str = "input", layers: str = "mean") -> Path:
    """Writes a network of the real interface: the mean of the channels, or their first."""
    nodes = [helper.make_node("ReduceMean", [name, "axes"], ["out"], keepdims=1)]
    parts = [numpy_helper.from_array(np.array([1]), "axes")]
    if layers == "first":
        nodes = [helper.make_node("Gather", [name, "axes"], ["out"], axis=1)]
        parts = [numpy_helper.from_array(np.array([0]), "axes")]
    graph = helper.make_graph(
        nodes,
        "subject",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 1, side, side])],
        parts,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def test_the_shipped_network_is_mediapipes() -> None:
    """Row B6: our ONNX file computes what the original does (16-bit weights, 32-bit sums)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    values = figure(256).transpose(2, 0, 1)[None]
    mask = np.asarray(session.run(None, {session.get_inputs()[0].name: values})[0])
    pooled = mask.reshape(8, 32, 8, 32).mean((1, 3))
    want = np.array(REFERENCE.split(), float).reshape(8, 8)
    np.testing.assert_allclose(pooled, want, atol=1e-3)


def test_people_are_found_wherever_they_stand() -> None:
    """Row B6: small and off the middle in a wide picture; nobody is nobody."""
    person = (figure(120) * 255).round().astype(np.uint8)
    wide = np.empty((160, 400, 3), np.uint8)
    wide[:] = (70, 130, 178)
    wide[40:, 250:370] = person
    mask = Person().mask(wide)
    assert mask is not None
    left, top, right, bottom = subject.box(mask) or (0, 0, 0, 0)
    assert abs(left - (250 + 0.2 * 120)) < 8
    assert abs(right - (250 + 0.8 * 120)) < 8
    assert abs(top - (40 + 0.1 * 120)) < 8
    assert bottom == 160
    with pytest.raises(UserError, match="no person"):
        subject.find(np.full((90, 90, 3), 128, np.uint8), None, "person")


@pytest.mark.parametrize(
    ("file", "side", "mean", "std", "by_brightest"),
    [
        ("u2net.onnx", 320, MEAN, STD, True),
        ("u2netp.onnx", 320, MEAN, STD, True),
        ("u2net_human_seg.onnx", 320, MEAN, STD, True),
        ("silueta.onnx", 320, MEAN, STD, True),
        ("isnet-general-use.onnx", 1024, (0.5,) * 3, (1.0,) * 3, True),
        ("isnet-anime.onnx", 1024, MEAN, (1.0,) * 3, True),
        ("birefnet-general-lite.onnx", 1024, MEAN, STD, True),
        ("isnet-imgly.onnx", 1024, (128 / 255,) * 3, (256 / 255,) * 3, False),
    ],
)
def test_a_network_gets_what_rembg_gives_it(
    tmp_path: Path, file: str, side: int, mean: tuple, std: tuple, by_brightest: bool
) -> None:
    """Row B6: the tensor of rembg 2.0's `normalize`, written out here; told by the file's name."""
    rgb = np.random.default_rng(0).integers(0, 200, (50, 70, 3), np.uint8)
    kind = networks.KINDS[networks.recognised(tmp_path / file, None)]
    assert kind.side == side
    small = np.array(Image.fromarray(rgb).resize((side, side), Image.Resampling.LANCZOS)) / 1.0
    small /= small.max() if by_brightest else 255
    want = np.stack([(small[..., c] - mean[c]) / std[c] for c in range(3)])[None]
    got = networks.asked(rgb, kind, (side, side))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_users_network_decides_the_mask(tmp_path: Path) -> None:
    """Row B6: --model with any side; stretched to 0..1; size of the picture; said in the record."""
    file = network(tmp_path / "u2net-mine.onnx", 32)
    rgb = np.zeros((60, 90, 3), np.uint8)
    rgb[20:40, 30:60] = 220
    found = subject.opened("onnx", file)(rgb, None)
    assert found.mask.shape == (60, 90)
    assert found.mask.min() == 0
    assert 0.95 < found.mask.max() <= 1
    assert found.mask[30, 45] > 0.8
    assert found.mask[5, 5] < 0.05
    assert found.how == {"model": "u2net-mine.onnx", "kind": "u2net", "device": "cpu"}
    # auto takes the user's network before its own
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    assert subject.opened("auto", file)(noise, None).backend == "onnx"


def test_a_network_without_a_telling_name_is_told_by_its_shape(tmp_path: Path) -> None:
    """Row B6: 320 is U2-Net, 1024 IS-Net or, by its input's name, BiRefNet; else it is asked for."""
    cases = [(320, "input", "u2net"), (1024, "input", "isnet"), (1024, "input_image", "birefnet")]
    for side, name, kind in cases:
        file = network(tmp_path / f"x{side}{name}.onnx", side, name=name, layers="first")
        picture = np.zeros((8, 8, 3), np.uint8)
        assert subject.opened("onnx", file)(picture, None).how["kind"] == kind
    odd = network(tmp_path / "odd.onnx", 77)
    with pytest.raises(UserError, match="--model-kind"):
        subject.opened("onnx", odd)
    assert (
        subject.opened("onnx", odd, "isnet")(np.zeros((8, 8, 3), np.uint8), None).backend == "onnx"
    )


class _Graph:
    """What a network's file says of its input."""

    def __init__(self, name: str) -> None:
        self.name, self.shape = name, [1, 3, 1024, 1024]

    def get_inputs(self) -> list[_Graph]:
        return [self]


@pytest.mark.parametrize(
    ("file", "size", "name", "kind"),
    [
        ("RMBG-1.4.onnx", 176_000_000, "input", "isnet"),
        ("rmbg14_quantized.onnx", 44_000_000, "input", "isnet"),
        ("bria-rmbg.onnx", 176_000_000, "input", "isnet"),
        ("RMBG-2.0.onnx", 1_020_000_000, "pixel_values", "birefnet"),
        ("rmbg_2_fp16.onnx", 514_000_000, "pixel_values", "birefnet"),
        ("bria-rmbg.onnx", 514_000_000, "input", "birefnet"),
        ("rmbg.onnx", 1_000, "pixel_values", "birefnet"),
        ("rmbg.onnx", 1_000, "input", None),
        ("rmbg-1.4.onnx", 1_020_000_000, "pixel_values", None),
    ],
)
def test_the_two_rmbgs_are_told_apart(
    tmp_path: Path, file: str, size: int, name: str, kind: str | None
) -> None:
    """Row B6: 1.4 is an IS-Net (mean 0.5, std 1), 2.0 a BiRefNet (ImageNet): BRIA's own pages."""
    path = tmp_path / file
    with path.open("wb") as written:
        written.truncate(size)  # a hole, no bytes
    if kind is None:
        with pytest.raises(UserError, match="--model-kind"):
            networks.recognised(path, _Graph(name))
    else:
        assert networks.recognised(path, _Graph(name)) == kind


def test_a_long_strip_costs_no_square_of_its_length() -> None:
    """Rows B6, F24: max_pixels bounds memory; 800 x 16000 padded to a square was 768 MB."""
    strip = np.full((16000, 800, 3), 200, np.uint8)
    strip[7000:8000, 200:600] = 30
    person = Person()
    tracemalloc.start()
    mask = person._padded(strip)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.shape == (16000, 800)
    assert peak < 8 * strip.nbytes  # a float a pixel and copies, no more
    # and what is no strip is looked at as ever
    rgb = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    square = np.full((400, 400, 3), 255, np.uint8)
    square[50:350] = rgb
    np.testing.assert_array_equal(person._padded(rgb), person._stretched(square)[50:350])


def test_birefnet_answers_in_logits() -> None:
    """Row B6: sigmoid first, then stretched, as rembg does."""
    logits = np.array([[-4.0, 0.0], [1.0, 6.0]])[None, None]
    sigmoid = 1 / (1 + np.exp(-logits[0, 0]))
    want = (sigmoid - sigmoid.min()) / (sigmoid.max() - sigmoid.min())
    got = networks.answered(logits, networks.KINDS["birefnet"], (2, 2))
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_files_that_are_no_network_are_said_in_one_line(tmp_path: Path) -> None:
    """Row B6, F19: a page saved as .onnx, a missing file, a network for something else."""
    (tmp_path / "page.onnx").write_text("<html>")
    with pytest.raises(UserError, match="no ONNX model that can be run"):
        subject.opened("onnx", tmp_path / "page.onnx")
    with pytest.raises(UserError, match="no such file"):
        subject.opened("onnx", tmp_path / "gone.onnx")
    tagger = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["input"], ["out"])],
            "tagger",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 448, 448, 3])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 448, 448, 3])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    tagger.ir_version = 9
    onnx.save(tagger, str(tmp_path / "tagger.onnx"))
    with pytest.raises(UserError, match="does not take one picture"):
        subject.opened("onnx", tmp_path / "tagger.onnx")


def test_the_shipped_file_says_where_it_is_from() -> None:
    """House: what ships names its source and licence."""
    model = onnx.load(str(MODEL))
    assert "Apache-2.0" in model.producer_name
    assert "selfie_segmentation" in (MODEL.parent / "README.md").read_text(encoding="utf-8")
    assert MODEL.stat().st_size < 300_000


def test_ways_are_the_files_of_the_folder() -> None:
    """House: the folder is the registry, and the options name the same ways."""
    from renma.config.prepare.background import BackgroundOptions

    schema = json.dumps(BackgroundOptions.model_json_schema()["properties"]["backend"]["enum"])
    assert set(subject.names()) == set(json.loads(schema))
    kinds = BackgroundOptions.model_json_schema()["properties"]["model_kind"]["enum"]
    assert set(kinds) == {"auto", *networks.KINDS}
