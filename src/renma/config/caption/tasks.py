"""The verbs of ``renma caption``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task

CAPTION_TASKS = (
    Task(
        "caption tag",
        "renma.caption.tag",
        "renma.config.caption.tag:TagOptions",
        "Tag pictures with WD14 taggers or the small one inside renma; thresholds cost nothing.",
        "renma caption tag pictures --threshold 0.4",
    ),
    Task(
        "caption describe",
        "renma.caption.describe",
        "renma.config.caption.describe:DescribeOptions",
        "Write captions in words with a captioner from a local folder: BLIP, GIT, Florence-2 ...",
        "renma caption describe pictures --model models/blip-large",
    ),
    Task(
        "caption edit",
        "renma.caption.edit",
        "renma.config.caption.edit:EditOptions",
        "Edit many captions at once by tags and text; --diff shows every change, undo reverts it.",
        'renma caption edit pictures --where "smile and not hat" --replace "blue_hair=blue hair"',
    ),
    Task(
        "caption prepend",
        "renma.caption.prepend",
        "renma.config.caption.prepend:PrependOptions",
        "Put a trigger word in front of every caption; a second time changes nothing.",
        "renma caption prepend pictures aa12",
    ),
    Task(
        "caption maruzen",
        "renma.caption.maruzen",
        "renma.config.caption.maruzen:MaruzenOptions",
        "Propose which tags the trigger word should stand for; --apply removes them.",
        "renma caption maruzen pictures --trigger aa12",
    ),
    Task(
        "caption audit",
        "renma.caption.audit",
        "renma.config.caption.audit:AuditOptions",
        "Look for what spoils captions: trigger missing, tags fused with it, contradictions ...",
        "renma caption audit pictures --trigger aa12",
    ),
    Task(
        "caption undo",
        "renma.caption.undo",
        "renma.config.caption.undo:UndoOptions",
        "Take edits of captions back, byte for byte, or list them.",
        "renma caption undo pictures --list",
    ),
    Task(
        "caption count",
        "renma.caption.count",
        "renma.config.caption.count:CountOptions",
        "Count tags, and which come together.",
        "renma caption count pictures --with smile",
    ),
    Task(
        "caption merge",
        "renma.caption.merge",
        "renma.config.caption.metadata:MergeOptions",
        "Put the caption files of a folder into one metadata file.",
        "renma caption merge pictures -o meta.json",
    ),
    Task(
        "caption clean",
        "renma.caption.clean",
        "renma.config.caption.metadata:CleanOptions",
        "Clean the tags of a metadata file; --diff shows every change, --dry-run writes none.",
        "renma caption clean meta.json -o clean.json --diff",
    ),
)
"""Rows of the task table."""
