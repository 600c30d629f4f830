"""Pictures that a plain reader gets wrong without a word."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from renma.core.errors import UserError
from renma.data.pictures import inspect, measure, read_rgb

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
CORNER = np.zeros((16, 24, 3), np.uint8)
CORNER[:8, :12] = (250, 10, 10)
TURNED = {
    1: CORNER,
    2: CORNER[:, ::-1],
    3: CORNER[::-1, ::-1],
    4: CORNER[::-1],
    5: CORNER.transpose(1, 0, 2),
    6: np.rot90(CORNER, -1),
    7: CORNER[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(CORNER, 1),
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def deep_png(path: Path, colour_type: int, row: bytes, width: int, key: bytes) -> Path:
    """Writes one row of a 16-bit PNG with a transparent colour; Pillow cannot."""
    header = struct.pack(">IIBBBBB", width, 1, 16, colour_type, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"tRNS", key)
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("ending", ["jpg", "tiff", "webp", "avif"])
def test_size_and_pixels_are_turned_alike(tmp_path: Path, ending: str, orientation: int):
    """Pillow turns TIFF by itself, and no other format."""
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{ending}"
    Image.fromarray(CORNER).save(path, exif=exif, quality=95)
    expected = TURNED[orientation].astype(int)
    found = read_rgb(path)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 12
    assert measure(path) == (found.shape[1], found.shape[0])
    look = inspect(path)
    assert (look.width, look.height) == measure(path)


@pytest.mark.parametrize("profile", [None, SRGB])
@pytest.mark.parametrize(("mode", "key"), [("RGB", (12, 200, 34)), ("L", 7), ("P", 1)])
def test_a_transparent_colour_shows_the_background(tmp_path: Path, mode: str, key, profile):
    path = tmp_path / "x.png"
    picture = Image.new(mode, (4, 2), key)
    picture.putpixel((0, 0), (90, 90, 90) if mode == "RGB" else 0)
    if mode == "P":
        picture.putpalette([90, 90, 90, 12, 200, 34])
    extra = {"icc_profile": profile} if profile else {}
    picture.save(path, transparency=key, **extra)
    pixels = read_rgb(path, (1, 2, 3))
    assert (pixels[1] == (1, 2, 3)).all()
    assert not (pixels[0, 0] == (1, 2, 3)).all()


def test_a_transparent_colour_of_16_bits(tmp_path: Path):
    key, other = 3000, 60000
    grey = deep_png(
        tmp_path / "grey.png", 0, struct.pack(">HH", key, other), 2, struct.pack(">H", key)
    )
    assert read_rgb(grey)[0, :, 0].tolist() == [255, round(other / 257)]
    colour = struct.pack(">HHH", 3000, 60000, 500)
    rgb = deep_png(tmp_path / "rgb.png", 2, colour + bytes(6), 2, colour)
    assert read_rgb(rgb)[0].tolist() == [[255, 255, 255], [0, 0, 0]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
def test_a_profile_is_applied_in_every_mode(tmp_path: Path, mode: str):
    """The profile stores the red of a colour as its blue, so ignoring it is seen at once."""
    swapped = bytearray(SRGB)
    red, blue = swapped.index(b"rXYZ", 128), swapped.index(b"bXYZ", 128)
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    picture = Image.new("RGBA", (4, 4), (200, 100, 20, 255))
    if mode == "P":
        picture = picture.convert("RGB").quantize(2)
    path = tmp_path / "x.png"
    picture.convert(mode).save(path, icc_profile=bytes(swapped))
    pixel = read_rgb(path)[0, 0].astype(int)
    if mode in {"L", "LA"}:
        assert np.ptp(pixel) <= 2
    else:
        assert np.abs(pixel - (20, 100, 200)).max() <= 4
    assert not inspect(path).oddities


@pytest.mark.parametrize("profile", [b"no profile at all", SRGB])
def test_a_profile_that_does_not_fit_is_named(tmp_path: Path, profile: bytes):
    path = tmp_path / "x.tiff"
    picture = Image.new("CMYK", (8, 8), (9, 80, 30, 10))
    picture.save(path, icc_profile=profile)
    assert any("profile" in text for text in inspect(path).oddities)
    assert np.array_equal(read_rgb(path), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(0, 255, 64, dtype=np.float32),
        np.array([0, 0.5, np.nan, 1], np.float32),
        np.linspace(0, 255, 64).astype(np.int32),
    ],
    ids=["float to 255", "not a number", "32 bits"],
)
def test_grey_of_unknown_range_is_refused_instead_of_going_black(tmp_path: Path, values):
    path = tmp_path / "x.tiff"
    Image.fromarray(values.reshape(-1, 4)).save(path)
    with pytest.raises(UserError, match=r"x\.tiff: holds .* grey values of unknown range"):
        read_rgb(path)


def test_animation_is_told(tmp_path: Path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "y.gif")
    assert any("first" in text for text in inspect(tmp_path / "x.gif").oddities)
    assert not inspect(tmp_path / "y.gif").oddities


def test_a_program_in_disguise_is_not_started(tmp_path: Path, monkeypatch):
    """Pillow hands EPS to Ghostscript, whatever the file's ending says."""
    monkeypatch.setattr("subprocess.check_call", lambda *a, **k: pytest.fail("started a program"))
    path = tmp_path / "x.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(UserError, match="is not a picture"):
        inspect(path)


def test_only_our_own_limit_speaks(tmp_path: Path):
    path = tmp_path / "x.png"
    Image.new("1", (9500, 9500)).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert measure(path, 100_000_000) == (9500, 9500)
    with pytest.raises(UserError, match=r"9500x9500 pixels.*data\.max_pixels"):
        inspect(path)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_damaged_bytes_give_pixels_or_one_line(tmp_path: Path, form: str):
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / "x.bin"
    draw = np.random.default_rng(3)
    Image.fromarray(draw.integers(0, 256, (12, 10, 3), np.uint8)).save(path, format=form)
    whole = path.read_bytes()
    refused = 0
    for _ in range(80):
        damaged = bytearray(whole)
        for place in draw.integers(0, min(len(whole), int(draw.choice([60, len(whole)]))), 3):
            damaged[place] = draw.integers(0, 256)
        path.write_bytes(
            damaged[: draw.integers(1, len(whole) + 1)] if draw.random() < 0.2 else damaged
        )
        for read in (inspect, read_rgb):
            message = complaint(read, path)
            refused += bool(message)
            assert not message or "x.bin" in message
    assert refused


def complaint(read, path: Path) -> str:
    try:
        read(path, max_pixels=10_000)
    except UserError as error:
        return error.line()
    return ""


@pytest.mark.parametrize("orientation", [1, 6])
def test_cut_off_pictures_are_found_before_the_run(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for ending in ("jpg", "png", "webp", "tiff"):
        path = tmp_path / f"x.{ending}"
        Image.effect_noise((200, 160), 80).convert("RGB").save(path, exif=exif)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        with pytest.raises(UserError, match=f"x.{ending}"):
            inspect(path)


def test_a_picture_that_may_not_be_opened_is_named_once(tmp_path: Path, monkeypatch):
    """The system's own message ends in the file's name, which stands in front already."""
    path = tmp_path / "red.png"
    Image.new("RGB", (8, 8)).save(path)

    def closed(name: Path, **_: object) -> Image.Image:
        raise PermissionError(13, "Permission denied", str(name))

    monkeypatch.setattr(Image, "open", closed)
    with pytest.raises(UserError) as caught:
        inspect(path)
    assert caught.value.line().count("red.png") == 1
    assert "Permission denied" in caught.value.line()
