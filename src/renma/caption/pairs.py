r"""Two tags in one text: ``old=new``; ``\=`` is an equals sign inside a tag: ``\=_\==face``."""

from __future__ import annotations

import re

from renma.core.errors import UserError

_EQUALS = re.compile(r"(?<!\\)=")


def pair(text: str, where: str) -> tuple[str, str]:
    r"""Returns what stands before and behind the first equals sign, without blanks around.

    Args:
        text: such as ``blue hair=green hair``.
        where: the option or line, for messages.

    Raises:
        UserError: there is no equals sign, or nothing on one side of it.
    """
    parts = _EQUALS.split(text, maxsplit=1)
    first, then = (part.replace(r"\=", "=").strip() for part in (*parts, "")[:2])
    if not first or not then:
        raise UserError(f"{text.strip()!r} is not old=new", where=where)
    return first, then
