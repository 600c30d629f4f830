"""Presets by memory (E7): each is a valid run, and what the file says itself wins."""

from __future__ import annotations

import tomllib

import pytest

from renma import assets
from renma.config import Run, presets, validate
from renma.core.errors import UserError


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_is_valid_and_told_in_its_own_help(name: str):
    run = validate(Run, presets.laid_under({"preset": name}, "run.toml"), "run.toml")
    assert name in (Run.model_fields["preset"].description or "")
    assert presets.about(name).endswith(".")
    file = tomllib.loads((assets.PRESETS / f"{name}.toml").read_text())
    kept = run.model_dump(mode="json")
    for section, values in file.items():
        for key, value in values.items():
            expected = [value, value] if key == "resolution" else value
            assert kept[section][key] == expected


def test_the_8_gb_settings_of_the_guide():
    """E7: batch 1, AdamW8bit, gradient checkpointing; half precision and SDPA are defaults."""
    run = validate(Run, presets.laid_under({"preset": "sd15-8gb"}, "x"), "x")
    assert run.data.batch_size == 1
    assert run.optimizer.name == "adamw8bit"
    assert run.train.gradient_checkpointing


def test_the_files_own_words_win():
    raw = {"preset": "sd15-8gb", "adapter": {"rank": 4}, "data": {"batch_size": 2}}
    run = validate(Run, presets.laid_under(raw, "run.toml"), "run.toml")
    assert (run.adapter.model_dump()["rank"], run.adapter.model_dump()["alpha"]) == (4, 8.0)
    assert run.data.batch_size == 2
    assert run.train.gradient_checkpointing


def test_another_optimizer_takes_nothing_of_the_presets():
    """A rate meant for AdamW must not reach Prodigy."""
    raw = {"preset": "sd15-8gb", "optimizer": {"name": "prodigy"}}
    run = validate(Run, presets.laid_under(raw, "run.toml"), "run.toml")
    assert (run.optimizer.learning_rate, run.optimizer.text_encoder_lr) == (1.0, None)


def test_a_misspelt_preset_is_named_with_the_nearest():
    with pytest.raises(UserError, match="'sd15_8gb' is not a preset. Did you mean 'sd15-8gb'"):
        presets.laid_under({"preset": "sd15_8gb"}, "run.toml")
