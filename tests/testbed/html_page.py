"""What an HTML page holds, read by Python's own parser."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "img", "br", "input", "line", "polyline", "circle", "link"}


class Page(HTMLParser):
    """Collects tags, attributes and text; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        """All words of the page, single spaces between them."""
        return " ".join(" ".join(self.words).split())

    def count(self, tag: str) -> int:
        """Returns how often a tag stands in the page."""
        return sum(name == tag for name, _ in self.tags)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Returns the attributes of every tag of a name."""
        return [attributes for name, attributes in self.tags if name == tag]
