"""``renma absorbed``: which tags the trigger brings along, and which do not mean what they did.

For every tag the base model draws the class prompt with it and without; the LoRA draws the same,
and both again behind the trigger, all from the same seeds. Then the base model is asked how much
of the tag each picture shows (:mod:`renma.judge.absorbing.denoiser`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from renma.config.absorbed_task import AbsorbedOptions
from renma.core.errors import UserError
from renma.core.events import Report, Silent
from renma.core.store import write_text
from renma.data.captions import plain_caption
from renma.judge.absorbing import words
from renma.judge.absorbing.audit import Audit, Finding
from renma.judge.absorbing.candidates import Candidate, candidates, class_of, rows_of
from renma.judge.absorbing.removed import removed
from renma.judge.folder import RunRecord
from renma.judge.grid import choose, entry
from renma.judge.scoring.examiner import Examiner, Manner

VERSION = 1


def run(options: AbsorbedOptions, report: Report) -> None:
    """Audits a run's tags; writes ``tags.json``.

    Raises:
        UserError: no run's folder, no such checkpoint, no trigger, no tags, no such encoder.
    """
    record = _with_trigger(RunRecord.open(options.folder), options.trigger)
    checkpoint = chosen(record, options.checkpoint)
    manner = Manner(options.encoder, None, options.device, options.precision, options.batch_size)
    # programs get one line of JSON and nothing before it
    heard = Silent() if options.as_json else report
    examiner = Examiner(record, heard, manner)
    asked = tags_of(examiner, options)
    from renma.judge.absorbing.denoiser import ModelDenoiser

    audit = Audit(
        examiner,
        ModelDenoiser(examiner.family, options.batch_size),
        examiner.encoder,
        heard,
        pictures=options.pictures,
        seed=record.run.train.seed,
    )
    found = audit.findings(asked, record.run.output.trigger, checkpoint)
    told = result(found, record, checkpoint, options.pictures)
    target = record.path / "tags.json"
    write_text(target, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    if options.as_json:
        report.line(json.dumps(told, ensure_ascii=False))
        return
    for line in (*words.table(found), "", *told["sentences"], *told["advice"]):
        report.line(line)
    report.line(f"tags: {target}")


def chosen(record: RunRecord, text: str) -> Path:
    """Returns the checkpoint that is meant, named as in ``renma grid``.

    Args:
        record: the run.
        text: ``last``, ``best``, a step or a file; empty is the best, where the run was judged,
            else the last.

    Raises:
        UserError: there is none, it is the base model, or there are several.
    """
    found = record.need_checkpoints()
    if not text:
        path = record.path / "score.json"
        text = "best" if path.is_file() and _named_best(path) else "last"
    given = entry.read([record.path], "", ())
    where = f"--checkpoint {text}"
    entries = choose.chosen([text], given, where, lambda path: entry.file_entry(path, "", ()))
    if len(entries) != 1 or entries[0] is None:
        what = "is the base model, which absorbed nothing" if None in entries else "are several"
        raise UserError(what, where=where, remedy=f"Name one, such as '{found[-1].label}'.")
    return entries[0].path


def tags_of(examiner: Examiner, options: AbsorbedOptions) -> list[Candidate]:
    """Returns the tags to ask about.

    Raises:
        UserError: there are none.
    """
    run, items = examiner.record.run, examiner.training
    rows = rows_of([plain_caption(item) for item in items], run.output.trigger)
    class_prompt = class_of(rows, run.judge.class_prompts, options.class_prompt)
    folders = dict.fromkeys(item.path.parent for item in items)
    return candidates(
        rows, class_prompt, asked=options.tags, removed=removed(folders), most=options.most
    )


def result(
    found: Sequence[Finding], record: RunRecord, checkpoint: Path, pictures: int
) -> dict[str, Any]:
    """Returns what ``tags.json`` holds."""
    trigger = record.run.output.trigger
    inside = checkpoint.resolve().is_relative_to(record.path.resolve())
    place = checkpoint.resolve().relative_to(record.path.resolve()) if inside else checkpoint.name
    measured = [one for one in found if one.absorbed is not None]
    measured.sort(key=lambda one: -one.absorbed.value if one.absorbed else 0.0)
    return {
        "version": VERSION,
        "trigger": trigger,
        "checkpoint": Path(place).as_posix(),
        "class_prompt": found[0].candidate.around if found else "",
        "pictures": pictures,
        "absorbed": [_absorbed(one) for one in measured],
        "drifted": [_drifted(one) for one in measured if words.changed(one)],
        "unknown": [one.candidate.tag for one in found if one.absorbed is None],
        "sentences": words.sentences(found, trigger),
        "advice": words.advice(found, trigger),
    }


def _absorbed(one: Finding) -> dict[str, Any]:
    assert one.absorbed and one.answers and one.keeps  # noqa: PT018 - it was measured
    assert one.drift and one.usual  # noqa: PT018
    return {
        "tag": one.candidate.tag,
        "state": words.state(one),
        "share": _rounded(one.absorbed.value),
        "error": _rounded(one.absorbed.error),
        "alone": _rounded(one.absorbed.value),
        "base": 0.0,
        "captions": _rounded(one.candidate.captions),
        "removed": one.candidate.wanted,
        "answers": _rounded(one.answers.value),
        "answers_error": _rounded(one.answers.error),
        "keeps": _rounded(one.keeps.value),
        "keeps_error": _rounded(one.keeps.error),
        "drift": _rounded(one.drift.ratio),
        "drift_without": _rounded(one.usual.ratio),
        "told": _rounded(one.told),
        "chance": _rounded(one.chance),
    }


def _drifted(one: Finding) -> dict[str, Any]:
    assert one.drift
    return {
        "tag": one.candidate.tag,
        "distance": _rounded(one.drift.distance),
        "base_noise": _rounded(one.drift.base_noise),
    }


def _rounded(number: float) -> float:
    return round(number, 4)


def _named_best(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")).get("best"))
    except (ValueError, OSError, AttributeError):
        return True  # that it cannot be read is told where it is


def _with_trigger(record: RunRecord, given: str) -> RunRecord:
    trigger = given.strip() or record.run.output.trigger.strip()
    if not trigger:
        raise UserError(
            "names no trigger word, so nothing can have been absorbed by it",
            where=record.path / "run.toml",
            remedy="Give it with --trigger.",
        )
    output = record.run.output.model_copy(update={"trigger": trigger})
    return replace(record, run=record.run.model_copy(update={"output": output}))
