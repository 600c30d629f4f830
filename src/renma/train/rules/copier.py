"""Rules about the two runs of a copy-machine LoRA: pairs, and what would spoil them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from renma.config.data import Subset
from renma.core.counted import counted, idle
from renma.data.folder import ScannedSet
from renma.data.item import Item
from renma.data.notes import shown
from renma.data.order import fitted
from renma.train.given import given
from renma.train.rules._base import Facts, Rule, Said, some
from renma.train.trained import batches_per_step

_FEW = 100
"""Showings of a picture in the first run that are hardly enough to learn it by heart."""
_LOOKS = ("flip_aug", "color_aug", "random_crop", "face_crop_aug_range", "rotate_degrees")
_WORDS = (
    "shuffle_caption", "enable_wildcard", "caption_dropout_rate", "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate", "token_warmup_step",
)  # fmt: skip


def _idle(facts: Facts) -> Iterator[Said]:
    config = facts.run.copier
    dead = sorted(given(config) - {"train_folder"})
    if dead and not config.on:
        yield Said(
            f"copier.{idle(dead)}: copier.train_folder is empty",
            "Set it to the folder of the pictures before the change, or leave [copier] out.",
            f"copier.{dead[0]}",
        )
        return
    unasked = [name for name in dead if name in {"least_likeness", "when_unlike"}]
    if unasked and not config.prompts:
        yield Said(
            f"copier.{idle(unasked)}: copier.prompts is empty, so nothing is measured",
            "Leave copier.prompts out, or name some.",
            f"copier.{unasked[0]}",
        )
    if config.on and config.rank and not getattr(facts.run.adapter, "rank", 0):
        yield Said(
            f"copier.rank has no effect: adapter.algo = '{facts.run.adapter.algorithm}' has no "
            "rank",
            "Leave it out.",
            "copier.rank",
        )


def _two_methods(facts: Facts) -> Iterator[Said]:
    run = facts.run
    others = {"erase": run.erase.on, "relora": bool(run.relora.every_steps)}
    for name in (name for name, on in others.items() if on and run.copier.on):
        yield Said(
            f"[copier] and [{name}] in one run",
            "Make two runs of them; start.base_weights lets one learn on top of the other.",
            "copier.train_folder",
        )


def _unpaired(facts: Facts) -> Iterator[Said]:
    before, after = _named(facts.before), _named(facts.scan.sets)
    if not facts.before:
        return
    for there, missing, where in (
        ("after", before.keys() - after.keys(), "data.train_folder"),
        ("before", after.keys() - before.keys(), "copier.train_folder"),
    ):
        if missing:
            names = sorted(missing)
            yield Said(
                f"{counted(len(names), 'picture')} without a twin {there} the change: "
                f"{some([shown(name) for name in names])}",
                "Give both pictures of a pair the same name, in folders of the same name.",
                where,
            )


def _sizes(facts: Facts) -> Iterator[Said]:
    fits = {
        id(item): fitted(item, scanned.dataset)
        for sets in (facts.before, facts.scan.sets)
        for scanned in sets
        for item in (*scanned.items, *scanned.held_out)
    }
    odd = [
        f"{_key(b)} ({a.width}x{a.height} and {b.width}x{b.height})"
        for a, b in _pairs(facts)
        if fits[id(a)] != fits[id(b)]
    ]
    if odd:
        yield Said(
            f"{counted(len(odd), 'pair')} of pictures that do not lie on one another: {some(odd)}",
            "Both pictures of a pair need the same width and height.",
            "copier.train_folder",
        )


def _captions(facts: Facts) -> Iterator[Said]:
    odd = [_key(b) for a, b in _pairs(facts) if a.caption != b.caption]
    if odd:
        yield Said(
            f"{counted(len(odd), 'pair')} of pictures with different captions: {some(odd)}",
            "Give both the same text: what it says is not learnt.",
            "copier.train_folder",
        )


def _equal(facts: Facts) -> Iterator[Said]:
    same = [_key(b) for a, b in _pairs(facts) if a.digest == b.digest]
    if same:
        yield Said(
            f"{counted(len(same), 'pair')} of equal pictures: {some(same)}",
            "Change something in the one after the change, or take the pair out.",
            "data.train_folder",
        )


def _regularised(facts: Facts) -> Iterator[Said]:
    if facts.before and facts.reg:
        yield Said(
            f"{counted(len(facts.reg), 'regularisation picture')} in a copier's second run",
            "Leave data.reg_folder out.",
            "data.reg_folder",
        )


def _random(facts: Facts) -> Iterator[Said]:
    for names, what in ((_LOOKS, "pictures"), (_WORDS, "captions")):
        used = sorted({n for s in _subsets(facts) for n in names if n in given(s)})
        if used:
            yield Said(
                f"data.{', '.join(used)}: {what} are shown differently each time",
                "Leave it out." if len(used) == 1 else "Leave them out.",
                f"data.{used[0]}",
            )


def _text_encoder(facts: Facts) -> Iterator[Said]:
    if facts.before and any(part.startswith("text_encoder") for part in facts.parts):
        yield Said(
            "train.text_encoder: a copier's words are trained too",
            "Set train.text_encoder = false.",
            "train.text_encoder",
        )


def _short(facts: Facts) -> Iterator[Said]:
    count = sum(len(scanned.items) for scanned in facts.before)
    if not count:
        return
    batches = facts.order.epoch(0)
    a_step = sum(len(b.showings) for b in batches) / len(batches) * batches_per_step(facts.run)
    each = facts.run.copier.steps * a_step / count
    if each < _FEW:
        yield Said(
            f"copier.steps = {facts.run.copier.steps} shows each picture before the change only "
            f"{each:.0f} times",
            f"{_FEW} times are few, thousands are usual: raise copier.steps to at least "
            f"{round(_FEW * count / a_step)}.",
            "copier.steps",
        )


def _named(sets: Sequence[ScannedSet]) -> dict[str, Item]:
    """Returns training pictures by folder and name without ending."""
    items = [i for s in sets for i in (*s.items, *s.held_out) if not i.subset.is_reg]
    return {_key(item): item for item in items}


def _key(item: Item) -> str:
    folder = Path(item.subset.image_dir)
    inside = item.path.relative_to(folder) if folder in item.path.parents else item.path
    return f"{folder.name}/{inside.with_suffix('').as_posix()}"


def _pairs(facts: Facts) -> Iterator[tuple[Item, Item]]:
    """Yields pictures before and after the change that have the same name."""
    before, after = _named(facts.before), _named(facts.scan.sets)
    for key in sorted(before.keys() & after.keys()):
        yield before[key], after[key]


def _subsets(facts: Facts) -> Iterator[Subset]:
    if facts.before:
        for scanned in facts.scan.sets:
            yield from scanned.dataset.subsets


RULES = (
    Rule(
        "copier-idle",
        "warning",
        "Options of [copier] that decide nothing.",
        "Without pictures before the change there is one run; without prompts its end is not "
        "measured.",
        _idle,
    ),
    Rule(
        "two-methods",
        "error",
        "A copier beside erasing or ReLoRA.",
        "Each of them decides what the base model is while the run goes on.",
        _two_methods,
    ),
    Rule(
        "unpaired",
        "error",
        "Pictures before and after the change without a twin.",
        "What only one of the two runs sees is learnt as if it were the change.",
        _unpaired,
    ),
    Rule(
        "pair-sizes",
        "error",
        "Two pictures of a pair with different sizes.",
        "They are cut or resized differently, and the shift is learnt with the change.",
        _sizes,
    ),
    Rule(
        "pair-captions",
        "warning",
        "Two pictures of a pair with different captions.",
        "Words that differ explain the change away, and the copier does not answer them with its "
        "picture.",
        _captions,
    ),
    Rule(
        "pair-equal",
        "warning",
        "Two pictures of a pair that are the same file.",
        "There is no change to learn; it is learnt that nothing changes.",
        _equal,
    ),
    Rule(
        "copier-regularised",
        "warning",
        "Regularisation pictures beside a copier.",
        "The second run sees them on top of a model that draws only its own pictures, so it learns "
        "to bring everything else back.",
        _regularised,
    ),
    Rule(
        "copier-random",
        "warning",
        "Pictures or captions of a copier that change by chance.",
        "The copier has to learn every variant by heart, and what it does not copy counts as "
        "change.",
        _random,
    ),
    Rule(
        "copier-words",
        "warning",
        "A trained text encoder beside a copier.",
        "Then part of the change hangs on the caption's words, and other prompts show less of it.",
        _text_encoder,
    ),
    Rule(
        "copier-short",
        "warning",
        "A first run that shows its pictures a few times only.",
        "It has to be over-trained until it draws nothing else.",
        _short,
    ),
)
