"""Every task can be called: its room is there, its options and itself are explained."""

from __future__ import annotations

import ast
import importlib.util
import shlex
from pathlib import Path

import pytest

from renma.config.run_tasks import TrainOptions
from renma.config.tasks import TASKS
from renma.core.errors import UserError

BY_NAME = {task.name: task for task in TASKS}


def test_names_are_the_promised_ones():
    pictures = "collect lint crop face focal background erase resize augment regularize repeat"
    captions = "tag describe edit prepend maruzen audit undo count merge clean"
    verbs = "show edit verify convert merge resize extract cut"
    assert [*BY_NAME] == [
        "demo", "init", *(f"prepare {verb}" for verb in pictures.split()),
        *(f"caption {verb}" for verb in captions.split()), "check", "plan memory",
        "plan layers", "train", "erase", "grid", "judge", "absorbed", "blocks", "report", "sample",
        "studio", "import-kohya",
        *(f"file {verb}" for verb in verbs.split()),
    ]  # fmt: skip


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_room_has_run_of_options_and_report(task):
    spec = importlib.util.find_spec(task.room)
    assert spec, f"{task.room} is missing"
    assert spec.origin
    # read, not imported: rooms need torch
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    runs = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "run"]
    (arguments,) = [n.args.args for n in runs]
    assert [a.arg for a in arguments] == ["options", "report"]
    module, _, name = task.options_class.partition(":")
    told = arguments[0].annotation
    assert isinstance(told, ast.Name), (
        f"{task.room}: options are {ast.unparse(told or arguments[0])}"
    )
    places = {
        alias.asname or alias.name: f"{n.module}:{alias.name}"
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    assert places.get(told.id) == f"{module}:{name}", f"{task.room} is told something else"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_option_is_explained(task):
    assert task.summary.endswith(".")
    words = ["renma", *task.name.split()]
    assert shlex.split(task.example)[: len(words)] == words
    for name, field in task.options.model_fields.items():
        assert field.description, f"{task.name}: {name}"


def test_train_wants_a_run_or_a_data_set_file():
    with pytest.raises(UserError, match="--dataset-config"):
        TrainOptions()
    assert TrainOptions(dataset_config=Path("settings.toml")).run is None
