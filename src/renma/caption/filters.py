r"""Which captions are meant: ``smile and not (hat or /^blue/)``.

Grammar, ``not`` before ``and`` before ``or``, brackets as usual::

    any  = all ("or" all)*          all  = one ("and" one)*
    one  = "not" one | "(" any ")" | /regex/ | /regex/i | "exact tag" | tag with * wildcards

A tag fits as a whole, letter by letter; words next to each other are one tag, so ``long hair``
needs no quotes. Tags that hold brackets or are called and, or, not stand in quotes, where ``*`` is
a plain star. A regular expression may fit anywhere in a tag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import NoReturn

from renma.caption.tags import like
from renma.core.errors import UserError
from renma.core.expression import Expression

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<bracket>[()])
      | (?P<quote>["'])(?P<exact>(?:\\.|(?!(?P=quote)).)*)(?P=quote)
      | /(?P<regex>(?:\\.|[^/\\])*)/(?P<flags>\w*)
      | (?P<word>(?:\\[()]|[^\s()"'/])(?:\\[()]|[^\s()])*)
    )""",
    re.VERBOSE,
)
_OPERATORS = ("and", "or", "not")
_DEEPEST = 100


@dataclass(frozen=True)
class Filter:
    """A condition on the tags of a caption.

    Attributes:
        text: as it was written.
        fits: says whether a caption's tags are meant.
        patterns: the plain tags in it, those with wildcards too.
    """

    text: str
    fits: Callable[[Collection[str]], bool]
    patterns: tuple[str, ...]


def everything(_tags: Collection[str]) -> bool:
    """Is the condition that every caption fits."""
    return True


def parse(text: str, option: str = "--where") -> Filter:
    """Returns the condition that a text describes; an empty one is met by every caption.

    Raises:
        UserError: it is none; the column of the mistake is named, counted from 1.
    """
    if not text.strip():
        return Filter(text, everything, ())
    reader = _Reader(text, option)
    fits = reader.any()
    if reader.kind != "end":
        reader.fail("'and' or 'or' is missing" if reader.said != ")" else "nothing opened this ')'")
    return Filter(text, fits, tuple(dict.fromkeys(reader.patterns)))


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int
    flags: str = ""


def _negated(fits: Callable[[Collection[str]], bool]) -> Callable[[Collection[str]], bool]:
    return lambda tags: not fits(tags)


class _Reader:
    """Reads a condition from the left, one token ahead."""

    def __init__(self, text: str, option: str) -> None:
        self.text, self.option = text, option
        self.patterns: list[str] = []
        self._depth = 0
        self._tokens = self._cut()
        self._next = next(self._tokens)

    @property
    def kind(self) -> str:
        return self._next.kind

    @property
    def said(self) -> str:
        return self._next.text

    def fail(self, what: str, column: int | None = None) -> NoReturn:
        """Refuses the text at the next token, or at another column."""
        place = self._next.column if column is None else column
        raise UserError(f"{what} at column {place} of {self.text!r}", where=self.option)

    def any(self) -> Callable[[Collection[str]], bool]:
        return self._chain("or", self._all, any)

    def _all(self) -> Callable[[Collection[str]], bool]:
        return self._chain("and", self._one, all)

    def _chain(
        self,
        word: str,
        part: Callable[[], Callable[[Collection[str]], bool]],
        together: Callable[[Iterator[bool]], bool],
    ) -> Callable[[Collection[str]], bool]:
        parts = [part()]
        while self.kind == word:
            self._take()
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        return lambda tags: together(fits(tags) for fits in parts)

    def _one(self) -> Callable[[Collection[str]], bool]:
        self._depth += 1
        if self._depth > _DEEPEST:
            self.fail("nested too deeply")
        token = self._take()
        if token.kind == "not":
            fits = _negated(self._one())
        elif token.kind == "bracket" and token.text == "(":
            fits = self._bracketed(token)
        else:
            fits = self._tag(token)
        self._depth -= 1
        return fits

    def _bracketed(self, opened: _Token) -> Callable[[Collection[str]], bool]:
        fits = self.any()
        if self.kind == "end":
            self.fail("')' is missing for the '('", opened.column)
        if self.said != ")":
            self.fail("'and' or 'or' is missing")
        self._take()
        return fits

    def _tag(self, token: _Token) -> Callable[[Collection[str]], bool]:
        if token.kind == "regex":
            return self._regex(token)
        if token.kind == "exact":
            self.patterns.append(token.text.replace("*", r"\*"))
            return lambda tags: token.text in tags
        if token.kind != "word":
            said = f", not {token.text!r}" if token.text else ""
            self.fail(f"a tag is expected{said}", token.column)
        self.patterns.append(token.text)
        test = like(token.text)
        return lambda tags: any(test(tag) for tag in tags)

    def _regex(self, token: _Token) -> Callable[[Collection[str]], bool]:
        if token.flags not in ("", "i"):
            self.fail(
                f"/i is the only flag of a regular expression, not {token.flags!r}", token.column
            )
        try:
            where = f"/{token.text}/"
            pattern = Expression(token.text, where, ignore_case=bool(token.flags))
        except re.error as error:
            self.fail(f"no regular expression ({error.msg})", token.column + 1 + (error.pos or 0))
        return lambda tags: any(map(pattern.found_in, tags))

    def _take(self) -> _Token:
        token = self._next
        if token.kind != "end":
            self._next = next(self._tokens)
        return token

    def _cut(self) -> Iterator[_Token]:
        """Yields the tokens; words that follow each other are one."""
        words: _Token | None = None
        for token in self._pieces():
            plain = token.kind == "word" and token.text.lower() not in _OPERATORS
            if plain and words:
                words = _Token("word", f"{words.text} {token.text}", words.column)
                continue
            if plain:
                words = token
                continue
            if words:
                yield words
                words = None
            yield _Token(token.text.lower(), "", token.column) if token.kind == "word" else token

    def _pieces(self) -> Iterator[_Token]:
        place = 0
        while self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            if match is None:
                start = place + len(self.text[place:]) - len(self.text[place:].lstrip())
                closed = "/" if self.text[start] == "/" else "quotation mark"
                raise UserError(
                    f"the closing {closed} is missing for column {start + 1} of {self.text!r}",
                    where=self.option,
                )
            kind = next(k for k in ("bracket", "exact", "regex", "word") if match[k] is not None)
            said = match[kind]
            if kind == "exact":
                said = re.sub(r"\\([\"'\\])", r"\1", said)
            start = match.end() - len(match[0].lstrip())
            yield _Token(kind, said, start + 1, match["flags"] or "")
            place = match.end()
        yield _Token("end", "", len(self.text) + 1)
