"""What is told where a command that makes pictures could make none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from renma.core.counted import counted
from renma.core.errors import UserError
from renma.data.notes import shown


def nothing_made(folder: Path, reasons: Sequence[str]) -> UserError:
    """Returns the mistake of giving a command pictures of which it can make nothing.

    Args:
        folder: where they lie.
        reasons: why each of them was skipped, at least one.
    """
    (why, often), *others = Counter(reasons).most_common()
    more = f" ({often} of them; and {counted(len(others), 'other reason')})" if others else ""
    return UserError(
        f"nothing was made of {counted(len(reasons), 'picture')}: {why}{more}", where=shown(folder)
    )
