"""Pictures of two persons side by side, with captions that speak of one of them.

AND multiplies what two texts say about a picture, p(x|a) p(x|b) / p(x), so each text has to leave
open what the other decides. That is what these captions teach: most tell about the left person or
the right one, and nothing about the other. Needs the packages of tools/mame/README.md.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "mame"))
import avatar  # pyright: ignore[reportMissingImports]

if TYPE_CHECKING:
    from avatar import Look  # pyright: ignore[reportMissingImports]

SIDES = ("left", "right")
STYLE = "adventurer"
CLASS = (f"{STYLE} style", "person")
ONE, BOTH = 10, 2
"""Captions of each picture about one person and about both; a showing takes one of them."""


def two(looks: list[Look]) -> Image.Image:
    """Returns both in one picture of twice the width."""
    pictures = [avatar.draw(look, "square") for look in looks]
    page = Image.new("RGB", (2 * pictures[0].width, pictures[0].height))
    for place, picture in enumerate(pictures):
        page.paste(picture, (place * picture.width, 0))
    return page


def strangers(folder: Path, count: int, seed: str) -> None:
    """Draws pictures of two random persons, with their captions one a line."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    for number in range(count):
        shade, ground = rng.randrange(1 << 30), rng.choice(grounds())
        looks = [stranger(rng, shade, ground) for _ in SIDES]
        told = [about(rng, looks[i % 2], SIDES[i % 2]) for i in range(ONE)]
        told += [", ".join(map(about, [rng] * 2, looks, SIDES)) for _ in range(BOTH)]
        two(looks).save(folder / f"{number:05d}.png")
        (folder / f"{number:05d}.txt").write_text("\n".join(told) + "\n")


def stranger(rng: random.Random, shade: int, ground: str) -> Look:
    """Returns a random person; those of like shade and ground have one background together."""
    look = avatar.random_look(rng, STYLE).having(background=ground)
    return avatar.replace(look, jitter=shade)


def about(rng: random.Random, look: Look, side: str) -> str:
    """Returns a caption about one person; half of the captions leave tags out."""
    tags = [tag for tag in avatar.caption_tags(look) if tag not in CLASS]
    share = rng.choice((1.0, 1.0, 0.6, 0.3))
    tags = [tag for tag in tags if rng.random() < share]
    rng.shuffle(tags)
    return ", ".join([side, *CLASS, *tags])


def character(folder: Path, trigger: str, side: int, wanted: Mapping[str, str], count: int) -> None:
    """Draws a character beside strangers, always on one side; captions are about it alone.

    What makes up the character is not told, so that the trigger learns it.

    Args:
        folder: where pictures and captions go.
        trigger: the word that stands for the character; also the seed.
        side: 0 for the left, 1 for the right.
        wanted: its hair, hair_colour, skin and eyewear.
        count: of pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(trigger)
    tags = {key: "" if tag.startswith("no ") else tag for key, tag in wanted.items()}
    faces = list(avatar.choices(STYLE, "mouth").values())
    for number in range(count):
        ground = grounds()[number * 4 % len(grounds())]
        look = avatar.random_look(rng, STYLE).having(**tags, details="", brows="")
        look = look.having(background=ground, mouth=faces[number % len(faces)], eyes="")
        look = avatar.replace(look, jitter=12)
        looks = [stranger(rng, 12, ground) for _ in SIDES]
        looks[side] = look
        own = {look.tags.get(key, "") for key in ("hair", "eyewear")} | set(CLASS)
        own |= {f"{look.colours['hair']} hair", f"{look.colours['skin']} skin"}
        told = [tag for tag in avatar.caption_tags(look) if tag not in own]
        caption = ", ".join([SIDES[side], trigger, *CLASS, *told])
        two(looks).save(folder / f"{number:02d}.png")
        (folder / f"{number:02d}.txt").write_text(caption + "\n")


def grounds() -> list[str]:
    """Returns the names of all background colours."""
    return list(avatar.table()["colours"]["background"])
