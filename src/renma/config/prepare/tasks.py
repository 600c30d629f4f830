"""The verbs of ``renma prepare``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task
from renma.config.prepare.augment import AugmentOptions
from renma.config.prepare.background import BackgroundOptions
from renma.config.prepare.collect import CollectOptions
from renma.config.prepare.crop import CropOptions
from renma.config.prepare.erase import EraseOptions
from renma.config.prepare.face import FaceOptions
from renma.config.prepare.focal import FocalOptions
from renma.config.prepare.lint import LintOptions
from renma.config.prepare.repeat import RepeatOptions
from renma.config.prepare.resize import ResizeOptions

PREPARE_TASKS = (
    Task(
        "prepare collect",
        "renma.prepare.collect",
        CollectOptions,
        "Bring pictures from folders and archives into one folder, whole and well named.",
        "renma prepare collect downloads more.zip -o pictures",
    ),
    Task(
        "prepare lint",
        "renma.prepare.lint",
        LintOptions,
        "Find what is wrong with pictures and captions before training.",
        "renma prepare lint pictures --html lint.html",
    ),
    Task(
        "prepare face",
        "renma.prepare.face",
        FaceOptions,
        "Cut out faces, drawn or photographed, square or with any margin.",
        "renma prepare face pictures --margin 2 --size 512x512",
    ),
    Task(
        "prepare focal",
        "renma.prepare.focal",
        FocalOptions,
        "Cut pictures to one size around what draws the eye: faces, corners, detail.",
        "renma prepare focal pictures --size 512x512",
    ),
    Task(
        "prepare crop",
        "renma.prepare.crop",
        CropOptions,
        "Cut away what is not the subject: frames, background, all below a figure's waist.",
        "renma prepare crop pictures --borders --body waist --body keep",
    ),
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
    Task(
        "prepare augment",
        "renma.prepare.augment",
        AugmentOptions,
        "Add mirrored, turned, cut or recoloured copies.",
        "renma prepare augment pictures --rotate 5 --count 2",
    ),
    Task(
        "prepare repeat",
        "renma.prepare.repeat",
        RepeatOptions,
        "Do a recorded step again, and the steps that it was made from.",
        "renma prepare repeat pictures-crop -o again",
    ),
)
"""Rows of the task table."""
