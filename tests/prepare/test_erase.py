"""Objects and writing taken out of a folder of pictures (rows B7, F19-F25)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from renma.cli import main
from renma.config.prepare.erase import EraseOptions
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.prepare import boxes, corner_text
from renma.prepare._record import Record
from renma.prepare.erase import run


class Told(Silent):
    """A report that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def event(self, kind: str, **data: object) -> None:
        if kind == "warned":
            self.lines.append(f"warning: {data['text']}")

    def line(self, text: str) -> None:
        self.lines.append(text)


def options(folder: Path, **changes: object) -> EraseOptions:
    return EraseOptions.model_validate({"folder": folder, "executor": "serial", **changes})


def scene(height: int = 200, width: int = 300, seed: int = 0) -> np.ndarray:
    """Returns a soft landscape with some grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 215, (5, 7, 3), np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    return (smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8)


def facts(out: Path) -> dict[str, dict]:
    rows = [json.loads(r) for r in (out / ".renma/made.jsonl").read_text().splitlines()]
    return {row["source"]: row["outputs"][0]["facts"] for row in rows if row["outputs"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures; the second lies deeper."""
    (tmp_path / "in/deep").mkdir(parents=True)
    for index, name in enumerate(("a.png", "deep/b.png", "c.png")):
        Image.fromarray(scene(seed=index)).save(tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.mark.parametrize("box", ["0.5,0.5,100,40", "10,10,1,40", "0,0,0.25,300", "5%,0.1,9,9"])
def test_shares_and_pixels_are_not_mixed(folder: Path, box: str, capfd) -> None:
    """B7: half a pixel or half the picture: nobody can tell, so it is asked."""
    words = ["prepare", "erase", str(folder), "--box", box, "-o", str(folder.parent / "out")]
    assert main(words) == 2
    said = capfd.readouterr().err
    assert "mixes shares up to 1 with others; write 10,20,100,40 or 75%,92%,25%,8%" in said
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ("0,1,30,20", (0, 1, 30, 21)),
        ("1.5,2,30.5,20", (2, 2, 32, 22)),
        ("0,0,1,1", (0, 0, 300, 200)),
        ("10%,20,50%,30", (30, 20, 180, 50)),
    ],
)
def test_what_cannot_be_misread_is_taken(box: str, wanted: tuple[int, ...]) -> None:
    """B7: zeros are both, and a per cent sign says which is which."""
    (place,) = options(Path(), box=(box,)).places
    assert place.box((300, 200)) == wanted


def test_painted_masks_erase_and_the_rest_stays(folder: Path, tmp_path: Path) -> None:
    """Row B7: white is erased; outside of it and its rim no bit differs; others are copied."""
    spot = np.zeros((200, 300), np.uint8)
    spot[50:70, 60:100] = 255
    (tmp_path / "masks/deep").mkdir(parents=True)
    Image.fromarray(spot).save(tmp_path / "masks/deep/b.png")
    told = Told()
    run(options(folder, out=tmp_path / "out", masks=tmp_path / "masks", grow=4), told)
    for name in ("a.png", "c.png"):
        before, after = (np.asarray(Image.open(p / name)) for p in (folder, tmp_path / "out"))
        np.testing.assert_array_equal(before, after)
    before = np.asarray(Image.open(folder / "deep/b.png"))
    after = np.asarray(Image.open(tmp_path / "out/deep/b.png"))
    far = np.ones((200, 300), bool)
    far[46:74, 56:104] = False
    np.testing.assert_array_equal(before[far], after[far])
    assert (before != after)[50:70, 60:100].mean() > 0.5
    assert "1 pictures with something erased, 2 had nothing marked" in "\n".join(told.lines)
    assert facts(tmp_path / "out")["a.png"] == {"erased": 0}


def test_a_mark_is_wholly_gone(tmp_path: Path) -> None:
    """Row B7: fading happens in what the hole grew by, so that nothing of the mark is left."""
    folder = tmp_path / "in"
    folder.mkdir()
    clean = np.full((120, 200, 3), 120, np.uint8)
    marked = clean.copy()
    marked[40:50, 60:120] = (255, 0, 255)
    Image.fromarray(marked).save(folder / "a.png")
    run(options(folder, out=tmp_path / "out", box=("60,40,60,10",)), Silent())
    after = np.asarray(Image.open(tmp_path / "out/a.png")).astype(int)
    assert np.abs(after - clean).max() <= 3  # what OpenCV itself strays on one colour


def test_places_from_a_table_and_from_the_command(folder: Path, tmp_path: Path) -> None:
    """Row B7: pixels and percent, headings and semicolons, several lines for one picture."""
    table = tmp_path / "boxes.csv"
    table.write_bytes(
        "\ufeffpicture;x;y;width;height\na.png;10;20;30;10\na.png;90%;0;10%;5%\n".encode()
    )
    run(options(folder, out=tmp_path / "out", boxes=table, grow=0), Silent())
    found = facts(tmp_path / "out")
    assert found["a.png"]["around"] == [10, 0, 300, 30]
    assert found["a.png"]["erased"] == round((30 * 10 + 30 * 10) / 60000, 5)
    assert found["c.png"] == {"erased": 0}
    (clipped,) = options(folder, box=("50%,50%,100%,10",)).places
    assert clipped.box((300, 200), clipped=True) == (150, 100, 300, 110)


@pytest.mark.parametrize("form", ["csv", "json", "toml"])
def test_lists_are_read_as_crop_reads_them(folder: Path, tmp_path: Path, form: str) -> None:
    """One grammar: shares up to 1, names without ending; what is beyond a picture is told."""
    text = {
        "csv": "a,0.5,0.5,0.5,0.5\nc.png,0,0,9000,4\n",
        "json": '{"a": [0.5, 0.5, 0.5, 0.5], "c.png": [0, 0, 9000, 4]}',
        "toml": 'a = [0.5, 0.5, 0.5, 0.5]\n"c.png" = [0, 0, 9000, 4]\n',
    }
    table = tmp_path / f"places.{form}"
    table.write_text(text[form])
    run(options(folder, out=tmp_path / "out", boxes=table, grow=0), Silent())
    found = facts(tmp_path / "out")
    assert found["a.png"]["around"] == [150, 100, 300, 200]
    assert "c.png" not in found
    record = Record(tmp_path / "out")
    record.read()
    assert "beyond the picture" in record.rows["c.png"].skipped


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("b.png,1,2,3,4\n", r"line 1: there is no picture 'b.png'"),
        ("a.png,1,2,3\n", "line 1: has 4 columns"),
        ("a.png,1,2,3,4\na.png,1,2,x,4\n", "line 2: '1, 2, x, 4' is no box"),
        ("a.png,1,2,0,4\n", "holds no pixel"),
    ],
)
def test_wrong_lines_of_a_table_are_named(tmp_path: Path, text: str, said: str) -> None:
    """Row B7: before any picture is touched."""
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        boxes.read(tmp_path / "t.csv", ["a.png"])


def test_hidden_colors_stay_hidden(tmp_path: Path) -> None:
    """Rows B7, F23: pink stored under transparency neither fills the hole nor tints its rim."""
    folder = tmp_path / "in"
    folder.mkdir()
    picture = np.zeros((80, 90, 4), np.uint8)
    picture[...] = (255, 0, 255, 0)
    picture[:, 30:] = (20, 160, 40, 255)
    picture[30:50, 26:44] = (0, 0, 0, 255)  # writing, half on the figure and half beside it
    Image.fromarray(picture).save(folder / "a.png")
    for method in ("telea", "ns"):
        out = tmp_path / method
        chosen = options(folder, out=out, box=("26,30,18,20",), grow=6, method=method)
        run(chosen, Silent())
        after = np.asarray(Image.open(out / "a.png")).astype(int)
        seen = after[..., 3] > 0
        off = np.abs(after[..., :3] - (20, 160, 40))[seen]
        assert off.max() <= 12
        far = np.ones((80, 90), bool)
        far[24:56, 20:50] = False
        np.testing.assert_array_equal(after[far], picture[far])


def test_writing_is_looked_for_in_what_is_seen(tmp_path: Path) -> None:
    """Rows B7, F23: letters stored under transparency are nobody's; those on it are found."""
    folder = tmp_path / "in"
    folder.mkdir()
    hidden = Image.new("RGBA", (400, 300), (255, 255, 255, 0))
    font = ImageFont.load_default(18)
    ImageDraw.Draw(hidden).text((250, 272), "(c) nobody", fill=(0, 0, 0, 0), font=font)
    hidden.save(folder / "hidden.png")
    signed = Image.new("RGBA", (400, 300), (0, 0, 0, 0))
    ImageDraw.Draw(signed).text((250, 272), "(c) nobody", fill=(0, 0, 0, 255), font=font)
    signed.save(folder / "signed.png")
    run(options(folder, out=tmp_path / "out", detect="corner-text"), Silent())
    found = facts(tmp_path / "out")
    assert found["hidden.png"] == {"erased": 0}
    assert found["signed.png"]["erased"] > 0
    assert (np.asarray(Image.open(tmp_path / "out/signed.png"))[..., 3] == 0).all()


def test_wrong_masks_are_named(folder: Path, tmp_path: Path) -> None:
    """Row B7: a mask of no picture stops at once; one of another size costs its picture only."""
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.new("L", (300, 200)).save(masks / "d.png")
    with pytest.raises(UserError, match="mask of no picture"):
        run(options(folder, out=tmp_path / "out", masks=masks), Silent())
    (masks / "d.png").unlink()
    Image.new("L", (30, 20), 255).save(masks / "a.png")
    told = Told()
    run(options(folder, out=tmp_path / "out", masks=masks), told)
    assert any("30x20" in line and "skipped" in line for line in told.lines)
    assert (tmp_path / "out/c.png").exists()
    assert not (tmp_path / "out/a.png").exists()


def test_a_changed_mask_makes_its_picture_again(folder: Path, tmp_path: Path) -> None:
    """Row B7: masks belong to what the result depends on."""
    masks = tmp_path / "masks"
    masks.mkdir()
    spot = np.zeros((200, 300), np.uint8)
    spot[:20, :20] = 255
    Image.fromarray(spot).save(masks / "a.png")
    chosen = options(folder, out=tmp_path / "out", masks=masks, grow=0)
    run(chosen, Silent())
    spot[100:150, 100:150] = 255
    Image.fromarray(spot).save(masks / "a.png")
    run(chosen, Silent())
    assert facts(tmp_path / "out")["a.png"]["around"] == [0, 0, 150, 150]


def test_transparency_stays_transparency(tmp_path: Path) -> None:
    """Rows B6, B7: outside of the hole alpha and hidden colours stay bit by bit."""
    folder = tmp_path / "in"
    folder.mkdir()
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (80, 90, 4), np.uint8)
    picture[20:60, 20:70, 3] = 0
    picture[36:42, 40:50] = (0, 0, 0, 255)  # a name written on nothing
    Image.fromarray(picture).save(folder / "a.png")
    run(options(folder, out=tmp_path / "out", box=("40,36,10,6",), grow=2), Silent())
    after = np.asarray(Image.open(tmp_path / "out/a.png"))
    far = np.ones((80, 90), bool)
    far[34:44, 38:52] = False
    np.testing.assert_array_equal(after[far], picture[far])
    assert (after[36:42, 40:50, 3] == 0).all()


@pytest.mark.parametrize("color", [(255, 255, 255), (0, 0, 0)])
@pytest.mark.parametrize("corner", ["top left", "bottom right"])
def test_writing_in_corners_is_found(color: tuple[int, int, int], corner: str) -> None:
    """Row B7: light and dark signatures; the place covers the letters and little else."""
    rgb = (scene(300, 400, seed=2) * 0.5 + 64).astype(np.uint8)
    picture = Image.fromarray(rgb)
    spot = (8, 6) if corner == "top left" else (235, 270)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(18)
    draw.text(spot, "www.example.com", fill=color, font=font)
    written = (np.asarray(picture) != rgb).any(axis=2)
    hole = np.zeros(written.shape, bool)
    for left, top, right, bottom in corner_text.find(np.asarray(picture)):
        hole[top:bottom, left:right] = True
    assert hole[written].mean() > 0.9
    assert hole.mean() < 6 * written.mean()


@pytest.mark.parametrize("seed", range(4))
def test_where_nothing_is_written_nothing_is_found(seed: int) -> None:
    """Row B7: neither in soft pictures nor in lively ones; words in the middle are the picture's."""
    rgb = scene(300, 400, seed)
    assert corner_text.find(rgb) == []
    noise = np.random.default_rng(seed).integers(0, 256, (300, 400, 3), np.uint8)
    assert corner_text.find(noise) == []
    picture = Image.fromarray(rgb)
    ImageDraw.Draw(picture).text(
        (130, 140), "a book title", fill=(0, 0, 0), font=ImageFont.load_default(18)
    )
    assert corner_text.find(np.asarray(picture)) == []


def test_detected_writing_is_erased(tmp_path: Path) -> None:
    """Row B7: the whole way, from a signed picture to one nobody signed."""
    folder = tmp_path / "in"
    folder.mkdir()
    clean = (scene(300, 400, seed=3) * 0.5 + 64).astype(np.uint8)
    picture = Image.fromarray(clean)
    ImageDraw.Draw(picture).text(
        (250, 272), "(c) nobody", fill=(255, 255, 255), font=ImageFont.load_default(18)
    )
    picture.save(folder / "a.png")
    run(options(folder, out=tmp_path / "out", detect="corner-text"), Silent())
    after = np.asarray(Image.open(tmp_path / "out/a.png")).astype(int)
    written = (np.asarray(picture) != clean).any(axis=2)
    assert np.abs(after - clean)[written].mean() < 10
    assert np.abs(np.asarray(picture).astype(int) - clean)[written].mean() > 50


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "nothing says what to erase"),
        ({"box": ("1,2,3",)}, "is no box"),
        ({"box": ("1,2,3,4",), "method": "lama"}, "needs its network"),
        ({"box": ("1,2,3,4",), "model": "a.pt"}, "no effect"),
        ({"box": ("1,2,3,4",), "grow": 2, "feather": 3}, "shine through"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes: dict[str, object], said: str) -> None:
    """Row B7: before any picture is read."""
    with pytest.raises((UserError, ValueError), match=said):
        options(Path(), **changes)


def test_photographs_are_no_masks(folder: Path, tmp_path: Path) -> None:
    """Given by mistake they would erase whatever is bright; soft rims of a brush are fine."""
    told = Told()
    with pytest.raises(UserError, match="is no painted mask"):
        run(options(folder, out=tmp_path / "out", masks=folder), told)
    assert "is no painted mask" in "\n".join(told.lines)
    assert not list((tmp_path / "out").glob("*.png"))
    brush = Image.new("L", (300, 200))
    ImageDraw.Draw(brush).ellipse((100, 60, 180, 140), fill=255)
    (tmp_path / "soft").mkdir()
    brush.filter(ImageFilter.GaussianBlur(6)).save(tmp_path / "soft" / "a.jpg", quality=80)
    run(options(folder, out=tmp_path / "out2", masks=tmp_path / "soft"), told)
    assert facts(tmp_path / "out2")["a.png"]["erased"] == pytest.approx(0.084, abs=0.01)
