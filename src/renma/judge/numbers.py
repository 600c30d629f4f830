"""Numbers out of files that anybody may have written: which of them can be counted with."""

from __future__ import annotations

from typing import TypeGuard

LARGEST_STEP = 2**53
"""Above it not every whole number has a float of its own."""
LARGEST_NUMBER = 1e100
"""Beyond it sums and squares would soon be infinite."""
_LAST_SECOND = 253_402_300_800  # of the year 9999, since 1970


def is_number(value: object) -> TypeGuard[float]:
    """Tells whether a value is a finite number that can be drawn and added up."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return -LARGEST_NUMBER <= value <= LARGEST_NUMBER
    return False


def is_step(value: object) -> TypeGuard[int]:
    """Tells whether a value can be a number of optimizer steps."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_STEP


def is_time(value: object) -> TypeGuard[float]:
    """Tells whether a value can be a time in seconds since 1970 that has a date."""
    return is_number(value) and 0 <= value < _LAST_SECOND
