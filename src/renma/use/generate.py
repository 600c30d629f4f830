"""``renma sample``: pictures from prompts, with any number of LoRAs.

A picture's name ends in digits of its recipe's digest, so what is there already is not drawn again
and an interrupted command goes on where it stopped. Each picture depends on its own seed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from renma.config.picture_recipe import Recipe
from renma.config.sample_task import SampleOptions
from renma.core.counted import counted
from renma.core.events import Report
from renma.core.store import probe, sweep, write_atomic
from renma.drawing import drawn_file
from renma.drawing.painter import draw
from renma.use.contact_sheet import MOST, contact_sheet
from renma.use.recipes import recipes

SHEET = "sheet.png"
_DIGITS = 10
"""Of the digest, in a picture's name."""


def run(options: SampleOptions, report: Report) -> None:
    """Draws pictures, and a sheet of them where there are several.

    Raises:
        UserError: whatever is wrong with prompts, LoRAs, regions, the model or the folder.
    """

    def warn(text: str) -> None:
        report.event("warned", text=text)

    wanted = recipes(options, warn)
    probe(options.out)
    sweep(options.out, older_than=60)
    due: dict[Path, Recipe] = {}
    paths: list[Path] = []
    for number, recipe in enumerate(wanted):
        path = options.out / name_of(recipe, number)
        if (drawn := there(path, recipe)) is None:
            due.setdefault(path, recipe)
        paths.append(drawn or path)
    if kept := len(set(paths)) - len(due):
        report.line(f"{counted(kept, 'picture')} there already, kept")
    if due:
        _told(list(due.values()), report)
        draw(due, report, device=options.device, batch_size=options.batch_size)
    every = list(dict.fromkeys(paths))
    if len(every) > 1:
        page = contact_sheet(every)
        write_atomic(options.out / SHEET, lambda part: page.save(part, format="PNG"))
        some = f", the first {MOST} of {len(every)}" if len(every) > MOST else ""
        report.line(f"sheet: {options.out / SHEET}{some}")
    report.line(f"{counted(len(every), 'picture')} in {options.out}")


def name_of(recipe: Recipe, number: int) -> str:
    """Returns a picture's file name: its place in the command, its seed, its digest."""
    return f"{number + 1:04d}-{recipe.prompt.seed}-{recipe.digest()[:_DIGITS]}.png"


def there(path: Path, recipe: Recipe) -> Path | None:
    """Returns the whole picture of a recipe, whatever its place in another command was."""
    tail = path.name.partition("-")[2]
    found = sorted(path.parent.glob(f"[0-9]*-{tail}"))
    return next((one for one in found if drawn_file.shows(one, recipe)), None)


def _told(chosen: Sequence[Recipe], report: Report) -> None:
    """Says which LoRAs are drawn with."""
    used = {lora.name: lora for recipe in chosen for lora in (*recipe.loras, *recipe.named)}
    if used:
        report.line(f"LoRAs: {', '.join(used)}")
    if any(lora.unet == lora.text_encoder == 0 for r in chosen for lora in r.loras):
        report.event("warned", text="a LoRA of weight 0 has no effect")
