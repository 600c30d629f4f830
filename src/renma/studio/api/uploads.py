"""Pictures and archives that are sent into a folder."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from renma.core.errors import UserError
from renma.studio.api._given import ThePlace
from renma.studio.pictures.folder import opened
from renma.studio.pictures.received import kind_of, take

ROUTER = APIRouter(tags=["datasets"])


@ROUTER.post(
    "/upload",
    openapi_extra={
        "requestBody": {
            "content": {"application/octet-stream": {"schema": {"type": "string"}}},
            "required": True,
        }
    },
)
async def upload(request: Request, place: ThePlace, path: str, name: str) -> dict[str, Any]:
    """Takes one picture or zip (the body as it is) into a folder.

    Names are made safe, nothing is overwritten, and what is broken or too large is refused.
    """
    most = kind_of(name)
    folder = await asyncio.to_thread(opened, place, path, write=True)
    own = place.own / "uploads"
    own.mkdir(exist_ok=True)
    sent = own / secrets.token_hex(8)
    try:
        await _received(request, sent, most)
        arrived = await asyncio.to_thread(take, sent, name, folder)
    finally:
        sent.unlink(missing_ok=True)
    return {"kept": arrived.kept, "refused": arrived.refused}


async def _received(request: Request, sent: Path, most: int) -> None:
    size = 0
    with sent.open("xb") as file:
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise UserError(f"has more than {most // 2**20} MiB")
            file.write(part)
    if not size:
        raise UserError("is empty")
