"""The secret that opens the studio: printed with the address, kept by the browser in a cookie."""

from __future__ import annotations

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path


def cookie(host: str) -> str:
    """Returns the name of the cookie; it tells studios on several ports of a machine apart.

    Args:
        host: the Host header, with the port or without.
    """
    port = host.rpartition(":")[2]
    return f"renma-{port}" if port.isdigit() else "renma"


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

    @property
    def session(self) -> str:
        """What the browser keeps: it opens the pages, and does not tell the token."""
        return hmac.new(self.secret.encode(), b"session", "sha256").hexdigest()

    def is_session(self, given: str | None) -> bool:
        """Says whether a text is what the browser was given, in constant time."""
        return given is not None and secrets.compare_digest(given.encode(), self.session.encode())

    def fits(self, given: str | None) -> bool:
        """Says whether a text is the token, in a time that tells nothing about how near it is."""
        return given is not None and secrets.compare_digest(given.encode(), self.secret.encode())
