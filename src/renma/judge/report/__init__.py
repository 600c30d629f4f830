"""``renma report``: one HTML file that tells everything about a run."""

from __future__ import annotations

from pathlib import Path

from renma.config.run_tasks import ReportOptions
from renma.core.events import Report
from renma.core.store import write_text
from renma.judge.folder import RunRecord
from renma.judge.report.page import render


def run(options: ReportOptions, report: Report) -> None:
    """Writes ``report.html`` into a run's folder.

    Raises:
        UserError: no run's folder, or a score.json or tags.json that is none.
    """
    report.line(f"report: {write_report(options.folder)}")


def write_report(folder: Path) -> Path:
    """Writes ``report.html`` into the run's folder and returns its path.

    What a run lacks is left out or said.

    Raises:
        UserError: no run's folder, or a score.json or tags.json that is none.
    """
    record = RunRecord.open(folder)
    target = record.path / "report.html"
    write_text(target, render(record))
    return target
