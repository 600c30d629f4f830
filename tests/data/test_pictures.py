"""Colour modes, rotation, transparency, bombs, broken files."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from renma.core.errors import UserError
from renma.data.pictures import measure, read_rgb

GRADIENT = np.stack(np.meshgrid(np.arange(24) * 10, np.arange(16) * 15), -1).astype(np.uint8)


def gradient() -> Image.Image:
    """A 24x16 picture in which every pixel is different."""
    return Image.fromarray(np.concatenate([GRADIENT, np.full((16, 24, 1), 77, np.uint8)], -1))


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientation(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "x.png"
    gradient().save(path, exif=exif)
    expected = TURNS[orientation](np.asarray(gradient()))
    assert np.array_equal(read_rgb(path), expected)
    assert measure(path) == (expected.shape[1], expected.shape[0])


def test_transparent_parts_show_the_background_and_not_what_lies_under_them(tmp_path: Path):
    """The guide's trap: convert("RGB") shows the colour stored under alpha 0."""
    hidden = np.zeros((4, 4, 4), np.uint8)
    hidden[...] = (12, 200, 34, 0)
    hidden[0] = (100, 50, 20, 128)
    path = tmp_path / "x.png"
    Image.fromarray(hidden, "RGBA").save(path)
    with Image.open(path) as picture:
        assert picture.convert("RGB").getpixel((2, 2)) == (12, 200, 34)  # neither white nor black
    assert (read_rgb(path)[1:] == 255).all()
    assert (read_rgb(path, (255, 0, 9))[1:] == (255, 0, 9)).all()
    a = 128 / 255
    blend = np.array([100, 50, 20]) * a + 255 * (1 - a)
    assert np.abs(read_rgb(path)[0].astype(float) - blend).max() <= 1


@pytest.mark.parametrize("mode", ["LA", "PA", "P"])
def test_other_transparent_modes(tmp_path: Path, mode: str):
    picture = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 3, 6))
    path = tmp_path / "x.png"
    if mode == "P":
        indexed = picture.convert("RGB").quantize(4)
        indexed.info["transparency"] = indexed.getpixel((5, 5))
        indexed.save(path, transparency=indexed.getpixel((5, 5)))
    else:
        picture.convert(mode if mode == "LA" else "RGBA").save(path)
    pixels = read_rgb(path)
    assert (pixels[:, 5] == 255).all()
    assert not (pixels[:, 0] == 255).all()


def test_deep_grey_keeps_its_mean(tmp_path: Path):
    values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    path = tmp_path / "x.png"
    Image.fromarray(values).save(path)
    expected = values.astype(float) / 257
    assert np.abs(read_rgb(path)[..., 0] - expected).max() <= 1
    with Image.open(path) as picture:  # why it needs care
        assert np.asarray(picture.convert("RGB"), float).mean() > expected.mean() + 50


def test_float_tiff(tmp_path: Path):
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "x.tiff")
    assert np.abs(read_rgb(tmp_path / "x.tiff")[..., 0] - values * 255).max() <= 1
    Image.fromarray(values * -5).save(tmp_path / "y.tiff")
    with pytest.raises(UserError, match=r"y.tiff: holds float grey values"):
        read_rgb(tmp_path / "y.tiff")


@pytest.mark.parametrize("mode", ["1", "L", "CMYK", "YCbCr", "RGB"])
def test_plain_modes_equal_pillows_own_conversion(tmp_path: Path, mode: str):
    picture = gradient().convert(mode)
    path = tmp_path / ("x.tiff" if mode in {"CMYK", "YCbCr"} else "x.png")
    picture.save(path)
    with Image.open(path) as again:
        assert np.array_equal(read_rgb(path), np.asarray(again.convert("RGB")))


def test_colour_profile_is_applied(tmp_path: Path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    path = tmp_path / "x.png"
    gradient().save(path, icc_profile=srgb.tobytes())
    assert np.abs(read_rgb(path).astype(int) - np.asarray(gradient()).astype(int)).max() <= 2


def test_animation_gives_its_first_frame(tmp_path: Path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert (read_rgb(tmp_path / "x.gif")[0, 0] == (255, 0, 0)).all()


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


def test_bomb_is_refused_from_its_header(tmp_path: Path):
    for side in (9_000, 30_000):
        path = tmp_path / f"{side}.png"
        path.write_bytes(png_header(side, side) + b"\0\0\0\0IEND\xaeB`\x82")
        with pytest.raises(UserError, match="pixels"):
            measure(path)


@pytest.mark.parametrize("data", [b"", b"<html>404</html>", b"\x89PNG\r\n\x1a\n", png_header(8, 8)])
def test_broken_files_are_named_in_one_line(tmp_path: Path, data: bytes):
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"broken.png") as caught:
        read_rgb(path)
    assert "\n" not in caught.value.line()


def test_cut_off_jpeg_is_named(tmp_path: Path):
    path = tmp_path / "cut.jpg"
    gradient().resize((200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(UserError, match=r"cut.jpg: is a broken picture"):
        read_rgb(path)
