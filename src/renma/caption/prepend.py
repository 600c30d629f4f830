"""``renma caption prepend``: a trigger word in front of every caption, as often as it is run.

Where the word stands first already, nothing changes; where it stands elsewhere, it moves.
"""

from __future__ import annotations

from renma.caption import filters
from renma.caption.drafts import Parts, edited, tags_of
from renma.caption.edit import fitting
from renma.caption.recipe import Recipe, tags_in
from renma.caption.texts import read_texts
from renma.config.caption.prepend import PrependOptions
from renma.core.events import Report
from renma.data.notes import Notes


def run(options: PrependOptions, report: Report) -> None:
    """Puts the word into every caption.

    Raises:
        UserError: no pictures, a broken file, or a word that names no tag.
    """
    words = tags_in((options.word,), options.separator, "WORD")
    recipe = Recipe(
        separator=options.separator,
        first=() if options.append else words,
        last=words if options.append else (),
    )
    texts = read_texts(options, report)
    wanted = filters.parse(options.where)
    chosen = fitting(texts, wanted, options.separator, report, bare=options.create)
    # the line end that taggers write
    old = [texts.entries[place].parts or {"caption": "\n"} for place in chosen]
    new = edited(old, recipe)
    changed: dict[int, Parts] = {}
    notes, created = Notes(), 0
    for place, was, parts in zip(chosen, old, new, strict=True):
        if was == parts:
            continue
        changed[place] = parts
        created += not texts.entries[place].parts
        if {*words} & {*tags_of(was, options.separator)}:
            end = "end" if options.append else "front"
            notes.add(f"had it elsewhere, moves to the {end}", texts.entries[place].name)
    for line in notes.lines():
        report.event("warned", text=line)
    there = len(chosen) - len(changed)
    report.line(f"{there:,} captions have it in its place, {created:,} are new")

    def again(now: Parts) -> Parts | None:
        fits = (now or options.create) and wanted.fits(tags_of(now, options.separator))
        return edited([now or {"caption": "\n"}], recipe)[0] if fits else None

    texts.save("append" if options.append else "prepend", changed, options, report, again)
