"""The caption files of a folder of pictures, each with the bytes it holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from renma.core.errors import UserError
from renma.core.place import near
from renma.core.text_file import JAPANESE, decode
from renma.data.caption_file import CaptionFiles
from renma.data.folders import folders
from renma.data.notes import Notes, shown
from renma.data.pictures import ENDINGS
from renma.data.reading import listing, picture_names


@dataclass(frozen=True)
class Captioned:
    """A picture and its caption.

    Attributes:
        picture: the picture.
        file: where its caption is, or would be written.
        text: all that the file says, whatever encoding it is in; None where there is no file.
        raw: the file's bytes.
    """

    picture: Path
    file: Path
    text: str | None
    raw: bytes | None


class Names:
    """Names of files from a folder on; each folder inside it is worked out once.

    Args:
        folder: that names are seen from.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._heads = folder, dict[Path, str]()

    def of(self, path: Path) -> str:
        """Returns the name of a file in the folder, with slashes."""
        parent = path.parent
        head = self._heads.get(parent)
        if head is None:
            inner = parent.relative_to(self._folder).as_posix()
            head = self._heads[parent] = "" if inner == "." else f"{inner}/"
        return head + path.name


def read_folder(
    folder: Path, extension: str = ".txt", recursive: bool = True, notes: Notes | None = None
) -> list[Captioned]:
    """Returns the pictures of a folder with their captions, folder by folder, by name.

    Hidden folders are passed over, and links to folders are not followed.
    Pictures of one stem share a caption file: both are returned.

    Args:
        folder: the folder.
        extension: ending of caption files.
        recursive: take the folders inside it too.
        notes: told what is odd: encodings, shared captions, captions without a picture, links.

    Raises:
        UserError: no such folder, no picture in it, or a caption that is no text.
    """
    if not folder.is_dir():
        raise no_folder(folder)
    extension = dotted(extension)
    told = notes or Notes()
    found: list[Captioned] = []
    for inner in folders(folder, recursive, told):
        found += _of_one(inner, extension, told)
    if not found:
        endings = ", ".join(sorted(ENDINGS))
        raise UserError(
            "holds no pictures", where=shown(folder), remedy=f"Known endings: {endings}."
        )
    return found


def no_folder(path: Path) -> UserError:
    """Returns what is told where a folder of pictures is asked for and this is none."""
    if not path.exists():
        return UserError("there is no such folder", where=shown(path), remedy=shown(near(path)))
    remedy = f"Give the folder that it lies in: {shown(path.parent)}."
    return UserError("is a file, not a folder", where=shown(path), remedy=remedy)


def dotted(extension: str) -> str:
    """Returns an ending with its dot."""
    return extension if extension.startswith(".") else f".{extension}"


def _of_one(folder: Path, extension: str, notes: Notes) -> Iterable[Captioned]:
    files, _ = listing(folder)
    names = picture_names(files)
    captions = CaptionFiles(folder, files, extension)
    owners: dict[Path, Path] = {}
    for name in names:
        picture = folder / name
        there = captions.of(picture)
        file = there or picture.with_name(picture.stem + extension)
        if file in owners:
            notes.add("one caption file for several pictures", owners[file], picture)
        owners[file] = picture
        raw = _read(file) if there else None
        text, encoding = (None, "") if raw is None else decode(raw, shown(file))
        if encoding == JAPANESE:
            notes.add("not UTF-8, read as cp932 (Shift JIS)", file)
        yield Captioned(picture, file, text, raw)
    if names:
        known = {file.name for file in owners}
        for name in files:
            if name.endswith(extension) and name not in known and not name.startswith("."):
                notes.add("captions without a picture, left alone", folder / name)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=shown(file)) from None
