"""`renma check`: the plan of a run in under a second, without loading the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from renma.config.run_tasks import CheckOptions
from renma.core.events import Report
from renma.train import plan_table
from renma.train.caption_plan import Said, Tokens, captions, first_epoch
from renma.train.plan import Plan, Prepared, prepare
from renma.train.source import Source, load


def run(options: CheckOptions, report: Report) -> None:
    """Prints the plan as a table, or as JSON.

    Raises:
        UserError: anything that would stop the run.
    """
    source = load(options.run, options.dataset_config, options.set)
    with source.pointing():
        prepared = prepare(source.run, source.base)
    if options.as_json:
        report.line(json.dumps(_facts(source, prepared, options), ensure_ascii=False, indent=2))
        return
    for line in table(prepared.plan):
        report.line(line)
    if options.captions:
        report.line("")
        for line in plan_table.said_lines(list(_said(source, prepared))):
            report.line(line)
    for text in prepared.plan.warnings:
        report.event("warned", text=text)


def table(plan: Plan) -> list[str]:
    """Returns the plan as aligned lines for people, notes at the end."""
    return [*plan_table.lines(plan), *plan_table.note_lines(plan)]


def _facts(source: Source, prepared: Prepared, options: CheckOptions) -> dict[str, Any]:
    """Returns the plan for programs; there captions are counted even where all of them fit."""
    tokens = Tokens(source.run, prepared.model)
    items = [item for scanned in prepared.scan.sets for item in scanned.items]
    facts = prepared.plan.as_dict() | {"captions": vars(captions(items, tokens, count=True))}
    if options.captions:
        facts["showings"] = [vars(said) for said in _said(source, prepared)]
    return facts


def _said(source: Source, prepared: Prepared) -> Iterator[Said]:
    tokens = Tokens(source.run, prepared.model)
    return first_epoch(prepared.order, tokens, source.run.train.seed, prepared.plan.steps)
