"""The verbs of ``renma prepare``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task
from renma.config.prepare.background import BackgroundOptions
from renma.config.prepare.erase import EraseOptions
from renma.config.prepare.resize import ResizeOptions

PREPARE_TASKS = (
    Task(
        "prepare background",
        "renma.prepare.background",
        BackgroundOptions,
        "Put the subject on white, on any colour or on nothing.",
        "renma prepare background pictures --color white",
    ),
    Task(
        "prepare erase",
        "renma.prepare.erase",
        EraseOptions,
        "Take objects, signatures and writing out and fill the hole.",
        "renma prepare erase pictures --box 75%,92%,25%,8%",
    ),
    Task(
        "prepare resize",
        "renma.prepare.resize",
        ResizeOptions,
        "Bring pictures to a size, an area or a side length; convert their format.",
        "renma prepare resize pictures --size 512x512 --mode cover",
    ),
)
"""Rows of the task table."""
