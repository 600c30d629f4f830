"""The interface: one file a room, every change a POST with JSON."""

from __future__ import annotations

from fastapi import APIRouter

from renma.studio.api import (
    compare,
    dataset_marks,
    dataset_work,
    datasets,
    files,
    health,
    jobs,
    lora_files,
    methods,
    projects,
    reports,
    runs,
    settings,
    tasks,
    uploads,
)

_ROOMS = (health, projects, tasks, jobs, runs, settings, methods)
_MADE = (compare, files, lora_files, reports)
_PICTURES = (datasets, dataset_work, dataset_marks, uploads)


def router() -> APIRouter:
    """Returns all calls."""
    found = APIRouter(prefix="/api")
    for module in (*_ROOMS, *_MADE, *_PICTURES):
        found.include_router(module.ROUTER)
    return found
