"""The sets of pictures that a folder, a project or a metadata file holds, each with its captions.

A folder of ``10_name`` folders holds a set in each of them; one with a ``run.toml`` holds what the
run is trained on. What is called ``reg`` are regularisation pictures.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from renma.caption.assistant.categories import shipped
from renma.caption.assistant.sentences import in_words, is_sentence
from renma.caption.drafts import tags_of
from renma.caption.tags import Tags, parse
from renma.caption.texts import Entry, FolderTexts, Texts, read_texts
from renma.config import load_run
from renma.config.caption._texts import TextOptions
from renma.config.data import Subset
from renma.core.errors import UserError
from renma.core.events import Report
from renma.data.folder import expand
from renma.data.notes import shown
from renma.data.reading import NUMBERED

RUN = "run.toml"
_REG = re.compile(r"reg(ulari[sz]ation)?", re.IGNORECASE)
_MOSTLY = 0.6
"""A word that so many captions begin with is the trigger, if it is no ordinary tag."""


@dataclass(frozen=True)
class CaptionSet:
    """Captions that are learned as one.

    Args:
        name: for people.
        folder: where ``renma caption`` commands about it are run; for messages.
        texts: what its captions are read from and written to.
        places: indices of its entries there.
        separator: what stands between tags.
        reg: whether they are regularisation pictures.
        class_tokens: caption of pictures that have none, or empty.
        prefix: what training puts before every caption.
        moves: whether training shuffles the first tag along with the others.
    """

    name: str
    folder: Path
    texts: Texts
    places: tuple[int, ...]
    separator: str = ","
    reg: bool = False
    class_tokens: str = ""
    prefix: str = ""
    moves: bool = False

    @cached_property
    def captions(self) -> dict[str, Tags]:
        """The captions that say anything, as training reads them: name to tags."""
        first = parse(self.prefix, self.separator)
        found = ((entry.name, tags_of(entry.parts, self.separator)) for entry in self._entries())
        return {name: (*first, *tags) for name, tags in found if tags}

    @cached_property
    def silent(self) -> tuple[str, ...]:
        """Names of pictures without a caption, or with an empty one."""
        return tuple(e.name for e in self._entries() if not tags_of(e.parts, self.separator))

    @cached_property
    def lines(self) -> dict[str, tuple[str, ...]]:
        """Name to the texts of its captions, as they are written."""
        return {
            entry.name: tuple(
                line for text in entry.parts.values() for line in text.splitlines() if line.strip()
            )
            for entry in self._entries()
        }

    def _entries(self) -> Iterator[Entry]:
        return (self.texts.entries[place] for place in self.places)


@dataclass(frozen=True)
class Sets:
    """All that was found.

    Args:
        sets: in the order of their names.
        trigger: the word that the run says is the trigger, or empty.
        tokens: the most CLIP tokens that training reads of a caption.
        weighted: whether training obeys weights such as (smile:1.2).
    """

    sets: tuple[CaptionSet, ...]
    trigger: str = ""
    tokens: int = 75
    weighted: bool = False

    @property
    def trained(self) -> tuple[CaptionSet, ...]:
        """The sets that are learned, without regularisation pictures."""
        return tuple(each for each in self.sets if not each.reg)

    @property
    def reg(self) -> tuple[CaptionSet, ...]:
        """The sets of regularisation pictures."""
        return tuple(each for each in self.sets if each.reg)


@dataclass(frozen=True)
class Trigger:
    """A trigger word.

    Args:
        word: as it is written; empty if there is none.
        source: where it was found.
    """

    word: str = ""
    source: str = ""


def read_sets(options: TextOptions, report: Report) -> Sets:
    """Returns the sets that the options name.

    Raises:
        UserError: no pictures, only regularisation pictures, or a file that cannot be read.
    """
    file = options.folder / RUN if options.folder.is_dir() else options.folder
    if file.suffix.lower() == ".toml" and (file.is_file() or not options.folder.is_dir()):
        found = _of_run(file, options, report)
    else:
        texts = read_texts(options, report)
        found = Sets(tuple(_of_folder(texts, options)))
    if not found.trained:
        raise UserError(
            "holds regularisation pictures only",
            where=shown(options.folder),
            remedy="Give the folder of the training pictures, or the one above both.",
        )
    return found


def find_trigger(found: Sequence[CaptionSet], known: str = "", said: str = "") -> Trigger:
    """Returns the trigger word of some captions.

    Args:
        found: the sets that share it.
        known: the word that the user gave.
        said: the word that the run gives.
    """
    if known:
        return Trigger(known, "given")
    if said:
        return Trigger(said, RUN)
    captions = [tags for each in found for tags in each.captions.values()]
    firsts = Counter(tags[0] for tags in captions)
    word, often = max(firsts.items(), key=lambda row: (row[1], row[0]), default=("", 0))
    if (
        often >= max(2, _MOSTLY * len(captions))
        and not shipped().of(word)
        and not is_sentence(word)
    ):
        return Trigger(word, f"first in {often:,} of {len(captions):,} captions")
    names = [each.class_tokens for each in found if each.class_tokens]
    head = names[0].split()[0] if names else ""
    if head and not shipped().of(head) and len({*names}) == 1:
        return Trigger(head, f"the folder's name, {found[0].name}")
    return Trigger()


def in_lists(found: CaptionSet) -> tuple[dict[str, Tags], tuple[str, ...]]:
    """Returns the captions of a set that are lists of tags, and the names of those in sentences."""
    captions = found.captions
    prose = tuple(name for name, tags in captions.items() if in_words(tags))
    return {name: tags for name, tags in captions.items() if name not in {*prose}}, prose


def _of_run(file: Path, options: TextOptions, report: Report) -> Sets:
    """Returns the sets of a run, each read with its own options."""
    run = load_run(file)
    for name in ("extension", "separator", "flat", "only"):
        if name in options.model_fields_set:
            report.event("warned", text=f"--{name} has no effect: {shown(file)} says it")
    subsets: dict[str, Subset] = {}
    for dataset in expand(run.data, file.parent):
        for subset in dataset.subsets:
            subsets.setdefault(subset.metadata_file or subset.image_dir, subset)
    sets = tuple(_of_subset(place, subset, report) for place, subset in subsets.items())
    model = run.model
    return Sets(sets, run.output.trigger, model.max_tokens, model.weighted_captions)


def _of_subset(place: str, subset: Subset, report: Report) -> CaptionSet:
    own = TextOptions(
        folder=Path(place),
        separator=subset.caption_separator,
        **({} if subset.metadata_file else {"extension": subset.caption_extension, "flat": True}),
    )
    texts = read_texts(own, report)
    match = NUMBERED.fullmatch(Path(place).name)
    words = subset.class_tokens or (match[2] if match else "")
    whole = tuple(range(len(texts.entries)))
    return CaptionSet(
        shown(Path(place).name), own.folder, texts, whole, own.separator, subset.is_reg, words,
        subset.caption_prefix,
        subset.shuffle_caption and not subset.keep_tokens and not subset.keep_tokens_separator,
    )  # fmt: skip


def _of_folder(texts: Texts, options: TextOptions) -> Iterator[CaptionSet]:
    """Yields a set for every numbered folder, or one for all."""
    top = options.folder.resolve()
    groups: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, entry in enumerate(texts.entries):
        groups[_numbered(entry.name, top) if isinstance(texts, FolderTexts) else ()].append(place)
    for path, entries in sorted(groups.items()):
        match = NUMBERED.fullmatch(path[-1]) if path else None
        yield CaptionSet(
            shown(path[-1] if path else top.name),
            options.folder,
            texts,
            tuple(entries),
            options.separator,
            reg=any(map(_REG.fullmatch, path)),
            class_tokens=match[2] if match else "",
        )


def _numbered(name: str, top: Path) -> tuple[str, ...]:
    """Returns the folders down to the inmost numbered one that an entry lies in."""
    inside = PurePosixPath(name).parent.parts
    whole = (top.parent.name, top.name, *inside)
    last = max((n for n, part in enumerate(whole) if NUMBERED.fullmatch(part)), default=-1)
    if last >= 1:
        return whole[: last + 1]
    return whole[:2] if any(_REG.fullmatch(part) for part in whole[:2]) else ()
