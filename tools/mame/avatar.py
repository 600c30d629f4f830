"""Draws one avatar from a table of looks: attributes in, picture, tags and labels out.

Every picture is a pure function of its `Look`, its shape and its seed; DiceBear makes the vector
drawing (https://www.dicebear.com), resvg the pixels.
"""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import resvg_py
from dicebear import Style
from dicebear.options import Options
from dicebear.renderer import Renderer
from dicebear.resolver import Resolver
from PIL import Image

SHAPES = {"square": (128, 128), "tall": (96, 160), "wide": (160, 96)}
"""Picture sizes (width, height) in pixels; all sides are multiples of 8."""
FIT = {"square": 1.0, "tall": 0.88, "wide": 0.95}
"""Share of the square view that the short side of a shape shows."""
VARIANTS = ("hair", "eyes", "eyewear", "brows", "mouth", "facial hair", "details", "earrings")
COMPONENTS = {
    "hair": ("hair",),
    "eyes": ("eyes",),
    "eyewear": ("glasses",),
    "brows": ("eyebrows",),
    "mouth": ("mouth",),
    "facial hair": ("facialHair", "beard"),
    "details": ("details",),
    "earrings": ("earrings",),
    "clothes": ("clothes",),
}


@dataclass(frozen=True)
class Look:
    """What one person looks like: drawing variants, their tags, named colours."""

    style: str
    variants: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    jitter: int = 0

    def having(self, **tags: str) -> Look:
        """Return this look with other tags: `having(mouth="frown", facial_hair="")`."""
        look = self
        for key, tag in tags.items():
            look = _with(look, key.replace("_", " "), tag)
        return look


@cache
def table() -> dict[str, Any]:
    """Return the drawing table (tags.json next to this file)."""
    return json.loads((Path(__file__).parent / "tags.json").read_text(encoding="utf-8"))


def choices(style: str, attribute: str, unseen: bool = False) -> dict[str, str]:
    """Return variant -> tag of one attribute; the unseen ones only when asked."""
    rows = table()["styles"][style]
    found = dict(rows.get(attribute, {}))
    if attribute == "hair" and unseen:
        found |= rows["unseen"]
    return found


def _with(look: Look, attribute: str, value: str) -> Look:
    """Return `look` with one attribute set by its tag (or colour name)."""
    if attribute in ("hair colour", "skin", "background", "clothes colour"):
        key = attribute.removesuffix(" colour")
        return replace(look, colours={**look.colours, key: value})
    variants, tags = dict(look.variants), dict(look.tags)
    if not value and attribute in ("eyewear", "facial hair", "details", "earrings"):
        variants.pop(attribute, None), tags.pop(attribute, None)
        return replace(look, variants=variants, tags=tags)
    rows = choices(look.style, attribute, unseen=True)
    variants[attribute] = next(name for name, tag in rows.items() if tag == value)
    tags[attribute] = value
    return replace(look, variants=variants, tags=tags)


def random_look(rng: random.Random, style: str | None = None) -> Look:
    """Return a random look outside the held-out combinations."""
    while True:
        look = _any_look(rng, style)
        if not is_unseen(look):
            return look


def _any_look(rng: random.Random, style: str | None) -> Look:
    style = style or rng.choice(list(table()["styles"]))
    rows = table()["styles"][style]
    variants, tags = {}, {}
    for attribute in (*VARIANTS, "clothes"):
        options = choices(style, attribute)
        if not options or rng.random() >= rows.get(f"{attribute}_chance", 1):
            continue
        names = list(options)
        name = rng.choices(names, rows.get(f"{attribute}_weights", [1] * len(names)))[0]
        variants[attribute], tags[attribute] = name, options[name]
    colours = {key: rng.choice(list(palette)) for key, palette in table()["colours"].items()}
    if "clothes" not in variants:
        colours.pop("clothes")
    return _visible(Look(style, variants, tags, colours, rng.randrange(1 << 30)), rng)


def _visible(look: Look, rng: random.Random) -> Look:
    """Return `look` without attributes that another one would hide."""
    if look.tags.get("eyewear") == "sunglasses" and look.tags.get("eyes"):
        look = look.having(eyes="")
    if look.style == "micah" and look.tags.get("facial hair") == "beard":
        look = look.having(mouth=rng.choice(["laughing", "grin", "surprised"]))
    return look


def is_unseen(look: Look) -> bool:
    """Say whether a look is one of the held-out combinations (or has an unseen variant)."""
    if look.variants.get("hair") in table()["styles"][look.style]["unseen"]:
        return True
    facts = {"style": look.style, **look.tags, "hair colour": look.colours["hair"]}
    return any(all(facts.get(k) == v for k, v in row.items()) for row in unseen_rows())


def unseen_rows() -> list[dict[str, str]]:
    """Return the held-out attribute combinations."""
    return table()["unseen_combinations"]


def unseen_look(rng: random.Random, row: Mapping[str, str]) -> Look:
    """Return a random look that has the held-out combination `row`."""
    look = _any_look(rng, row["style"])
    for key, value in row.items():
        if key != "style":
            look = _with(look, key, value)
    return _visible(look, rng)


def caption_tags(look: Look) -> list[str]:
    """Return the tags of a look in caption order."""
    tags: list[str] = []
    for part in table()["caption_order"]:
        match part:
            case "style":
                tags.append(f"{look.style} style")
            case "person":
                tags.append("person")
            case "hair colour":
                if look.tags.get("hair") != "bald" and "hair" in look.colours:
                    tags.append(f"{look.colours['hair']} hair")
            case "skin" | "background" if part in look.colours:
                tags.append(f"{look.colours[part]} {part}")
            case "clothes" if "clothes" in look.colours:
                tags += [f"{look.colours['clothes']} clothes", *_split(look.tags["clothes"])]
            case _:
                tags += _split(look.tags.get(part, ""))
    return tags


def _split(tags: str) -> list[str]:
    return [tag.strip() for tag in tags.split(",") if tag.strip()]


def labels(look: Look) -> dict[str, str]:
    """Return head -> label for everything that can be seen in the picture."""
    defaults = table()["defaults"]
    found = {"style": look.style, "hair": look.tags["hair"], "mouth": look.tags["mouth"]}
    for head in ("skin", "background"):
        found[head] = look.colours[head]
    if look.tags["hair"] != "bald":
        found["hair_colour"] = look.colours["hair"]
    found["clothes"] = look.colours.get("clothes", "no clothes")
    found["eyewear"] = look.tags.get("eyewear", defaults["eyewear"])
    hair_on_face = look.tags.get("facial hair", defaults["facial hair"])
    found["facial_hair"] = "mustache" if look.tags.get("details") == "mustache" else hair_on_face
    if found["eyewear"] != "sunglasses":
        found["eyes"] = look.tags.get("eyes") or defaults["eyes"]
    return found


@cache
def style(name: str) -> Style:
    """Return a DiceBear style with the table's enlarged components (validated once)."""
    source = files("dicebear_styles").joinpath(f"{name}.json")
    definition = json.loads(source.read_text("utf-8"))
    enlarge = table()["styles"].get(name, {}).get("enlarge", {})
    for component, factor in enlarge.items():
        definition["components"][component]["scale"] = {"min": factor, "max": factor}
    return Style(definition)


class _Trusted(Options):
    """Options that skip the JSON schema: checking costs as much as drawing."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data
        self._tags = None


def shade(colour: str, amount: int, rng: random.Random) -> str:
    """Return a #rrggbb colour with each channel moved by at most `amount`."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    moved = (min(255, max(0, c + rng.randint(-amount, amount))) for c in channels)
    return "#" + "".join(f"{c:02x}" for c in moved)


def _options(look: Look) -> tuple[dict[str, Any], str]:
    """Return DiceBear options and the background colour of a look."""
    rng = random.Random(look.jitter)
    rows = table()["styles"][look.style]
    colour = {
        key: shade(table()["colours"][key][name], 6, rng) for key, name in look.colours.items()
    }
    names = {"skin": "skinColor", "clothes": "clothesColor", **rows["option_names"]}
    options: dict[str, Any] = {"seed": "mame", "hairColor": [colour["hair"]]}
    options |= {key: [value] for key, value in rows["fixed"].items()}
    options[names["skin"]] = [colour["skin"]]
    options["facialHairColor"] = [colour["hair"]]
    if "clothes" in colour:
        options[names["clothes"]] = [colour["clothes"]]
    for attribute, components in COMPONENTS.items():
        variant = look.variants.get(attribute)
        for component in components:
            options[f"{component}Probability"] = 100 if variant else 0
            if variant:
                options[f"{component}Variant"] = [variant.split("+")[0]]
    rear = look.variants["hair"].partition("+")[2]
    options |= {"rearHairProbability": 100 if rear else 0}
    if rear:
        options["rearHairVariant"] = [rear]
    return options, colour["background"]


def view_box(name: str, shape: str, jitter: random.Random) -> tuple[float, float, float, float]:
    """Return (x, y, width, height) of the shown part in shares of the canvas."""
    x, y, side = table()["styles"].get(name, {}).get("view", (0.0, 0.0, 1.0))
    width, height = SHAPES[shape]
    unit = side * FIT[shape] / min(width, height) * jitter.uniform(0.985, 1.015)
    w, h = unit * width, unit * height
    left = x + (side - w) / 2 + jitter.uniform(-0.01, 0.01)
    if name == "adventurer":  # a floating head: centred; the others stand on the lower edge
        return left, y + (side - h) / 2 + jitter.uniform(-0.01, 0.01), w, h
    return left, y + side - h, w, h


def rasterise(name: str, options: dict[str, Any], box: tuple[float, ...], shape: str, back: str):
    """Return the PIL picture of a DiceBear avatar, cut to `box` (shares of the canvas)."""
    drawing = style(name)
    svg = Renderer(drawing, Resolver(drawing, _Trusted(options))).render()
    side = drawing.canvas().width()
    view = " ".join(f"{share * side:.5f}" for share in box)
    svg = re.sub(r'viewBox="[^"]*"', f'viewBox="{view}"', svg, count=1)
    svg = re.sub(r'<clipPath id="clip-.*?</clipPath>', "", svg)
    svg = re.sub(r' clip-path="url\(#clip-[^)]*\)"', "", svg)
    width, height = SHAPES[shape]
    png = resvg_py.svg_to_bytes(
        svg_string=svg, width=width, height=height, background=back, skip_system_fonts=True
    )
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if picture.size != (width, height):  # resvg rounds the short side of some views by one
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    return picture


def draw(look: Look, shape: str = "square") -> Image.Image:
    """Return the picture of a look."""
    options, back = _options(look)
    box = view_box(look.style, shape, random.Random(look.jitter + 1))
    return rasterise(look.style, options, box, shape, back)


def draw_other(name: str, seed: int, shape: str = "square"):
    """Return (picture, labels, tags) of a held-out style; only its colours are known."""
    rng = random.Random(seed)
    colours = {key: rng.choice(list(palette)) for key, palette in table()["colours"].items()}
    paint = {key: shade(table()["colours"][key][c], 6, rng) for key, c in colours.items()}
    options: dict[str, Any] = {"seed": str(seed)}
    known = style(name).colors()
    for key, option in (("hair", "hair"), ("skin", "skin"), ("clothes", "clothing")):
        if option in known:
            options[f"{option}Color"] = [paint[key]]
    own_background = "background" in known
    if own_background:
        options["backgroundColor"] = [paint["background"]]
    picture = rasterise(name, options, view_box(name, shape, rng), shape, paint["background"])
    facts = {"style": name}
    if "skin" in known and name != "lorelei":
        facts["skin"] = colours["skin"]
    if name == "pixel-art":
        facts["clothes"] = colours["clothes"]
    if not own_background:
        facts["background"] = colours["background"]
    tags = [f"{name} style", "person"]
    if "hair" in known:
        tags.append(f"{colours['hair']} hair")
    tags += [f"{facts[key]} {key}" for key in ("skin", "clothes", "background") if key in facts]
    return picture, facts, tags
