"""``renma caption edit``: many captions at once, by tags and by text.

The edits are pure functions (``tags``) in a fixed order (``recipe``); what changes is written
through the journal, so that ``renma caption undo`` takes it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from renma.caption import filters
from renma.caption.drafts import Parts, edited, tags_of
from renma.caption.near import missed
from renma.caption.recipe import Recipe, recipe_of
from renma.caption.texts import Entry, FolderTexts, Texts, read_texts
from renma.config.caption.edit import EditOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data.notes import Notes

_EDITS = {
    "search", "underscores", "parentheses", "remove", "replace", "implications", "dedupe", "sort",
    "add", "prepend", "append", "truncate_tokens", "utf8",
}  # fmt: skip
_NEEDS = {"at": "add", "implied": "implications", "reverse": "sort"}


def run(options: EditOptions, report: Report) -> None:
    """Edits the captions that fit.

    Raises:
        UserError: nothing to do, a condition or expression that is none, or a broken file.
    """
    wanted = filters.parse(options.where)
    check(options, report)
    texts = read_texts(options, report)
    change(texts, fitting(texts, wanted, options.separator, report), options, report)


def change(
    texts: Texts, chosen: Sequence[int], options: EditOptions, report: Report
) -> dict[int, Parts]:
    """Edits chosen captions; with ``dry_run`` nothing is written.

    Args:
        texts: all captions.
        chosen: indices of those to edit; the others count for the order by frequency.
        options: the edit; one whose caption was changed by somebody else meanwhile is edited as it
            is by then, if it still fits ``where``.
        report: told what is odd, and how many change.

    Returns:
        What the captions that change say afterwards, by index.

    Raises:
        UserError: nothing to do, an expression that is none, or a file that cannot be written.
    """
    recipe, wanted = recipe_of(options), filters.parse(options.where)
    taken = set(chosen)
    others = [e.parts for place, e in enumerate(texts.entries) if place not in taken]
    old = [texts.entries[place].parts for place in chosen]
    _tell_missed(old, recipe, report)
    tokens = _clip_tokens() if options.truncate_tokens else None
    new = edited(old, recipe, others, tokens)
    _tell_results([texts.entries[place] for place in chosen], new, recipe, tokens, report)
    changed: dict[int, Parts] = {
        place: parts for place, parts, was in zip(chosen, new, old, strict=True) if parts != was
    }
    written = changed
    if options.utf8 and isinstance(texts, FolderTexts):  # the journal knows which bytes differ
        whole = {place: e.parts for place, e in enumerate(texts.entries) if e.parts}
        written = {**whole, **changed}
    elif options.utf8:
        report.event("warned", text="--utf8 has no effect: metadata is always written as UTF-8")

    def again(now: Parts) -> Parts | None:
        fits = now and wanted.fits(tags_of(now, options.separator))
        return edited([now], recipe, [e.parts for e in texts.entries], tokens)[0] if fits else None

    texts.save("edit", written, options, report, again)
    return changed


def check(options: EditOptions, report: Report) -> None:
    """Makes sure that something is to be done, and tells what has no effect.

    Raises:
        UserError: nothing is.
    """
    if not any(getattr(options, name) for name in _EDITS):
        raise UserError(
            "nothing says what to change",
            remedy="Give --add, --remove, --replace old=new, --sort, ...; "
            "`renma caption edit --help` shows all.",
        )
    for name, needed in _NEEDS.items():
        if name in options.model_fields_set and not getattr(options, needed):
            report.event("warned", text=f"--{name} has no effect without --{needed}")


def fitting(
    texts: Texts, wanted: filters.Filter, separator: str, report: Report, *, bare: bool = False
) -> list[int]:
    """Returns the indices of the captions that fit a condition, and tells what fits none.

    Args:
        texts: the captions.
        wanted: the condition.
        separator: what stands between tags.
        report: told about tags that no caption has, and pictures without a caption.
        bare: pictures without a caption fit too, where the condition is met by no tags.
    """
    found = [tags_of(entry.parts, separator) for entry in texts.entries]
    without = sum(not entry.parts for entry in texts.entries)
    if without and not bare:
        report.line(f"{without:,} pictures have no caption and are left alone")
    if wanted.text.strip():
        counts = Counter(tag for tags in found for tag in set(tags))
        _warn(missed(wanted.patterns, counts), report)
    chosen = [
        place
        for place, (entry, tags) in enumerate(zip(texts.entries, found, strict=True))
        if (entry.parts or bare) and wanted.fits(tags)
    ]
    if wanted.text.strip():
        asked = len(found) if bare else len(found) - without
        report.line(f"{len(chosen):,} of {asked:,} captions fit {wanted.text!r}")
    return chosen


def _tell_missed(old: Sequence[Parts], recipe: Recipe, report: Report) -> None:
    """Names the tags to remove or replace that no caption has."""
    if not (recipe.removed or recipe.replaced):
        return
    counts: Counter[str] = Counter()
    for parts in old:
        text = {key: recipe.searched(said) for key, said in parts.items()}
        counts.update(set(recipe.formed(tags_of(text, recipe.separator))))
    _warn(missed(recipe.removed, counts), report)
    for pattern, new in recipe.replaced:
        _warn(missed([pattern], counts), report)
        counts.update(new)  # what one replacement writes, the next may replace


def _tell_results(
    entries: Sequence[Entry],
    new: Sequence[Parts],
    recipe: Recipe,
    tokens: Callable[[str], int] | None,
    report: Report,
) -> None:
    """Names captions that say nothing any more, and those that stay too long."""
    notes = Notes()
    for entry, parts in zip(entries, new, strict=True):
        if not tags_of(parts, recipe.separator) and tags_of(entry.parts, recipe.separator):
            notes.add("captions that say nothing now", entry.name)
        lines = (line for text in parts.values() for line in text.splitlines())
        if recipe.tokens and tokens and any(tokens(line) > recipe.tokens for line in lines):
            notes.add(f"still more than {recipe.tokens} tokens: no tag may be dropped", entry.name)
    _warn(notes.lines(), report)


def _warn(lines: Iterable[str], report: Report) -> None:
    for line in lines:
        report.event("warned", text=line)


def _clip_tokens() -> Callable[[str], int]:
    from renma.formats.clip_tokens import ClipTokens  # its table takes half a second to read

    return ClipTokens.shipped().count
