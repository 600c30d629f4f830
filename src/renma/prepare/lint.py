"""``renma prepare lint``: what is wrong with a folder of pictures, before it is trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from renma.config.prepare.lint import LintOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_text
from renma.data.buckets import validate_sizes
from renma.data.notes import shown
from renma.data.own_file import check_target
from renma.data.pictures import ENDINGS
from renma.engine.executors import spread
from renma.prepare import lint_folder
from renma.prepare.findings import CHECKS, GRAVITIES, Finding, checks_without
from renma.prepare.folder_names import as_entry, find_names
from renma.prepare.lint_picture import look_at
from renma.prepare.lint_report import write_page
from renma.prepare.looks import Looks, LooksStage

_READERS = 4
"""Threads that hash files: hashing waits for the disk and lets go of Python's lock."""
_NAMED = 3
_PAGE_MARK = b'<meta name="generator" content="renma">'
_LIST_HEAD = "# Pictures to leave out, one a line, for `renma prepare collect --leave-out`."


@dataclass(frozen=True)
class Examined:
    """What was found in a folder.

    Args:
        names: of all pictures, from the folder on.
        looks: of those that can be read, by name.
        findings: the gravest first, then by name.
        fresh: how many pictures were decoded now.
    """

    names: tuple[str, ...]
    looks: dict[str, Looks]
    findings: tuple[Finding, ...]
    fresh: int

    @property
    def counts(self) -> dict[str, int]:
        """How many pictures each check found, in the order of the findings."""
        found = dict.fromkeys((f.code for f in self.findings), 0)
        return {code: len({f.picture for f in self.findings if f.code == code}) for code in found}


def run(options: LintOptions, report: Report) -> None:
    """Examines a folder and shows what was found.

    Raises:
        UserError: no pictures; a file to write that is somebody's; with ``strict``, anything found.
    """
    _check_targets(options)
    examined = examine(options, report)
    if options.html:
        write_page(options.html, options.folder, examined.looks, examined.findings)
    if options.fix_list:
        write_text(options.fix_list, fix_list(examined.findings))
    if options.as_json:
        report.line(json.dumps(as_data(options, examined), indent=2))
    else:
        for line in table(options, examined):
            report.line(line)
    touched = len({finding.picture for finding in examined.findings})
    if options.strict and touched:
        raise UserError(
            f"something was found in {touched} of {len(examined.names)} pictures",
            where=options.folder,
            remedy="Mend it, or name checks that do not matter with --ignore.",
        )


def _check_targets(options: LintOptions) -> None:
    """Makes sure that page and list are written over nothing but an older page and list.

    Raises:
        UserError: they would be.
    """
    check_target(options.html, "--html", (".html", ".htm"), lambda head: _PAGE_MARK in head)
    listed = options.fix_list
    check_target(listed, "--fix-list", (".txt",), lambda head: head.startswith(_LIST_HEAD.encode()))
    if listed is None:
        return
    if listed.resolve().is_relative_to(options.folder.resolve()):
        raise UserError(
            "--fix-list lies inside the folder of pictures, where .txt files are captions",
            where=shown(listed),
            remedy="Name a file outside of it.",
        )
    files = listed.parent.iterdir() if listed.parent.is_dir() else ()
    beside = (e for e in files if e.stem == listed.stem and e.suffix.lower() in ENDINGS)
    if picture := next(beside, None):
        raise UserError(
            f"--fix-list would be the caption of {shown(picture.name)}",
            where=shown(listed),
            remedy="Give it another name.",
        )


def examine(options: LintOptions, report: Report) -> Examined:
    """Returns what is wrong with the pictures of a folder.

    Raises:
        UserError: no pictures, no such check to ignore, or bucket limits that cannot be.
    """
    wanted = checks_without(options.ignore)
    training = options.dataset
    validate_sizes(training)
    names, dead = find_names(options.folder)
    looks, broken, fresh = _looks(options, names, report)
    broken |= dict.fromkeys(dead, "is a link that leads nowhere")
    captions = lint_folder.read_captions(options.folder, names, options.caption_extension)
    whole = {name: looks[name] for name in names if name in looks}
    found = [Finding("broken", name, text) for name, text in broken.items()]
    for name, each in whole.items():
        found += look_at(name, each, training)
    found += lint_folder.copies(whole, captions)
    found += lint_folder.near_copies(whole, captions, turns=options.turned)
    found += lint_folder.marks(whole)
    found += lint_folder.same_stems(names)
    found += lint_folder.caption_faults(names, captions)
    order = list(CHECKS)
    kept = [finding for finding in found if finding.code in wanted]
    kept.sort(key=lambda finding: (order.index(finding.code), finding.picture))
    return Examined((*names, *dead), whole, tuple(kept), fresh)


def table(options: LintOptions, examined: Examined) -> Iterator[str]:
    """Yields the lines for the terminal."""
    counts = examined.counts
    for gravity, heading in GRAVITIES.items():
        codes = [code for code in counts if CHECKS[code].gravity == gravity]
        if codes:
            yield f"{heading}:"
        for code in codes:
            named = list(dict.fromkeys(f.picture for f in examined.findings if f.code == code))
            more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
            listed = ", ".join(shown(name) for name in named[:_NAMED])
            yield f"  {code:16} {counts[code]:6}  {CHECKS[code].title}: {listed}{more}"
            yield f"  {'':16} {'':6}  {CHECKS[code].remedy}"
    touched = len({finding.picture for finding in examined.findings})
    seen = f"{len(examined.names)} pictures, {examined.fresh} of them read now"
    found = f"something was found in {touched}" if touched else "nothing was found"
    yield f"{seen}; {found}"
    for path, what in ((options.html, "look at"), (options.fix_list, "list of what to leave out:")):
        if path:
            yield f"{what} {path}"


def as_data(options: LintOptions, examined: Examined) -> dict[str, object]:
    """Returns all of it for programs."""
    return {
        "folder": str(options.folder),
        "resolution": options.resolution,
        "pictures": len(examined.names),
        "counts": examined.counts,
        "findings": [
            {
                **asdict(finding),
                "title": CHECKS[finding.code].title,
                "gravity": CHECKS[finding.code].gravity,
                "remedy": CHECKS[finding.code].remedy,
            }
            for finding in examined.findings
        ],
    }


def fix_list(findings: tuple[Finding, ...]) -> str:
    """Returns the list of pictures to leave out; what can be mended otherwise is a remark."""
    lines = [
        _LIST_HEAD,
        "# Lines that begin with # are remarks; take the # away to leave such a picture out too.",
    ]
    out = dict.fromkeys(f.picture for f in findings if CHECKS[f.code].leave_out)
    for name in out:
        reasons = [f"{f.code}: {shown(f.text)}" for f in findings if f.picture == name]
        lines += [f"# {reason}" for reason in reasons] + [as_entry(name)]
    others = [f for f in findings if f.picture not in out]
    lines += [f"# {as_entry(f.picture)}  # {f.code}: {shown(f.text)}" for f in others]
    return "\n".join(lines) + "\n"


def _looks(
    options: LintOptions, names: list[str], report: Report
) -> tuple[dict[str, Looks], dict[str, str], int]:
    """Returns the looks by name, what is wrong with those that have none, and how many are new."""
    stage = LooksStage(options.resolution, options.max_pixels)
    looks: dict[str, Looks] = {}
    broken: dict[str, str] = {}
    missing = []

    def known(name: str) -> Looks | str | None:
        try:
            return stage.known_of(options.folder / name)
        except UserError as error:
            return error.what

    with ThreadPoolExecutor(_READERS) as pool:
        for name, found in zip(names, pool.map(known, names), strict=True):
            if isinstance(found, Looks):
                looks[name] = found
            elif found is None:
                missing.append(name)
            else:
                broken[name] = found
    paths = [options.folder / name for name in missing]
    done = spread(stage, paths, executor=options.executor, workers=options.workers)
    for count, each in enumerate(done, 1):
        if each.value is not None:
            looks[missing[each.index]] = each.value
        elif each.error is not None:
            broken[missing[each.index]] = each.error.what
        if not options.as_json:
            report.event("working", what="pictures", done=count, total=len(missing))
    return looks, broken, len(set(missing) & looks.keys())
