"""Writes the model card of mame from the report of its training.

python tools/mame/card.py work/report.json --made "2 CPU cores, 98 minutes"
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import avatar

ASSETS = Path(__file__).parents[2] / "src" / "renma" / "assets"
GOALS = {
    "style": 97,
    "hair": 80,
    "hair_colour": 97,
    "skin": 97,
    "clothes": 97,
    "background": 97,
    "eyewear": 90,
    "mouth": 70,
    "facial_hair": 90,
}
CREDITS = {
    "adventurer": ("Adventurer", "Lisa Wischofsky", "CC BY 4.0", "1184595184137881796"),
    "micah": ("Avatar Illustration System", "Micah Lanier", "CC BY 4.0", "829741575478342595"),
    "toon-head": ("ToonHead", "Johan Melin", "CC BY 4.0", "1589627891082866389"),
    "big-smile": ("Custom Avatar", "Ashley Seo", "CC BY 4.0", "881358461963645496"),
    "miniavs": ("Miniavs - Free Avatar Creator", "Webpixels", "CC BY 4.0", "923211396597067458"),
    "dylan": ("Dylan! The Avatar Generator", "Natalia Spivak", "CC BY 4.0", "1356575240759683500"),
    "lorelei": ("Lorelei", "Lisa Wischofsky", "CC0 1.0", "1198749693280469639"),
    "pixel-art": ("Pixel Art", "DiceBear", "CC0 1.0", "1198754108850888330"),
}
CORE_SECONDS = {
    "drawing": "16,200 pictures, 350 a second with two processes: 90 core-seconds",
    "VAE": "4,000 steps of 32 crops of 64 px (or 8 pictures), 0.97 each: 3,880",
    "encoding, round trips": "14,400 pictures encoded, 4,800 decoded again: 460",
    "attribute reader": "1,800 steps of 48 pictures, 0.46 each: 830",
    "text encoder": "250 steps of 128 captions, 0.24 each: 60",
    "U-Net": "7,200 steps of 48, 0.72 each (67 pictures a second and core): 5,160",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path)
    parser.add_argument("--made", required=True, help="hardware and time, in a sentence")
    parser.add_argument("--out", type=Path, default=ASSETS / "mame" / "README.md")
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8"))
    parts = [INTRODUCTION, data(), training(options.made), figures(report), LIMITS]
    options.out.write_text("\n".join(parts), encoding="utf-8")


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def data() -> str:
    """Return the section on pictures and their licences."""
    rows = [
        f"| {name} | “{title}” by {author} | [{licence}]({link(licence)}) | "
        f"<https://www.figma.com/community/file/{number}> | {role(name)} |"
        for name, (title, author, licence, number) in CREDITS.items()
    ]
    unseen = "; ".join(", ".join(row.values()) for row in avatar.unseen_rows())
    return DATA.format(rows="\n".join(rows), unseen=unseen)


def link(licence: str) -> str:
    """Return the address of a licence."""
    path = "licenses/by/4.0" if licence.startswith("CC BY") else "publicdomain/zero/1.0"
    return f"https://creativecommons.org/{path}/"


def role(name: str) -> str:
    """Return what a drawing style was used for."""
    return "everything" if name in avatar.table()["styles"] else "VAE and reader only"


def training(made: str) -> str:
    """Return the section on how it was trained."""
    rows = [f"| {stage} | {text} |" for stage, text in CORE_SECONDS.items()]
    return TRAINING.format(made=made, rows="\n".join(rows))


def figures(report: dict) -> str:
    """Return the tables of measured figures."""
    obeyed, read = report["obeyed"], report["classifier"]
    kinds = ("square", "tall", "wide", "held-out combinations")
    rows = []
    for head in obeyed["square"]:
        goal = GOALS.get(head)
        shares = " | ".join(percent(obeyed[kind].get(head)) for kind in kinds)
        missed = " (missed)" if goal and 100 * obeyed["square"][head] < goal else ""
        rows.append(f"| {head} | {goal or '-'}{missed} | {shares} |")
    reader = [
        f"| {head} | " + " | ".join(percent(read[k].get(head)) for k in read) + " |"
        for head in read["seen"]
    ]
    both = report.get("facial_hair_with_all_tags")
    return FIGURES.format(
        psnr=report["psnr"],
        rows="\n".join(rows),
        reader="\n".join(reader),
        note=DROPPED.format(share=percent(both["square"])) if both else "",
    )


INTRODUCTION = """\
# mame

The base model inside [renma](../../../../README.md): a real, very small latent diffusion model with
the layout and the module names of Stable Diffusion 1.x, trained from nothing on drawn avatars with
booru-style tags. Every attribute of every picture is known, so what a LoRA learns can be measured,
on a laptop, without a download. Licence of the weights: Apache-2.0; the drawings it learned from
are credited below.

```python
from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("src/renma/assets/mame")
prompt = "adventurer style, person, ponytail, red hair, light skin, smile, blue background"
pipe(prompt, width=128, height=128, num_inference_steps=25, guidance_scale=4).images[0]
```

| part | configuration | parameters |
|---|---|---|
| U-Net | 48, 96, 128, 128 channels, 1 layer a block, 2 heads, cross-attention width 128 | 7.10 M |
| VAE | 16, 48, 96, 128 channels, f = 8, 4 latent channels, scaling factor 0.4894 | 3.22 M |
| text encoder | CLIP text model, 128 wide, 3 layers, 4 heads, 820 byte-level BPE tokens | 0.71 M |

Epsilon prediction, scaled-linear betas .00085 to .012, 1,000 steps. Sizes: 128x128, 96x160, 160x96.
`tags.json` lists every tag; full captions keep the order style, person, hair, hair colour, skin,
eyes, glasses, eyebrows, mouth, facial hair, details, earrings, clothes, background.
"""

DATA = """\
## Pictures

12,000 drawn pictures (70 % 128x128, 15 % 96x160, 15 % 160x96), made with
[DiceBear](https://www.dicebear.com) 10 (MIT) and resvg; all adaptations (own colours, larger mouths
and glasses, closer crops) are ours and imply no endorsement. Drawing styles:

| style | work | licence | source | used for |
|---|---|---|---|---|
{rows}

Never shown to the U-Net: the styles marked above, a braid, and these combinations: {unseen}.
(The VAE and the attribute reader did see the other styles; the reader also saw the combinations.)
"""

TRAINING = """\
## Training

{made}

Steps are fixed in `tools/mame/budget.py`, so that a GPU gives what two CPU cores would. What they
cost there was measured stage by stage, in CPU seconds of one thread (AMD EPYC, PyTorch 2.13):

| stage | work and core-seconds |
|---|---|
{rows}

Together 10,480 core-seconds, 87 minutes on two cores if both are always busy. That is a sum of
measured parts: the whole was not yet run from beginning to end on CPU, and two threads of one
process never share the work perfectly.

Loss: min-SNR 5, extra weight on mouths and eyes, 10 % empty captions, 15 % with tags left out, half
shuffled; low-frequency noise and steps leaning to the noisy end (see `tools/mame/unet.py` for why).
"""

FIGURES = """\
## Figures

VAE: {psnr:.2f} dB PSNR on 200 fresh pictures (goal 28).

Share of pictures (%) in which the attribute reader finds what the caption says: 200 fresh full
captions, guidance 4, 25 DDIM steps. Held-out combinations: 200 captions at 128x128 whose
combination of style, hair and colour (or glasses) never occurred in training.

| attribute | goal | 128x128 | 96x160 | 160x96 | held-out combinations |
|---|---|---|---|---|---|
{rows}

{note}
The attribute reader itself (`assets/attributes`), % right on fresh drawn pictures: seen looks,
held-out combinations, held-out styles (heads that do not apply are left out), and seen looks passed
through the VAE:

| attribute | seen | held out | other styles | through the VAE |
|---|---|---|---|---|
{reader}
"""

DROPPED = """
The captions it was trained on also held `stubble` and `goatee`. The dots of the one and the chin of
the other are smaller than the VAE can carry: neither was ever painted (0 of 22), and with them
facial hair came to {share} %, short of the goal. Both were then taken out of `tags.json`, of the
recipe and of the table above.
"""

LIMITS = """\
## What it cannot do

It knows three drawing styles, the 89 words of its captions, and one head in the middle. It paints
soft edges and faintly mottled backgrounds; thin things (stubble, wires of glasses on dark skin)
blur in the VAE. Words outside its captions are split into characters and mean nothing until a LoRA
gives them meaning. Captions without hair or skin tags get any hair, often none. Other sizes than
the three above were never trained. It is a test bench for training, not a picture generator.
"""


if __name__ == "__main__":
    main()
