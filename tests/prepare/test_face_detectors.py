"""Who finds faces: hits on real pictures, and what networks are given and give (row B3)."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from renma.core.errors import UserError
from renma.data.pictures import read_rgb
from renma.prepare import faces
from renma.prepare.faces import _yolo, animeface, auto, haar
from renma.prepare.faces._base import Face, distinct, overlap

SPRITES = Path(os.environ.get("RENMA_SPRITES", "/usr/share/games/renpy/the_question/game/images"))
FACE = {"blue": (155, 118), "green": (191, 122)}
"""The middle of Sylvie's face in her pictures, by eye."""
ASTRONAUT = (224, 125)
CAMERAMAN = (225, 145)


def hit(found: list[Face], x: float, y: float) -> bool:
    """Says whether the best face lies around a point, and is neither a dot nor a body."""
    if not found:
        return False
    left, top, right, bottom = found[0].box
    return left < x < right and top < y < bottom


def sprites() -> list[Path]:
    found = sorted(SPRITES.glob("sylvie*.png"))
    if len(found) != 8:
        pytest.skip(f"needs the 8 sprites of the package renpy-thequestion in {SPRITES}")
    return found


def face_of(path: Path) -> tuple[int, int]:
    return FACE[path.stem.split()[1]]


@pytest.mark.parametrize("detector", ["auto", "animeface"])
def test_drawn_faces_are_found_on_white_and_on_scenes(detector: str) -> None:
    if detector == "animeface" and animeface.library() is None:
        pytest.skip("the package animeface is not installed")
    detect = faces.opened(detector)
    paths = sprites()[:: 1 if detector == "auto" else 2]
    missed = len(paths) // 8  # 7 of 8
    assert sum(hit(detect(read_rgb(path)), *face_of(path)) for path in paths) >= len(paths) - missed
    # each sprite before one of the scenes, so that every scene is seen
    scenes = sorted(SPRITES.glob("bg *.jpg"))
    found = 0
    for number, path in enumerate(paths):
        scene, sprite = Image.open(scenes[number % 4]).convert("RGB"), Image.open(path)
        scene.paste(sprite, (400, 20), sprite)
        x, y = face_of(path)
        found += hit(detect(np.asarray(scene)), x + 400, y + 20)
    assert found >= len(paths) - missed


def astronauts() -> list[tuple[np.ndarray, tuple[float, float]]]:
    """Returns one photograph whole, cut, mirrored, small, large and grey."""
    data = pytest.importorskip("skimage.data")
    picture = data.astronaut()
    x, y = ASTRONAUT
    found: list[tuple[np.ndarray, tuple[float, float]]]
    found = [(picture, (x, y)), (picture[:, ::-1], (512 - x, y))]
    for left, top, right, bottom in ((100, 20, 350, 300), (150, 40, 300, 220), (0, 0, 400, 400)):
        found.append((picture[top:bottom, left:right], (x - left, y - top)))
    for side in (160, 256, 768):
        small = np.asarray(Image.fromarray(picture).resize((side, side)))
        found.append((small, (x * side / 512, y * side / 512)))
    grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
    return [*found, (grey, (x, y))]


@pytest.mark.parametrize("detector", ["auto", "haar"])
def test_photographed_faces_are_found(detector: str) -> None:
    detect = faces.opened(detector)
    # the cascades take half a second a picture
    chosen = astronauts()[::2] if detector == "haar" else astronauts()
    assert [hit(detect(picture), *face) for picture, face in chosen] == [True] * len(chosen)


def cameramen() -> list[tuple[np.ndarray, tuple[float, float]]]:
    """Returns a photograph of a man from the side mirrored, cut and small."""
    picture = np.stack([pytest.importorskip("skimage.data").camera()] * 3, axis=-1)
    x, y = CAMERAMAN
    found = [(picture[:, ::-1], (512 - x, y))]
    for left, top, right, bottom in ((60, 20, 360, 300), (140, 40, 320, 240)):
        found.append((picture[top:bottom, left:right], (x - left, y - top)))
    small = np.asarray(Image.fromarray(picture).resize((200, 200)))
    return [*found, (small, (x * 200 / 512, y * 200 / 512))]


def test_a_face_from_the_side_is_found() -> None:
    """B3: the cascade for faces from the side sees it alone, in dozens of windows."""
    detect = faces.opened("haar")
    assert [hit(detect(picture), *face) for picture, face in cameramen()] == [True] * 4


def test_auto_finds_the_faces_of_all_photographs_with_people() -> None:
    """B3: the two photographs of scikit-image that show a person."""
    detect, data = faces.opened("auto"), pytest.importorskip("skimage.data")
    assert hit(detect(data.astronaut()), *ASTRONAUT)
    assert hit(detect(np.stack([data.camera()] * 3, axis=-1)), *CAMERAMAN)


def test_cut_outs_of_pictures_without_faces_give_none() -> None:
    """B3: what looks like a face from the side to few windows is none."""
    data = pytest.importorskip("skimage.data")
    rng, detect = np.random.default_rng(5), faces.opened("haar")
    for name in ("chelsea", "coffee", "motorcycle_left", "rocket", "logo", "gravel"):
        path = next(Path(data.__file__).parent.glob(f"{name}.*"))
        picture = Image.fromarray(read_rgb(path))
        for _ in range(2):
            left, top = rng.uniform(0, 0.4, 2) * picture.size
            right, bottom = rng.uniform(0.6, 1, 2) * picture.size
            piece = picture.crop((round(left), round(top), round(right), round(bottom)))
            piece.thumbnail((260, 260))
            turned = piece.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC)
            assert detect(np.asarray(turned)) == []


def test_a_face_from_the_side_counts_by_its_windows() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    scores = [haar.agreed({}, [(box, windows)])[0].score for windows in (1, 8, 15, 16, 60)]
    assert scores == sorted(scores)
    assert [score >= haar.SCORE for score in scores] == [False, False, False, True, True]
    # where it is seen from the front too, that says more
    front = {"frontalface_default": [box], "frontalface_alt": [box], "frontalface_alt2": [box]}
    assert haar.agreed(front, [(box, 60)])[0].score == 1.0


def test_pictures_without_faces_give_none() -> None:
    data = pytest.importorskip("skimage.data")
    folder = Path(data.__file__).parent
    detect = faces.opened("auto")
    for name in ("brick.png", "coins.png", "coffee.png", "motorcycle_left.png", "page.png"):
        picture = Image.fromarray(read_rgb(folder / name))
        picture.thumbnail((320, 320))
        assert detect(np.asarray(picture)) == []
    for shape in ((1, 1), (1, 400), (400, 1), (64, 64)):
        assert detect(np.full((*shape, 3), 255, np.uint8)) == []


def test_what_is_asked_for_and_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(animeface, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="animeface .* is not installed"):
        faces.opened("animeface")
    assert "animeface" not in auto.installed()


def test_overlaps_leave_the_surest() -> None:
    one, same = Face((0, 0, 10, 10), 0.5), Face((1, 1, 11, 11), 0.9)
    other = Face((20, 0, 60, 40), 0.6)
    assert overlap(one.box, same.box) == pytest.approx(81 / 119)
    assert distinct([one, same, other]) == [other, same]  # the larger of two that are as sure


def test_two_cascades_that_were_trained_apart_must_agree() -> None:
    box, near = (0.0, 0.0, 10.0, 10.0), (1.0, 0.0, 11.0, 10.0)
    alike = {"frontalface_alt": [box], "frontalface_alt2": [near]}
    assert [face.score < haar.SCORE for face in haar.agreed(alike)] == [True]
    apart = {"frontalface_default": [box], "frontalface_alt": [near]}
    assert [face.score >= haar.SCORE for face in haar.agreed(apart)] == [True]
    assert haar.agreed({"frontalface_default": [box]})[0].score < haar.SCORE


def network(path: Path, table: np.ndarray, names: str) -> Path:
    """Writes a network that gives one table, whatever it sees."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["table"], ["output0"])],
        "yolo",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(table.shape))],
        [numpy_helper.from_array(table.astype(np.float32), "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"names": names} if names else {})
    onnx.save(model, path)
    return path


def version_8() -> np.ndarray:
    """One face of 16 x 8 around (32, 24) of the square, and another class beside it."""
    table = np.zeros((1, 6, 84), np.float32)
    table[0, :, 5] = (32, 24, 16, 8, 0.1, 0.8)
    table[0, :, 9] = (10, 40, 6, 6, 0.9, 0.0)
    return table


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (version_8(), "{0: 'hand', 1: 'face'}"),
        (np.array([[[24, 20, 40, 28, 0.8, 1], [7, 37, 13, 43, 0.9, 0]]]), "{0: 'hand', 1: 'face'}"),
        (
            np.concatenate(
                [np.array([[[32.0, 24, 16, 8, 0.8, 0, 1]]]), np.zeros((1, 1500, 7))], axis=1
            ),
            "['hand', 'face']",
        ),
    ],
    ids=["version 8", "version 10", "version 5"],
)
def test_a_network_of_the_user(tmp_path: Path, table: np.ndarray, names: str) -> None:
    detect = faces.opened("yolo", network(tmp_path / "own.onnx", table, names))
    # 200 x 100 lies on a square of 200 with 50 above; a pixel of the network is 3.125 of them
    found = detect(np.zeros((100, 200, 3), np.uint8))
    assert [face.detector for face in found] == ["yolo"]
    assert found[0].box == pytest.approx((75, 12.5, 125, 37.5))
    assert found[0].score == pytest.approx(0.8)
    assert (
        faces.opened("yolo", tmp_path / "own.onnx", score=0.85)(np.zeros((100, 200, 3), np.uint8))
        == []
    )


def test_a_network_gets_the_picture_in_the_middle_of_a_square() -> None:
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[0, 0] = (255, 0, 51)
    values, scale, place = _yolo.on_square(picture, 20, (114, 114, 114))
    assert (values.shape, values.dtype, scale, place) == ((1, 3, 20, 20), np.float32, 1.0, (0, 5))
    assert values[0, :, 5, 0] == pytest.approx([1, 0, 0.2])  # RGB, 0 to 1
    assert values[0, :, 4, 0] == pytest.approx([114 / 255] * 3)
    _, scale, place = _yolo.on_square(picture, 20, (0, 0, 0), grow=2)
    assert (scale, place) == (0.5, (10, 15))


def test_a_long_strip_costs_no_square_of_its_length() -> None:
    """Rows B3, F24: 800 x 16000 on a square twice as long was 3 GB; places stay where they are."""
    strip = np.zeros((16000, 800, 3), np.uint8)
    strip[8000:9000, 200:600] = 255
    tracemalloc.start()
    values, scale, (left, top) = _yolo.on_square(strip, 640, (0, 0, 0), grow=2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6
    rows, columns = np.nonzero(values[0, 0] > 0.5)
    assert columns.min() / scale - left == pytest.approx(200, abs=60)
    assert (columns.max() + 1) / scale - left == pytest.approx(600, abs=60)
    assert rows.min() / scale - top == pytest.approx(8000, abs=60)
    assert (rows.max() + 1) / scale - top == pytest.approx(9000, abs=60)


@pytest.mark.parametrize(
    ("table", "names", "said"),
    [
        (version_8(), "{0: 'hand', 1: 'foot'}", "knows no faces, only hand, foot"),
        (np.zeros((1, 8)), "{0: 'face'}", "no YOLO's"),
        (version_8(), "{7: 'face'}", "wanted is 7"),
    ],
)
def test_a_network_that_is_no_face_detector(tmp_path: Path, table, names: str, said: str) -> None:
    path = network(tmp_path / "own.onnx", table, names)
    with pytest.raises(UserError, match=said):
        faces.opened("yolo", path)(np.zeros((64, 64, 3), np.uint8))


def yunet(path: Path, *, outputs: int = 12) -> Path:
    """Writes a network of YuNet's interface that sees one face at 88, 36 of 64 x 96 pixels."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Reshape", ["mean", "flat"], ["row"]),
    ]
    parts = [numpy_helper.from_array(np.array([1, 3]), "flat")]
    given = []
    for stride in (8, 16, 32):
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name, count = f"{kind}_{stride}", (320 // stride) ** 2
            values = np.zeros((count, width), np.float32)
            if stride == 16:  # column 7, row 5 of cells of 16 pixels
                face = {"cls": 1, "obj": 1, "bbox": (0.5, 0.25, np.log(4), np.log(6)), "kps": 0}
                values[5 * 20 + 7] = face[kind]
            parts += [
                numpy_helper.from_array(np.zeros((3, values.size), np.float32), f"w{name}"),
                numpy_helper.from_array(values.ravel(), f"b{name}"),
                numpy_helper.from_array(np.array([1, count, width]), f"s{name}"),
            ]
            nodes += [
                helper.make_node("Gemm", ["row", f"w{name}", f"b{name}"], [f"g{name}"]),
                helper.make_node("Reshape", [f"g{name}", f"s{name}"], [name]),
            ]
            shape = [1, count, width]
            given.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    taken = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, 320, 320])]
    graph = helper.make_graph(nodes, "yunet", taken, given[:outputs], parts)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path
    )
    return path


def test_yunet(tmp_path: Path) -> None:
    detect = faces.opened("auto", yunet(tmp_path / "face_yunet.onnx"))  # known by its name
    found = detect(np.zeros((320, 320, 3), np.uint8))
    assert [face.detector for face in found] == ["yunet"]
    assert found[0].box == pytest.approx((88, 36, 152, 132))
    assert found[0].landmarks == ((112, 80),) * 5
    # another network, and no network at all
    for path in (yunet(tmp_path / "less.onnx", outputs=3), tmp_path / "none.onnx"):
        with pytest.raises(UserError):
            faces.opened("yunet", path)
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(UserError, match="is no YuNet"):
        faces.opened("yunet", tmp_path / "text.onnx")


def test_what_decides_the_faces_is_part_of_the_key(tmp_path: Path) -> None:
    one = network(tmp_path / "one.onnx", version_8(), "{1: 'face'}")
    other = network(tmp_path / "other.onnx", version_8() * 2, "{1: 'face'}")
    assert faces.identity("yolo", one) != faces.identity("yolo", other)
    assert faces.identity("auto") != faces.identity("haar")
