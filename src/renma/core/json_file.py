"""JSON that people hand over: whatever is wrong with it is one line."""

from __future__ import annotations

import json
from typing import Any

from renma.core.errors import UserError


def parse(text: str, where: object, remedy: str = "") -> Any:
    """Returns what a JSON text holds.

    Args:
        text: the whole text.
        where: the file, for messages.
        remedy: what to do where it is no JSON.

    Raises:
        UserError: it is no JSON, holds a number of thousands of digits, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", where=where, remedy=remedy) from None
    except RecursionError:
        raise UserError("is nested too deeply", where=where, remedy=remedy) from None
