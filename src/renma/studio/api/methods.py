"""Methods beyond plain training, each as a recipe to start from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from renma.studio import methods, methods_made
from renma.studio.api import settings
from renma.studio.api._given import ThePlace

ROUTER = APIRouter(prefix="/methods", tags=["methods"])


class Recipe(BaseModel):
    """A recipe, by name."""

    model_config = ConfigDict(extra="forbid")

    recipe: str = Field(max_length=40)


class NewRun(Recipe):
    """A project to make from a recipe."""

    name: str = Field(min_length=1, max_length=80)
    values: dict[str, Any] = Field(default_factory=dict, max_length=20)
    """What differs from the recipe, by dotted key; paths as seen from the workspace."""


@ROUTER.get("")
def cards(place: ThePlace) -> dict[str, Any]:
    """Returns every method with its recipes, what is asked for first, and other adapters.

    ``plans`` holds steps, time and memory of each recipe as it is, on this machine.
    """
    found = methods.cards()
    recipes = [each["recipe"] for method in found for each in method["ways"]]
    plans = {name: methods.planned(name, place.own) for name in recipes}
    return {"methods": found, "plans": plans, "adapters": methods.adapters()}


@ROUTER.post("/try")
def take(given: Recipe, place: ThePlace) -> dict[str, str]:
    """Makes a project of a recipe as it is, with its pictures, prompts and LoRA files."""
    return {"path": place.shown(methods_made.tried(given.recipe, place))}


@ROUTER.post("/make")
def make(given: NewRun, place: ThePlace) -> dict[str, Any]:
    """Makes a project of a recipe with one's own model, pictures and numbers.

    Nothing is made where something that was given is wrong; ``messages`` tells what, at which
    option.
    """

    def check(project: str, text: str) -> Any:
        found = settings.check(settings.Settings(project=project, text=text), place)
        return found["messages"]

    folder, told = methods_made.made(given.recipe, given.values, given.name, place, check)
    return {"path": place.shown(folder) if folder else "", "messages": told}
