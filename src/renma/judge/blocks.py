"""``renma blocks``: which block of the U-Net does what in a LoRA, and which could be left out.

The same prompt and seeds are drawn with the base model, with the whole LoRA, with each block
switched off and with each block alone; what changes between them is measured and shown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renma.config import load_run
from renma.config.blocks_task import BlocksOptions
from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt, parse
from renma.config.prompts import prompts as preview_prompts
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.core.events import Report, Silent
from renma.core.store import cache_folder, probe, write_atomic, write_text
from renma.drawing import prompt_loras
from renma.drawing.painter import Cells, Painter
from renma.drawing.picture_source import Shelf, Source, lora_name
from renma.formats.model_facts import ModelFacts
from renma.judge import block_rows, block_words
from renma.judge.block_effect import Effects, Setting, measure
from renma.judge.block_page import render
from renma.judge.block_sheet import sheet_of
from renma.judge.folder import RunRecord


@dataclass(frozen=True)
class Subject:
    """What is examined.

    Attributes:
        lora: the file.
        source: the model it is drawn with.
        record: the run it belongs to, if any.
        cells: folder of drawn pictures.
        page: the page to write.
    """

    lora: Path
    source: Source
    record: RunRecord | None
    cells: Path
    page: Path


def run(options: BlocksOptions, report: Report) -> None:
    """Draws, measures and writes the page and its sheet.

    Raises:
        UserError: no run or LoRA, nothing to draw, a LoRA for another model, a full disk.
    """
    subject = open_subject(options)
    told: Report = Silent() if options.as_json else report  # programs want nothing but JSON
    cells = Cells(subject.cells, told, device=options.device, batch_size=options.batch_size)
    analyse(options, subject, cells, report)


def analyse(
    options: BlocksOptions, subject: Subject, painter: Painter, report: Report
) -> dict[str, Any]:
    """Draws, measures, writes and tells; returns what ``--json`` prints.

    Args:
        options: the command's.
        subject: what is examined.
        painter: draws.
        report: told everything.

    Raises:
        UserError: nothing to draw, a LoRA for another model, a full disk.
    """
    told: Report = Silent() if options.as_json else report
    setting, found = examine(options, subject, painter, told)
    prompt, name = setting.recipes[0].prompt, setting.lora.name
    said = block_words.sentences(found, name)
    about = {
        "lora": str(subject.lora),
        "model": subject.source.model.path,
        "prompt": prompt.text,
        "seeds": [r.prompt.seed for r in setting.recipes],
        "weight": options.weight,
        "threshold": options.threshold,
    }
    row = {**block_words.as_row(found, about), "verdict": said}
    sheet = subject.page.with_suffix(".png")
    picture = sheet_of(found, f"{name}: {prompt.text}")
    write_atomic(sheet, lambda part: picture.save(part, format="PNG", optimize=True))
    write_text(subject.page, render(found, name, about, said))
    if options.as_json:
        report.line(json.dumps(row, ensure_ascii=False, indent=1))
        return row
    for line in (*block_words.table(found), "", *said, f"page: {subject.page}", f"sheet: {sheet}"):
        report.line(line)
    return row


def examine(
    options: BlocksOptions, subject: Subject, painter: Painter, report: Report
) -> tuple[Setting, Effects]:
    """Draws and measures; arguments and errors as of :func:`analyse`."""
    facts = subject.source.facts()
    layers = block_rows.layers_of(subject.lora, facts)
    setting = _setting(options, subject, facts, report)
    blocks = block_rows.block_rows(layers, setting.sdxl)
    presets = block_rows.preset_rows(layers, setting.sdxl) if options.presets else []
    probe(subject.page.parent)
    report.line(f"LoRA: {subject.lora}, {counted(sum(layers.counts.values()), 'layer')}")
    report.line(f"prompt: {setting.recipes[0].prompt.text}, {counted(options.seeds, 'seed')}")
    return setting, measure(painter, setting, blocks, presets)


def open_subject(options: BlocksOptions) -> Subject:
    """Returns what is examined.

    Raises:
        UserError: neither run nor LoRA file, or a file whose model nobody named.
    """
    place, assignments = options.lora, options.set
    if place.is_file() and place.suffix != ".toml":
        folder = place.parent.parent
        if not options.model and (folder / "run.toml").is_file():
            record = RunRecord.open(folder)
            return _of_run(options, record, place)
        if not options.model:
            raise UserError(
                "lies in no run, so nothing says which model it is for",
                where=place,
                remedy="Name it with --model.",
            )
        source = Source.of(options.model, assignments)
        page = options.out or Path(f"{lora_name(place)}-blocks.html")
        return Subject(place, source, None, cache_folder() / "cells", _html(page))
    record = RunRecord.open(place)
    if options.model:
        raise UserError(
            "a run says itself which model it is for", where="--model", remedy="Leave it out."
        )
    return _of_run(options, record, _best(record))


def _of_run(options: BlocksOptions, record: RunRecord, lora: Path) -> Subject:
    assignments = [f"model.{one}" for one in options.set]
    source = Source.of_run(load_run(record.path / "run.toml", assignments), record.path, lora)
    page = options.out or record.path / "blocks.html"
    return Subject(lora, source, record, record.path / "cells", _html(page))


def _html(path: Path) -> Path:
    """Returns the page's path; a sheet's name stands for the page beside it."""
    return path.with_suffix(".html") if path.suffix in ("", ".png") else path


def _best(record: RunRecord) -> Path:
    """Returns the checkpoint that was judged the best, else the last one."""
    found = record.need_checkpoints()
    try:
        score = json.loads((record.path / "score.json").read_text(encoding="utf-8"))
        best = record.inside(score.get("best"))
    except (OSError, ValueError, AttributeError):
        best = None
    return best or found[-1].path


def _setting(
    options: BlocksOptions, subject: Subject, facts: ModelFacts, report: Report
) -> Setting:
    """Returns what is drawn."""
    source, shelf = subject.source, Shelf(None, {})
    prompt = _prompt(options, subject, report)
    size = {n: getattr(prompt, n) or facts.native_size for n in ("width", "height")}
    standing = tuple(shelf.used(lora_name(p), p, w, w) for p, w in source.standing)
    shared = {**source.basis(facts), "loras": standing}
    if options.precision:
        shared["precision"] = options.precision
    first = options.seed if prompt.seed is None else prompt.seed
    recipes = tuple(
        Recipe(**shared, prompt=prompt.model_copy(update={"seed": (first + n) % 2**63, **size}))
        for n in range(options.seeds)
    )
    lora = shelf.used(lora_name(subject.lora), subject.lora, options.weight, options.weight)
    return Setting(recipes, lora, facts.family == "sdxl", options.threshold)


def _prompt(options: BlocksOptions, subject: Subject, report: Report) -> Prompt:
    """Returns the prompt with everything said but seed and size.

    Raises:
        UserError: there is none, or it names LoRAs.
    """
    how, record = subject.source.sample, subject.record
    given = {"steps": options.steps, "sampler": options.sampler, "scale": options.cfg}
    how = how.model_copy(update={name: v for name, v in given.items() if v is not None})

    def note(text: str) -> None:
        report.event("warned", text=text)

    line = options.prompt or (record and next(iter(record.run.judge.trigger_prompts), ""))
    if line:
        names = ("steps", "sampler", "scale", "rescale")
        where = "--prompt" if options.prompt else "judge.trigger_prompts"
        found = parse(line, {name: getattr(how, name) for name in names}, where, note)
    else:
        previews = preview_prompts(how, record.path) if record else []
        if not previews:
            raise UserError("nothing says what to draw", remedy="Give --prompt.")
        found = previews[0]
    if any(part.loras for part in prompt_loras.split(found.text)):
        raise UserError(
            "names a LoRA itself", where=f"'{found.text}'", remedy="Leave <lora:...> out."
        )
    if found.seed is not None and "seed" in options.model_fields_set:
        note(f"--seed has no effect: the prompt says --d {found.seed}")
    return found
