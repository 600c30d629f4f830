"""``renma init``: a folder with pictures, captions and a run.toml that explains itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from renma import assets
from renma.config import views
from renma.config.run_tasks import InitOptions
from renma.core.errors import UserError
from renma.core.events import Report
from renma.core.store import write_text
from renma.use import recipe_folder

_HEADER = """\
# One training run. Check it:   renma check run.toml
# Train it:                     renma train run.toml
# Paths are seen from the folder of this file. What is not written here has a default:
# `renma options` explains every key, `renma options SECTION` the rarer ones too.
"""

_RECIPE_HEADER = """\
# From the recipe {name}. Paths are seen from the folder of this file; what is not written here has
# a default: `renma options` explains every key, `renma options SECTION` the rarer ones too.
#
"""

_OWN_PICTURES = """\
#
# Your own pictures go into train/1_yourname (1 = how often each is shown in an epoch; rename the
# folder as you like, the number stays). Beside picture.png lies its caption, picture.txt, such as
# `yourname, smile, blue shirt`: first the trigger word, then what may change between pictures.
# Pictures of the class in general (reg/1_person) keep the trigger's looks from leaking into it:
# with some there, set reg_folder = "reg".
#
# mame, the model inside renma, is for trying out. With a real Stable Diffusion 1.x model:
# path = its diffusers folder, resolution = [512, 512], min_bucket_reso = 256,
# max_bucket_reso = 1024, bucket_reso_steps = 64, learning_rate = 1e-4, text_encoder_lr = 5e-5,
# max_steps = 1600, scale = 7.5.
"""

Values = dict[str, dict[str, Any]]


class About(BaseModel):
    """``about.json`` of a sample set: what its run has to know."""

    model_config = ConfigDict(frozen=True)

    trigger: str
    class_prompt: str
    preview_prompts: tuple[str, ...]
    attributes: dict[str, str] = {}


def run(options: InitOptions, report: Report) -> None:
    """Makes the folder.

    Raises:
        UserError: the folder is not empty, is a file, or cannot be written.
    """
    folder = options.folder
    _need_empty(folder)
    sample = assets.SAMPLES / options.sample if options.sample else None
    try:
        if options.recipe:
            text = from_recipe(options.recipe, folder)
        else:
            text = _HEADER + (_from_sample(sample, folder) if sample else _for_own(folder))
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror})", where=folder) from error
    toml = folder / "run.toml"
    write_text(toml, text)
    report.line(f"made {folder}")
    if not sample and not options.recipe:
        report.line(f"Put your pictures and captions into {folder / 'train' / '1_yourname'}, then:")
    report.line(f"  renma check {toml}")
    report.line(f"  renma train {toml}")


def from_recipe(name: str, folder: Path) -> str:
    """Copies the files of a recipe into a folder, and returns its run.toml.

    Raises:
        UserError: there is none of that name, or it is damaged.
    """
    recipe = recipe_folder.read(name)
    folder.mkdir(parents=True, exist_ok=True)
    recipe_folder.copy(recipe.files, folder)
    return headed(name, recipe.text)


def headed(name: str, text: str) -> str:
    """Returns the text of a recipe with a head that says where it is from."""
    return _RECIPE_HEADER.format(name=name) + text


def _from_sample(sample: Path, folder: Path) -> str:
    about = read_about(sample)
    for file in sorted(path for path in sample.rglob("*") if path.is_file()):
        copy = folder / file.relative_to(sample)
        copy.parent.mkdir(parents=True, exist_ok=True)
        # contents only: an installed package may be read-only, the user's folder must not be
        shutil.copyfile(file, copy)
    values = _for_mame(reg=(sample / "reg").is_dir())
    values["sample"] |= {"prompts": about.preview_prompts}
    values["judge"] = {
        "trigger_prompts": (f"{about.trigger}, {about.class_prompt}".rstrip(", "),),
        "class_prompts": (about.class_prompt,),
        "attributes": about.attributes,
    }
    values["output"] = {"name": about.trigger, "trigger": about.trigger}
    return views.taught(values)


def _for_own(folder: Path) -> str:
    (folder / "train" / "1_yourname").mkdir(parents=True)
    (folder / "reg").mkdir()
    values = _for_mame(reg=False)
    values["sample"] |= {"prompts": ("yourname",)}
    values["judge"] = {"trigger_prompts": ("yourname, person",), "class_prompts": ("person",)}
    values["output"] = {"name": "yourname", "trigger": "yourname"}
    return _OWN_PICTURES + views.taught(values)


def _for_mame(*, reg: bool) -> Values:
    """Returns settings that suit the embedded model and a dozen pictures."""
    return {
        "model": {"path": "mame"},
        "data": {
            "train_folder": "train",
            "reg_folder": "reg" if reg else "",
            "resolution": (128, 128),
            "batch_size": 4,
            "enable_bucket": True,
            "min_bucket_reso": 64,
            "max_bucket_reso": 256,
            "bucket_reso_steps": 32,
            "shuffle_caption": True,
            "keep_tokens": 1,
        },
        "adapter": {"algo": "lora", "rank": 16, "alpha": 16.0},
        # a trigger such as aa12 is new to the text encoder, which therefore learns faster
        "optimizer": {"name": "adamw", "learning_rate": 1e-3, "text_encoder_lr": 3e-3},
        "schedule": {"name": "constant_with_warmup", "warmup_steps": 0.05},
        "train": {"max_steps": 400, "save_every_steps": 100, "seed": 42},
        "sample": {"every_steps": 100, "scale": 4.0},
    }


def read_about(sample: Path) -> About:
    """Reads ``about.json`` of a sample set.

    Raises:
        UserError: the set is not part of this installation, or its description is damaged.
    """
    path = sample / "about.json"
    try:
        return About.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"the sample set '{sample.name}' is missing", where=path, remedy="Install renma again."
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise UserError(
            f"'{key}': {first['msg']}", where=path, remedy="Install renma again."
        ) from None


def _need_empty(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError("is a file", where=folder, remedy="Choose another name.")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            "the folder is not empty, and nothing in it is overwritten",
            where=folder,
            remedy="Choose another name, or empty it first.",
        )
