"""What an audit of tags says: a table, sentences, and advice by the Maruzen logic.

What belongs to the subject is kept out of the captions, so that the trigger stands for it; what is
to stay free is named in them, and varied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from renma.judge.absorbing.audit import Finding
from renma.judge.absorbing.shares import Share

State = Literal["unknown", "unsure", "absorbed", "partly", "silent", "answers"]
ABSORBED = 0.5
"""Share of a tag's effect from which the trigger is said to bring it along."""
PARTLY = 0.25
"""Share from which it is said to bring it in part, if that is sure."""
ANSWERS = 0.3
"""Share that a tag must add beside the trigger to be said to answer."""
KEEPS = 0.7
"""Share without the trigger below which a tag has changed its meaning, if that is sure."""
MOVED = 1.0
"""Drift from which a tag has changed its meaning: as much as another seed changes a picture."""
UNSURE = 0.3
"""Standard error of the absorbed share from which nothing is said about it."""
_SURE = 2.0
"""Standard errors."""


def state(found: Finding) -> State:
    """Returns what became of a tag."""
    if found.absorbed is None or found.answers is None:
        return "unknown"
    if found.absorbed.error > UNSURE:
        return "unsure"
    if found.absorbed.value >= ABSORBED and found.absorbed.above(0):
        return "absorbed"
    if found.answers.value < ANSWERS:
        return "silent"
    if found.absorbed.value >= PARTLY and found.absorbed.above(0):
        return "partly"
    return "answers"


def changed(found: Finding) -> bool:
    """Says whether a tag means something else than before, without the trigger."""
    if found.keeps is None or found.drift is None or found.usual is None:
        return False
    moved = found.drift.ratio > MOVED and found.drift.more_than(found.usual) > _SURE
    return moved or found.keeps.below(KEEPS)


def sentences(found: Sequence[Finding], trigger: str) -> list[str]:
    """Returns what was found, the most important first."""
    said = [_brings(one, trigger) for one in _of(found, "absorbed")]
    said += [
        f"{trigger} brings {one.candidate.tag} in part ({_percent(one.absorbed)})."
        for one in _of(found, "partly")
    ]
    said += [
        f"{one.candidate.tag} does not answer any more: beside {trigger} it adds "
        f"{_percent(one.answers)} of what it does in the base model, and {trigger} alone does not "
        "bring it either."
        for one in _of(found, "silent")
    ]
    if free := _of(found, "answers"):
        tags = _list([f"{one.candidate.tag} ({_percent(one.answers)})" for one in free])
        verb = "answers" if len(free) == 1 else "answer"
        said.append(f"{tags} still {verb} beside {trigger}.")
    for one in filter(changed, found):
        said.append(_change(one))
    said += [
        f"Of {one.candidate.tag} nothing is sure ({_percent(one.absorbed)}, give or take "
        f"{2 * (one.absorbed.error if one.absorbed else 0):.0%}): raise --pictures."
        for one in _of(found, "unsure")
    ]
    if lost := _of(found, "unknown"):
        tags = _list([one.candidate.tag for one in lost])
        what = "it" if len(lost) == 1 else "them"
        said.append(
            f"{tags} cannot be measured: the base model's pictures with and without {what} cannot "
            "be told apart."
        )
    return said


def advice(found: Sequence[Finding], trigger: str) -> list[str]:
    """Returns what to do about it."""
    return [text for rule in _RULES for text in rule(found, trigger)]


def table(found: Sequence[Finding]) -> list[str]:
    """Returns a line for each tag, below a head."""
    width = max([len(one.candidate.tag) for one in found], default=0)
    head = f"  {'tag':<{width}}  captions   absorbed    answers  without trigger  drift"
    return [head, *(f"  {one.candidate.tag:<{width}}  {_cells(one)}" for one in found)]


def _cells(one: Finding) -> str:
    captions = f"{one.candidate.captions:8.0%}"
    if one.absorbed is None or one.answers is None or one.keeps is None or one.drift is None:
        return f"{captions}  cannot be measured"
    shares = [f"{x.value:5.0%} ±{x.error:4.0%}" for x in (one.absorbed, one.answers)]
    told = {"absorbed": "absorbed", "partly": "in part", "silent": "does not answer",
            "unsure": "not sure"}  # fmt: skip
    note = told.get(state(one), "")
    note += (", " if note else "") + "changed" if changed(one) else ""
    line = f"{captions}  {shares[0]}  {shares[1]}  {one.keeps.value:15.0%}  {one.drift.ratio:5.2f}"
    return f"{line}  {note}".rstrip()


def _of(found: Sequence[Finding], which: State) -> list[Finding]:
    return [one for one in found if state(one) == which]


def _brings(one: Finding, trigger: str) -> str:
    tag, captions = one.candidate.tag, one.candidate.captions
    begin = f"{trigger} brings {tag} along ({_percent(one.absorbed)})"
    if captions >= 1:
        return f"{begin}: it stands in every caption, so training cannot tell the two apart."
    if captions > 0:
        return f"{begin}, though it stands in only {captions:.0%} of the captions."
    return f"{begin}, though it stands in no caption: the trigger stands for it."


def _change(one: Finding) -> str:
    tag = one.candidate.tag
    assert one.drift and one.usual  # noqa: PT018 - what is changed was measured
    return (
        f"{tag} has changed its meaning: without the trigger the LoRA shows "
        f"{_percent(one.keeps)} of it, and moves its pictures {one.drift.ratio:.2f} times as far "
        f"as another seed does (those without {tag}: {one.usual.ratio:.2f})."
    )


def _as_wanted(found: Sequence[Finding], trigger: str) -> Iterator[str]:
    right = [one.candidate.tag for one in _of(found, "absorbed") if one.candidate.wanted]
    if right:
        verb = "was" if len(right) == 1 else "were"
        yield f"{_list(right)} {verb} taken out of the captions and came to {trigger}: as intended."


def _missing(found: Sequence[Finding], trigger: str) -> Iterator[str]:
    weak = [one for one in found if one.candidate.wanted and state(one) not in _ARRIVED]
    for one in weak:
        yield (
            f"{one.candidate.tag} was taken out of the captions, but {trigger} brings only "
            f"{_percent(one.absorbed)} of it: train on, or write it into prompts."
        )


def _unasked(found: Sequence[Finding], trigger: str) -> Iterator[str]:
    own = [
        one.candidate.tag
        for one in _of(found, "absorbed")
        if not one.candidate.captions and not one.candidate.wanted
    ]
    if own:
        verb, what = ("is", "it") if len(own) == 1 else ("are", "them")
        yield (
            f"If {_list(own)} {verb} not to come with {trigger}, write {what} into the captions of "
            f"the pictures that show {what}; if {trigger} is to stand for {what}, all is well."
        )
    for one in _of(found, "absorbed"):
        tag, captions = one.candidate.tag, one.candidate.captions
        if captions >= 1:
            yield (
                f"If {tag} belongs to {trigger}, take it out of the captions; if it is to stay "
                "free, add pictures without it whose captions lack it."
            )
        elif captions > 0:
            yield (
                f"If {tag} is to stay free, name it in the caption of every picture that shows it "
                f"and add pictures that do not; if it belongs to {trigger}, take it out of the "
                "captions."
            )


def _fused(found: Sequence[Finding], trigger: str) -> Iterator[str]:
    for one in _of(found, "silent"):
        tag = one.candidate.tag
        if one.candidate.wanted:
            continue
        if one.candidate.captions > 0:
            yield (
                f"{tag} is fused with the rest of the captions: vary it (pictures with and without "
                "it, each captioned so), or take it out of the captions."
            )
        else:
            yield (
                f"If {tag} is to be possible with {trigger}, add pictures that show it, with the "
                "tag in their captions, or lower the LoRA's weight."
            )


def _moved(found: Sequence[Finding], trigger: str) -> Iterator[str]:  # noqa: ARG001 - as all rules
    if any(map(changed, found)):
        yield (
            "Tags changed their meaning without the trigger: add regularisation pictures of the "
            "class that have them in their captions, or train less."
        )


_ARRIVED = ("absorbed", "unknown", "unsure")
_RULES: tuple[Callable[[Sequence[Finding], str], Iterator[str]], ...] = (
    _as_wanted, _missing, _unasked, _fused, _moved,
)  # fmt: skip


def _percent(share: Share | None) -> str:
    return "nothing" if share is None else f"{share.value * 100:.0f} %"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
