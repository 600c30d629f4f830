"""Which checkpoints of a run may go, and how much room the rest of it needs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def surplus(numbers: Iterable[int], newest: int, keep: int) -> list[int]:
    """Returns the checkpoints that may go once number ``newest`` is written, smallest first.

    Those with larger numbers stay: they are files of a longer run that nobody asked to remove.

    Args:
        numbers: epochs or steps of the checkpoints there are.
        newest: the one just written.
        keep: how many are left up to ``newest``, itself among them; 0 keeps all.
    """
    behind = sorted(number for number in set(numbers) if number <= newest)
    return behind[:-keep] if keep else []


def kept_of_last_steps(last: int, every: int) -> int:
    """Returns the ``keep_checkpoints`` with the same effect as kohya's ``save_last_n_steps``.

    Saving every n steps, sd-scripts removes at step s the file of ``(s - last - 1) // n * n``.

    Args:
        last: ``save_last_n_steps``.
        every: ``save_every_n_steps``.
    """
    return last // every + 1


def remove_surplus(newest: Path, keep: int) -> list[Path]:
    """Removes older checkpoints of the row that a file ends; returns what went.

    Rows are ``NAME-000002`` (epochs) and ``NAME-step00000002`` (steps), each counted alone. The
    final file has no number and belongs to none.

    Args:
        newest: the checkpoint just written; nothing happens unless it is there.
        keep: how many are left of its row, itself among them; 0 keeps all.
    """
    match = _NUMBERED.fullmatch(newest.name)
    if not keep or match is None or not newest.is_file():
        return []
    row: dict[int, Path] = {}
    for path in newest.parent.iterdir():
        other = _NUMBERED.fullmatch(path.name)
        if other and other["row"] == match["row"]:
            row[int(other["number"])] = path
    gone = []
    for number in surplus(row, int(match["number"]), keep):
        with suppress(OSError):  # it is in nobody's way, and is tried again at the next save
            row[number].unlink()
            gone.append(row[number])
    return gone


def room_needed(
    *, checkpoint: int, checkpoints: int, keep_checkpoints: int, state: int, keep_states: int
) -> int:
    """Returns the bytes that the checkpoints and states of a run take at most.

    Each new file stands beside those it replaces until it is complete, hence one more of each.

    Args:
        checkpoint: bytes of one LoRA file.
        checkpoints: how many the run writes, the final file not counted.
        keep_checkpoints: how many are left, 0 for all.
        state: bytes of one state.
        keep_states: how many are left.
    """
    files = min(checkpoints, keep_checkpoints + 1) if keep_checkpoints else checkpoints
    return (files + 1) * checkpoint + (keep_states + 1) * state


def free_bytes(folder: Path) -> int:
    """Returns the room on a folder's disk; of one that is missing, of the nearest above it."""
    place = folder.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def shortage(folder: Path, needed: int) -> str:
    """Returns a warning if the disk of a folder has less room than needed, else an empty text.

    Args:
        folder: may be missing; the nearest one above is looked at.
        needed: bytes.
    """
    free = free_bytes(folder)
    if free >= needed:
        return ""
    return (
        f"{folder}: checkpoints and states need up to {_mib(needed)} of room, {_mib(free)} are "
        f"free: {_mib(needed - free)} are missing. Free some space, save less often, or set "
        "train.keep_checkpoints."
    )


_NUMBERED = re.compile(r"(?P<row>.*-(?:step)?)(?P<number>\d{6,})\.safetensors")


def _mib(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
