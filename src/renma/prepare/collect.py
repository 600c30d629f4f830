"""``renma prepare collect``: pictures from everywhere into one folder, each whole and well named.

Sources are only read. What was taken in stands in the folder's record, so a killed run goes on
where it was, and further sources can be added later.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from renma.config.prepare.collect import CollectOptions
from renma.core.errors import INTERRUPTED, Interrupted, UserError
from renma.core.events import Report
from renma.core.store import digest, file_hash, probe
from renma.data.duplicates import exact_duplicates
from renma.data.notes import Notes, shown
from renma.engine.executors import spread
from renma.prepare._captions import Captions
from renma.prepare._nothing import nothing_made
from renma.prepare._place import check_apart, check_ours
from renma.prepare._record import Head, Record, Row, lineage
from renma.prepare._sheet import check_sheet, write_sheet
from renma.prepare._sources import RECORD
from renma.prepare._step import recorded
from renma.prepare.archives import Limits
from renma.prepare.collect_names import Targets
from renma.prepare.collect_one import Job, TakeIn, Taken
from renma.prepare.collect_sources import Origin, find_origins, without
from renma.prepare.lint_folder import find_near
from renma.prepare.looks import Looks, LooksStage
from renma.prepare.safe_name import Names

VERSION = 1
"""Raise it when the same sources would give other files."""
_VERB = "collect"
_INCOMING = "incoming"
_RESULT = ("convert", "quality", "alpha", "frames", "keep_folders", "max_pixels")
_RESOLUTION = 512
_COPY = "a copy,"


def run(options: CollectOptions, report: Report) -> None:
    """Fills a folder.

    Raises:
        UserError: a source that is not there or not to be trusted, a folder that is not ours, or
            pictures of which none can be taken in.
        Interrupted: Ctrl-C; what is taken in stays.
    """
    out = options.out
    check_apart(out, options.folders)
    record = Record(out)
    check_ours(out, record.head(), _VERB)
    check_sheet(out)
    if options.dry_run:
        with tempfile.TemporaryDirectory() as elsewhere:
            _Collection(options, record, Path(elsewhere) / _INCOMING, report).plan()
        return
    there, known = out.exists(), (out / RECORD).exists()
    probe(out)
    (out / RECORD).mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / RECORD / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError("is being worked on by another process", where=out) from None
    incoming = out / RECORD / _INCOMING
    shutil.rmtree(incoming, ignore_errors=True)  # of a killed run
    try:
        _Collection(options, record, incoming, report).do()
    except KeyboardInterrupt:
        raise Interrupted(
            INTERRUPTED, "stopped; what is taken in stays, the same command goes on"
        ) from None
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
        lock.release()
        if not known and record.head() is None:  # refused before anything was taken in
            shutil.rmtree(out / RECORD, ignore_errors=True)
            if not there:
                with suppress(OSError):
                    out.rmdir()


class _Collection:
    """One run of collect into its folder."""

    def __init__(
        self, options: CollectOptions, record: Record, incoming: Path, report: Report
    ) -> None:
        self._options, self._record, self._report = options, record, report
        self._incoming, self._notes = incoming, Notes()
        self._captions = Captions(options.out, self._notes)
        chosen = options.model_dump(mode="json", include=set(_RESULT))
        self._key = digest([VERSION, _VERB, sorted(chosen.items())])

    def do(self) -> None:
        """Takes in what is missing and tells what was done."""
        options, record = self._options, self._record
        origins = self._origins()
        hashes = {origin.source: self._hash(origin) for origin in origins}
        head = self._head()
        record.begin(head)
        copies = self._copies(origins, hashes)
        due = self._due(origins, hashes, copies)
        for source, why in copies.items():
            old = record.rows.get(source)
            self._remove(old, keep=())
            captions = old.captions if old else {}
            record.add(Row(source, hashes[source], self._key, captions=captions, skipped=why))
        self._take_in(due, hashes)
        for origin in origins:
            self._carry_captions(origin)
        record.finish()
        paths = {origin.source: origin.path for origin in origins}
        sheet = write_sheet(options.out, Path(head.folder), record, self._report, paths)
        self._tell(origins, {origin.source for origin in due}, sheet)

    def _head(self) -> Head:
        """Returns what the record says: this command, and all sources of the ones before."""
        options = recorded(self._options)
        if before := self._record.head():
            earlier = [str(folder) for folder in before.options.get("folders", ())]
            options["folders"] = list(dict.fromkeys([*earlier, *options["folders"]]))
            other = [n for n in _RESULT if before.options.get(n) != options[n]]
            if other and len(options["folders"]) > len(self._options.folders):
                flags = ", ".join(f"--{name.replace('_', '-')}" for name in other)
                self._notes.add(
                    f"earlier sources came in with other options ({flags}): "
                    "`renma prepare repeat` would treat all as it was told now"
                )
        first = options["folders"][0]
        return Head(_VERB, first, options, before=lineage(Path(first)))

    def plan(self) -> None:
        """Tells what would be done."""
        self._record.read()
        origins = self._origins()
        hashes = {origin.source: self._hash(origin) for origin in origins}
        copies = self._copies(origins, hashes)
        for line in self._notes.lines():
            self._report.event("warned", text=line)
        self._report.line(
            f"{len(self._due(origins, hashes, copies))} pictures of {len(origins)} would be taken "
            f"into {self._options.out}, {len(copies)} copies left out"
        )

    def _origins(self) -> list[Origin]:
        options = self._options
        limits = Limits(options.max_files, options.max_unpacked * 2**20, options.max_ratio)
        found = find_origins(
            options.folders, self._incoming, limits, self._notes, self._report.line
        )
        return without(found, options.leave_out, self._notes) if options.leave_out else found

    def _due(
        self, origins: list[Origin], hashes: dict[str, str], copies: dict[str, str]
    ) -> list[Origin]:
        """Returns what is to be taken in: no copies, and nothing that is there already."""
        found = []
        for origin in origins:
            row = self._record.rows.get(origin.source)
            known = row is not None and (row.digest, row.key) == (hashes[origin.source], self._key)
            # what was left out as a copy is taken in where copies no longer matter
            done = known and not (row is not None and row.skipped.startswith(_COPY))
            if origin.source not in copies and not done:
                found.append(origin)
        return found

    def _hash(self, origin: Origin) -> str:
        try:
            return file_hash(origin.path)
        except OSError:
            return ""  # said when it is its turn

    def _copies(self, origins: list[Origin], hashes: dict[str, str]) -> dict[str, str]:
        """Returns the sources that are copies of others, with the reason.

        What came in from other sources before stays, and counts as the original.
        """
        if self._options.drop_duplicates is None:
            return {}
        there = self._there(origins)
        captioned = {origin.source for origin in origins if origin.captions}
        hashed = [(source, row.digest) for source, row in there.items()]
        hashed += [(origin.source, hashes[origin.source]) for origin in origins]
        found = {}
        for group in exact_duplicates(hashed):
            keep, *others = sorted(group, key=lambda s: (s not in there, s not in captioned))
            found |= dict.fromkeys(others, f"{_COPY} the same bytes as {shown(keep)}")
        if self._options.drop_duplicates == "near":
            paths = {o.source: o.path for o in origins if o.source not in found}
            paths |= {s: self._options.out / row.outputs[0].name for s, row in there.items()}
            for best, others in find_near(self._looks(paths), captioned).copies.items():
                members = (best, *others)
                keep = next((name for name in members if name in there), best)
                why = f"{_COPY} nearly the same as {shown(keep)}"
                found |= {name: why for name in members if name != keep}
        return {source: why for source, why in found.items() if source not in there}

    def _there(self, origins: list[Origin]) -> dict[str, Row]:
        """Returns what other sources brought in before and nobody removed since."""
        now = {origin.source for origin in origins}
        return {
            source: row
            for source, row in self._record.rows.items()
            if source not in now
            and row.outputs
            and (self._options.out / row.outputs[0].name).exists()
        }

    def _looks(self, paths: dict[str, Path]) -> dict[str, Looks]:
        options = self._options
        stage = LooksStage(_RESOLUTION, options.max_pixels)
        sources = list(paths)
        found = {}
        done = spread(
            stage, list(paths.values()), executor=options.executor, workers=options.workers
        )
        for count, each in enumerate(done, 1):
            if each.value is not None:
                found[sources[each.index]] = each.value
            self._report.event("working", what="comparing", done=count, total=len(paths))
        return found

    def _take_in(self, due: list[Origin], hashes: dict[str, str]) -> None:
        chosen = self._options
        targets = Targets(chosen.out, keep_folders=chosen.keep_folders)
        names = targets.assign(due, self._record.rows)
        jobs = [Job(origin.path, names[origin.source]) for origin in due]
        stage = TakeIn(chosen, chosen.out, Names(targets.all).folded)
        done = spread(stage, jobs, executor=chosen.executor, workers=chosen.workers)
        for count, each in enumerate(done, 1):
            source = due[each.index].source
            taken = each.value or Taken()
            if taken.stop:
                raise UserError(taken.stop, remedy="The same command goes on.")
            old = self._record.rows.get(source)
            self._remove(old, keep=[output.name for output in taken.outputs])
            skipped = each.error.what if each.error else ""
            captions = old.captions if old else {}
            row = Row(source, hashes[source], self._key, taken.outputs, captions, skipped)
            self._record.add(row)
            self._report.event("working", what="pictures", done=count, total=len(due))

    def _remove(self, row: Row | None, keep: Iterable[str]) -> None:
        """Removes what an earlier run made of a source, unless a person changed it since."""
        for output in row.outputs if row else ():
            path = self._options.out / output.name
            if output.name in keep or not path.exists():
                continue
            if file_hash(path) == output.digest:
                path.unlink()
            else:
                self._notes.add("changed by hand since, kept as it is", output.name)

    def _carry_captions(self, origin: Origin) -> None:
        """Brings the caption files beside the pictures up to date."""
        row = self._record.rows[origin.source]
        texts = {ending: self._read(caption) for ending, caption in origin.captions.items()}
        self._captions.settle(row, {output.name: texts for output in row.outputs})

    def _read(self, caption: Path) -> bytes | None:
        try:
            return caption.read_bytes()
        except OSError as error:
            self._notes.add(f"captions that cannot be read ({error.strerror})", caption)
            return None

    def _tell(self, origins: list[Origin], due: set[str], sheet: Path) -> None:
        rows = [self._record.rows[origin.source] for origin in origins]
        for row in rows:
            if row.skipped.startswith(_COPY):
                self._notes.add("left out as copies", row.source)
            elif row.skipped:
                self._notes.add(f"left out: {row.skipped}", row.source)
        for line in self._notes.lines():
            self._report.event("warned", text=line)
        pictures = sum(len(row.outputs) for row in rows)
        left = sum(bool(row.skipped) for row in rows)
        captions = sum(len(row.captions) for row in rows)
        now = sum(row.source in due and not row.skipped for row in rows)
        self._report.line(
            f"{pictures} pictures and {captions} captions of {len(origins)} in "
            f"{self._options.out}; {now} taken in now, {len(origins) - now - left} before, "
            f"{left} left out"
        )
        self._report.line(f"look at {sheet}")
        if rows and not any(row.outputs for row in self._record.rows.values()):
            raise nothing_made(self._options.folders[0], [row.skipped for row in rows])
