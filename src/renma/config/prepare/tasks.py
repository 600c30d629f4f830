"""The verbs of ``renma prepare``, in the order of the work."""

from __future__ import annotations

from renma.config._task import Task

PREPARE_TASKS = (
    Task(
        "prepare collect",
        "renma.prepare.collect",
        "renma.config.prepare.collect:CollectOptions",
        "Bring pictures from folders and archives into one folder, whole and well named.",
        "renma prepare collect downloads more.zip -o pictures",
    ),
    Task(
        "prepare lint",
        "renma.prepare.lint",
        "renma.config.prepare.lint:LintOptions",
        "Find what is wrong with pictures and captions before training.",
        "renma prepare lint pictures --html lint.html",
    ),
    Task(
        "prepare crop",
        "renma.prepare.crop",
        "renma.config.prepare.crop:CropOptions",
        "Cut away what is not the subject: frames, background, all below a figure's waist.",
        "renma prepare crop pictures --borders --body waist --body keep",
    ),
    Task(
        "prepare face",
        "renma.prepare.face",
        "renma.config.prepare.face:FaceOptions",
        "Cut out faces, drawn or photographed, square or with any margin.",
        "renma prepare face pictures --margin 2 --size 512x512",
    ),
    Task(
        "prepare focal",
        "renma.prepare.focal",
        "renma.config.prepare.focal:FocalOptions",
        "Cut pictures to one size around what draws the eye: faces, corners, detail.",
        "renma prepare focal pictures --size 512x512",
    ),
    Task(
        "prepare background",
        "renma.prepare.background",
        "renma.config.prepare.background:BackgroundOptions",
        "Put the subject on white, on any colour or on nothing.",
        "renma prepare background pictures --color white",
    ),
    Task(
        "prepare erase",
        "renma.prepare.erase",
        "renma.config.prepare.erase:EraseOptions",
        "Take objects, signatures and writing out and fill the hole.",
        "renma prepare erase pictures --box 75%,92%,25%,8%",
    ),
    Task(
        "prepare resize",
        "renma.prepare.resize",
        "renma.config.prepare.resize:ResizeOptions",
        "Bring pictures to a size, an area or a side length; convert their format.",
        "renma prepare resize pictures --size 512x512 --mode cover",
    ),
    Task(
        "prepare augment",
        "renma.prepare.augment",
        "renma.config.prepare.augment:AugmentOptions",
        "Add mirrored, turned, cut or recoloured copies.",
        "renma prepare augment pictures --rotate 5 --count 2",
    ),
    Task(
        "prepare regularize",
        "renma.prepare.regularize",
        "renma.config.prepare.regularize:RegularizeOptions",
        "Draw pictures of the class with the model to be trained, for prior preservation.",
        "renma prepare regularize my-lora --count 40",
    ),
    Task(
        "prepare repeat",
        "renma.prepare.repeat",
        "renma.config.prepare.repeat:RepeatOptions",
        "Do a recorded step again, and the steps that it was made from.",
        "renma prepare repeat pictures-crop -o again",
    ),
)
"""Rows of the task table."""
