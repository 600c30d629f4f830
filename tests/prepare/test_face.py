"""Faces cut out of a folder: what is made of each picture, and what is said (row B3)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.config.prepare.face import FaceOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.data.pictures import read_straight
from renma.prepare.face import cut, pasted, run
from renma.prepare.faces import Face

HERE = Path()
ONE = Face((40, 30, 60, 50), 0.9, None, "told")
TWO = Face((110, 20, 120, 30), 0.5, None, "told")


class Told(Silent):
    """A report that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.lines.append(f"warning: {data['text']}")

    def line(self, text: str) -> None:
        self.lines.append(text)


def options(folder: Path = HERE, **changes: object) -> FaceOptions:
    given = {"folder": folder, "executor": "serial", "hair": 0.0, "min_size": 1, **changes}
    return FaceOptions.model_validate(given)


def numbered(mode: str = "RGB") -> Image.Image:
    """Returns 160 x 90 pixels that tell their own place: red is x, green is y."""
    y, x = np.mgrid[:90, :160]
    parts = [x, y, np.full_like(x, 7)] + ([np.full_like(x, 99)] if mode == "RGBA" else [])
    return Image.fromarray(np.stack(parts, axis=2).astype(np.uint8))


def seen(*found: Face):
    return lambda rgb: list(found)


def test_a_face_with_its_margin() -> None:
    (made,) = cut(numbered(), seen(ONE), options(margin=2))
    assert made.box == (30, 20, 70, 60)
    assert (made.suffix, made.picture.size) == ("", (40, 40))
    assert made.picture.getpixel((0, 0)) == (30, 20, 7)
    assert made.facts == {"detector": "told", "score": 0.9, "faces": 1, "face": [40, 30, 60, 50]}


def test_all_faces_and_the_original() -> None:
    made = cut(numbered(), seen(ONE, TWO), options(faces="all", keep_original=True))
    assert [each.suffix for each in made] == ["", "-face", "-face-2"]
    assert [each.picture.size for each in made] == [(160, 90), (40, 40), (20, 20)]
    best = cut(numbered(), seen(ONE, TWO), options())
    assert [each.box for each in best] == [(30, 20, 70, 60)]


def test_faces_that_are_too_small_are_left_out_and_named() -> None:
    made = cut(numbered(), seen(ONE, TWO), options(faces="all", min_size=30))
    assert [each.box for each in made] == [(30, 20, 70, 60)]
    with pytest.raises(UserError, match="too small"):
        cut(numbered(), seen(TWO), options(min_size=30))


def test_transparency_stays_and_padding_is_nothing() -> None:
    (made,) = cut(numbered("RGBA"), seen(ONE), options(margin=4, border="pad", color="red"))
    assert made.box == (10, 0, 90, 80)
    (wide,) = cut(numbered("RGBA"), seen(ONE), options(margin=6, border="pad", color="red"))
    assert (wide.box, wide.facts["padded"]) == ((-10, -20, 110, 100), [10, 20, 0, 10])
    assert wide.picture.getpixel((0, 0)) == (255, 0, 0, 0)
    assert wide.picture.getpixel((10, 20)) == (0, 0, 7, 99)
    (solid,) = cut(numbered(), seen(ONE), options(margin=6, border="pad", color="red"))
    assert solid.picture.getpixel((0, 0)) == (255, 0, 0)
    assert solid.picture.getpixel((119, 119)) == (255, 0, 0)
    assert solid.picture.getpixel((119, 60)) == (109, 40, 7)


def test_a_resized_cutout_bleeds_no_hidden_colour() -> None:
    picture = Image.new("RGBA", (100, 100), (0, 255, 0, 0))  # hidden green
    picture.paste((200, 0, 0, 255), (30, 0, 70, 100))
    face = Face((40, 40, 60, 60), 1.0, None, "told")
    (made,) = cut(picture, seen(face), options(margin=3, size="32x32"))
    assert made.picture.size == (32, 32)
    values = np.asarray(made.picture)
    assert values[values[..., 3] > 0][:, 1].max() == 0


def test_without_a_face() -> None:
    with pytest.raises(UserError, match="no face was found"):
        cut(numbered(), seen(), options())
    (copied,) = cut(numbered(), seen(), options(missing="copy"))
    assert (copied.picture.size, copied.box) == ((160, 90), None)
    for shape, size in (("square", (90, 90)), ("portrait", (68, 90)), ("free", (160, 90))):
        (made,) = cut(numbered(), seen(), options(missing="focal", shape=shape))
        assert made.picture.size == size
        assert "focal" in made.facts["detector"]
    (sized,) = cut(numbered(), seen(), options(missing="focal", size="40x20"))
    assert sized.picture.size == (40, 20)


def test_a_frame_in_the_picture_is_a_plain_crop() -> None:
    picture = numbered()
    assert pasted(picture, (3, 4, 50, 60), (0, 0, 0)).tobytes() == (
        picture.crop((3, 4, 50, 60)).tobytes()
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shape": "square", "size": "512x768"}, "are two shapes"),
        ({"color": "red"}, "no effect without --border pad"),
        ({"detector": "yolo"}, "needs a network"),
        ({"detector": "haar", "model": "x.onnx"}, "no effect with --detector haar"),
    ],
)
def test_options_that_do_not_fit_together(changes: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        options(**changes)


def test_a_folder(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    folder = tmp_path / "set"
    folder.mkdir()
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    (folder / "astronaut.txt").write_text("1girl, helmet")
    Image.new("RGB", (300, 300), "white").save(folder / "nothing.png")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = Told()
    chosen = options(folder, detector="haar", size="128x128", min_size=64)
    run(chosen, report)
    out = tmp_path / "set-face"
    assert read_straight(out / "astronaut.png").size == (128, 128)
    assert (out / "astronaut.txt").read_text() == "1girl, helmet"
    assert not (out / "nothing.png").exists()
    assert "warning: skipped: no face was found: nothing.png." in report.lines
    assert "found by: 1 haar" in report.lines
    rows = [json.loads(line) for line in (out / ".renma" / "made.jsonl").read_text().splitlines()]
    (found,) = (output["facts"]["face"] for row in rows for output in row["outputs"])
    assert found[0] < 224 < found[2]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    again = Told()
    run(chosen, again)
    assert any("0 worked on now" in line for line in again.lines)


def test_a_resized_cutout_has_no_rims_of_another_colour() -> None:
    """One colour on nothing stays that colour; Pillow's own alpha weighting makes it lighter."""
    picture = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    picture.paste((150, 80, 40, 255), (60, 90, 240, 250))
    face = Face((120, 120, 180, 180), 1.0, None, "told")
    (made,) = cut(picture, seen(face), options(margin=5, size="71x71", border="pad"))
    values = np.asarray(made.picture).astype(int)
    visible = values[values[..., 3] > 0][:, :3]
    assert np.abs(visible - (150, 80, 40)).max() <= 1
