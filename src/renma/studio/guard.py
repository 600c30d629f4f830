"""Who may call: the right host, the right page, the token; changes are JSON by POST.

DNS rebinding is met by the Host header, other web sites by Origin and Sec-Fetch-Site, forms of
other sites by the content type, everybody else by the token.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.responses import JSONResponse, RedirectResponse, Response

from renma.studio.token import Token, cookie

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MOST_JSON = 4 * 2**20
"""Bytes of a JSON body; lists of 10,000 pictures fit."""
MOST_UPLOAD = 2 * 2**30
UPLOADS = "/api/upload"
_HOST = re.compile(r"([a-z0-9.]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
_NAMES = ("127.0.0.1", "localhost", "[::1]")
_READING = ("GET", "HEAD")
_OPEN = ("/api/health",)
_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; "
    "script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """Stands before the whole application.

    Args:
        app: what is guarded.
        token: of the studio.
    """

    def __init__(self, app: App, token: Token) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a call, or refuses it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the studio speaks no websocket; the server closes the connection
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        refusal = self._entrance(scope, headers) or self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        most = MOST_UPLOAD if scope["path"] == UPLOADS else MOST_JSON
        await self._app(scope, _bounded(receive, most), _with_headers(send))

    def _entrance(self, scope: Message, headers: dict[str, str]) -> Response | None:
        """Returns the way in for the printed address: the token becomes a cookie, and leaves it."""
        if scope["method"] != "GET" or scope["path"] != "/" or not _local(headers.get("host", "")):
            return None
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if not self._token.fits(given):
            return None
        answer = RedirectResponse("/", status_code=303)
        name, kept = cookie(headers["host"]), self._token.session
        answer.set_cookie(name, kept, httponly=True, samesite="strict", max_age=30 * 86400)
        return answer

    def _refusal(self, scope: Message, headers: dict[str, str]) -> Response | None:
        """Returns why a call is refused, or None."""
        host = headers.get("host", "")
        if not _local(host):
            return _no(403, "this studio is on 127.0.0.1 only")
        origin = headers.get("origin")
        foreign = origin is not None and urlsplit(origin).netloc != host
        foreign = foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign and not (origin is None and _arriving(scope, headers)):
            return _no(403, "another web site may not call the studio")
        if scope["path"] in _OPEN or scope["path"].startswith("/static/"):
            return None
        if not (self._token.is_session(_cookie(headers)) or self._token.fits(_bearer(headers))):
            return _no(401, "the token is missing: open the address that `renma studio` printed")
        if scope["method"] in _READING:
            return None
        return _unlike_json(scope["path"], headers)


def _arriving(scope: Message, headers: dict[str, str]) -> bool:
    """Says whether somebody follows a link to a page; that changes nothing."""
    to_page = headers.get("sec-fetch-dest") == "document"
    return to_page and scope["method"] == "GET" and not scope["path"].startswith("/api/")


def _unlike_json(path: str, headers: dict[str, str]) -> Response | None:
    """Returns why the body of a change is refused, or None; no form can send what is asked for."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = "application/octet-stream" if path == UPLOADS else "application/json"
    if kind != wanted:
        return _no(415, f"a change is sent as {wanted}")
    length, most = headers.get("content-length", "0"), MOST_UPLOAD if path == UPLOADS else MOST_JSON
    if not length.isascii() or not length.isdigit():
        return _no(400, "the length is no number")
    return _no(413, f"at most {most:,} bytes") if int(length) > most else None


def _local(host: str) -> bool:
    """Says whether a Host header names this machine, with a port or without."""
    found = _HOST.fullmatch(host)
    return found is not None and found[1] in _NAMES


def _cookie(headers: dict[str, str]) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(cookie(headers.get("host", "")))
    except CookieError:
        return None
    return found.value if found else None


def _bearer(headers: dict[str, str]) -> str | None:
    kind, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else None


def _no(code: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=code)


def _bounded(receive: Receive, most: int) -> Receive:
    """Counts the bytes of a body that did not say its length; too many end the connection."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return {"type": "http.disconnect"} if seen > most else message

    return counted


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message["headers"]}
            more = [
                (name.encode(), value.encode())
                for name, value in _HEADERS.items()
                if name.encode() not in there
            ]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return sending
