"""Finds options of run.toml by what people call them: a key, a path, a part, kohya's name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from renma.config import views
from renma.config.run import Run
from renma.core.errors import UserError, did_you_mean

_MOST = 12
"""Options told in full; of more, names alone."""


@dataclass(frozen=True)
class Found:
    """One option and where it stands.

    Attributes:
        path: such as ``adapter.rank`` or ``data.datasets.subsets.num_repeats``.
        option: what there is to say about it.
        choices: the algorithms that have it in these words, as ``algo = "lora"``; empty where the
            section has no choice.
    """

    path: str
    option: views.Option
    choices: tuple[str, ...] = ()


def search(word: str) -> list[Found]:
    """Returns the options that a word means: those of that very name, else of names it is part of.

    Args:
        word: such as ``rank``, ``adapter.rank``, ``blocks.ranks``, ``warmup``, ``network_dim``.
    """
    wanted = word.strip().removeprefix("--").replace("-", "_").lower()
    every = _known()
    exact = [f for f in every if wanted in _names(f) or f.path.endswith(f".{wanted}")]
    whole = [f for f in exact if f.path == wanted]
    return whole or exact or [f for f in every if any(wanted in n for n in _names(f))]


def manual(word: str) -> list[str]:
    """Returns what the terminal shows about the options that a word means.

    Raises:
        UserError: it means none.
    """
    found = search(word)
    if not found:
        names = {name for each in _known() for name in _names(each)} | set(views.sections())
        sections = f"Sections: {', '.join(views.sections())}."
        raise UserError(
            f"there is no section and no option '{word}'",
            remedy=did_you_mean(word, names) or sections,
        )
    paths = dict.fromkeys(each.path for each in found)
    if len(paths) > _MOST:
        return [f"'{word}' is part of {len(paths)} options:", *(f"  {path}" for path in paths)]
    lines: list[str] = []
    for each in found:
        head = f"[{each.path.rpartition('.')[0]}]"
        same = [other for other in found if other.path == each.path]
        if len(same) > 1:
            head += f"  {_choices(each, same)}"
        if head not in lines:
            lines += ["", head] if lines else [head]
        lines += views.terminal_option(each.option)
    return lines


def _choices(found: Found, same: list[Found]) -> str:
    """Returns the choices that an option belongs to, as ``algo = "mora", "oft"``.

    Args:
        found: the option.
        same: it, and those of its path in other words.
    """
    tag = found.choices[0].partition(" = ")[0]
    most = max(same, key=lambda each: len(each.choices))
    if found is most and len(found.choices) > 1:
        return f"every other {tag}"
    return f"{tag} = {', '.join(choice.partition(' = ')[2] for choice in found.choices)}"


def _every() -> Iterator[Found]:
    for section in views.sections():
        chapters = views.chapters(section)
        choices = [chapter.choice for chapter in chapters if chapter.choice]
        if choices:
            yield _tag(section, choices)
        for chapter in chapters:
            for option in chapter.options:
                choice = (chapter.choice,) if chapter.choice else ()
                yield Found(f"{chapter.table}.{option.key}", option, choice)


def _tag(section: str, choices: list[str]) -> Found:
    """Returns the option that chooses among a section's algorithms."""
    tag = choices[0].partition(" = ")[0]
    default = getattr(Run.model_fields[section].get_default(call_default_factory=True), tag)
    return Found(
        f"{section}.{tag}",
        views.Option(
            tag,
            f"Which options [{section}] has; `renma options {section}` explains each choice.",
            json.dumps(default),
            ", ".join(choice.partition(" = ")[2] for choice in choices),
            "basic",
            {"optimizer": "optimizer_type", "schedule": "lr_scheduler"}.get(section, ""),
        ),
    )


def _names(found: Found) -> set[str]:
    return {found.option.key, found.path, found.option.kohya} - {""}


@cache
def _known() -> tuple[Found, ...]:
    """Returns each option once, with all choices that have it in the same words."""
    kept: dict[tuple[str, views.Option], Found] = {}
    for each in _every():
        key = (each.path, each.option)
        before = kept.get(key, replace(each, choices=()))
        kept[key] = replace(before, choices=(*before.choices, *each.choices))
    return tuple(kept.values())
