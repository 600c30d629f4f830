"""Every key of sd-scripts' data set file, at each of its levels (D2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomlkit

from renma.config.data import DataConfig
from renma.config.dataset_toml import read_dataset_toml
from renma.config.load import validate
from renma.core.errors import UserError
from renma.data.folder import expand

# spec of sd-scripts: key, a value as its strict schema wants it, levels (general, dataset, subset)
KEYS = [
    ("batch_size", 3, "gd"), ("resolution", [640, 512], "gd"), ("resolution", 640, "gd"),
    ("enable_bucket", True, "gd"), ("min_bucket_reso", 320, "gd"), ("max_bucket_reso", 1536, "gd"),
    ("bucket_reso_steps", 32, "gd"), ("bucket_no_upscale", True, "gd"),
    ("validation_seed", 3, "gd"), ("validation_split", 0.1, "gd"), ("network_multiplier", 1.0, "gd"),
    ("resize_interpolation", "area", "gds"), ("num_repeats", 7, "gds"),
    ("shuffle_caption", True, "gds"), ("caption_separator", ";", "gds"), ("keep_tokens", 2, "gds"),
    ("keep_tokens_separator", "|||", "gds"), ("secondary_separator", ";;;", "gds"),
    ("enable_wildcard", True, "gds"), ("caption_prefix", "p", "gds"), ("caption_suffix", "s", "gds"),
    ("token_warmup_min", 3, "gds"), ("token_warmup_step", 0.5, "gds"), ("token_warmup_step", 5, "gds"),
    ("color_aug", True, "gds"), ("flip_aug", True, "gds"), ("random_crop", True, "gds"),
    ("face_crop_aug_range", [2.0, 4.0], "gds"),
    ("custom_attributes", {"diff_output_preservation": True}, "gds"),
    ("caption_dropout_rate", 0.1, "gds"), ("caption_tag_dropout_rate", 0.2, "gds"),
    ("caption_dropout_every_n_epochs", 2, "gds"), ("caption_extension", ".cap", "gds"),
    ("class_tokens", "sks dog", "gds"), ("cache_info", True, "gds"), ("image_dir", "pics", "s"),
    ("is_reg", True, "s"), ("alpha_mask", True, "s"), ("conditioning_data_dir", "pics", "s"),
]  # fmt: skip
OURS = {
    "conditioning_data_dir": "mask_dir", "custom_attributes": "prior_preservation",
}  # fmt: skip
WIDER = {"alpha_mask"}
"""Keys that we take at more levels than sd-scripts."""


def written(base: Path, name: str, general=None, dataset=None, subset=None) -> Path:
    raw = {
        "general": general or {},
        "datasets": [{**(dataset or {}), "subsets": [{"image_dir": "pics", **(subset or {})}]}],
    }
    path = base / name
    path.write_text(json.dumps(raw) if name.endswith(".json") else tomlkit.dumps(raw))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "pics").mkdir()
    return tmp_path


def read(path: Path) -> DataConfig:
    return validate(DataConfig, read_dataset_toml(path), path)


def in_force(config: DataConfig, base: Path, name: str):
    dataset = expand(config, base)[0]
    return getattr(dataset.subsets[0] if hasattr(dataset.subsets[0], name) else dataset, name)


@pytest.mark.parametrize(("key", "value", "levels"), KEYS, ids=lambda v: str(v)[:20])
@pytest.mark.parametrize("ending", ["toml", "json"])
def test_each_key_counts_at_each_of_its_levels(base: Path, key, value, levels: str, ending: str):
    for letter, level in zip("gds", ("general", "dataset", "subset"), strict=True):
        path = written(base, f"s.{ending}", **{level: {key: value}})
        if letter not in levels:
            if key not in WIDER:
                with pytest.raises(UserError, match=rf"unknown key '{key}'.*It belongs into "):
                    read(path)
            continue
        config = read(path)
        if key in ("network_multiplier", "cache_info"):
            assert [w.split()[0] for w in config.without_effect] == [key]
            continue
        name = OURS.get(key, key)
        found = in_force(config, base, name)
        wanted = True if name == "prior_preservation" else value
        if name.endswith("_dir"):
            wanted = str(base / value)
        if key == "resolution" and isinstance(value, int):
            wanted = (value, value)
        assert found == (tuple(wanted) if isinstance(wanted, list) else wanted)


@pytest.mark.parametrize(
    ("key", "value"),
    [("validation_split", 0), ("network_multiplier", 1), ("face_crop_aug_range", [1, 3]),
     ("caption_dropout_rate", 0), ("token_warmup_step", 100)],
)  # fmt: skip
def test_a_whole_number_does_for_a_fraction(base: Path, key: str, value):
    """sd-scripts' schema refuses each of these."""
    read(written(base, "s.toml", general={key: value}))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("caption_dropout_rate", 1.5, "caption_dropout_rate' = 1.5.*less than or equal to 1"),
        ("num_repeats", 0, "num_repeats' = 0.*greater than or equal to 1"),
        ("batch_size", 0, "batch_size' = 0"),
        ("validation_split", 1.0, "validation_split' = 1.0"),
        ("face_crop_aug_range", [4, 2], "such as .2, 4."),
        ("face_crop_aug_range", [2], "face_crop_aug_range"),
        ("shuffle_caption", "true", "neither true nor false"),
        ("resize_interpolation", "lanczo", "Did you mean 'lanczos'"),
        ("custom_attributes", True, "'custom_attributes' must be a table"),
        ("color_augment", True, "Did you mean 'color_aug'"),
    ],
)
def test_what_no_run_can_mean_is_refused(base: Path, key: str, value, message: str):
    """sd-scripts accepts some of these and dies later, or never says a word."""
    with pytest.raises(UserError, match=message) as caught:
        read(written(base, "s.toml", general={key: value}))
    assert "s.toml" in caught.value.line()


def test_the_innermost_level_wins(base: Path):
    level = {
        "num_repeats": 2,
        "caption_prefix": "outer",
        "custom_attributes": {"diff_output_preservation": True},
    }
    config = read(
        written(
            base,
            "s.toml",
            general=level,
            dataset={"caption_prefix": "middle"},
            subset={"caption_prefix": "", "custom_attributes": {"diff_output_preservation": False}},
        )
    )
    assert in_force(config, base, "num_repeats") == 2
    assert in_force(config, base, "caption_prefix") == ""
    assert in_force(config, base, "prior_preservation") is False


def test_null_in_json_means_not_given(base: Path):
    config = read(
        written(base, "s.json", general={"secondary_separator": None, "class_tokens": None})
    )
    assert in_force(config, base, "secondary_separator") == ""


@pytest.mark.parametrize("text", ["[1]", "{", '{"general": {}}', '{"datasets": {}}'])
def test_what_is_no_data_set_file_is_refused(base: Path, text: str):
    (base / "s.json").write_text(text)
    with pytest.raises(UserError, match=r"s\.json: "):
        read_dataset_toml(base / "s.json")


def test_unread_attributes_are_named(base: Path):
    config = read(written(base, "s.toml", subset={"custom_attributes": {"colour": 1}}))
    assert config.without_effect == ("custom_attributes.colour has no effect: nothing reads it.",)


def test_without_a_caption_extension_it_is_sd_scripts_own(base: Path):
    assert in_force(read(written(base, "s.toml")), base, "caption_extension") == ".caption"
