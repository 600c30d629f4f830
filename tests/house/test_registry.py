"""Names users may write, names of files, and public names agree."""

from __future__ import annotations

import importlib
from typing import get_args

import pytest

import renma
from renma.config.adapter import AdapterConfig
from renma.config.schedule import ScheduleConfig
from renma.core import registry
from renma.core.errors import UserError

REGISTRIES = [
    ("renma.adapters", AdapterConfig, "algo"),
    ("renma.schedules", ScheduleConfig, "name"),
]


def classes(annotation: object) -> list[type]:
    """The options classes inside a (tagged) union."""
    if isinstance(annotation, type):
        return [annotation]
    return [each for part in get_args(annotation) for each in classes(part)]


@pytest.mark.parametrize(("package", "union", "tag"), REGISTRIES, ids=lambda x: str(x)[:20])
def test_files_are_the_tags_of_the_schema(package, union, tag):
    options = [c for c in classes(union) if hasattr(c, "model_fields")]
    tags = sorted(get_args(c.model_fields[tag].annotation)[0] for c in options)
    assert list(registry.names(package)) == tags
    assert tags, "an empty union would make this test say nothing"


@pytest.mark.parametrize(("package", "union", "tag"), REGISTRIES, ids=lambda x: str(x)[:20])
def test_wrong_name_is_answered_with_the_nearest(package, union, tag):
    right = registry.names(package)[0]
    with pytest.raises(UserError, match=f"Did you mean '{right}'"):
        registry.load(package, right[:-1] + "_" + right[-1])


def test_public_names_exist_and_are_all():
    assert sorted(set(renma.__all__)) == sorted(renma.__all__)
    for name in renma.__all__:
        assert getattr(renma, name) is not None
    modules = {n for n in vars(renma) if getattr(vars(renma)[n], "__spec__", None)}
    own = {n for n in vars(renma) if not n.startswith("_")} - modules
    assert own <= set(renma.__all__)


def test_version_is_that_of_the_package():
    assert importlib.metadata.version("renma") == renma.__version__
