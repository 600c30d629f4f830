"""From text to a run: every mistake is one line with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from renma.config import dump, load_run, set_values
from renma.config.dataset_toml import read_dataset_toml
from renma.config.prompts import parse, prompts
from renma.config.sample import SampleConfig
from renma.core.errors import UserError
from testbed.guide import SETTINGS

MISTAKES = {
    "[train]\nmax_step = 3": r":2: unknown key 'train.max_step'. Did you mean 'max_steps'\?",
    "max_steps = 3": r":1: unknown key 'max_steps'. It belongs into \[train\]",
    '[optimizer]\nname = "prodgy"': r":2: 'optimizer.name': 'prodgy' is not one of .*Did you mean 'prodigy'",
    '[optimizer]\nname = "prodigy"\nd_cof = 2': r":3: unknown key 'optimizer.d_cof'. Did you mean 'd_coef'",
    '[train]\nmax_steps = "many"': r":2: 'train.max_steps' = 'many' is no whole number",
    "[train]\nmax_steps = 0": r":2: 'train.max_steps' = 0: input should be greater than or equal to 1",
    "[optimizer]\nlearning_rate = nan": r":2: 'optimizer.learning_rate' = nan",
    '[schedule]\nname = "cosine_with_restarts"': "'schedule.num_cycles' is missing",
    "[schedule]\nwarmup_steps = 5": r":2: 'schedule.warmup_steps' means nothing to 'constant'",
    "[train\nmax_steps = 3": "is not valid TOML",
    "[adapter]\nnetwork_dim = 8": r":2: unknown key 'adapter.network_dim'. It is called adapter.rank here",
    "rank = 8": r":1: unknown key 'rank'. It belongs into \[adapter\]",
    "[general]\nkeep_tokens = 1": r":1: unknown key 'general'. A data set file .* --dataset-config",
    "[train]\nmax_steps = true": r":2: 'train.max_steps' = True",
    '[adapter]\nrank = "8"': r":2: 'adapter.rank' = '8'",
    "[optimizer]\nbetas = [0.9, 1.0]": r":2: 'optimizer.betas.1' = 1.0",
    "[data]\nbackground = [300, 0, 0]": r"'data.background",
    '[data]\ntrain_folder = "C:\\users"': r"single quotes",
    '[output]\nname = "../x"': r":2: 'output.name'",
    '[[data.datasets]]\n[[data.datasets.subsets]]\nimage_dir = "a"\n[[data.datasets]]\n'
    '[[data.datasets.subsets]]\nimage_dir = "b"\nnum_repeat = 3': r":7: unknown key .*num_repeat'. Did you mean 'num_repeats'",
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes(tmp_path: Path, text: str):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=MISTAKES[text]) as caught:
        load_run(path)
    assert "\n" not in caught.value.line()
    assert "pydantic" not in caught.value.line()


def test_missing_file_and_folder(tmp_path: Path):
    with pytest.raises(UserError, match="no such file.*renma init"):
        load_run(tmp_path / "run.toml")
    with pytest.raises(UserError, match="is a folder"):
        load_run(tmp_path)


def test_byte_order_mark_is_read(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_bytes("﻿[train]\nseed = 7".encode())
    assert load_run(path).train.seed == 7


def test_set_lays_over_the_file(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text('[train]\nseed = 7\n[optimizer]\nname = "prodigy"')
    run = load_run(
        path,
        ["train.seed=9", "adapter.rank = 16", "output.name=my lora", "data.resolution=[64, 96]"],
    )
    assert (run.train.seed, run.adapter.rank, run.output.name) == (9, 16, "my lora")
    assert run.data.resolution == (64, 96)
    assert run.optimizer.name == "prodigy"


def test_mistakes_in_set_are_found_there(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text("[train]\nseed = 7")
    with pytest.raises(
        UserError, match=r"^--set train.max_stps=3: unknown key .*Did you mean 'max_steps'"
    ):
        load_run(path, ["train.max_stps=3"])
    with pytest.raises(UserError, match=r"^--set train.seed=x: 'train.seed' = 'x'"):
        load_run(path, ["train.seed=x"])


def test_set_does_not_change_what_it_is_given():
    raw = {"train": {"seed": 1}}
    assert set_values(raw, ["train.seed=2"]) == {"train": {"seed": 2}}
    assert raw == {"train": {"seed": 1}}


@pytest.mark.parametrize("assignment", ["train.seed", "=3"])
def test_malformed_set(assignment: str):
    with pytest.raises(UserError, match=r"section.key=value"):
        set_values({}, [assignment])


def test_dump_is_read_back_the_same(tmp_path: Path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[optimizer]\nname = "adamw8bit"\nunet_lr = 1e-5\n[schedule]\nname = "polynomial"\nwarmup_steps = 0.1\n'
        '[sample]\nprompts = ["a \\"b\\" --n c"]\n[judge.attributes]\nhair = "pink"\n'
        '[[data.datasets]]\nresolution = [64, 128]\n[[data.datasets.subsets]]\nimage_dir = "日本 x"\n'
    )
    run = load_run(path)
    again = tmp_path / "again.toml"
    again.write_text(dump(run))
    assert load_run(again) == run


def test_the_guides_settings_toml(tmp_path: Path):
    path = tmp_path / "settings.toml"
    path.write_text(SETTINGS, encoding="utf-8")
    data = read_dataset_toml(path)
    assert data["shuffle_caption"] is True
    assert data["datasets"][0]["resolution"] == [384, 512]
    assert data["datasets"][0]["subsets"][0]["num_repeats"] == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[general]\nshufle_caption = true\n[[datasets]]", r":2: unknown key 'shufle_caption' in \[general\]. Did you mean 'shuffle_caption'"),
        ("[genral]\n[[datasets]]", r":1: unknown table 'genral'. Did you mean 'general'"),
        ("[general]\ntrain_folder = 'x'\n[[datasets]]", "unknown key 'train_folder'"),
        ("[general]\nis_reg = true\n[[datasets]]", r":2: unknown key 'is_reg' in \[general\]. It belongs into \[\[datasets.subsets\]\]"),
        ("[general]\nkeep_tokens = 1", r"at least one \[\[datasets\]\]"),
        ("[[datasets]]\nbatch_size = 'x'", "batch_size"),
    ],
)  # fmt: skip
def test_mistakes_in_a_data_set_file(tmp_path: Path, text: str, message: str):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_dataset_toml(path)


DEFAULTS = {"scale": 7.5, "steps": 20, "sampler": "ddim"}


def test_prompt_line():
    found = parse(
        "aa12, smile --n bad, worse --w 512 --h 768 --d 3 --l 5.5 --s 28 --ss k_euler_a",
        DEFAULTS,
        "x",
    )
    assert (found.text, found.negative) == ("aa12, smile", "bad, worse")
    assert (found.width, found.height, found.seed) == (512, 768, 3)
    assert (found.scale, found.steps, found.sampler) == (5.5, 28, "k_euler_a")


@pytest.mark.parametrize(
    ("line", "message"),
    [("a --x 3", "'--x'"), ("a --ss eulr", "Did you mean 'euler'"), ("a --w wide", "width")],
)
def test_mistakes_in_a_prompt_line(line: str, message: str):
    with pytest.raises(UserError, match=message):
        parse(line, DEFAULTS, "x")


def test_prompt_files_say_the_same(tmp_path: Path):
    (tmp_path / "p.txt").write_text(
        "# comment\n\naa12, smile --n bad --w 64 --d 3 --l 4 --s 5 --ss heun\n"
    )
    (tmp_path / "p.toml").write_text(
        '[prompt]\nnegative_prompt = "bad"\nwidth = 64\nscale = 4.0\nsample_steps = 5\nsample_sampler = "heun"\n'
        '[[prompt.subset]]\nprompt = "aa12, smile"\nseed = 3\n'
    )
    (tmp_path / "p.json").write_text(
        '[{"prompt": "aa12, smile", "negative_prompt": "bad", "width": 64, "seed": 3, "scale": 4,'
        ' "sample_steps": 5, "sample_sampler": "heun"}]'
    )
    found = [
        prompts(SampleConfig(prompts_file=f"p.{end}"), tmp_path) for end in ("txt", "toml", "json")
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 1


@pytest.mark.parametrize(
    ("assignment", "answer"),
    [
        ("adapter.network_alpha=8", "called adapter.alpha here"),
        ("adapter.train_norm=true", "called adapter.targets.norms here"),
        ("up_lr_weight=sine", "called adapter.blocks.up_rates here"),
        ("adapter.blocks.block_dims=[1]", "called adapter.blocks.ranks here"),
        ("adapter.algo=locon", 'targets.preset = "conv"'),
        ("adapter.targets.preset=atention", "Did you mean 'attention'"),
        ("start.base_weights=x.safetensors", r'brackets: \["x.safetensors"\]'),
        ("adapter={algo='dylora',rank=16,unit=3}", r"\[adapter\]: rank = 16 is not a multiple"),
        ("adapter.tucker=1", "neither true nor false"),
    ],
)
def test_names_and_habits_of_other_programs_are_answered(tmp_path: Path, assignment, answer):
    (tmp_path / "run.toml").write_text("")
    with pytest.raises(UserError, match=answer):
        load_run(tmp_path / "run.toml", [assignment])
