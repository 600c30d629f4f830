"""What a text file says, in the encodings that editors of the field's users write."""

from __future__ import annotations

from pathlib import Path

from renma.core.errors import UserError

JAPANESE = "cp932"
"""The Japanese Windows code page (Shift JIS)."""


def read(path: Path, if_missing: str = "") -> str:
    """Returns the text of a UTF-8 file, with or without byte order mark.

    Args:
        path: the file.
        if_missing: what to do where there is none.

    Raises:
        UserError: it is missing, cannot be read, or is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError("there is no such file", where=path, remedy=if_missing) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"is no UTF-8 text ({error.reason} at byte {error.start})",
            where=path,
            remedy="Save it as UTF-8.",
        ) from None


def decode(raw: bytes, where: object) -> tuple[str, str]:
    """Returns the text of a file's bytes and the encoding it was in.

    UTF-8 with or without byte order mark, UTF-16 with one, else the Japanese Windows code page.

    Args:
        raw: the file's bytes.
        where: the file, for messages.

    Raises:
        UserError: it is no text in any of them.
    """
    marked = raw.startswith((b"\xff\xfe", b"\xfe\xff"))
    for encoding in ("utf-16" if marked else "utf-8-sig", JAPANESE):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:  # UTF-16 without a mark decodes as UTF-8, with a zero after every letter
            raise UserError(
                "holds zero bytes and is no UTF-8 text", where=where, remedy="Save it as UTF-8."
            )
        return text, encoding
    raise UserError("is not text in UTF-8", where=where, remedy="Save it as UTF-8.")
