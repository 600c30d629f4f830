"""What a text file says, in the encodings that editors of the field's users write."""

from __future__ import annotations

from renma.core.errors import UserError

JAPANESE = "cp932"
"""The Japanese Windows code page (Shift JIS)."""


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
