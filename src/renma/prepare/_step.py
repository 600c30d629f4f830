"""One step over a folder of pictures: a new folder, a record of what was done, a contact sheet.

Whatever a step does to one picture follows from its bytes and the step's key alone, so a killed
step goes on where it was, a changed original or option makes just those pictures again, and the
whole can be repeated from the originals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock, Timeout

from renma.config._base import Section
from renma.config.prepare._base import StepOptions
from renma.core.errors import INTERRUPTED, Interrupted, UserError
from renma.core.events import Report
from renma.core.store import digest, file_hash, probe
from renma.data.caption_file import CaptionFiles
from renma.data.notes import Notes
from renma.data.reading import listing
from renma.engine.executors import spread
from renma.prepare._beside import Beside, without_places
from renma.prepare._captions import Captions
from renma.prepare._nothing import nothing_made
from renma.prepare._place import check_apart, check_ours
from renma.prepare._record import Head, Output, Record, Row, lineage
from renma.prepare._sheet import check_sheet, write_sheet
from renma.prepare._sources import RECORD, Source, find
from renma.prepare._writing import IN_THE_WAY, Made, Unwritable, Work, WriteStage

__all__ = ["CAPTIONS", "Made", "Recaption", "Work", "recorded", "run_step"]
VERSION = 1
"""Raise it when the same step would write other pictures."""
CAPTIONS = (".txt", ".caption")
_NOT_RESULT = {"folder", "out", "executor", "workers", "dry_run"}


Recaption = Callable[[Output, Path], bytes]
"""Takes a picture that was made and the caption file of its source; returns its own caption."""


def run_step(
    verb: str, options: StepOptions, work: Work, report: Report, recaption: Recaption | None = None
) -> Path:
    """Does a verb to every picture of a folder and returns the folder made.

    Args:
        verb: the word after ``renma prepare``.
        options: of the verb.
        work: what it does to one picture.
        report: told the progress, what was skipped and why, and where to look.
        recaption: gives a picture another caption than its source's (default: the same bytes).

    Raises:
        UserError: no pictures, an output folder that is not this step's, or pictures of which
            nothing could be made.
        Interrupted: Ctrl-C; what is done stays done.
    """
    sources = find(options.folder)
    out = options.out or options.folder.resolve().with_name(
        f"{options.folder.resolve().name}-{verb}"
    )
    check_apart(out, [options.folder])
    record = Record(out)
    before = record.head()
    check_ours(out, before, verb)
    check_sheet(out)
    record.read()
    _check_same_originals(out, record, before, options.folder, sources)
    beside = Beside(options, out)
    beside.check(before)
    result = {name: v for name, v in recorded(options).items() if name not in _NOT_RESULT}
    result = without_places(options, result)
    key = digest([VERSION, verb, sorted(result.items()), *work.key()])
    if options.dry_run:
        report.line(f"{verb}: {len(sources)} pictures would be worked on, into {out}")
        return out
    probe(out)
    (out / RECORD).mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / RECORD / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError("is being worked on by another process", where=out) from None
    with lock:
        beside.begin(record, before)
        source = options.folder.resolve()
        record.begin(Head(verb, str(source), recorded(options), before=lineage(source)))
        step = _Step(options, work, record, beside, out, key, report, recaption or _as_it_is)
        step.do(sources)
    return out


class _Step:
    """One run of a step into its folder."""

    def __init__(
        self,
        options: StepOptions,
        work: Work,
        record: Record,
        beside: Beside,
        out: Path,
        key: str,
        report: Report,
        recaption: Recaption,
    ) -> None:
        self._options, self._work, self._record, self._beside = options, work, record, beside
        self._recaption = recaption
        self._out, self._key, self._report = out, key, report
        self._notes = Notes()
        self._captions = Captions(out, self._notes)
        self._owners = {o.name: row.source for row in record.rows.values() for o in row.outputs}

    def do(self, sources: list[Source]) -> None:
        """Makes what is missing, removes what has no source any more, tells what was done."""
        known = self._record.rows
        # first: what is made now may have the names of what goes
        names = {source.name for source in sources}
        self._forget([name for name in known if name not in names])
        self._set_aside([source for source in sources if source.unreadable])
        readable = [source for source in sources if not source.unreadable]
        due = [s for s in readable if not self._is_done(known.get(s.name), s)]
        due = [s for s in due if not self._by_hand(known.get(s.name))]
        self._make_anew(due)
        try:
            self._make(due, {s.target.casefold() for s in sources})
        except KeyboardInterrupt:
            raise Interrupted(
                INTERRUPTED, "stopped; what is done stays done, the same command goes on"
            ) from None
        self._record.finish()
        self._carry_captions(sources)
        self._record.finish()
        sheet = write_sheet(self._out, self._options.folder, self._record, self._report)
        self._tell(sources, len(readable) - len(due), len(due), sheet)

    def _forget(self, gone: list[str]) -> None:
        """Removes what was made of originals that are no longer there, and names it."""
        removed: list[str] = []
        for name in gone:
            row = self._record.rows[name]
            there = [o.name for o in row.outputs if (self._out / o.name).exists()]
            self._remove(row, keep=())
            removed += [each for each in there if not (self._out / each).exists()]
            self._captions.settle(row, {})
            self._record.forget(name)
        if removed:
            self._notes.add(f"{len(removed)} removed, their originals are gone", *removed)

    def _make_anew(self, due: list[Source]) -> None:
        """Tells which pictures come back that a person removed; their captions come with them."""
        rows = [row for s in due if (row := self._record.rows.get(s.name))]
        away = [(row, o) for row in rows for o in row.outputs if not (self._out / o.name).exists()]
        for row, output in away:
            for caption in [name for name in row.captions if _stem(name) == _stem(output.name)]:
                if not (self._out / caption).exists():
                    del row.captions[caption]
        if away:
            text = "that were removed by hand are made anew, their options or originals changed"
            self._notes.add(f"{len(away)} {text}", *(output.name for _, output in away))

    def _set_aside(self, unreadable: list[Source]) -> None:
        """Names what cannot be read; what was made of it before stays."""
        for source in unreadable:
            why = source.unreadable
            self._notes.add(f"skipped: {why}", source.name)
            if source.name not in self._record.rows:
                self._record.add(Row(source.name, "", self._key, skipped=why))

    def _is_done(self, row: Row | None, source: Source) -> bool:
        return (
            row is not None
            and (row.digest, row.key) == (source.digest, self._key)
            and self._beside.has(row)
            and not row.skipped.startswith(IN_THE_WAY)
        )

    def _by_hand(self, row: Row | None) -> bool:
        """Says whether a picture that would be made again was painted on since; it is kept."""
        outputs = row.outputs if row else ()
        changed = [output.name for output in outputs if not self._untouched(output)]
        changed += [path for output in outputs for path in self._beside.changed(output)]
        for name in changed:
            self._notes.add("changed by hand since, kept as it is", name)
        return bool(changed)

    def _untouched(self, output: Output) -> bool:
        path = self._out / output.name
        return not path.exists() or file_hash(path) == output.digest

    def _make(self, due: list[Source], targets: set[str]) -> None:
        chosen, again = self._options, {source.name for source in due}
        taken = {_stem(o) for o, source in self._owners.items() if source not in again}
        stage = WriteStage(
            self._work,
            self._out,
            self._beside.places,
            chosen.format,
            chosen.quality,
            frozenset(targets),
            frozenset(taken),
            frozenset(self._owners),
        )
        done = spread(stage, due, executor=chosen.executor, workers=chosen.workers)
        for count, each in enumerate(done, 1):
            if isinstance(each.value, Unwritable):
                stop = each.value
                raise UserError(stop.what, where=stop.where, remedy=stop.remedy)
            source = due[each.index]
            old = self._record.rows.get(source.name)
            outputs = tuple(each.value or ())
            skipped = _why(each.error) if each.error else "" if outputs else "nothing found"
            self._owners |= {output.name: source.name for output in outputs}
            if old:
                self._remove(old, keep=[o.name for o in outputs])
            captions = old.captions if old else {}
            row = Row(source.name, source.digest, self._key, outputs, captions, skipped)
            self._record.add(row)
            self._report.event("working", what="pictures", done=count, total=len(due))

    def _remove(self, row: Row, keep: Iterable[str]) -> None:
        """Removes what an earlier run made of a source, unless a person changed it since."""
        for output in row.outputs:
            # another source may have been given the name meanwhile
            if output.name in keep or self._owners.get(output.name) != row.source:
                continue
            del self._owners[output.name]
            kept = [*self._beside.remove(output)]
            if self._untouched(output):
                (self._out / output.name).unlink(missing_ok=True)
            else:
                kept.append(output.name)
            for name in kept:
                self._notes.add("its original is gone, but it was changed by hand: kept", name)

    def _carry_captions(self, sources: list[Source]) -> None:
        """Brings the caption files beside the pictures up to date."""
        folders = {source.path.parent for source in sources}
        files = {folder: listing(folder)[0] for folder in folders}
        beside = {e: {f: CaptionFiles(f, names, e) for f, names in files.items()} for e in CAPTIONS}
        for source in sources:
            row = self._record.rows[source.name]
            own = {e: known[source.path.parent].of(source.path) for e, known in beside.items()}
            originals = {
                output.name: {e: self._read(output, file) for e, file in own.items() if file}
                for output in row.outputs
            }
            self._captions.settle(row, originals)

    def _read(self, output: Output, caption: Path) -> bytes | None:
        try:
            return self._recaption(output, caption)
        except OSError as error:
            self._notes.add(f"captions that cannot be read ({error.strerror})", caption)
        except UserError as error:
            self._notes.add(f"captions that are not carried along, one {error.what}", caption)
        return None

    def _tell(self, sources: list[Source], before: int, made: int, sheet: Path) -> None:
        rows = [self._record.rows[s.name] for s in sources if s.name in self._record.rows]
        away = [o for row in rows for o in row.outputs if not (self._out / o.name).exists()]
        for row in rows:
            if row.skipped:
                self._notes.add(f"skipped: {row.skipped}", row.source)
        for line in self._notes.lines():
            self._report.event("warned", text=line)
        if away:
            self._report.line(f"{len(away)} were removed by hand and stay away")
        pictures = sum(len(row.outputs) for row in rows) - len(away)
        skipped = sum(bool(row.skipped) for row in rows)
        self._report.line(
            f"{pictures} pictures of {len(sources)} in {self._out}; "
            f"{made} worked on now, {before} done before, {skipped} skipped"
        )
        self._report.line(f"look at {sheet}")
        if rows and not any(row.outputs for row in rows):
            raise nothing_made(self._options.folder, [row.skipped for row in rows])


def recorded(options: Section) -> dict[str, Any]:
    """Returns options as JSON values; paths hold from wherever the step is repeated."""
    whole = options.model_dump(mode="json")
    for name, value in options:
        if isinstance(value, Path):
            whole[name] = str(value.resolve())
        elif isinstance(value, tuple) and any(isinstance(each, Path) for each in value):
            whole[name] = [str(Path(each).resolve()) for each in value]
    return whole


def _as_it_is(output: Output, caption: Path) -> bytes:  # noqa: ARG001
    return caption.read_bytes()


def _why(error: UserError) -> str:
    # readers of pictures are shared with training, where the limit has another name
    remedy = error.remedy.replace("raise data.max_pixels", "raise --max-pixels")
    return f"{error.what}{f' ({remedy})' if remedy else ''}"


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix("")).casefold()


def _check_same_originals(
    out: Path, record: Record, head: Head | None, folder: Path, sources: list[Source]
) -> None:
    """Makes sure that a folder made from some pictures does not get others; they may have moved.

    Raises:
        UserError: most of the pictures that it was made from are not those in the folder.
    """
    if head is None or head.folder == str(folder.resolve()):
        return
    here = {source.name: source.digest for source in sources}
    same = sum(
        bool(row.digest) and here.get(row.source) == row.digest for row in record.rows.values()
    )
    if record.rows and 2 * same <= len(record.rows):
        raise UserError(
            f"was made from {head.folder}, and most of its pictures are not in {folder}",
            where=out,
            remedy="Choose another with -o.",
        )
