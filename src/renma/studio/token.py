"""The secret that opens the studio: printed with the address, kept by the browser in a cookie."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

COOKIE = "renma"


@dataclass(frozen=True)
class Token:
    """A secret of 128 bits.

    Attributes:
        secret: as it stands in the address.
    """

    secret: str

    @classmethod
    def of(cls, folder: Path) -> Token:
        """Returns the workspace's token, made at the first start; pages survive a restart by it.

        Args:
            folder: the studio's own; the file there is readable by its owner only.
        """
        path = folder / "token"
        try:
            held = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            held = ""
        if len(held) >= 32:
            return cls(held)
        made = secrets.token_hex(16)
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(made)
        return cls(made)

    def fits(self, given: str | None) -> bool:
        """Says whether a text is the token, in a time that tells nothing about how near it is."""
        return given is not None and secrets.compare_digest(given.encode(), self.secret.encode())
