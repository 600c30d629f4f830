"""Cells: what is drawn is kept, and so is the model it was drawn with (F1, F2)."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest

from renma.config.model import ModelConfig
from renma.config.picture_recipe import Recipe
from renma.config.prompts import Prompt
from renma.core.events import Silent
from renma.drawing.painter import Cells, LastModel


def recipe(seed: int, **changes: Any) -> Recipe:
    how = {"width": 64, "height": 64, "steps": 1, "scale": 1.0}
    return Recipe(model=ModelConfig(), prompt=Prompt(text="a", seed=seed, **how), **changes)


class Model:
    """Stands for a loaded model."""


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Precisions of the models that are loaded; each must be gone before the next one."""
    told: list[str] = []
    alive: list[weakref.ref[Model]] = []

    def load(_model: ModelConfig, *, precision: str, **_: Any) -> Model:
        assert not any(one() for one in alive)
        model = Model()
        told.append(precision)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr("renma.engine.model.load_family", load)
    return told


def test_one_model_is_kept_and_goes_before_the_next(loaded: list[str]) -> None:
    load = LastModel("cpu")
    model = load(recipe(1))
    assert load(recipe(2)) is load(recipe(3, zero_terminal_snr=True)) is model
    del model
    load(recipe(1, precision="bf16"))
    load(recipe(1))
    assert loaded == ["fp32", "bf16", "fp32"]


def test_a_command_that_draws_in_rounds_loads_its_model_once(
    tmp_path: Path, mame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[object] = []
    monkeypatch.setattr(
        "renma.engine.model.load_family", lambda *given, **_: loads.append(given) or mame
    )
    cells = Cells(tmp_path / "cells", Silent(), device="cpu")
    (first,) = cells.paint([recipe(1)])
    written = first.stat().st_mtime_ns
    again, second = cells.paint([recipe(1), recipe(2)])
    assert (again, again.stat().st_mtime_ns) == (first, written)
    assert second != first
    assert second.is_file()
    assert len(loads) == 1
    # another painter of the same folder needs no model at all
    assert Cells(tmp_path / "cells", Silent()).paint([recipe(2)]) == [second]
    assert len(loads) == 1


def test_models_of_one_call_do_not_lie_in_memory_together(
    tmp_path: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("renma.drawing.painter._drawn", lambda *_: iter([1]))
    Cells(tmp_path, Silent()).paint([recipe(1), recipe(1, precision="bf16"), recipe(2)])
    assert loaded == ["fp32", "bf16"]
