"""The verbs of ``renma caption``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task
from renma.config.caption.metadata import CleanOptions, MergeOptions

CAPTION_TASKS = (
    Task(
        "caption merge",
        "renma.caption.merge",
        MergeOptions,
        "Put the caption files of a folder into one metadata file.",
        "renma caption merge pictures -o meta.json",
    ),
    Task(
        "caption clean",
        "renma.caption.clean",
        CleanOptions,
        "Clean the tags of a metadata file; --diff shows every change, --dry-run writes none.",
        "renma caption clean meta.json -o clean.json --diff",
    ),
)
"""Rows of the task table."""
