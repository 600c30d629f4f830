"""`renma check`: the plan of a run in under a second, without loading the model."""

from __future__ import annotations

import json

from renma.config.tasks import CheckOptions
from renma.core.events import Report
from renma.train.plan import Plan, prepare
from renma.train.source import load


def run(options: CheckOptions, report: Report) -> None:
    """Prints the plan as a table, or as JSON."""
    source = load(options.run, options.dataset_config, options.set)
    plan = prepare(source.run, source.base).plan
    if options.as_json:
        report.line(json.dumps(plan.as_dict(), ensure_ascii=False, indent=2))
        return
    for line in table(plan):
        report.line(line)
    for text in plan.warnings:
        report.event("warned", text=text)


def table(plan: Plan) -> list[str]:
    """Returns the plan as aligned lines for people."""
    guess = "" if plan.seconds_known else " (first run here: a guess)"
    rows = [
        ("pictures", f"{plan.pictures}" + _plus(plan.reg_pictures, "regularisation")),
        ("buckets", ", ".join(f"{size} x {count}" for size, count in plan.buckets.items())),
        ("shown per epoch", f"{plan.showings_per_epoch} in {plan.batches_per_epoch} batches"),
        ("steps", f"{plan.steps} ({plan.epochs:g} epochs)"),
        ("trained numbers", f"{plan.parameters:,} (file about {_size(plan.file_bytes)})"),
        ("memory", f"about {_size(plan.memory_mib * 2**20)}"),
        ("time", f"about {_time(plan.seconds)}{guess}"),
    ]  # fmt: skip
    width = max(len(name) for name, _ in rows)
    return [f"{name:<{width}}  {value}" for name, value in rows]


def _plus(count: int, what: str) -> str:
    return f" + {count} {what}" if count else ""


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
