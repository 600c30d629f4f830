"""What every call is given: the workspace and the queue."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from renma.studio.jobs.queue import Queue
from renma.studio.place import Place


def _place(request: Request) -> Place:
    return request.app.state.place


def _queue(request: Request) -> Queue:
    return request.app.state.queue


ThePlace = Annotated[Place, Depends(_place)]
TheQueue = Annotated[Queue, Depends(_queue)]
