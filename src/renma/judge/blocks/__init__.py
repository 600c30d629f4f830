"""``renma blocks``: which block of the U-Net does what in a LoRA, and which could be left out.

The same prompt and seeds are drawn with the base model, with the whole LoRA, with each block
switched off and with each block alone; what changes between them is measured and shown.
"""

from __future__ import annotations

import json
from typing import Any

from renma.config.blocks_task import BlocksOptions
from renma.core.counted import counted
from renma.core.events import Report, Silent
from renma.core.store import probe, write_atomic, write_text
from renma.drawing.painter import Cells, Painter
from renma.judge.blocks import rows, words
from renma.judge.blocks.effect import Effects, Setting, measure
from renma.judge.blocks.page import render
from renma.judge.blocks.sheet import sheet_of
from renma.judge.blocks.subject import Subject, open_subject, setting_of


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
    said = words.sentences(found, name)
    about = {
        "lora": str(subject.lora),
        "model": subject.source.model.path,
        "prompt": prompt.text,
        "seeds": [r.prompt.seed for r in setting.recipes],
        "weight": options.weight,
        "threshold": options.threshold,
    }
    row = {**words.as_row(found, about), "verdict": said}
    sheet = subject.page.with_suffix(".png")
    picture = sheet_of(found, f"{name}: {prompt.text}")
    write_atomic(sheet, lambda part: picture.save(part, format="PNG", optimize=True))
    write_text(subject.page, render(found, name, about, said))
    if options.as_json:
        report.line(json.dumps(row, ensure_ascii=False, indent=1))
        return row
    for line in (*words.table(found), "", *said, f"page: {subject.page}", f"sheet: {sheet}"):
        report.line(line)
    return row


def examine(
    options: BlocksOptions, subject: Subject, painter: Painter, report: Report
) -> tuple[Setting, Effects]:
    """Draws and measures; arguments and errors as of :func:`analyse`."""
    facts = subject.source.facts()
    layers = rows.layers_of(subject.lora, facts)
    setting = setting_of(options, subject, facts, report)
    blocks = rows.block_rows(layers, setting.sdxl)
    presets = rows.preset_rows(layers, setting.sdxl) if options.presets else []
    probe(subject.page.parent)
    report.line(f"LoRA: {subject.lora}, {counted(sum(layers.counts.values()), 'layer')}")
    report.line(f"prompt: {setting.recipes[0].prompt.text}, {counted(options.seeds, 'seed')}")
    return setting, measure(painter, setting, blocks, presets)
