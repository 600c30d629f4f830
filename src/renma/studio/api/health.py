"""Whether the studio is there."""

from __future__ import annotations

from fastapi import APIRouter

import renma

ROUTER = APIRouter(tags=["studio"])


@ROUTER.get("/health")
def health() -> dict[str, str]:
    """Says that the studio answers, and its version; needs no token."""
    return {"status": "ok", "version": renma.__version__}
