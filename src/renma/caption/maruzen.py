"""``renma caption maruzen``: which tags the trigger word should absorb, and removing them.

The table is shown and nothing changes without ``--apply``. What is written goes through the
journal, so that ``renma caption undo`` takes it back.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass

from renma.caption.assistant.categories import shipped
from renma.caption.assistant.proposal import ORDER, Aims, Proposal, Row, propose
from renma.caption.assistant.sets import (
    CaptionSet,
    Sets,
    Trigger,
    find_trigger,
    in_lists,
    read_sets,
)
from renma.caption.assistant.trigger_checks import spelled_like
from renma.caption.drafts import Parts, edited
from renma.caption.near import missed
from renma.caption.recipe import Recipe
from renma.caption.tags import Tags, fold, parse
from renma.caption.texts import MetadataTexts, Texts
from renma.config.caption._texts import EditingOptions
from renma.config.caption.maruzen import MaruzenOptions
from renma.core.counted import counted
from renma.core.errors import UserError
from renma.core.events import Report, Silent
from renma.data.notes import shown

_TOP = 30
"""So many tags that stay are shown."""


@dataclass(frozen=True)
class Answer:
    """What is proposed for the sets of one trigger.

    Args:
        sets: the sets.
        trigger: their word.
        proposal: what to do with their tags.
        sentences: names of captions that are no lists of tags.
        misspelt: tags that may be the trigger, mistyped, where no caption has it as it is given.
    """

    sets: tuple[CaptionSet, ...]
    trigger: Trigger
    proposal: Proposal
    sentences: tuple[str, ...]
    misspelt: Tags = ()

    @property
    def name(self) -> str:
        """The names of the sets."""
        return ", ".join(each.name for each in self.sets)


def run(options: MaruzenOptions, report: Report) -> None:
    """Shows the proposal, and applies it if wanted.

    Raises:
        UserError: no captions, captions in sentences only, or nothing that is the trigger.
    """
    told: Report = Silent() if options.as_json else report
    _warn_unused(options, told)
    found = read_sets(options, told)
    answers = [_answer(group, options) for group in _groups(found, options)]
    if not any(answer.proposal.total for answer in answers):
        _refuse_silence(answers, options)
    for line in _missed(answers, options):
        told.event("warned", text=line)
    if options.apply:
        _check(answers)
    if options.as_json:
        report.line(json.dumps([_facts(a) for a in answers], ensure_ascii=False, indent=2))
    for answer in answers:
        _show(answer, options, told)
    for each in found.reg:
        told.line(f"{each.name}: regularisation pictures, left alone")
    if options.apply or options.diff:
        _write(answers, options, told)
    if not options.apply:
        told.line("Nothing is changed; --apply removes the tags and puts the trigger first.")


def _groups(found: Sets, options: MaruzenOptions) -> list[tuple[Trigger, tuple[CaptionSet, ...]]]:
    """Returns the sets by their trigger, in the order of their names."""
    groups: dict[str, tuple[Trigger, tuple[CaptionSet, ...]]] = {}
    for each in found.trained:
        trigger = find_trigger((each,), options.trigger, found.trigger)
        key = fold(trigger.word) or f"\0{each.name}"
        first, sets = groups.get(key, (trigger, ()))
        groups[key] = first, (*sets, each)
    return list(groups.values())


def _answer(group: tuple[Trigger, tuple[CaptionSet, ...]], options: MaruzenOptions) -> Answer:
    trigger, sets = group
    captions: dict[str, Tags] = {}
    sentences: list[str] = []
    for number, each in enumerate(sets):
        lists, prose = in_lists(each)
        # a run's folders may hold files of the same name
        captions |= {name if name not in captions else f"{number}:{name}": tags
                     for name, tags in lists.items()}  # fmt: skip
        sentences += prose
    aims = Aims(
        options.kind, options.clothes, trigger.word, options.share, options.keep, options.remove
    )
    near = _misspelt(captions, trigger.word, {fold(tag) for tag in options.keep + options.remove})
    return Answer(sets, trigger, propose(captions, aims), tuple(sentences), near)


def _misspelt(captions: Mapping[str, Tags], word: str, meant: Set[str]) -> Tags:
    """Returns tags that may be the trigger, mistyped, if no caption has it; no meant ones."""
    found = {fold(tag): tag for tags in captions.values() for tag in tags}
    if not word or fold(word) in found:
        return ()
    near = (t for key, t in found.items() if key not in meant and not shipped().of(t))
    return tuple(tag for tag in near if spelled_like(tag, word))


def _refuse_silence(answers: Sequence[Answer], options: MaruzenOptions) -> None:
    prose = sum(len(answer.sentences) for answer in answers)
    where = shown(options.folder)
    if prose:
        raise UserError(
            f"{counted(prose, 'caption')} in sentences and none as a list of tags",
            where=where,
            remedy="Tag the pictures first (`renma caption tag`), or take the subject's looks out "
            "of the sentences by `renma caption edit --search`.",
        )
    raise UserError("has no captions", where=where, remedy="`renma caption tag` writes them.")


def _missed(answers: Sequence[Answer], options: MaruzenOptions) -> list[str]:
    counts = {fold(r.tag): r.captions for answer in answers for r in answer.proposal.rows}
    lines = missed(map(fold, (*options.keep, *options.remove)), counts)
    if not options.apply:  # where that is refused
        lines += [_near_miss(answer) for answer in answers if answer.misspelt]
    return lines


def _check(answers: Sequence[Answer]) -> None:
    """Makes sure that what is applied is meant.

    Raises:
        UserError: tags would go and no trigger is there to learn what they said, or captions have
            another spelling of it.
    """
    for answer in answers:
        if answer.misspelt:
            near = answer.misspelt[0]
            raise UserError(
                _near_miss(answer),
                where=answer.name,
                remedy=f"Give --trigger '{near}' if that is the word, --remove '{near}' if it is "
                f"to go, --keep '{near}' if it says something else.",
            )
        if not answer.trigger.word and answer.proposal.removed:
            raise UserError(
                "no trigger word is known, so nothing would learn what the tags said",
                where=answer.name,
                remedy="Give --trigger WORD.",
            )


def _near_miss(answer: Answer) -> str:
    near = ", ".join(f"'{tag}'" for tag in answer.misspelt)
    return f"no caption has the trigger '{answer.trigger.word}', but captions have {near}"


def _warn_unused(options: MaruzenOptions, report: Report) -> None:
    if options.out and not options.apply:
        report.event("warned", text="--out has no effect without --apply")
    if options.kind != "character" and "clothes" in options.model_fields_set:
        report.event("warned", text="--clothes has no effect: it is for characters")


def _show(answer: Answer, options: MaruzenOptions, report: Report) -> None:
    """Shows the table and the notes of one proposal."""
    proposal, trigger = answer.proposal, answer.trigger
    word = f"trigger '{trigger.word}' ({trigger.source})" if trigger.word else "no trigger found"
    tags = counted(len(proposal.rows), "different tag")
    report.line(f"{answer.name}: {counted(proposal.total, 'caption')}, {tags}, {word}")
    silent = sum(len(each.silent) for each in answer.sets)
    if silent:
        report.line(f"  {counted(silent, 'picture')} without a caption, left alone")
    if answer.sentences:
        report.line(
            f"  {counted(len(answer.sentences), 'caption')} in sentences, of which no tag is taken"
        )
    rows = list(proposal.rows)
    kept = proposal.having("keep")
    if not options.full:
        rows = [row for row in rows if row.decision != "keep"] + kept[:_TOP]
    for line in _table(rows):
        report.line(line)
    if len(kept) > _TOP and not options.full:
        report.line(f"  and {len(kept) - _TOP:,} more that stay; --full shows them")
    for note in proposal.notes:
        report.line(f"* {note}")
    counts = ", ".join(f"{word} {len(proposal.having(word)):,}" for word in ORDER[1:])
    report.line(f"  {counts}")


def _table(rows: Sequence[Row]) -> list[str]:
    """Returns the rows of a table as lines of text."""
    widths = [
        max((len(row.tag) for row in rows), default=0),
        max((len(row.category) for row in rows), default=0),
    ]
    return [
        f"  {row.decision:<9} {row.share:>4.0%}  {row.tag:<{widths[0]}}  "
        f"{row.category:<{widths[1]}}  {row.why}"
        for row in rows
    ]


def _facts(answer: Answer) -> dict[str, object]:
    return {
        "sets": [each.name for each in answer.sets],
        "captions": answer.proposal.total,
        "in_sentences": list(answer.sentences),
        "without_caption": [name for each in answer.sets for name in each.silent],
        "trigger": answer.trigger.word,
        "trigger_source": answer.trigger.source,
        "tags": [asdict(row) for row in answer.proposal.rows],
        "notes": list(answer.proposal.notes),
    }


def _write(answers: Sequence[Answer], options: MaruzenOptions, report: Report) -> None:
    """Removes the tags and puts the trigger first, one edit a folder; or shows what that does."""
    changed: dict[int, dict[int, Parts]] = {}
    texts: dict[int, tuple[Texts, CaptionSet]] = {}
    for answer in answers:
        for each in answer.sets:
            texts.setdefault(id(each.texts), (each.texts, each))
            changed.setdefault(id(each.texts), {}).update(_changes(each, answer))
    for key, (captions, each) in texts.items():
        metadata = isinstance(captions, MetadataTexts)
        saving = EditingOptions(
            folder=each.folder,
            diff=options.diff,
            dry_run=not options.apply,
            out=options.out if metadata and options.apply else None,
        )
        captions.save("maruzen", changed[key], saving, report)
    if (
        options.out
        and options.apply
        and not any(isinstance(each, MetadataTexts) for each, _ in texts.values())
    ):
        report.event("warned", text="--out has no effect: it is for metadata")


def _changes(each: CaptionSet, answer: Answer) -> Mapping[int, Parts]:
    """Returns the entries of a set that change, by index."""
    word = answer.trigger.word
    recipe = Recipe(
        separator=each.separator,
        removed=tuple(tag.replace("*", r"\*") for tag in answer.proposal.removed),
        first=(word,) if word and word not in parse(each.prefix, each.separator) else (),
    )
    silent = {*each.silent}
    places = [p for p in each.places if each.texts.entries[p].name not in silent]
    old = [each.texts.entries[place].parts for place in places]
    new = edited(old, recipe)
    return {p: parts for p, parts, was in zip(places, new, old, strict=True) if parts != was}
