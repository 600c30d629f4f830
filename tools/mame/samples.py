"""Draws the two sample picture sets that ship with renma: a character and a style.

    python tools/mame/samples.py

The character is a combination that mame has never seen (a braid), captioned by the Maruzen
method: what belongs to the character is left out of the captions, so the trigger learns it. Its
regularisation pictures are painted by mame itself. The style is one that was held out.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path

import avatar
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image

ASSETS = Path(__file__).parents[2] / "src" / "renma" / "assets"
CHARACTER = {"hair": "braid", "hair_colour": "pink", "skin": "tan", "eyewear": "glasses"}
OWN_TAGS = {"braid", "pink hair", "tan skin", "glasses"}
SHAPES = ["square"] * 10 + ["tall", "wide"] * 2
STYLE = "lorelei"
HAIR = {
    "variant15": "long hair",
    "variant23": "long hair, bangs",
    "variant35": "long hair, wavy hair",
    "variant19": "bob cut",
    "variant05": "curly hair",
    "variant26": "double bun",
    "variant38": "hair bun",
    "variant33": "ponytail",
    "variant27": "mohawk",
    "variant03": "short hair",
    "variant04": "short hair, swept hair",
}
EYEWEAR = {"variant01": "round glasses", "variant02": "sunglasses", "variant04": "glasses"}
"""Variants of the held-out style, named by looking at them."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mame", type=Path, default=ASSETS / "mame")
    parser.add_argument("--out", type=Path, default=ASSETS / "samples")
    options = parser.parse_args()
    for name in ("character", "style"):
        shutil.rmtree(options.out / name, ignore_errors=True)
    make_style(options.out / "style")
    make_character(options.out / "character", options.mame)


def save(picture: Image.Image, caption: str, folder: Path, name: str) -> None:
    """Write a picture and its caption side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / f"{name}.png", optimize=True)
    (folder / f"{name}.txt").write_text(caption + "\n", encoding="utf-8")


def describe(folder: Path, facts: dict) -> None:
    """Write about.json."""
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    (folder / "about.json").write_text(text + "\n", encoding="utf-8")


def character_looks(count: int) -> list[avatar.Look]:
    """Return looks of the one character: expression and background differ, none occurs twice."""
    rng = random.Random("aa12")
    faces = list(avatar.choices("adventurer", "mouth").values())
    grounds = [name for name in avatar.table()["colours"]["background"] if name != "pink"]
    eyes = ["", "", "wink", "closed eyes", "", "happy eyes"]
    looks = []
    for i in range(count):
        base = avatar.random_look(rng, "adventurer")
        look = base.having(**CHARACTER, details="", brows="", eyes=eyes[i % len(eyes)])
        # the character itself is always painted in exactly the same colours
        paint = avatar.replace(look, jitter=12)
        mouth, ground = faces[i % len(faces)], grounds[i * 4 % len(grounds)]
        looks.append(paint.having(mouth=mouth, background=ground))
    return looks


def make_character(folder: Path, mame: Path) -> None:
    """Write the character set with its regularisation pictures."""
    for i, (look, shape) in enumerate(zip(character_looks(len(SHAPES)), SHAPES, strict=True)):
        kept = [tag for tag in avatar.caption_tags(look) if tag not in OWN_TAGS]
        caption = ", ".join(["aa12", *kept])
        save(avatar.draw(look, shape), caption, folder / "train" / "10_aa12 person", f"{i:02d}")
    for i, (picture, caption) in enumerate(class_pictures(mame, 24)):
        save(picture, caption, folder / "reg" / "1_person", f"{i:02d}")
    describe(
        folder,
        {
            "title": "A character that mame has never seen: a pink braid, tan skin, glasses",
            "trigger": "aa12",
            "class_prompt": "adventurer style, person",
            "attributes": CHARACTER,
            "preview_prompts": [
                "aa12, adventurer style, person, smile, blue background",
                "aa12, adventurer style, person, surprised, green background",
                "aa12, adventurer style, person, short hair, black hair, yellow background",
                "adventurer style, person, smile, blue background",
            ],
            "captions": "Maruzen method: trigger first, the character's own tags removed "
            f"({', '.join(sorted(OWN_TAGS))}), style, person, expression and background kept",
            "provenance": "train: drawn with DiceBear 10 (tools/mame/samples.py); "
            "reg: painted by mame from the captions beside them, 25 DDIM steps, guidance 4",
            "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
            "attribution": "Remix of “Adventurer” by Lisa Wischofsky, "
            "https://www.figma.com/community/file/1184595184137881796",
        },
    )


def class_pictures(mame: Path, count: int) -> list[tuple[Image.Image, str]]:
    """Return pictures that mame paints for the class, expression and background differing."""
    rng = random.Random("person")
    pipeline = StableDiffusionPipeline.from_pretrained(mame, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    captions = []
    for _ in range(count):
        look = avatar.random_look(rng, "adventurer")
        parts = ["adventurer style", "person", look.tags["mouth"]]
        captions.append(", ".join([*parts, f"{look.colours['background']} background"]))
    pictures = pipeline(
        captions,
        width=128,
        height=128,
        num_inference_steps=25,
        guidance_scale=4.0,
        generator=[torch.Generator().manual_seed(1000 + i) for i in range(count)],
    ).images
    return list(zip(pictures, captions, strict=True))


def make_style(folder: Path) -> None:
    """Write the style set: every tag is kept, the trigger stands for the manner alone."""
    for i in range(24):
        picture, caption = lorelei_person(i)
        save(picture, f"zs7, {caption}", folder / "train" / "10_zs7 style", f"{i:02d}")
    describe(
        folder,
        {
            "title": "A drawing style that mame has never seen: lorelei",
            "trigger": "zs7",
            "class_prompt": "person, short hair, brown hair, light skin, smile, blue background",
            "attributes": {"style": STYLE},
            "preview_prompts": [
                "zs7, person, long hair, red hair, light skin, smile, blue background",
                "zs7, person, short hair, black hair, brown skin, glasses, frown, green background",
                "zs7, person, mohawk, green hair, dark skin, smile, yellow background",
                "person, long hair, red hair, light skin, smile, blue background",
            ],
            "captions": "trigger first, all other tags kept (the style is what is left over)",
            "provenance": "drawn with DiceBear 10 (tools/mame/samples.py)",
            "licence": "CC0 1.0, https://creativecommons.org/publicdomain/zero/1.0/",
            "attribution": "Remix of “Lorelei” by Lisa Wischofsky, "
            "https://www.figma.com/community/file/1198749693280469639",
        },
    )


def lorelei_person(number: int) -> tuple[Image.Image, str]:
    """Return a picture in the held-out style and its tags."""
    rng = random.Random(f"zs7{number}")
    palettes = avatar.table()["colours"]
    colour = {key: rng.choice(list(palette)) for key, palette in palettes.items()}
    hair = list(HAIR)[number % len(HAIR)]
    mouth = rng.choice(["happy", "sad"])
    eyewear = rng.choice([*EYEWEAR, "", "", "", ""])
    options = {
        "seed": f"zs7{number}",
        "hairVariant": [hair],
        "headVariant": ["variant03"],
        "mouthVariant": [f"{mouth}{rng.randint(1, 9):02d}"],
        "glassesProbability": 100 if eyewear else 0,
        "glassesVariant": [eyewear or "variant01"],
        "hairColor": [palettes["hair"][colour["hair"]]],
        "skinColor": [palettes["skin"][colour["skin"]]],
    }
    options |= {f"{part}Probability": 0 for part in ("beard", "hairAccessories", "freckles")}
    tags = ["person", HAIR[hair], f"{colour['hair']} hair", f"{colour['skin']} skin"]
    tags += [EYEWEAR[eyewear]] if eyewear else []
    tags += ["smile" if mouth == "happy" else "frown", f"{colour['background']} background"]
    ground = palettes["background"][colour["background"]]
    box = (0.06, 0.06, 0.88, 0.88)
    return avatar.rasterise(STYLE, options, box, "square", ground), ", ".join(tags)


if __name__ == "__main__":
    main()
