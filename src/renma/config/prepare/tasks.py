"""The verbs of ``renma prepare``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task
from renma.config.prepare.resize import ResizeOptions

PREPARE_TASKS = (
    Task(
        "prepare resize",
        "renma.prepare.resize",
        ResizeOptions,
        "Bring pictures to a size, an area or a side length; convert their format.",
        "renma prepare resize pictures --size 512x512 --mode cover",
    ),
)
"""Rows of the task table."""
