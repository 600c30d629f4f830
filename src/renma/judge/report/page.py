"""One HTML file that tells everything about a run: no script, no outside link, safe to send.

All text of captions, prompts, metadata and settings comes from outside and is escaped by the
template engine, home folders are taken out of all of it, and a content security policy in the page
forbids everything but its own pictures. Every picture has a bound in bytes, every text in signs,
the tables in rows, and no page of :data:`LARGEST` bytes is handed out.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from renma.core.errors import UserError
from renma.core.html_page import environment
from renma.judge.folder import RunRecord
from renma.judge.inline import Picture
from renma.judge.numbers import is_number, is_step, is_time
from renma.judge.report import facts, scores, tags
from renma.judge.report.contact import Kind, contact_sheet
from renma.judge.report.curves import charts
from renma.judge.report.heroes import pairs
from renma.judge.report.lint import GRAVITIES, lint
from renma.judge.report.methods import methods
from renma.judge.report.previews import Previews, previews
from renma.judge.report.settings import beginning, differences
from renma.judge.report.sheets import grids, sheet

LARGEST = 8_000_000
"""Bytes that no report reaches."""
HERO = 6
"""Newest previews at the head of the page, where there are no pairs of base and best."""
MOST_WARNINGS = 60
_LONGEST_TEXT, _LONGEST_TOML = 2_000, 100_000  # characters


def render(folder: RunRecord) -> str:
    """Returns the page.

    Raises:
        UserError: it would be too large, or a score.json or tags.json is none.
    """
    templates = environment("renma.judge", finalize=_private)
    templates.filters |= {
        "percent": facts.percent,
        "figure": _figure,
        "prose": _prose,
        "share": _share,
    }
    page = templates.get_template("report.html.jinja").render(_context(folder))
    size = len(page.encode())
    if size >= LARGEST:
        raise UserError(
            f"a report of it would be {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f} MB",
            where=folder.path,
            remedy="Take files that are not of renma's making out of the folder.",
        )
    return page


def _context(folder: RunRecord) -> dict[str, Any]:
    from_words = folder.run.erase.on
    kinds, lost = ([], "") if from_words else contact_sheet(folder)
    context = {
        **_verdict_part(folder),
        **_picture_part(folder),
        "title": folder.run.output.title or folder.run.output.name,
        "about": _about(folder),
        "methods": methods(folder),
        "charts": charts(folder),
        "kinds": kinds,
        "from_words": from_words,
        "pictures_lost": lost,
        "lint": lint(folder, _training(kinds)),
        "gravities": GRAVITIES,
        "tags": tags.read(folder.path),
        **_run_part(folder),
        **_file_part(folder),
    }
    return context | {"contents": _contents(context)}


def _verdict_part(folder: RunRecord) -> dict[str, Any]:
    found = scores.read(folder)
    best = found.best if found else None
    shown = pairs(folder, best.path if best else None)
    drawn = previews(folder)
    newest = [] if shown else _newest(drawn)
    return {"scores": found, "pairs": shown, "previews": drawn, "newest": newest}


def _newest(drawn: Previews) -> list[Picture]:
    return [row.pictures[-1] for row in drawn.rows if row.pictures[-1]][:HERO]


def _picture_part(folder: RunRecord) -> dict[str, Any]:
    shown, others = grids(folder.path)
    return {
        "grids": shown,
        "other_grids": others,
        "blocks": sheet(folder.path, "blocks.png"),
        "evidence": sheet(folder.path, "score.png"),
    }


def _run_part(folder: RunRecord) -> dict[str, Any]:
    began = beginning(folder.run)
    given = folder.path / "run.given.toml"
    texts = list(dict.fromkeys(str(event.get("text", "")) for event in folder.all("warned")))
    return {
        "plan": facts.plan_rows(folder.last("started").get("plan")),
        "measured": facts.measured_rows(folder.last("finished")),
        "warnings": [facts.cut(text) for text in texts[:MOST_WARNINGS]],
        "more_warnings": max(0, len(texts) - MOST_WARNINGS),
        "beginning": began,
        "differences": differences(folder.run, began.run),
        "given": _toml(given) if given.is_file() else "",
        "toml": _toml(folder.path / "run.toml"),
    }


def _file_part(folder: RunRecord) -> dict[str, Any]:
    files = facts.files(folder)
    return {
        "files": files,
        "metadata": facts.file_metadata(folder.path / files[0].name) if files else [],
        "versions": facts.versions(folder.last("started")),
    }


def _contents(context: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns (anchor, name) of the sections that the page has."""
    found = context["scores"]
    sections = (
        ("verdict", "Verdict", True),
        ("method", "Method", context["methods"]),
        ("scores", "Scores", found and (found.rows or context["evidence"])),
        ("grids", "Grids", context["grids"] or context["blocks"]),
        ("tags", "Tags", context["tags"]),
        ("curves", "Curves", context["charts"]),
        ("previews", "Previews", context["previews"].rows),
        ("data", "Pictures", not context["from_words"]),
        ("settings", "Settings", True),
        ("files", "Files", True),
    )
    return [(anchor, name) for anchor, name, there in sections if there]


def _training(kinds: Sequence[Kind]) -> list[Path]:
    return [path for kind in kinds if kind.name == "Training" for path in kind.paths]


def _about(folder: RunRecord) -> list[str]:
    run, end = folder.run, folder.last("finished")
    model = "mame" if run.model.path == "mame" else Path(run.model.path).name
    words = [f"base model {model}"]
    words.append(run.adapter.words)
    if run.output.trigger:
        words.append(f"trigger {run.output.trigger}")
    done = end.get("steps") or folder.last("step").get("step")
    if is_step(done) and done:
        words.append(f"{done} steps")
    if is_time(time := end.get("time")):
        day = datetime.datetime.fromtimestamp(time, datetime.UTC)
        words.append(f"{day:%Y-%m-%d}")
    return words


def _toml(path: Path) -> Markup:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return escape(facts.without_home(facts.cut(text, _LONGEST_TOML)))


def _private(value: Any) -> Any:
    """Takes home folders out of every text that the template writes, and cuts long ones."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return facts.without_home(_sendable(value))
    return value


def _sendable(text: str) -> str:
    """Returns a text of bounded length; halves of signs, which JSON can hold, are replaced."""
    return facts.cut(text, _LONGEST_TEXT).encode(errors="replace").decode()


def _prose(text: str) -> Markup:
    """Returns a sentence with what stands between backticks set as code; all of it escaped."""
    parts = facts.without_home(_sendable(text)).split("`")
    if len(parts) % 2 == 0:  # one is left over
        return escape("`".join(parts))
    code = Markup("<code>{}</code>")
    return Markup("").join(code.format(p) if i % 2 else escape(p) for i, p in enumerate(parts))


def _figure(value: float | None) -> str:
    """Returns a measured number with two decimals, or a dash."""
    return "–" if value is None else f"{value:.2f}"


def _share(value: object) -> float:
    """Returns a share as percentage for a bar's width, 0 where there is none."""
    return round(100 * min(1.0, max(0.0, value)), 1) if is_number(value) else 0.0
