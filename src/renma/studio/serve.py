"""The server: one process, one port of this machine."""

from __future__ import annotations

import socket

import uvicorn
from filelock import FileLock, Timeout

from renma.core.errors import UserError
from renma.studio.app import application
from renma.studio.place import Place
from renma.studio.token import Token

_PATIENCE = 2
"""Seconds that open connections get at the end; pages that watch a run never close theirs."""


def listening(port: int) -> socket.socket:
    """Returns a socket on this machine's own address.

    Raises:
        UserError: the port is taken.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(("127.0.0.1", port))
        made.listen(128)  # who follows the printed address at once waits and is not refused
    except OSError as error:
        made.close()
        raise UserError(
            f"cannot be listened to ({error.strerror})",
            where=f"--port {port}",
            remedy="Another studio may run there; --port 0 takes a free one.",
        ) from None
    return made


def sole(place: Place) -> FileLock:
    """Returns the workspace's lock, taken: one studio begins its jobs and numbers its runs.

    Raises:
        UserError: another studio works there.
    """
    lock = FileLock(place.own / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(
            "another studio works in this folder",
            where=place.root,
            remedy="Open the address that it printed, or stop it first.",
        ) from None
    return lock


def serve(place: Place, token: Token, listener: socket.socket) -> None:
    """Serves until a signal comes."""
    config = uvicorn.Config(
        application(place, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_PATIENCE,
        limit_concurrency=200,
        h11_max_incomplete_event_size=64 * 1024,
    )
    uvicorn.Server(config).run(sockets=[listener])
