"""C3, the web half: who may call, and how (reliability.md, "web calls")."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from renma.studio.app import application
from renma.studio.guard import MOST_JSON
from renma.studio.place import Place
from renma.studio.token import Token, cookie
from testbed.studio import SECRET, Served


@pytest.fixture
def bare(place: Place) -> TestClient:
    """A caller without a token."""
    app: Any = application(place, Token(SECRET))
    return TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)


COOKIE = cookie("127.0.0.1")
BEARER = {"authorization": f"Bearer {SECRET}"}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": SECRET}, 401),
        ({"authorization": f"Basic {SECRET}"}, 401),
        ({"cookie": f"{COOKIE}=wrong"}, 401),
        ({"cookie": f"token={SECRET}"}, 401),
        ({"x-token": SECRET}, 401),
        (BEARER, 200),
        ({"cookie": f"{COOKIE}={Token(SECRET).session}"}, 200),
        ({"cookie": f"{COOKIE}={SECRET}"}, 401),  # the token itself is never kept by a browser
        ({"cookie": f"renma-7861={Token(SECRET).session}", "host": "127.0.0.1:7860"}, 401),
        ({"cookie": f"renma-7860={Token(SECRET).session}", "host": "127.0.0.1:7860"}, 200),
        ({"authorization": f"Bearer {Token(SECRET).session}"}, 401),
        ({**BEARER, "host": "evil.com"}, 403),
        ({**BEARER, "host": "127.0.0.1.evil.com"}, 403),
        ({**BEARER, "host": "127.0.0.1:80@evil.com"}, 403),
        ({**BEARER, "host": ""}, 403),
        ({**BEARER, "host": "localhost:7860"}, 200),
        ({**BEARER, "host": "[::1]:7860"}, 200),
        ({**BEARER, "origin": "null"}, 403),
        ({**BEARER, "origin": "http://evil.com"}, 403),
        ({**BEARER, "origin": "http://127.0.0.1:1"}, 403),
        ({**BEARER, "origin": "http://127.0.0.1"}, 200),
        ({**BEARER, "sec-fetch-site": "cross-site"}, 403),
        ({**BEARER, "sec-fetch-site": "same-site"}, 403),
        ({**BEARER, "sec-fetch-site": "same-origin"}, 200),
    ],
)
@pytest.mark.parametrize("path", ["/api/projects", "/api/jobs", "/"])
def test_who_may_call(bare: TestClient, path: str, headers: dict[str, str], code: int):
    assert bare.get(path, headers=headers).status_code == code


def test_the_token_in_an_address_opens_nothing_but_the_entrance(bare: TestClient):
    assert bare.get(f"/api/projects?token={SECRET}").status_code == 401
    assert bare.get(f"/data?token={SECRET}").status_code == 401
    assert bare.get("/?token=wrong").status_code == 401
    answer = bare.get(f"/?token={SECRET}")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/"  # the token leaves the address bar
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_followed_link_shows_a_page_and_reads_nothing_else(bare: TestClient):
    followed = {**BEARER, "sec-fetch-site": "cross-site", "sec-fetch-dest": "document"}
    assert bare.get("/queue", headers=followed).status_code == 200
    assert bare.get("/api/jobs", headers=followed).status_code == 403


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/octet-stream",
    ],
)
def test_a_change_is_json(client: TestClient, kind: str, workspace: Path):
    body = json.dumps({"name": "made"})
    answer = client.post("/api/projects", content=body, headers={"content-type": kind})
    assert answer.status_code == 415
    assert not (workspace / "made").exists()


def test_reading_changes_nothing(client: TestClient):
    """Every path that changes something knows POST alone."""
    paths = client.get("/openapi.json").json()["paths"]
    assert len(paths) > 10
    for path, calls in paths.items():
        assert set(calls) <= {"get", "post"}, path
        if "post" in calls and "get" not in calls:
            assert client.get(path.replace("{name}", "1")).status_code in (404, 405), path


def test_a_body_without_end_is_cut_off(client: TestClient):
    answer = client.post(
        "/api/jobs", content=b"x" * (MOST_JSON + 1), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


def test_every_answer_forbids_foreign_content(client: TestClient, bare: TestClient):
    for answer in (
        client.get("/"),
        client.get("/api/jobs"),
        bare.get("/api/jobs"),
        bare.get("/static/core.js"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers


def test_it_listens_on_this_machine_only(served: Served):
    port = urlsplit(served.address).port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), 5) as one:
        one.sendall(b"GET /api/health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in one.recv(4096)
    # 127.0.0.2 is this machine too, but not the address that was asked for
    with pytest.raises(OSError, match="refused|timed out"):
        socket.create_connection(("127.0.0.2", port), 2)


def test_the_token_file_is_its_owners(place: Place):
    token = Token.of(place.own)
    assert Token.of(place.own) == token
    assert (place.own / "token").stat().st_mode & 0o077 == 0
    assert len(token.secret) == 32
