"""The verbs of ``renma caption``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task
from renma.config.caption.count import CountOptions
from renma.config.caption.describe import DescribeOptions
from renma.config.caption.edit import EditOptions
from renma.config.caption.metadata import CleanOptions, MergeOptions
from renma.config.caption.prepend import PrependOptions
from renma.config.caption.tag import TagOptions
from renma.config.caption.undo import UndoOptions

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
        "caption edit",
        "renma.caption.edit",
        EditOptions,
        "Edit many captions at once by tags and text; --diff shows every change, undo reverts it.",
        'renma caption edit pictures --where "smile and not hat" --replace "blue_hair=blue hair"',
    ),
    Task(
        "caption prepend",
        "renma.caption.prepend",
        PrependOptions,
        "Put a trigger word in front of every caption; a second time changes nothing.",
        "renma caption prepend pictures aa12",
    ),
    Task(
        "caption undo",
        "renma.caption.undo",
        UndoOptions,
        "Take edits of captions back, byte for byte, or list them.",
        "renma caption undo pictures --list",
    ),
    Task(
        "caption count",
        "renma.caption.count",
        CountOptions,
        "Count tags, and which come together.",
        "renma caption count pictures --with smile",
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
