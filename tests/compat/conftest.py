"""A folder as users of sd-scripts have it: pictures, captions, settings.toml."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from renma.compat import source
from renma.compat.draft import Draft, Places
from renma.compat.translate import translate
from testbed.guide import SETTINGS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: the guide's settings.toml beside its pictures, train/2_aa12, a LoRA."""
    for folder in ("学習画像のフォルダ", "train/2_aa12"):
        (tmp_path / folder).mkdir(parents=True)
        for index, colour in enumerate(("red", "blue")):
            picture = Image.new("RGB", (96 if index else 64, 96), "white")
            ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=colour)
            picture.save(tmp_path / folder / f"{colour}.png")
            (tmp_path / folder / f"{colour}.txt").write_text(f"aa12, smile, {colour}")
    (tmp_path / "settings.toml").write_text(SETTINGS, encoding="utf-8")
    (tmp_path / "prompts.txt").write_text("aa12, smile --w 64 --h 64 --s 1 --d 1\n")
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("ACCELERATE_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def draft(home: Path) -> Callable[..., Draft]:
    """Translates the words of a command that already names model, pictures, network and rate."""

    def made(text: str = "", sdxl: bool = False, base: str = BASE) -> Draft:
        given = source.of_words(shlex.split(f"{base} {text}"), sdxl, home)
        return translate(given, Places(home, home))

    return made


BASE = (
    "--pretrained_model_name_or_path mame --train_data_dir train --resolution 64 "
    "--network_module networks.lora --learning_rate 1e-4 --output_name x"
)
