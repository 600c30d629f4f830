"""What can be wrong with a picture: one row a check, with what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from renma.core.errors import UserError, did_you_mean

Gravity = Literal["stop", "mend", "look"]
GRAVITIES: dict[Gravity, str] = {
    "stop": "Training stops at these",
    "mend": "These teach something unwanted",
    "look": "Worth a look",
}


@dataclass(frozen=True)
class Check:
    """One thing that is looked for.

    Args:
        code: its name for people and programs.
        title: what is wrong, for a heading.
        gravity: how much it matters.
        remedy: what to do.
        leave_out: whether leaving the picture out is the remedy.
    """

    code: str
    title: str
    gravity: Gravity
    remedy: str
    leave_out: bool = False


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Args:
        code: of the check.
        picture: its name in the folder.
        text: what was found, in words.
        measured: the figure, if the check has one.
        limit: what the figure was held against.
        others: names of other pictures concerned; of copies, the one to keep comes first.
    """

    code: str
    picture: str
    text: str
    measured: float | None = None
    limit: float | None = None
    others: tuple[str, ...] = ()


_ROWS = (
    Check("broken", "Broken, or no picture at all", "stop",
          "Get the picture again, or leave it out.", leave_out=True),
    Check("caption-broken", "Caption file that is no text", "stop",
          "Save the caption file as UTF-8."),
    Check("caption-empty", "Empty caption file", "stop",
          "Write a caption, or delete the file so that class_tokens are used."),
    Check("exact-duplicate", "The same file twice", "mend",
          "Keep one: `renma prepare collect --drop-duplicates exact`. Use num_repeats to show a "
          "picture more often.", leave_out=True),
    Check("near-duplicate", "Nearly the same picture", "mend",
          "Keep the largest: `renma prepare collect --drop-duplicates near`.", leave_out=True),
    Check("variant", "The same picture but for one place", "look",
          "Keep several where the difference matters, such as an expression, and say it in the "
          "captions; otherwise keep one."),
    Check("small", "Too small for the training resolution", "mend",
          "Find a larger version, or train at a lower resolution."),
    Check("rather-small", "Somewhat small for the training resolution", "look",
          "Enlarging makes it a little soft; take a larger version where there is one."),
    Check("blurred", "Blurred", "mend", "Leave it out: blur is learned.", leave_out=True),
    Check("motion-blur", "Blurred in one direction", "look",
          "Leave it out where the picture shows movement that is not meant."),
    Check("upscaled", "Enlarged from a smaller picture", "mend",
          "Find the original, or shrink it to the size it really has."),
    Check("jpeg", "Strong JPEG compression", "mend",
          "Find a better copy: its blocks are learned."),
    Check("frame", "Bars or a frame around it", "mend",
          "Cut them away: `renma prepare crop`."),
    Check("watermark", "The same mark in a corner of several pictures", "mend",
          "Cut it away (`renma prepare crop`) or paint it out (`renma prepare erase`)."),
    Check("flat", "Nearly nothing on it", "mend", "Leave it out.", leave_out=True),
    Check("dark", "Very dark", "look", "Brighten it, or leave it out."),
    Check("bright", "Very bright", "look", "Darken it, or leave it out."),
    Check("aspect", "Longer than any bucket: much is cut off", "mend",
          "Crop it to what matters: `renma prepare crop` or `focal`."),
    Check("animated", "Animated: only the first frame is used", "look",
          "Take it apart: `renma prepare collect --convert png --frames all`."),
    Check("transparent", "Transparent parts", "look",
          "They are laid on white (data.background); `renma prepare background` chooses."),
    Check("grey", "Without colour", "look",
          "Tag it monochrome, or leave it out: the subject's colours are not in it."),
    Check("colour-mode", "Unusual colour mode", "look",
          "It is converted; `renma prepare collect --convert png` does it once and for all."),
    Check("profile", "Colours of another profile than sRGB", "look",
          "It is converted; programs that ignore profiles show other colours."),
    Check("turned", "Lies on its side until EXIF is obeyed", "look",
          "It is turned here; `renma prepare collect --convert png` makes that lasting."),
    Check("same-stem", "Pictures that share one caption file", "look",
          "Give them names that differ in more than the ending."),
    Check("caption-missing", "No caption", "look",
          "`renma caption tag` writes one; without, class_tokens are used."),
    Check("caption-same", "The same caption as others", "look",
          "Say what is different in each: what all captions share is learned as one thing."),
    Check("caption-encoding", "Caption not in UTF-8", "look",
          "It is read here; other programs may not. Any `renma caption edit` writes UTF-8."),
)  # fmt: skip
CHECKS = {check.code: check for check in _ROWS}
"""Every check by its code, the gravest first."""


def checks_without(ignored: Sequence[str]) -> dict[str, Check]:
    """Returns the checks that are not ignored.

    Raises:
        UserError: there is no such check.
    """
    for code in ignored:
        if code not in CHECKS:
            raise UserError(
                f"there is no check '{code}'",
                where="--ignore",
                remedy=did_you_mean(code, CHECKS) or f"There are: {', '.join(CHECKS)}.",
            )
    return {code: check for code, check in CHECKS.items() if code not in ignored}
