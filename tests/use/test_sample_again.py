"""A picture of ``renma sample`` drawn once more elsewhere, found by names and hashes. Row F2."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from renma import assets
from renma.cli.app import main

SMALL = ("--width", "64", "--height", "64", "--steps", "1")


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A picture of ``here/model`` with the autoencoder ``here/other``."""
    shutil.copytree(assets.MAME, tmp_path / "here" / "model")
    shutil.copytree(assets.MAME / "vae", tmp_path / "here" / "other")
    model, vae = (str(tmp_path / "here" / name) for name in ("model", "other"))
    words = ("--prompt", "a", *SMALL, "--set", f"vae={vae}", "--device", "cpu")
    assert main(["sample", model, *words, "-o", str(tmp_path / "o")]) == 0
    (path,) = (tmp_path / "o").glob("0*.png")
    return path


def again(picture: Path, out: str, *words: str) -> int:
    return main(["sample", *words, "--again", str(picture), "--device", "cpu", "-o", out])


def same(one: Path, other: Path) -> bool:
    with Image.open(one) as a, Image.open(other) as b:
        return ImageChops.difference(a, b).getbbox() is None and a.info == b.info


def test_model_and_autoencoder_are_found_in_the_working_folder_or_where_model_lies(
    drawn: Path, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path / "here")
    assert again(drawn, "p") == 0
    assert same(drawn, Path("p") / drawn.name)
    monkeypatch.chdir(tmp_path)
    assert again(drawn, "q") == 2
    assert "Say where it lies: renma sample MODEL --again" in capsys.readouterr().err
    assert again(drawn, "q", "here/model") == 0
    assert same(drawn, Path("q") / drawn.name)


@pytest.mark.parametrize(
    ("part", "message"),
    [("unet", "is another model than"), ("vae", "is another autoencoder than")],
)
def test_other_weights_of_the_same_name_are_refused(
    drawn: Path, tmp_path: Path, part: str, message: str, monkeypatch, capsys
):
    here = tmp_path / "here"
    folder = here / "model" / "unet" if part == "unet" else here / "other"
    (file,) = folder.glob("*.safetensors")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    monkeypatch.chdir(here)
    assert again(drawn, "p") == 2
    assert message in capsys.readouterr().err
