"""Writes docs/rules.md: every rule of the preflight, what it looks at and why it matters.

python tools/rules.py            writes the page
python tools/rules.py --check    says whether it is up to date
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from renma.train import rules
from renma.train.rules._base import Rule

PAGE = Path(__file__).parents[1] / "docs" / "rules.md"
_LEVELS = {"error": "refused", "warning": "warning", "note": "note"}


_HEAD = """\
# What is looked at before every training

Written by `python tools/rules.py`. `renma check` and `renma train` ask all of these rules before \
a step is taken; `renma check --json` gives what they find with its reason and remedy. What each \
answer reads like is shown in [mistakes.md](mistakes.md).

An option that is misspelt, of the wrong type or out of its range, a missing file and a picture \
that cannot be read are refused before any rule is asked."""


def page() -> str:
    """Returns the page."""
    told = [_HEAD]
    for room, found in groupby(rules.ALL, key=lambda rule: rule.look.__module__.rsplit(".", 1)[1]):
        told += ["", f"## {room.capitalize()}", "", "| rule | level | looks for | because |"]
        told += ["|---|---|---|---|", *map(_row, found)]
    return "\n".join(told) + "\n"


def _row(rule: Rule) -> str:
    about, reason = (text.replace("|", "\\|") for text in (rule.about, rule.reason))
    return f"| `{rule.id}` | {_LEVELS[rule.level]} | {about} | {reason} |"


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page() else f"{PAGE} is out of date")
    PAGE.write_text(page(), encoding="utf-8")
