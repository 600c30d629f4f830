"""From a command as people write it down (shell, batch file, PowerShell) to its words.

Quotes, continued lines, comments, simple variables and several commands in one file are understood;
nothing is ever run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PureWindowsPath
from typing import Literal

from renma.core.errors import UserError, did_you_mean
from renma.train.launcher import launched

Flavour = Literal["sh", "cmd", "ps1", "any"]

SCRIPTS = {"train_network": False, "sdxl_train_network": True}
"""The trainers that are understood, and whether they are for SDXL."""
_OTHERS = {
    "train_db": "DreamBooth fine-tunes the whole model",
    "fine_tune": "it fine-tunes the whole model",
    "sdxl_train": "it fine-tunes the whole model",
    "train_textual_inversion": "textual inversion trains a word, not a LoRA",
    "sdxl_train_textual_inversion": "textual inversion trains a word, not a LoRA",
    "flux_train_network": "FLUX models are not supported",
    "sd3_train_network": "SD3 models are not supported",
    "lumina_train_network": "Lumina models are not supported",
}
_SUFFIXES: dict[str, Flavour] = {".sh": "sh", ".bash": "sh", ".bat": "cmd", ".cmd": "cmd"}
_SUFFIXES |= {".ps1": "ps1"}
_BREAKS = frozenset({"\n", ";", "&&", "||", "|", "&"})
_ASSIGNMENT: dict[str, re.Pattern[str]] = {
    "sh": re.compile(r"^(?:export\s+)?(\w+)=(.*)$"),
    "cmd": re.compile(r'^@?set\s+"?(\w+)=(.*?)"?$', re.IGNORECASE),
    "ps1": re.compile(r"^\$(\w+)\s*=\s*(.*)$"),
}
_LITERAL = "\ue000"
"""Stands for a dollar sign that is no variable's, until variables are filled in."""
_WORD = "\ue001"
"""Stands before a quoted word, which is no operator even if it looks like one."""
_VARIABLE = re.compile(r"\$env:\w+|\$\{\w+\}|\$\w+|%\w+%")


@dataclass(frozen=True)
class Command:
    """One training command.

    Attributes:
        words: everything after the script's name.
        sdxl: whether the script is the one for SDXL.
        launcher: options of `accelerate launch` or torchrun before it; switches have "".
    """

    words: tuple[str, ...]
    sdxl: bool
    launcher: Mapping[str, str] = field(default_factory=dict)


def flavour_of(suffix: str) -> Flavour:
    """Returns whose quoting rules a file's ending stands for."""
    return _SUFFIXES.get(suffix.lower(), "any")


def read(text: str, flavour: Flavour = "any", where: str = "") -> Command:
    """Returns the one training command of a text.

    Args:
        text: a command line, or a script that holds one.
        flavour: whose quoting rules hold; ``any`` goes by the looks of it.
        where: what to name in messages.

    Raises:
        UserError: there is none, there are several, it is another trainer's, or a variable in it
            has no value here.
    """
    found = [command for words in _commands(text, flavour, where) if (command := _of(words, where))]
    if len(found) > 1:
        raise UserError(
            f"holds {len(found)} training commands", where=where or None, remedy="Give one of them."
        )
    if not found:
        raise UserError(
            "holds no command of train_network.py or sdxl_train_network.py", where=where or None
        )
    return found[0]


def _of(words: list[str], where: str) -> Command | None:
    """Returns the training command that the words are, None if they are none."""
    for place, word in enumerate(words):
        name = PureWindowsPath(word).name.removesuffix(".py")  # takes both kinds of slashes
        after_m = place > 0 and words[place - 1] in ("-m", "--module")
        if after_m:
            name = word.rpartition(".")[2]
        if name in _OTHERS and (word.endswith(".py") or after_m):
            raise UserError(
                f"{name} is a trainer that renma does not stand in for: {_OTHERS[name]}",
                where=where or None,
                remedy="It reads commands of train_network.py and sdxl_train_network.py.",
            )
        if name in SCRIPTS and (word.endswith(".py") or after_m or place == 0):
            return Command(tuple(words[place + 1 :]), SCRIPTS[name], launched(words[:place]))
        if word.endswith(".py") and (near := did_you_mean(name, SCRIPTS)):
            raise UserError(f"'{word}' is no script of sd-scripts", where=where, remedy=near)
    if words and words[0].startswith("--"):  # options alone
        return Command(tuple(words), "cache_text_encoder_outputs" in " ".join(words))
    return None


def _commands(text: str, flavour: Flavour, where: str) -> Iterator[list[str]]:
    """Yields the words of every command, variables that the text itself sets filled in."""
    if flavour == "any":
        flavour = _guess(text)
    text = _joined(text, flavour)
    values: dict[str, str] = {}
    for line in text.split("\n"):
        if assigned := _assigned(line, flavour):
            values[assigned[0].lower()] = _filled(assigned[1], values).replace(_LITERAL, "$")
            continue
        if not any(name in line for name in (*SCRIPTS, *_OTHERS)) and "--" not in line:
            continue
        words: list[str] = []
        for word in _words(line, flavour):
            if word in _BREAKS:
                yield _known_words(words, values, where)
                words = []
            else:
                words.append(word[1:] if word[0] == _WORD else word)
        yield _known_words(words, values, where)


def _guess(text: str) -> Flavour:
    """Says whose rules a text without a file's ending follows."""
    if re.search(r"`[ \t]*$", text, re.MULTILINE):
        return "ps1"
    if re.search(r"\^[ \t]*$", text, re.MULTILINE):
        return "cmd"
    return "any"


def _joined(text: str, flavour: Flavour) -> str:
    """Returns the text with continued lines joined and comment lines left out."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff")
    signs = {"cmd": r"\^", "ps1": "`"}.get(flavour, r"\\")
    text = re.sub(rf"{signs}[ \t]*\n", " ", text)
    comment = re.compile(r"^\s*(#|::|@?rem\b)", re.IGNORECASE)
    return "\n".join(line.strip() for line in text.split("\n") if not comment.match(line))


def _assigned(line: str, flavour: Flavour) -> tuple[str, str] | None:
    """Returns name and value of a line that sets a variable to a plain text."""
    pattern = _ASSIGNMENT.get("sh" if flavour == "any" else flavour)
    match = pattern.match(line) if pattern else None
    if not match:
        return None
    if flavour == "cmd":
        return match[1], match[2]
    words = [word.removeprefix(_WORD) for word in _words(match[2], flavour)]
    return (match[1], words[0] if words else "") if len(words) < 2 else None


def _filled(text: str, values: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        return values.get(match[0].strip("${}%").lower(), match[0])

    return _VARIABLE.sub(fill, text) if values else text


def _known_words(words: list[str], values: Mapping[str, str], where: str) -> list[str]:
    """Returns words with variables filled in.

    Raises:
        UserError: a training command holds one whose value the text does not set.
    """
    filled = [_filled(word, values) for word in words]
    if any(name in word for word in filled for name in SCRIPTS):
        for word in filled:
            if match := _VARIABLE.search(word):
                raise UserError(
                    f"holds the variable {match[0]}, whose value is not known here: {word}",
                    where=where or None,
                    remedy="Write the value itself.",
                )
    return [word.replace(_LITERAL, "$") for word in filled]


def _words(line: str, flavour: Flavour) -> Iterator[str]:
    """Yields words and operators of one line; quotes are taken away.

    Backslashes stay: they stand in Windows' paths. Only a shell's own, before a blank, a quote or
    another special sign, is taken as an escape.
    """
    quotes = '"' if flavour == "cmd" else "\"'"
    escape = {"cmd": "^", "ps1": "`"}.get(flavour, "\\")
    word, quote, place = "", "", 0
    windows = flavour == "any" and re.search(r"\b[A-Za-z]:\\", line) is not None
    while place < len(line):
        sign, following = line[place], line[place + 1 : place + 2]
        if sign == escape and following and not windows and _escapes(following, quote, flavour):
            word += following.replace("$", _LITERAL)
            place += 1
        elif quote:
            quote, word = ("", word) if sign == quote else (quote, word + _quoted(sign, quote))
        elif sign in quotes:
            quote, word = sign, word or _WORD
        elif sign in " \t;|&":
            if word:
                yield word
            word = ""
            if sign in ";|&":
                operator = sign + following if following == sign else sign
                place += len(operator) - 1
                yield operator
        elif sign == "#" and not word and flavour != "cmd":
            break  # the rest of the line is a comment
        else:
            word += sign
        place += 1
    if word:
        yield word


def _quoted(sign: str, quote: str) -> str:
    return _LITERAL if sign == "$" and quote == "'" else sign


def _escapes(following: str, quote: str, flavour: Flavour) -> bool:
    if flavour in ("cmd", "ps1"):
        return quote != "'" and (flavour == "ps1" or not quote)
    return quote != "'" and following in ('"\\$`' if quote else " \"'\\$`&;|()#")
