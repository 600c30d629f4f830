"""`renma import-kohya`: a command, config file or GUI preset of sd-scripts becomes a run.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from renma.compat import report as reports
from renma.compat import source
from renma.compat.draft import Places
from renma.compat.translate import refused, translate
from renma.config.compat_tasks import ImportKohyaOptions
from renma.config.optimizer_rules import ONE_CYCLE
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_text


def run(options: ImportKohyaOptions, report: Report) -> None:
    """Writes the run.toml; nothing is written if something cannot be had here.

    Raises:
        UserError: a mistake in what was given, or an option that is not supported.
    """
    here = Path.cwd()
    given = source.read(options.source, here)
    draft = translate(given, Places(here, options.out.parent))
    if options.report:
        for line in reports.table(draft):
            report.line(line)
    if reasons := refused(draft):
        raise UserError(
            f"cannot be done here: {'; '.join(reasons)}",
            where=_name(options.source),
            remedy="Take it out to go on without it.",
        )
    if options.out.exists() and options.out.is_dir():
        raise UserError("is a folder", where=f"-o {options.out}", remedy="Name the file.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, reports.toml(draft, _name(options.source)))
    for text in (*draft.warnings, *_left_out(draft.raw["schedule"])):
        report.event("warned", text=text)
    for row in draft.rows.values():
        if row.kind == "without effect" and not options.report:
            report.event("warned", text=f"--{row.option}: {reports.fate(row)}")
    report.line(f"wrote {options.out}; `renma check {options.out}` shows its plan")


def _left_out(schedule: Mapping[str, Any]) -> Iterator[str]:
    """Yields what sd-scripts needs said and was not; training itself says it again."""
    if schedule["name"] == "cosine_with_restarts" and schedule.get("num_cycles", 1) == 1:
        yield f"{ONE_CYCLE} sd-scripts names it --lr_scheduler_num_cycles."


def _name(text: str) -> str:
    return Path(text).name if len(text) < 200 and " --" not in text else "a command"
