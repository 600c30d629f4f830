"""The verbs of ``renma caption``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task
from renma.config.caption.describe import DescribeOptions
from renma.config.caption.metadata import CleanOptions, MergeOptions
from renma.config.caption.tag import TagOptions

CAPTION_TASKS = (
    Task(
        "caption tag",
        "renma.caption.tag",
        TagOptions,
        "Tag pictures with WD14 taggers or the small one inside renma; thresholds cost nothing.",
        "renma caption tag pictures --threshold 0.4",
    ),
    Task(
        "caption describe",
        "renma.caption.describe",
        DescribeOptions,
        "Write captions in words with a captioner from a local folder: BLIP, GIT, Florence-2 ...",
        "renma caption describe pictures --model models/blip-large",
    ),
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
