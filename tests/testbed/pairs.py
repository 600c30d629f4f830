"""A copy-machine project: drawn faces before and after one change, pixel on pixel."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

RUN = """
[data]
train_folder = "after"
resolution = 64
batch_size = 2
[adapter]
rank = 2
alpha = 2
[optimizer]
learning_rate = 1e-3
[copier]
train_folder = "before"
steps = 3
prompts = []
[train]
max_steps = 3
text_encoder = false
threads = 1
precision = "fp32"
tensorboard = false
[sample]
steps = 2
scale = 1
"""
FOLDER = "2_face"


def made(folder: Path) -> Path:
    """Makes the project: two pairs, after the change with a dark bar over the eyes."""
    for name, colour in (("red", "red"), ("tan", "tan")):
        for side in ("before", "after"):
            place = folder / side / FOLDER
            place.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (64, 64), "white")
            pen = ImageDraw.Draw(picture)
            pen.ellipse((8, 8, 56, 56), fill=colour)
            if side == "after":
                pen.rectangle((12, 24, 52, 32), fill="black")
            picture.save(place / f"{name}.png")
            (place / f"{name}.txt").write_text("face")
    (folder / "run.toml").write_text(RUN)
    return folder
