"""The application: pages, and the one interface that they and scripts use."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles

import renma
from renma.core.errors import MissingError, UserError
from renma.studio import api, pages
from renma.studio.guard import App, Guard
from renma.studio.jobs.queue import Queue
from renma.studio.place import OutsideError, Place
from renma.studio.token import Token

STATIC = Path(__file__).parent / "static"
_ABOUT = """Everything that the pages of the studio do. Send the token that `renma studio` printed
as `Authorization: Bearer TOKEN`; changes are POST with JSON."""


def application(place: Place, token: Token) -> App:
    """Returns the studio of a workspace.

    Args:
        place: the workspace.
        token: that opens it.
    """
    queue = Queue(place.own / "jobs", place.root)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        queue.start()
        yield
        queue.close()

    app = FastAPI(
        title="renma studio",
        version=renma.__version__,
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.place, app.state.queue = place, queue
    app.add_exception_handler(UserError, _mistake)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.include_router(api.router())
    app.include_router(pages.router())
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return Guard(app, token)  # pyright: ignore[reportArgumentType] - starlette's own type of a message


def _mistake(request: Request, error: Exception) -> JSONResponse:
    """Says what a person did wrong, folders as the pages name them."""
    assert isinstance(error, UserError)
    codes = {OutsideError: 403, MissingError: 404}
    code = next((codes[kind] for kind in codes if isinstance(error, kind)), 422)
    line = error.line().replace(f"{request.app.state.place.root}{os.sep}", "")
    return JSONResponse({"error": line}, status_code=code)


def _unfit(_: Request, error: Exception) -> JSONResponse:
    """Says in a line what does not fit; the values given are not repeated."""
    assert isinstance(error, RequestValidationError)
    rows = [f"{'.'.join(map(str, row['loc'][1:]))}: {row['msg']}" for row in error.errors()]
    return JSONResponse({"error": "; ".join(rows)[:1000]}, status_code=422)
