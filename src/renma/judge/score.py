"""``renma judge``: every checkpoint put to the same prompts, the best one named and copied.

Every checkpoint and the base model draw from the same noise, so differences are paired. A number
that stands in ``score.json`` was measured; what was not is null.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from renma.config.judge_task import JudgeOptions
from renma.core.errors import UserError
from renma.core.events import Report, Silent
from renma.core.store import file_hash, write_atomic, write_text
from renma.drawing.sheet import sheet
from renma.judge.folder import Checkpoint, RunRecord
from renma.judge.health import health
from renma.judge.scoring import readings
from renma.judge.scoring.choice import Judged, choose
from renma.judge.scoring.examiner import WEIGHT, Answers, Examiner, Manner
from renma.judge.scoring.result import RUNNERS_UP, Row, result, shown
from renma.judge.verdict import verdict

EVIDENCE = 6
"""Pictures a row in ``score.png``."""
_MEASURING = "checkpoints"


def run(options: JudgeOptions, report: Report) -> None:
    """Judges a run; writes ``score.json``, ``score.png`` and ``best/``.

    Raises:
        UserError: no run's folder, no checkpoint, nothing to judge by, attributes nobody knows.
    """
    record = RunRecord.open(options.folder)
    record.need_checkpoints()
    manner = Manner(
        options.encoder, options.pictures, options.device, options.precision, options.batch_size
    )
    # programs get one line of JSON and nothing before it
    heard = Silent() if options.as_json else report
    if not record.last("finished"):
        heard.event("warned", text="the run has not finished: later checkpoints are not judged")
    found = judge(record, Examiner(record, heard, manner), heard)
    if options.as_json:
        report.line(json.dumps(found, ensure_ascii=False))
        return
    for sentence in (*found["verdict"], *found["advice"]):
        report.line(sentence)
    report.line(f"best: {record.path / found['copied']}")
    report.line(f"score: {record.path / 'score.json'}")


def judge(record: RunRecord, examiner: Examiner, report: Report) -> dict[str, Any]:
    """Returns what ``score.json`` holds and writes it, with evidence and the best checkpoint."""
    reader = readings.reader_for(record)
    checkpoints = _sound(record, report)
    # all at once first: how long it takes is told for the whole
    examiner.ask([checkpoint.path for checkpoint in checkpoints])
    base = examiner.base
    answers: list[Answers] = []
    for number, checkpoint in enumerate(checkpoints):
        report.event("working", done=number, total=len(checkpoints), what=_MEASURING)
        answers.append(examiner.examine(checkpoint.path))
    report.event("working", done=len(checkpoints), total=len(checkpoints), what=_MEASURING)
    pairs = zip(checkpoints, answers, strict=True)
    tried = [Judged(checkpoint, one.scores) for checkpoint, one in pairs]
    choice = choose(tried, base.scores, record.run.train.seed)
    plan = record.last("started").get("plan")
    told = plan.get("reg_pictures") if isinstance(plan, dict) else None
    said = verdict(
        tried,
        base.scores,
        choice,
        reg_pictures=told if isinstance(told, int) else 0,
        held_out=len(examiner.held_out),
    )
    rows = [
        _row(record, examiner, reader, *pair)
        for pair in ((None, base), *zip(checkpoints, answers, strict=True))
    ]
    best = checkpoints[choice.best]
    found = result(
        record,
        rows[0],
        rows[1:],
        choice,
        said,
        examiner.questions,
        copied=_copied(record, best),
        best_sha256=file_hash(best.path),
        real={"scores": shown(examiner.yardstick.real())},
        real_pictures={"training": len(examiner.training), "held_out": len(examiner.held_out)},
        encoder=examiner.encoder.name,
        weight=WEIGHT,
    )
    write_text(record.path / "score.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    shown_too = [(checkpoints[i].label, answers[i]) for i in choice.order[: 1 + RUNNERS_UP]]
    _evidence(record, [("base model", base), *shown_too])
    return found


def _sound(record: RunRecord, report: Report) -> list[Checkpoint]:
    """Returns the checkpoints whose files can be read and hold numbers; says which do not.

    Raises:
        UserError: there are none.
    """
    found = []
    for checkpoint in record.need_checkpoints():
        try:
            damaged = health(checkpoint.path).not_finite > 0
        except UserError as error:
            report.event("warned", text=f"passed over: {error.line()}")
            continue
        if damaged:
            text = f"passed over: {checkpoint.path}: it holds numbers that are none (NaN)"
            report.event("warned", text=text)
            continue
        found.append(checkpoint)
    if not found:
        raise UserError(
            "every checkpoint is damaged",
            where=record.path / "lora",
            remedy='Train anew, in higher precision: train.precision = "bf16" or "fp32".',
        )
    return found


def _row(
    record: RunRecord,
    examiner: Examiner,
    reader: readings.Reader | None,
    checkpoint: Checkpoint | None,
    one: Answers,
) -> Row:
    if reader is None:
        return Row(checkpoint, one.scores)
    wanted = record.run.judge.attributes
    asked = examiner.questions
    own = sum(q.pictures for q in asked.trigger if q.own)
    plain = sum(q.pictures for q in asked.plain if q.own)
    return Row(
        checkpoint,
        one.scores,
        readings.read(reader, one.trigger[:own], wanted),
        readings.read(reader, one.plain[:plain], wanted),
    )


def _copied(record: RunRecord, best: Checkpoint) -> str:
    """Copies the best checkpoint to ``best/`` and returns the copy's path seen from the run."""
    target = record.path / "best" / f"{record.run.output.name}.safetensors"
    target.parent.mkdir(exist_ok=True)
    if not target.is_file() or file_hash(target) != file_hash(best.path):
        write_atomic(target, lambda part: shutil.copyfile(best.path, part))
    # the copy is told apart from the last checkpoint by what is in it, not by its date
    os.utime(target, ns=(best.path.stat().st_atime_ns, best.path.stat().st_mtime_ns))
    return target.relative_to(record.path).as_posix()


def _evidence(record: RunRecord, asked: Sequence[tuple[str, Answers]]) -> None:
    """Writes some of the very pictures that were measured: base model, best and runners-up."""
    rows, labels = [], []
    for kind, pick in (("with trigger", "trigger"), ("without trigger", "plain")):
        for who, one in asked:
            some = spread(getattr(one, pick), EVIDENCE)
            if some:
                rows.append([_opened(path) for path in some])
                labels.append(f"{who}, {kind}")
    columns = max(len(row) for row in rows)
    page = sheet(rows, row_labels=labels, column_labels=[f"noise {i + 1}" for i in range(columns)])
    write_atomic(
        record.path / "score.png", lambda path: page.save(path, format="PNG", optimize=True)
    )


def spread(paths: Sequence[Path], most: int) -> list[Path]:
    """Returns at most ``most`` pictures, evenly from all prompts."""
    if len(paths) <= most:
        return list(paths)
    return [paths[i * len(paths) // most] for i in range(most)]


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")
