"""A tiny run on mame: five drawn pictures, two of them regularisation."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

RUN = """
[data]
train_folder = "train"
reg_folder = "reg"
resolution = 64
enable_bucket = true
min_bucket_reso = 32
max_bucket_reso = 128
bucket_reso_steps = 32
batch_size = 2
shuffle_caption = true
keep_tokens = 1
[adapter]
rank = 2
alpha = 2
[optimizer]
learning_rate = 1e-3
[train]
max_steps = 6
save_every_steps = 2
threads = 1
precision = "fp32"
tensorboard = false
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with run.toml, train/2_aa12 person and reg/1_person."""
    return made(tmp_path)


@pytest.fixture
def lopsided(project: Path) -> Path:
    """The project with pictures that are not their own mirror image."""
    for path in project.rglob("*.png"):
        picture = Image.open(path).convert("RGB")
        picture.paste("orange", (0, 0, 20, 64))
        picture.save(path)
    return project


def made(folder: Path) -> Path:
    """Makes the project in a folder."""
    draw(folder / "train" / "2_aa12 person", ["red", "green", "blue"], "aa12, smile, {}")
    draw(folder / "reg" / "1_person", ["grey", "black"], "person, {}")
    (folder / "run.toml").write_text(RUN)
    return folder


def draw(folder: Path, colours: list[str], caption: str) -> None:
    """Draws one picture for each colour, the first one wide."""
    folder.mkdir(parents=True)
    for index, colour in enumerate(colours):
        picture = Image.new("RGB", (96 if index == 0 else 64, 64), "white")
        ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill=colour)
        picture.save(folder / f"{colour}.png")
        (folder / f"{colour}.txt").write_text(caption.format(colour))
