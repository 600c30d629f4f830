"""Checks that need the whole folder: copies, shared marks, captions, names."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from renma.core.counted import counted
from renma.core.errors import UserError
from renma.core.text_file import decode
from renma.data.caption_file import CaptionFiles, caption_lines
from renma.data.duplicates import exact_duplicates
from renma.data.reading import listing
from renma.prepare.duplicates import CORRELATION, Cluster, clusters, near_pairs
from renma.prepare.findings import Finding
from renma.prepare.headers import is_lossless
from renma.prepare.looks import Looks
from renma.prepare.variants import differs_in_colour, differs_in_place, opened
from renma.prepare.watermarks import AGREEMENT, find_marks

REGULARISATION = "reg"
"""Folder of pictures that share the caption of their class, as they should."""


@dataclass(frozen=True)
class Caption:
    """The caption file of a picture.

    Args:
        text: all that it says, or None where it is no text.
        plain: whether it is UTF-8.
        problem: why it is no text.
    """

    text: str | None
    plain: bool = True
    problem: str = ""


def copies(pictures: Mapping[str, Looks], captioned: Iterable[str]) -> list[Finding]:
    """Returns the pictures whose bytes another one has, too.

    Args:
        pictures: by name.
        captioned: names of those with a caption; of copies, one with a caption is kept.
    """
    with_caption = set(captioned)
    found = []
    for group in exact_duplicates((name, looks.digest) for name, looks in pictures.items()):
        keep, *others = sorted(group, key=lambda name: (name not in with_caption, name))
        text = f"the same as {keep}"
        found += [Finding("exact-duplicate", name, text, others=(keep,)) for name in others]
    return found


def near_copies(
    pictures: Mapping[str, Looks], captioned: Iterable[str], *, turns: bool
) -> list[Finding]:
    """Returns the pictures that nearly show what a better one shows.

    Args:
        pictures: by name.
        captioned: names of those with a caption.
        turns: find turned and mirrored ones too.
    """
    near = find_near(pictures, captioned, turns=turns)
    found = []
    for code, groups in (("near-duplicate", near.copies), ("variant", near.variants)):
        for keep, others in groups.items():
            best = pictures[keep]
            for name in others:
                own = pictures[name]
                text = f"{own.width}x{own.height}, like {keep} ({best.width}x{best.height})"
                found.append(Finding(code, name, text, limit=CORRELATION, others=(keep,)))
    return found


@dataclass(frozen=True)
class Near:
    """Pictures that are nearly the same, under the name of the one to keep.

    Args:
        copies: the same picture, resized, saved again, trimmed or recoloured.
        variants: the same but for one place; none of them is a copy.
    """

    copies: dict[str, tuple[str, ...]]
    variants: dict[str, tuple[str, ...]]


def find_near(
    pictures: Mapping[str, Looks], captioned: Iterable[str], *, turns: bool = False
) -> Near:
    """Returns copies and variants, each hash of bytes once; the best is kept.

    The best has the most pixels; then lossless ones, better JPEGs and captioned ones come first.
    """
    with_caption = set(captioned)
    once: dict[str, str] = {}
    for name in sorted(pictures, key=lambda name: (name not in with_caption, name)):
        once.setdefault(pictures[name].digest, name)
    names = sorted(once.values())
    if len(names) < 2:
        return Near({}, {})
    looks = [pictures[name] for name in names]

    def rank(index: int) -> tuple[object, ...]:
        each = looks[index]
        return (
            -each.width * each.height,
            not is_lossless(each.header),
            -(each.header.quality or 0),
            names[index] not in with_caption,
            names[index],
        )

    best_first = sorted(range(len(names)), key=rank)
    pairs = near_pairs(
        np.stack([each.small for each in looks]),
        np.array([each.aspect for each in looks]),
        turns=turns,
    )
    # empty pictures are all alike
    pairs = [p for p in pairs if min(looks[p[0]].light.spread, looks[p[1]].light.spread) > 1]
    thumbs = {index: opened(looks[index].thumb) for pair in pairs for index in pair}
    pairs = [(i, j) for i, j in pairs if not differs_in_colour(thumbs[i], thumbs[j], turns=turns)]
    grey = {index: np.asarray(thumb.convert("L"), np.float32) for index, thumb in thumbs.items()}
    apart = {(i, j) for i, j in pairs if differs_in_place(grey[i], grey[j])}
    copies = clusters([pair for pair in pairs if pair not in apart], best_first)
    gone = {other for cluster in copies for other in cluster.others}
    left = [(i, j) for i, j in apart if i not in gone and j not in gone]
    return Near(_named(copies, names), _named(clusters(left, best_first), names))


def _named(groups: Iterable[Cluster], names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    return {names[group.keep]: tuple(names[other] for other in group.others) for group in groups}


def marks(pictures: Mapping[str, Looks]) -> list[Finding]:
    """Returns the pictures with a mark that others have in the same corner."""
    names = sorted(pictures)
    if len(names) < 3:
        return []
    corners = np.stack([pictures[name].corners for name in names])
    small = np.stack([pictures[name].small for name in names])
    found = []
    for mark in find_marks(corners, small):
        text = f"{mark.corner}, as in {mark.others} others"
        found.append(Finding("watermark", names[mark.index], text, mark.agreement, AGREEMENT))
    return found


def same_stems(names: Iterable[str]) -> list[Finding]:
    """Returns the pictures whose names differ only in their ending."""
    stems: dict[str, list[str]] = {}
    for name in names:
        stem = str(PurePosixPath(name).with_suffix(""))
        stems.setdefault(unicodedata.normalize("NFC", stem).casefold(), []).append(name)
    found = []
    for group in stems.values():
        for name in group if len(group) > 1 else ():
            others = tuple(other for other in group if other != name)
            found.append(Finding("same-stem", name, f"and {', '.join(others)}", others=others))
    return found


def read_captions(folder: Path, names: Sequence[str], extension: str) -> dict[str, Caption]:
    """Returns the captions of the pictures that have a caption file.

    Args:
        folder: of the pictures.
        names: of the pictures, from the folder on.
        extension: ending of caption files, with its dot.
    """
    beside: dict[Path, CaptionFiles] = {}
    found = {}
    for name in names:
        path = folder / name
        if path.parent not in beside:
            files = listing(path.parent)[0]
            beside[path.parent] = CaptionFiles(path.parent, files, extension)
        file = beside[path.parent].of(path)
        if file is not None:
            found[name] = _read(file)
    return found


def caption_faults(names: Sequence[str], captions: Mapping[str, Caption]) -> list[Finding]:
    """Returns what is wrong with captions: none, empty, no text, old encoding, all the same."""
    found: list[Finding] = []
    alike: dict[str, list[str]] = {}
    for name in names:
        caption = captions.get(name)
        if caption is None:
            found.append(Finding("caption-missing", name, "has no caption file"))
        elif caption.text is None:
            found.append(Finding("caption-broken", name, caption.problem))
        else:
            if not caption.plain:
                found.append(Finding("caption-encoding", name, "is not UTF-8"))
            lines = caption_lines(caption.text)
            if not lines:
                found.append(Finding("caption-empty", name, "says nothing"))
            else:
                if REGULARISATION not in PurePosixPath(name).parts[:-1]:
                    alike.setdefault("\n".join(lines), []).append(name)
    for text, group in alike.items():
        for name in group if len(group) > 1 else ():
            short = text if len(text) <= 60 else f"{text[:59]}…"
            said = f"as {counted(len(group) - 1, 'other')}: {short}"
            found.append(Finding("caption-same", name, said, len(group) - 1, 0))
    return found


def _read(file: Path) -> Caption:
    try:
        raw = file.read_bytes()
        text, encoding = decode(raw, file.name)
    except OSError as error:
        return Caption(None, problem=f"cannot be read ({error.strerror})")
    except UserError as error:
        return Caption(None, problem=error.what)
    return Caption(text, plain=encoding == "utf-8-sig")
