"""Rules about pictures: doubles, transparency, size, regularisation, how often each is seen."""

from __future__ import annotations

from collections.abc import Iterator

from renma.config.data import SubsetOptions
from renma.core.counted import counted, times
from renma.data.duplicates import exact_duplicates
from renma.data.item import Item
from renma.data.notes import shown
from renma.data.summary import coverage
from renma.train.picture_plan import enlargement
from renma.train.rules._base import Facts, Rule, Said, some
from renma.train.trained import batches_per_step

_BLURRED = 1.5
_FEW, _MANY = 10, 1000
_MEMORISED = 20


def _doubles(facts: Facts) -> Iterator[Said]:
    """Equal files among the pictures of one kind in one data set."""
    for scanned in facts.scan.sets:
        for reg in (False, True):
            items = [item for item in scanned.items if item.subset.is_reg is reg]
            groups = exact_duplicates((_name(item), item.digest) for item in items)
            pairs = [f"{copy} = {first}" for first, *copies in groups for copy in copies]
            if pairs:
                yield Said(
                    f"{counted(len(pairs), 'picture')} twice in the data set: {some(pairs)}",
                    "Remove the copies, or show pictures more often by num_repeats.",
                )


def _on_both_sides(facts: Facts) -> Iterator[Said]:
    trained = {item.digest: item for item in facts.trained}
    both = [_name(item) for item in facts.reg if item.digest in trained]
    if both:
        yield Said(
            f"{counted(len(both), 'picture')} on both sides, training and regularisation: "
            f"{some(both)}",
            "Regularisation pictures show the class without the subject: take these out.",
            "data.reg_folder",
        )


def _transparent(facts: Facts) -> Iterator[Said]:
    clear = [i for i in facts.trained if i.transparent and not i.subset.alpha_mask and not i.mask]
    if clear:
        colours = {i.subset.background for i in clear}
        colour = "white" if colours == {(255, 255, 255)} else "data.background"
        yield Said(
            f"{counted(len(clear), 'picture')} with an alpha channel: "
            f"{some([_name(i) for i in clear])}; {colour} is laid under transparent parts",
            "data.alpha_mask = true keeps transparent parts out of the loss instead.",
            "data.alpha_mask",
        )


def _idle_background(facts: Facts) -> Iterator[Said]:
    usual = SubsetOptions.model_fields["background"].default
    items = [i for s in facts.scan.sets for i in (*s.items, *s.held_out)]
    laid = [item for item in items if item.subset.background != usual]
    if laid and not any(item.transparent for item in laid):
        yield Said(
            "data.background has no effect: no picture is transparent",
            "Leave it out.",
            "data.background",
        )


def _small(facts: Facts) -> Iterator[Said]:
    grown = sorted(
        ((enlargement(item, fit), item) for item, fit in facts.fits if not item.subset.is_reg),
        key=lambda pair: -pair[0],
    )
    blurred = [f"{_name(item)} (x {factor:.1f})" for factor, item in grown if factor > _BLURRED]
    if blurred:
        yield Said(
            f"{counted(len(blurred), 'picture')} much smaller than the size to be trained at: "
            f"{some(blurred)}",
            "Use larger pictures, a smaller resolution, or data.bucket_no_upscale = true.",
            "data.resolution",
        )


def _tiny_buckets(facts: Facts) -> Iterator[Said]:
    small = []
    for scanned, fits in zip(facts.order.sets, facts.order.fits, strict=True):
        dataset = scanned.dataset
        if dataset.enable_bucket and dataset.bucket_no_upscale:
            area = dataset.resolution[0] * dataset.resolution[1]
            small += [
                f"{_name(item)} ({fit.width}x{fit.height})"
                for item, fit in zip(scanned.items, fits, strict=True)
                if fit.width * fit.height < area / 4
            ]
    if small:
        yield Said(
            f"{counted(len(small), 'picture')} trained at less than a quarter of the resolution, "
            f"because bucket_no_upscale is true: {some(small)}",
            "Use larger pictures, or take them out.",
            "data.bucket_no_upscale",
        )


def _never_seen(facts: Facts) -> Iterator[Said]:
    never = facts.seen.never
    if never:
        yield Said(
            f"{never} of {counted(len(facts.trained), 'picture')} never shown in "
            f"{counted(facts.steps, 'step')}",
            "Raise train.max_steps, or set train.max_epochs.",
            "train.max_steps",
        )


def _rarely_seen(facts: Facts) -> Iterator[Said]:
    average = facts.seen.average
    if average < _FEW and not facts.seen.never:
        yield Said(
            f"each picture is shown {times(average)} in the whole run",
            "Some 50 to 200 times are usual: raise train.max_steps.",
            "train.max_steps",
        )


def _often_seen(facts: Facts) -> Iterator[Said]:
    average = facts.seen.average
    if average > _MANY:
        yield Said(
            f"each picture is shown {average:,.0f} times in the whole run",
            "Some 50 to 200 times are usual: lower train.max_steps or the repeats.",
            "train.max_steps",
        )


def _reg_left_out(facts: Facts) -> Iterator[Said]:
    if not facts.reg:
        return
    found = coverage(facts.order, facts.steps * batches_per_step(facts.run))
    if found.never:
        yield Said(
            f"{found.never} of {counted(found.pictures, 'regularisation picture')} never shown in "
            f"{counted(facts.steps, 'step')}",
            "They take turns, one for each training picture shown: fewer would do.",
            "data.reg_folder",
        )


def _reg_repeated(facts: Facts) -> Iterator[Said]:
    for scanned in facts.scan.sets:
        shown_once = sum(i.subset.num_repeats for i in scanned.items if not i.subset.is_reg)
        reg = sum(i.subset.is_reg for i in scanned.items)
        if reg and shown_once > _MEMORISED * reg:
            yield Said(
                f"{shown_once} showings an epoch for {counted(reg, 'regularisation picture')}: "
                f"{times(round(shown_once / reg))} each",
                "Add more of them, or lower the repeats of the training pictures.",
                "data.reg_folder",
            )


def _batch_too_large(facts: Facts) -> Iterator[Said]:
    named = facts.run.data.train_folder
    repeats = "the number in front of the folder's name" if named else "num_repeats"
    for number, scanned in enumerate(facts.order.sets):
        size = scanned.dataset.batch_size
        fills = [len(b.showings) for b in facts.order.epoch(0) if b.set_index == number]
        if fills and max(fills) < size:
            yield Said(
                f"batch_size = {size} is never reached: the fullest bucket shows "
                f"{counted(max(fills), 'picture')} an epoch",
                f"Lower data.batch_size to {max(fills)}, or raise the repeats ({repeats}).",
                "data.batch_size",
            )
        elif fills and sum(fills) < 0.6 * size * len(fills):
            yield Said(
                f"batches hold {sum(fills) / len(fills):.1f} of {size} pictures on average, "
                "because many buckets hold few",
                f"More repeats ({repeats}) or larger bucket_reso_steps fill them.",
                "data.batch_size",
            )


def _name(item: Item) -> str:
    return shown(item.path.name)


RULES = (
    Rule(
        "doubles",
        "warning",
        "The same file twice in a data set.",
        "What is shown twice as often is learnt twice as strongly.",
        _doubles,
    ),
    Rule(
        "on-both-sides",
        "warning",
        "A picture that is a training and a regularisation picture.",
        "It teaches the class to look like the subject, which is what regularisation prevents.",
        _on_both_sides,
    ),
    Rule(
        "transparent",
        "note",
        "Pictures with an alpha channel and no mask.",
        "What lies under transparent pixels is chosen by chance, so a background is laid there; "
        "it is learnt with the subject.",
        _transparent,
    ),
    Rule(
        "background-idle",
        "warning",
        "A background without transparent pictures.",
        "It is laid under transparent parts only.",
        _idle_background,
    ),
    Rule(
        "small-pictures",
        "warning",
        "Pictures that are enlarged to more than one and a half times their size.",
        "Enlarged pictures are soft, and softness is learnt.",
        _small,
    ),
    Rule(
        "tiny-buckets",
        "warning",
        "Pictures far below the resolution that are not enlarged.",
        "Models draw poorly at sizes far from what they were made for, and learn little from them.",
        _tiny_buckets,
    ),
    Rule(
        "never-seen",
        "warning",
        "Pictures that the run is too short to show.",
        "They have no effect at all.",
        _never_seen,
    ),
    Rule(
        "rarely-seen",
        "note",
        "Fewer than 10 showings of each picture.",
        "A LoRA of a few showings has hardly learnt its subject.",
        _rarely_seen,
    ),
    Rule(
        "often-seen",
        "warning",
        "More than 1,000 showings of each picture.",
        "What is seen that often is memorised: every drawing becomes one of the pictures.",
        _often_seen,
    ),
    Rule(
        "regularisation-left-out",
        "note",
        "Regularisation pictures that the run is too short to show.",
        "Pictures without effect only cost time to prepare.",
        _reg_left_out,
    ),
    Rule(
        "regularisation-repeated",
        "warning",
        "Few regularisation pictures beside many training showings.",
        "They are memorised like a second subject instead of standing for the class.",
        _reg_repeated,
    ),
    Rule(
        "batch-too-large",
        "warning",
        "Batches that are never or seldom full.",
        "The learning rate is chosen for the batch size; smaller batches learn otherwise.",
        _batch_too_large,
    ),
)
