"""The plan as aligned lines for people, at most 100 characters wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from renma.core.counted import counted, times
from renma.train.cache_plan import Cached
from renma.train.caption_plan import Captions, Said
from renma.train.judge_plan import Judgings
from renma.train.picture_plan import Bucket
from renma.train.plan import Plan
from renma.train.save_plan import Saves

WIDTH = 100
_BAR = 24
_ROWS = 12
"""Buckets that are shown; the others are summed up."""
_CROPPED = 0.005


def lines(plan: Plan) -> list[str]:
    """Returns the plan in its parts: pictures, sizes, length, learning rates, files, costs."""
    first = list(_pictures(plan))
    last = list(_run(plan))
    width = max(len(name) for name, _ in (*first, *last))
    return [
        *_aligned(first, width),
        *_sizes(plan.bucket_rows),
        *_aligned(last, width),
        *plan.rate_chart,
    ]


def note_lines(plan: Plan) -> list[str]:
    """Returns what is worth knowing, a line each."""
    return [f"note: {text}" for text in plan.notes]


def said_lines(said: Sequence[Said]) -> list[str]:
    """Returns what each picture's first showing says, with its tokens in front."""
    if not said:
        return []
    name_width = min(28, max(len(each.picture) for each in said))
    told = ["captions as the first epoch shows them (tokens, picture, text):"]
    for each in said:
        mark = f"  CUT {each.cut}" if each.cut else ""
        text = each.caption or "(empty)"
        told.append(f"{each.tokens:>4}  {each.picture:<{name_width}}  {text}{mark}")
    return told


def size(count: float) -> str:
    """Returns bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _aligned(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    told = []
    for name, value in rows:
        first, *rest = textwrap.wrap(value, WIDTH - width - 2, break_long_words=False) or [""]
        told.append(f"{name:<{width}}  {first}")
        told += [f"{'':<{width}}  {line}" for line in rest]
    return told


def _pictures(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.preset:
        yield "preset", plan.preset
    yield "model", plan.model
    yield from plan.method
    if not plan.pictures:
        return
    more = [f"{plan.pictures}"]
    if plan.reg_pictures:
        more.append(f"{plan.reg_pictures} regularisation")
    if plan.held_out:
        more.append(f"{plan.held_out} held out")
    yield "pictures", " + ".join(more)
    if line := plan.regularisation.line():
        yield "", line
    yield "captions", _captions(plan.captions)
    if line := _cached(plan.cached):
        yield "latents", line


def _cached(found: Cached) -> str:
    told = []
    if found.there:
        told.append(f"{found.there} of {found.latents} are in the cache already")
    if found.anew:
        told.append(
            f"those of {counted(found.anew, 'picture')} are computed anew for every showing"
        )
    return ", ".join(told)


def _captions(found: Captions) -> str:
    told = [f"{found.different} different texts" if found.different != 1 else "one text"]
    if found.without:
        told.append(f"{counted(found.without, 'picture')} without words")
    if found.cut:
        told.append(f"{found.cut} longer than the {found.room} tokens that are read")
    else:
        told.append(f"all within {found.room} tokens")
    if found.longest is not None:
        told.append(f"the longest has {found.longest} ({found.longest_picture})")
    if found.random:
        told.append("drawn anew each time" if found.random == found.pictures else "some drawn anew")
    return ", ".join(told)


def _sizes(rows: Sequence[Bucket]) -> Iterator[str]:
    """Yields a bar for each bucket, and what is cropped away there."""
    most = max((row.pictures for row in rows), default=0)
    shown = sorted(rows, key=lambda row: -row.pictures)[:_ROWS]
    sizes = max((len(row.size) for row in shown), default=0)
    for row in sorted(shown, key=lambda row: _width(row.size)):
        bar = "█" * max(1, round(_BAR * row.pictures / most))
        batches = counted(row.batches, "batch", "batches")
        line = f"  {row.size:>{sizes}} {bar:<{_BAR}} {row.pictures:>4}  {batches}"
        yield _cut(line + _cropped(row))
    rest = [row for row in rows if row not in shown]
    if rest:
        pictures = counted(sum(row.pictures for row in rest), "picture")
        yield f"  and {counted(len(rest), 'more size')} with {pictures}"


def _cropped(row: Bucket) -> str:
    told = ""
    if row.worst > _CROPPED:
        told += f", crop {row.cropped:.0%}, worst {row.worst:.0%} {row.worst_picture}"
    if row.enlarged:
        told += f", {row.enlarged} enlarged"
    return told


def _width(name: str) -> tuple[int, ...]:
    return tuple(map(int, name.split("x")))


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."


def _run(plan: Plan) -> Iterator[tuple[str, str]]:
    yield from _length(plan)
    yield "trained", f"{plan.parameters:,} numbers"
    yield "files", _files(plan.saves)
    if plan.saves.preview_steps and plan.saves.previews:
        yield "previews", _previews(plan.saves)
    if plan.judgings.steps:
        yield "judged", _judged(plan.judgings)
    yield "memory", _memory(plan)
    guess = "" if plan.seconds_known else " (first run here: a guess)"
    yield "time", f"about {_time(plan.seconds)}{guess}"


def _length(plan: Plan) -> Iterator[tuple[str, str]]:
    each = "" if plan.batches_per_step == 1 else f" of {plan.batches_per_step} batches each"
    if not plan.pictures:
        yield "the run", f"{counted(plan.steps, 'step')}{each}, {counted(plan.samples, 'sample')}"
        return
    full = sum(row.full for row in plan.bucket_rows)
    batches = counted(plan.batches_per_epoch, "batch", "batches")
    batches = f"{counted(plan.showings_per_epoch, 'picture')} in {batches}"
    partly = "" if full == plan.batches_per_epoch else f", {full} of them full"
    yield "an epoch", batches + partly
    often = times(plan.seen.least, plan.seen.most)
    shown = f"{counted(plan.samples, 'picture')} shown, each training picture {often}"
    epochs = f"{plan.epochs:g} {'epoch' if plan.epochs == 1 else 'epochs'}"
    yield "the run", f"{counted(plan.steps, 'step')}{each} ({epochs}), {shown}"


def _files(found: Saves) -> str:
    names = [name for name, _ in found.files]
    shown = names if len(names) <= 2 else [names[0], "...", names[-1]]
    count = f"{len(names)} files" if len(names) > 1 else "one file"
    kept = f", {found.kept} kept" if found.kept < len(names) else ""
    return (
        f"{count} of {size(found.file_bytes)}{kept}: {', '.join(shown)}; with states up to "
        f"{size(found.room)} of {size(found.free)} free"
    )


def _previews(found: Saves) -> str:
    return f"{counted(found.previews, 'picture')} after step {_some(found.preview_steps)}"


def _judged(found: Judgings) -> str:
    return (
        f"after step {_some(found.steps)}, about {counted(found.pictures, 'picture')} each time "
        f"and {_time(found.seconds)} in all; the run ends after {found.patience} without betterment"
    )


def _some(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps[:4])) + (f" ... {steps[-1]}" if len(steps) > 4 else "")


def _memory(plan: Plan) -> str:
    parts = {name: mib for name, mib in plan.memory.items() if name != "caching_latents"}
    told = ", ".join(f"{name} {size(mib * 2**20)}" for name, mib in parts.items() if mib >= 1)
    caching = plan.memory["caching_latents"]
    more = f"; caching latents {size(caching * 2**20)}" if caching > sum(parts.values()) else ""
    return f"about {size(plan.memory_mib * 2**20)} ({told}{more})"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
