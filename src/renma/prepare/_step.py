"""One step over a folder of pictures: a new folder, a record of what was done, a contact sheet.

Whatever a step does to one picture follows from its bytes and the step's key alone, so a killed
step goes on where it was, a changed original or option makes just those pictures again, and the
whole can be repeated from the originals.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from PIL import Image

from renma.config.prepare._base import StepOptions
from renma.core.errors import INTERRUPTED, Interrupted, UserError
from renma.core.events import Report
from renma.core.store import digest, file_hash, probe, write_bytes
from renma.data.caption_file import CaptionFiles
from renma.data.notes import Notes
from renma.data.pictures import WHITE
from renma.data.reading import listing
from renma.engine.executors import spread
from renma.prepare._record import Head, Output, Record, Row
from renma.prepare._sheet import write_sheet
from renma.prepare._sources import RECORD, Source, find

VERSION = 1
"""Raise it when the same step would write other pictures."""
CAPTIONS = (".txt", ".caption")
_NOT_RESULT = {"folder", "out", "executor", "workers", "dry_run"}
_ENDINGS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}
_SAME = {".jpg": ".jpg", ".jpeg": ".jpg", ".webp": ".webp"}


@dataclass(frozen=True)
class Made:
    """One picture made of a source.

    Args:
        picture: mode RGB or RGBA.
        suffix: put behind the name, where one source gives several pictures.
        box: left, top, right, bottom of what was cut out of the upright source; pixels.
        facts: what the record and the sheet say about it; JSON values.
    """

    picture: Image.Image
    suffix: str = ""
    box: tuple[int, int, int, int] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """What a verb does to each picture; picklable, because workers get a copy."""

    def key(self) -> Sequence[object]:
        """Returns what the result depends on besides the options: versions, hashes of models."""
        ...

    def open(self) -> Callable[[Source], list[Made]]:
        """Returns the function for one picture; it raises UserError for one to be skipped."""
        ...


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
        UserError: no pictures, or an output folder that is not this step's.
        Interrupted: Ctrl-C; what is done stays done.
    """
    sources = find(options.folder)
    out = options.out or options.folder.resolve().with_name(
        f"{options.folder.resolve().name}-{verb}"
    )
    _check_apart(options.folder, out)
    record = Record(out)
    _check_ours(out, record, verb)
    wanted = {name: value for name, value in recorded(options).items() if name not in _NOT_RESULT}
    key = digest([VERSION, verb, sorted(wanted.items()), *work.key()])
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
        head = Head(verb, str(options.folder.resolve()), recorded(options))
        step = _Step(options, work, record, out, key, report, recaption or _as_it_is)
        record.begin(head)
        step.do(sources)
    return out


@dataclass(frozen=True)
class _Unwritable:
    """Why nothing more can be written; it ends the step, where a bad picture is only skipped."""

    what: str
    where: str
    remedy: str


@dataclass(frozen=True)
class _Stage:
    """Makes and writes the pictures of one source; runs in a worker."""

    work: Work
    out: Path
    format: str
    quality: int
    taken: frozenset[str]

    def open(self) -> Callable[[Source], list[Output] | _Unwritable]:
        make = self.work.open()

        def one(source: Source) -> list[Output] | _Unwritable:
            pictures = make(source)
            try:
                return [self._write(source, made) for made in pictures]
            except UserError as error:  # a full disk: no fault of this picture
                return _Unwritable(error.what, str(error.where), error.remedy)

        return one

    def _write(self, source: Source, made: Made) -> Output:
        stem = source.target + made.suffix
        while made.suffix and stem.casefold() in self.taken:
            stem += "_"
        ending = _ENDINGS.get(self.format) or _SAME.get(source.path.suffix.lower(), ".png")
        write_bytes(self.out / f"{stem}{ending}", encoded(made.picture, ending, self.quality))
        written = file_hash(self.out / f"{stem}{ending}")
        return Output(f"{stem}{ending}", written, made.box, made.facts)


class _Step:
    """One run of a step into its folder."""

    def __init__(
        self,
        options: StepOptions,
        work: Work,
        record: Record,
        out: Path,
        key: str,
        report: Report,
        recaption: Recaption,
    ) -> None:
        self._options, self._work, self._record = options, work, record
        self._recaption = recaption
        self._out, self._key, self._report = out, key, report
        self._notes = Notes()

    def do(self, sources: list[Source]) -> None:
        """Makes what is missing, removes what has no source any more, tells what was done."""
        known = self._record.rows
        due = [s for s in sources if not self._is_done(known.get(s.name), s)]
        kept = [s for s in due if self._by_hand(known.get(s.name))]
        due = [s for s in due if s not in kept]
        try:
            self._make(due, {s.target.casefold() for s in sources})
        except KeyboardInterrupt:
            raise Interrupted(
                INTERRUPTED, "stopped; what is done stays done, the same command goes on"
            ) from None
        names = {source.name for source in sources}
        for gone in [name for name in known if name not in names]:
            self._remove(known[gone], keep=())
            self._record.forget(gone)
        self._record.finish()
        self._carry_captions(sources)
        self._record.finish()
        sheet = write_sheet(self._out, self._options.folder, self._record, self._report)
        self._tell(sources, len(due), sheet)

    def _is_done(self, row: Row | None, source: Source) -> bool:
        return row is not None and (row.digest, row.key) == (source.digest, self._key)

    def _by_hand(self, row: Row | None) -> bool:
        """Says whether a picture that would be made again was painted on since; it is kept."""
        changed = [o.name for o in (row.outputs if row else ()) if not self._untouched(o)]
        for name in changed:
            self._notes.add("changed by hand since, kept as it is", name)
        return bool(changed)

    def _untouched(self, output: Output) -> bool:
        path = self._out / output.name
        return not path.exists() or file_hash(path) == output.digest

    def _make(self, due: list[Source], taken: set[str]) -> None:
        chosen = self._options
        stage = _Stage(self._work, self._out, chosen.format, chosen.quality, frozenset(taken))
        done = spread(stage, due, executor=chosen.executor, workers=chosen.workers)
        for count, each in enumerate(done, 1):
            if isinstance(each.value, _Unwritable):
                stop = each.value
                raise UserError(stop.what, where=stop.where, remedy=stop.remedy)
            source = due[each.index]
            old = self._record.rows.get(source.name)
            outputs = tuple(each.value or ())
            skipped = _why(each.error) if each.error else "" if outputs else "nothing found"
            if old:
                self._remove(old, keep=[o.name for o in outputs])
            captions = old.captions if old else {}
            row = Row(source.name, source.digest, self._key, outputs, captions, skipped)
            self._record.add(row)
            self._report.event("working", what="pictures", done=count, total=len(due))

    def _remove(self, row: Row, keep: Iterable[str]) -> None:
        """Removes what an earlier run made of a source, unless a person changed it since."""
        for output in row.outputs:
            if output.name in keep or not (self._out / output.name).exists():
                continue
            if self._untouched(output):
                (self._out / output.name).unlink()
            else:
                self._notes.add(
                    "its original is gone, but it was changed by hand: kept", output.name
                )

    def _carry_captions(self, sources: list[Source]) -> None:
        """Copies caption files beside the pictures; what was edited there since is kept."""
        folders = {source.path.parent for source in sources}
        files = {folder: listing(folder)[0] for folder in folders}
        for ending in CAPTIONS:
            beside = {f: CaptionFiles(f, names, ending) for f, names in files.items()}
            for source in sources:
                caption = beside[source.path.parent].of(source.path)
                row = self._record.rows[source.name]
                for output in row.outputs if caption else ():
                    assert caption is not None
                    self._carry(self._recaption(output, caption), output, ending, row)

    def _carry(self, caption: bytes, output: Output, ending: str, row: Row) -> None:
        name = str(Path(output.name).with_suffix(ending))
        target, before = self._out / name, row.captions.get(name)
        now = hashlib.sha256(caption).hexdigest()
        if target.exists() and file_hash(target) == now:
            row.captions[name] = now
        elif not target.exists() or file_hash(target) == before:
            write_bytes(target, caption)
            row.captions[name] = now
        elif before != now:
            self._notes.add("captions edited here are kept, their originals changed too", name)

    def _tell(self, sources: list[Source], made: int, sheet: Path) -> None:
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
            f"{made} worked on now, {len(sources) - made} done before, {skipped} skipped"
        )
        self._report.line(f"look at {sheet}")


def recorded(options: StepOptions) -> dict[str, Any]:
    """Returns options as JSON values; paths hold from wherever the step is repeated."""
    whole = options.model_dump(mode="json")
    paths = {name: value for name, value in options if isinstance(value, Path)}
    return whole | {name: str(path.resolve()) for name, path in paths.items()}


def _as_it_is(output: Output, caption: Path) -> bytes:  # noqa: ARG001
    return caption.read_bytes()


def encoded(picture: Image.Image, ending: str, quality: int) -> bytes:
    """Returns a picture as the bytes of a file; JPEG gets transparency laid on white.

    Args:
        picture: mode RGB or RGBA.
        ending: ``.png``, ``.jpg`` or ``.webp``.
        quality: 1 to 100, of JPEG and WebP; WebP is lossless at 100.
    """
    options: dict[str, Any] = {}
    if ending == ".jpg":
        options = {"quality": quality, "subsampling": 0 if quality >= 90 else 2}
        if picture.mode == "RGBA":
            ground = Image.new("RGB", picture.size, WHITE)
            ground.paste(picture, mask=picture.getchannel("A"))
            picture = ground
    elif ending == ".webp":
        options = {"quality": quality, "lossless": quality == 100, "exact": True, "method": 4}
    data = io.BytesIO()
    picture.save(data, _FORMATS[ending], **options)
    return data.getvalue()


def _why(error: UserError) -> str:
    return f"{error.what}{f' ({error.remedy})' if error.remedy else ''}"


def _check_apart(folder: Path, out: Path) -> None:
    source, target = folder.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        raise UserError(
            "the folder to make lies within the folder of pictures, or around it",
            where=out,
            remedy="Choose a folder beside it with -o: originals are never changed.",
        )


def _check_ours(out: Path, record: Record, verb: str) -> None:
    """Makes sure that nothing is mixed with what somebody else put there."""
    head = record.head()
    if head and head.verb != verb:
        raise UserError(
            f"was made by `renma prepare {head.verb}`", where=out, remedy="Choose another with -o."
        )
    if head is None and out.is_dir() and any(p.name != RECORD for p in out.iterdir()):
        raise UserError(
            "is not empty and was not made by this step",
            where=out,
            remedy="Choose another with -o.",
        )
