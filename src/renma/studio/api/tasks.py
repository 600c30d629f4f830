"""Tasks as forms."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from renma.studio import forms

ROUTER = APIRouter(prefix="/tasks", tags=["tasks"])


@ROUTER.get("")
def tasks() -> list[dict[str, str]]:
    """Returns every task with one line about it."""
    return [{"name": t.name, "summary": t.summary, "example": t.example} for t in forms.tasks()]


@ROUTER.get("/form")
def form(name: str) -> dict[str, Any]:
    """Returns what a task can be told."""
    return forms.form(forms.options_of(name))
