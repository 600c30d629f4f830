"""A picture drawn once more: its recipe, with every file found at the place where it is now.

Pictures travel, so they hold names and hashes and no paths. A name is looked for in the working
folder, beside the picture, in the folder of LoRAs, and where MODEL lies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from renma.config.picture_recipe import Recipe
from renma.config.sample_task import SampleOptions
from renma.core.errors import UserError
from renma.core.place import is_there
from renma.core.store import file_hash
from renma.drawing import drawn_file
from renma.drawing.picture_source import Shelf, Source
from renma.formats.weight_hash import known_hash


def again(options: SampleOptions, picture: Path) -> Recipe:
    """Returns the recipe of a picture, with everything at the place where it is now.

    Raises:
        UserError: model, LoRAs or the picture of regions have changed or are gone.
    """
    recipe = drawn_file.read(picture)
    folders = [Path(), picture.parent, *([options.lora_dir] if options.lora_dir else [])]
    if options.model:
        given = Source.of(options.model)
        folders += [given.lora.parent] if given.lora else [Path(options.model).parent]
        path = str(given.model.place(given.base)) if given.model.path != "mame" else "mame"
    else:
        path = _model(recipe.model.path, folders)
    vae = _vae(recipe.model.vae, folders)
    model = recipe.model.model_copy(update={"path": path, "vae": vae})
    recipe = recipe.model_copy(update={"model": model, "base": ""})
    _check_hashes(recipe)
    shelf = Shelf(options.lora_dir, {})
    loras = {
        name: tuple(shelf.found_again(lora, folders) for lora in getattr(recipe, name))
        for name in ("loras", "named")
    }
    if recipe.regions:
        path = _regions(recipe, folders)
        recipe = recipe.model_copy(update={"regions": str(path)})
    return recipe.model_copy(update=loras)


def _model(name: str, folders: Sequence[Path]) -> str:
    if name == "mame":
        return name
    found = _first(name, folders, is_there)
    if found is None:
        raise UserError(
            "the picture's model is not there",
            where=name,
            remedy="Say where it lies: renma sample MODEL --again PICTURE.",
        )
    return str(found)


def _vae(name: str, folders: Sequence[Path]) -> str:
    if not name:
        return name
    found = _first(name, folders, is_there)
    if found is None:
        raise UserError(
            "the picture's autoencoder is not there",
            where=name,
            remedy="Put it beside the model, or go to its folder.",
        )
    return str(found)


def _check_hashes(recipe: Recipe) -> None:
    """Makes sure that the model is the one that the picture was drawn with.

    Raises:
        UserError: it is another.
    """
    parts = Source(recipe.model).facts().parts
    if known_hash(parts["unet"].file) != recipe.model_hash:
        raise UserError(
            "is another model than the picture was drawn with",
            where=recipe.model.path,
            remedy="Name the right one: renma sample MODEL --again PICTURE.",
        )
    if recipe.vae_hash and known_hash(parts["vae"].file) != recipe.vae_hash:
        raise UserError(
            "is another autoencoder than the picture was drawn with", where=recipe.model.vae
        )


def _regions(recipe: Recipe, folders: Sequence[Path]) -> Path:
    def same(path: Path) -> bool:
        return path.is_file() and file_hash(path) == recipe.regions_sha256

    found = _first(recipe.regions, folders, same)
    if found is not None:
        return found
    changed = _first(recipe.regions, folders, Path.is_file)
    raise UserError(
        "has changed since the picture was drawn" if changed else "there is no such picture",
        where=changed or recipe.regions,
        remedy="It shows the regions: put it beside the picture or into the working folder.",
    )


def _first(name: str, folders: Sequence[Path], fits: Callable[[Path], bool]) -> Path | None:
    return next((folder / name for folder in folders if fits(folder / name)), None)
