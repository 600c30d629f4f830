"""``renma caption audit``: what captions will teach besides what is meant.

Every set is examined for itself: a folder of ``10_name`` folders, or what a ``run.toml`` trains on,
has several. The gravest findings come first, each with its figure and a remedy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from renma.caption.assistant import coverage, tag_checks, trigger_checks
from renma.caption.assistant.categories import shipped
from renma.caption.assistant.findings import Audited, Finding
from renma.caption.assistant.sets import find_trigger, read_sets
from renma.caption.assistant.statistics import Pair, TagTable
from renma.caption.tags import fold
from renma.config.caption.audit import AuditOptions
from renma.core.counted import counted
from renma.core.errors import UserError, did_you_mean
from renma.core.events import Report, Silent
from renma.data.notes import shown

_CHECKS: tuple[Callable[[Audited], Iterator[Finding]], ...] = (
    trigger_checks.check_trigger,
    trigger_checks.check_class,
    tag_checks.check_fused,
    tag_checks.check_conflicts,
    tag_checks.check_spelling,
    coverage.check_length,
    coverage.check_coverage,
    tag_checks.check_inseparable,
    tag_checks.check_missed,
    coverage.check_equal,
    coverage.check_writing,
    tag_checks.check_rare,
)
CODES = (
    "caption-missing", "class-tokens-unused", "class-word-missing", "conflict", "equal-captions",
    "fused-tags", "held-apart", "in-every-caption", "missed-tag", "no-background", "one-background",
    "one-expression", "one-framing", "one-gaze", "one-pose", "seen-once", "sentences",
    "several-looks", "spelt-twice", "tag-twice", "too-long", "trigger-in-regularisation",
    "trigger-misspelt", "trigger-missing", "trigger-not-first", "trigger-ordinary",
    "trigger-shuffled", "trigger-twice", "trigger-unknown", "weights",
)  # fmt: skip
"""Every check by its name."""


def run(options: AuditOptions, report: Report) -> None:
    """Examines the captions and shows what was found.

    Raises:
        UserError: no pictures, or a broken file; with ``strict``, anything to mend or look at.
    """
    _check_names(options.ignore)
    told: Report = Silent() if options.as_json else report
    examined = examine(options, told)
    if options.as_json:
        facts = [_facts(audited, found) for audited, found in examined]
        report.line(json.dumps(facts, ensure_ascii=False, indent=2))
    for audited, found in examined:
        _show(audited, found, told)
    grave = [f for _, found in examined for f in found if f.gravity != "know"]
    if options.strict and grave:
        raise UserError(
            f"{counted(len(grave), 'finding')} to mend or look at", where=shown(options.folder)
        )


def examine(options: AuditOptions, report: Report) -> list[tuple[Audited, list[Finding]]]:
    """Returns every set that is trained on, with what was found, the gravest first.

    Raises:
        UserError: no pictures, or a broken file.
    """
    found = read_sets(options, report)
    reg = TagTable(tags for each in found.reg for tags in each.captions.values())
    examined = []
    for each in found.trained:
        trigger = find_trigger((each,), options.trigger, found.trigger)
        audited = Audited.of(each, trigger, reg, found)
        findings = [f for check in _CHECKS for f in check(audited) if f.code not in options.ignore]
        examined.append((audited, sorted(findings, key=lambda f: (-f.weight, f.code, f.text))))
    return examined


def _check_names(ignored: Sequence[str]) -> None:
    for code in ignored:
        if code not in CODES:
            raise UserError(
                f"there is no check '{code}'",
                where="--ignore",
                remedy=did_you_mean(code, CODES) or f"There are: {', '.join(CODES)}.",
            )


def _show(audited: Audited, found: Sequence[Finding], report: Report) -> None:
    word = audited.trigger
    trigger = f"trigger '{word.word}' ({word.source})" if word.word else "no trigger found"
    report.line(
        f"{audited.found.name}: {counted(len(audited.captions), 'caption')}, "
        f"{counted(len(audited.table.tags), 'different tag')}, {trigger}"
    )
    for finding in found:
        report.line(f"  {finding.gravity} [{finding.code}] {finding.line()}")
        report.line(f"       {finding.remedy}")
    if not found:
        report.line("  nothing was found")


def _facts(audited: Audited, found: Sequence[Finding]) -> dict[str, Any]:
    return {
        "set": audited.found.name,
        "captions": len(audited.captions),
        "trigger": audited.trigger.word,
        "trigger_source": audited.trigger.source,
        "findings": [asdict(f) | {"weight": round(f.weight, 4)} for f in found],
        "tags": [_figures(audited, tag) for tag in audited.table.tags],
    }


def _figures(audited: Audited, tag: str) -> dict[str, Any]:
    """Returns how a tag stands, and how closely it is bound to the trigger.

    Regularisation pictures are what tells a tag from the trigger, so they count; phi is None where
    nothing does.
    """
    table, reg, word = audited.table, audited.reg, fold(audited.trigger.word)
    known = shipped().of(tag)
    both = table.pair(tag, word).both if word else 0
    pair = Pair(
        table.total + reg.total,
        table.count(tag) + reg.count(tag),
        table.count(word) + reg.count(word),
        both + (reg.pair(tag, word).both if word else 0),
    )
    bound = {
        "phi": None if pair.phi is None else round(pair.phi, 4),
        "jaccard": round(pair.jaccard, 4),
        "pmi": round(pair.pmi, 4) if pair.both else None,
    }
    return {
        "tag": table.shown(tag),
        "category": known.name if known else "",
        "captions": table.count(tag),
        "share": round(table.share(tag), 4),
        "in_regularisation": reg.count(tag),
        "with_trigger": bound if word else None,
    }
