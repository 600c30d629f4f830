"""Filling holes: nothing else changes, and networks get what they were made for (row B7)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from renma.core.errors import UserError
from renma.prepare import inpaint


def slope(height: int, width: int) -> np.ndarray:
    """Returns a picture that runs evenly from dark to bright."""
    y, x = np.mgrid[:height, :width]
    planes = (255 * x / width, 255 * y / height, 127 * (x + y) / max(height, width))
    return np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["telea", "ns"]), st.integers(0, 4))
def test_outside_of_the_hole_no_bit_changes(seed: int, method: str, feather: int) -> None:
    """Row B7, law, for any holes: several, at the rim, near each other."""
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (int(rng.integers(9, 150)), int(rng.integers(9, 300)), 3), np.uint8)
    hole = np.zeros(rgb.shape[:2], bool)
    for _ in range(int(rng.integers(1, 4))):
        y, x = (int(rng.integers(0, side)) for side in hole.shape)
        hole[y : y + int(rng.integers(1, 12)), x : x + int(rng.integers(1, 12))] = True
    filled = inpaint.fill(rgb, hole, inpaint.opened(method), feather)
    assert filled.shape == rgb.shape
    assert filled.dtype == np.uint8
    np.testing.assert_array_equal(filled[~hole], rgb[~hole])


@pytest.mark.parametrize("method", ["telea", "ns"])
def test_classics_continue_what_is_around(method: str) -> None:
    """Row B7: a hole in an even slope is filled nearly as it was; the ink in it leaves no trace."""
    clean = slope(120, 160)
    marked = clean.copy()
    hole = np.zeros((120, 160), bool)
    hole[50:62, 70:100] = True
    marked[hole] = (255, 0, 255)
    filled = inpaint.fill(marked, hole, inpaint.opened(method))
    error = np.abs(filled[hole].astype(int) - clean[hole])
    assert error.mean() < 6
    assert np.abs(marked[hole].astype(int) - clean[hole]).mean() > 60


def test_a_window_sees_enough_and_large_pictures_cost_no_more() -> None:
    """Row B7: a network is shown the hole and room around it, never the whole of a large picture."""
    seen: list[tuple[int, ...]] = []

    def spy(rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
        seen.append((*hole.shape, int(hole.sum())))
        return np.zeros_like(rgb)

    hole = np.zeros((900, 1600), bool)
    hole[100:110, 100:140] = True
    hole[100:110, 190:200] = True  # near the first: one window for both
    hole[890:, 1500:1510] = True
    filled = inpaint.fill(np.full((900, 1600, 3), 9, np.uint8), hole, spy)
    assert (filled[hole] == 0).all()
    assert (filled[~hole] == 9).all()
    assert sum(marked for *_, marked in seen) == hole.sum()
    assert len(seen) == 2
    assert all(height < 300 and width < 400 for height, width, _ in seen)
    assert all(height * width > 4 * marked for height, width, marked in seen)


def test_feather_fades_inside_the_hole() -> None:
    """Row B7: from old at the rim to new in the middle, never beyond the rim."""
    hole = np.zeros((60, 60), bool)
    hole[20:40, 20:40] = True
    old = np.full((60, 60, 3), 200, np.uint8)
    filled = inpaint.fill(old, hole, lambda rgb, _: np.zeros_like(rgb), feather=4)
    row = filled[30, :, 0].astype(int)
    assert row[19] == 200
    assert 200 > row[20] > row[21] > row[22] > row[23] > row[24] == 0
    assert row[30] == 0


def lama_script(path: Path) -> Path:
    """Writes a TorchScript network with big-lama's interface: it shows what it was given."""
    import torch

    class Lama(torch.nn.Module):
        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            if image.shape[2] % 8 != 0 or image.shape[3] % 8 != 0:
                raise ValueError("sides must be multiples of 8")
            if float(image.max()) > 1.0 or float((mask * (1 - mask)).max()) > 0.0:
                raise ValueError("picture 0 to 1, mask 0 or 1")
            known = 1 - mask
            mean = (image * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True)
            return image * known + mean * mask

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(Lama()).save(str(path))
    return path


@pytest.mark.parametrize(("height", "width"), [(33, 47), (64, 64), (9, 200)])
def test_lama_as_torch_script_gets_padded_sides(tmp_path: Path, height: int, width: int) -> None:
    """Row B7: 0..1, binary mask, multiples of 8; the answer is cut back to the picture's size."""
    filler = inpaint.opened("lama", lama_script(tmp_path / "big-lama.pt"))
    rgb = np.full((height, width, 3), (200, 100, 50), np.uint8)
    hole = np.zeros((height, width), bool)
    hole[3:7, 4:20] = True
    marked = rgb.copy()
    marked[hole] = 0
    filled = inpaint.fill(marked, hole, filler)
    assert filled.shape == rgb.shape
    assert np.abs(filled.astype(int) - rgb).max() <= 1


def lama_onnx(
    path: Path, *, side: int | str, channels: int, scale: float, ink: float = 0.5
) -> Path:
    """Writes an ONNX network of a known export: ``ink`` where the mask is, else the picture."""
    half, one = (
        numpy_helper.from_array(np.array(v, np.float32), n)
        for v, n in ((ink, "half"), (1.0, "one"))
    )
    factor = numpy_helper.from_array(np.array(scale, np.float32), "scale")
    shape = [1, 3, side, side]
    nodes = [
        helper.make_node("Sub", ["one", "mask"], ["known"]),
        helper.make_node("Mul", ["image", "known"], ["kept"]),
        helper.make_node("Mul", ["half", "mask"], ["grey"]),
        helper.make_node("Add", ["kept", "grey"], ["sum"]),
        helper.make_node("Mul", ["sum", "scale"], ["out"]),
    ]
    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, 1, side, side]),
    ]
    parts = [half, one, factor]
    if channels == 4:
        split = numpy_helper.from_array(np.array([3, 1]), "split")
        nodes.insert(0, helper.make_node("Split", ["input", "split"], ["image", "mask"], axis=1))
        inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 4, side, side])]
        parts.append(split)
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)]
    model = helper.make_model(
        helper.make_graph(nodes, "lama", inputs, out, parts),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize(
    ("side", "channels", "scale"), [(512, 3, 255.0), ("n", 3, 1.0), (512, 4, 1.0), ("n", 4, 1.0)]
)
def test_lama_as_onnx(tmp_path: Path, side: int | str, channels: int, scale: float) -> None:
    """Row B7: exports of one or any size, two inputs or four channels, 0..1 or 0..255."""
    file = lama_onnx(tmp_path / "lama.onnx", side=side, channels=channels, scale=scale)
    rgb = np.full((75, 130, 3), 30, np.uint8)
    hole = np.zeros((75, 130), bool)
    hole[20:50, 30:70] = True
    filler = inpaint.opened("lama", file)
    assert (inpaint.device(filler), inpaint.device(inpaint.opened("ns"))) == ("cpu", None)
    filled = inpaint.fill(rgb, hole, filler)
    assert np.abs(filled[25:45, 35:65].astype(int) - 128).max() <= 1
    np.testing.assert_array_equal(filled[~hole], rgb[~hole])


@pytest.mark.parametrize("scale", [1.0, 255.0])
@pytest.mark.parametrize("side", [512, "n"])
def test_dark_pictures_stay_dark(tmp_path: Path, side: int | str, scale: float) -> None:
    """Row B7: 0..1 and 0..255 are told apart once, not by how bright a window happens to be."""
    file = lama_onnx(tmp_path / "lama.onnx", side=side, channels=3, scale=scale, ink=1 / 255)
    rgb = np.full((75, 130, 3), 1, np.uint8)
    rgb[:5] = 2
    hole = np.zeros((75, 130), bool)
    hole[20:50, 30:70] = True
    filled = inpaint.fill(rgb, hole, inpaint.opened("lama", file))
    assert filled.max() <= 2


def test_a_network_that_fails_is_said_before_the_work(tmp_path: Path) -> None:
    """Row B7, F19: it takes a picture and a mask, but of another size."""
    file = lama_onnx(tmp_path / "lama.onnx", side="n", channels=3, scale=1.0)
    model = onnx.load(str(file))
    shape = model.graph.input[1].type.tensor_type.shape.dim
    shape[3].dim_value = 7
    onnx.save(model, str(file))
    with pytest.raises(UserError, match="is no LaMa"):
        inpaint.opened("lama", file)


def test_files_that_are_no_lama_are_said_in_one_line(tmp_path: Path) -> None:
    """Row B7, F19: before the work begins."""
    with pytest.raises(UserError, match="needs its network"):
        inpaint.opened("lama")
    with pytest.raises(UserError, match="no such file"):
        inpaint.opened("lama", tmp_path / "gone.pt")
    (tmp_path / "page.pt").write_text("<html>")
    with pytest.raises(UserError, match="no TorchScript network"):
        inpaint.opened("lama", tmp_path / "page.pt")
    shape = [1, 3, 64, 64]
    other = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["input"], ["out"])],
            "other",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
    )
    other.ir_version = 9
    onnx.save(other, str(tmp_path / "other.onnx"))
    with pytest.raises(UserError, match="is no LaMa"):
        inpaint.opened("lama", tmp_path / "other.onnx")


def test_methods_are_the_files_of_the_folder() -> None:
    """House: the folder is the registry, and the options name the same methods."""
    from renma.config.prepare.erase import EraseOptions

    known = EraseOptions.model_json_schema()["properties"]["method"]["enum"]
    assert set(known) == set(inpaint.names())
