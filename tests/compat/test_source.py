"""Config files of sd-scripts, presets of its GUI, scripts: all become runs (E2)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from renma.cli import main
from renma.compat import gui_preset, source
from renma.compat.draft import Places
from renma.compat.translate import translate
from renma.config import Run, load_run, validate
from renma.core.errors import UserError

BASE = (
    "--pretrained_model_name_or_path mame --train_data_dir train --resolution 64 "
    "--network_module networks.lora --learning_rate 1e-4 --output_name x"
)
CONFIG = """
[model]
pretrained_model_name_or_path = "mame"
[network]
network_module = "networks.lora"
network_dim = 16
network_args = ["conv_dim=8", "conv_alpha=4"]
[optimizer]
optimizer_type = "AdamW8bit"
learning_rate = 1e-4
text_encoder_lr = 5e-5
xformers = true
gradient_checkpointing = false
[data]
train_data_dir = "train"
resolution = 64
caption_extension = ".txt"
"""
PRESET = {
    "LoRA_type": "LyCORIS/LoKr", "LyCORIS_preset": "attn-mlp", "factor": 8, "decompose_both": False,
    "pretrained_model_name_or_path": "mame", "train_data_dir": "train", "max_resolution": "64,64",
    "network_dim": 16, "network_alpha": 8, "conv_dim": 4, "conv_alpha": 2, "rank_dropout": 0.1,
    "optimizer": "Prodigy", "optimizer_args": "d_coef=0.8 weight_decay=0.01", "learning_rate": 1.0,
    "text_encoder_lr": 0.0, "unet_lr": 1.0, "lr_scheduler": "cosine", "lr_warmup": 10,
    "epoch": 3, "max_train_epochs": "", "max_train_steps": "", "train_batch_size": 2,
    "seed": "1234", "keep_tokens": "1", "clip_skip": "2", "caption_extension": ".txt",
    "mixed_precision": "bf16", "save_precision": "fp16", "max_token_length": "75",
    "min_snr_gamma": 5, "noise_offset": 0.05, "noise_offset_type": "Original",
    "multires_noise_iterations": 8, "multires_noise_discount": 0.2, "xformers": "xformers",
    "sample_prompts": "aa12, smile --w 64 --h 64\n# not this\naa12, hat", "sample_every_n_steps": 0,
    "stop_text_encoder_training": 0, "save_every_n_steps": 0, "v2": False, "vae": "", "sdxl": False,
    "additional_parameters": "--caption_prefix 'a photo'", "num_processes": 1, "gpu_ids": "",
    "flux1_cache_text_encoder_outputs": True, "brand_new_key": 7, "output_name": "mine",
}  # fmt: skip


def run_of(given, here: Path) -> Run:
    return validate(Run, translate(given, Places(here, here)).raw, "test")


def test_config_file_alone_and_under_a_command(home: Path):
    (home / "c.toml").write_text(CONFIG)
    run = run_of(source.read("c.toml", home), home)
    assert run.adapter.rank == 16  # pyright: ignore[reportAttributeAccessIssue]
    assert run.adapter.targets.preset == "conv"
    assert run.optimizer.text_encoder_lr == 5e-5
    assert run.data.resolution == (64, 64)
    # sd-scripts adds the ending; the command line wins
    run = run_of(source.of_words(["--config_file", "c", "--network_dim=8"], False, home), home)
    assert run.adapter.rank == 8  # pyright: ignore[reportAttributeAccessIssue]
    assert run.optimizer.name == "adamw8bit"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("network_dim = 16", "network_dims = 16", "c.toml:6: sd-scripts has no option"),
        ("network_dim = 16", "network_di = 16", "'network_dim'?"),
        ("network_dim = 16", 'network_dim = "32x"', "'network_dim' = '32x' is no whole number"),
        ("network_dim = 16", "network_dim = 1.5", "c.toml:6"),
        ("xformers = true", 'xformers = "yes"', "is neither true nor false"),
        ('"AdamW8bit"', "true", "is no text"),
        ('["conv_dim=8", "conv_alpha=4"]', "[[1]]", "is no text"),
    ],
)
def test_mistakes_in_a_config_file_have_their_line(old, new, said, home: Path):
    (home / "c.toml").write_text(CONFIG.replace(old, new))
    with pytest.raises(UserError, match=re.escape(said)):
        source.read("c.toml", home)


def test_preset_of_the_gui(home: Path):
    (home / "p.json").write_text(json.dumps(PRESET))
    given = source.read("p.json", home)
    draft = translate(given, Places(home, home))
    run = validate(Run, draft.raw, "test")
    adapter, optimizer = run.adapter.model_dump(), run.optimizer.model_dump()
    assert (adapter["algo"], adapter["rank"], adapter["alpha"]) == ("lokr", 16, 8)
    assert (adapter["conv_rank"], adapter["conv_alpha"], adapter["factor"]) == (4, 2, 8)
    assert adapter["targets"]["preset"] == "attn-mlp"
    assert adapter["rank_dropout"] == 0.1
    assert (optimizer["name"], optimizer["d_coef"], optimizer["unet_lr"]) == ("prodigy", 0.8, 1.0)
    assert optimizer["safeguard_warmup"] is False, "the library's own default"
    assert not run.train.text_encoder, "a text encoder rate of 0 means: the U-Net only"
    assert (run.train.max_epochs, run.train.seed, run.train.precision) == (3, 1234, "bf16")
    assert run.schedule.model_dump() == {"name": "cosine", "warmup_steps": 0.1}
    assert run.objective.noise_offset == 0.05
    assert run.objective.multires_noise_iterations == 0, "the other kind of noise is chosen"
    assert run.sample.prompts == ("aa12, smile --w 64 --h 64", "aa12, hat")
    assert run.data.caption_prefix == "a photo"
    assert [note.option for note in given.notes] == ["(brand_new_key)"]


@pytest.mark.parametrize(
    ("kind", "algo", "preset"),
    [
        ("Standard", "lora", "transformer"),
        ("Kohya LoCon", "lora", "conv"),
        ("Kohya DyLoRA", "dylora", "conv"),
        ("LoRA-FA", "lora_fa", "conv"),
        ("LyCORIS/LoCon", "lora", "full"),
        ("LyCORIS/LoHa", "loha", "full"),
        ("LyCORIS/iA3", "ia3", "full"),
        ("LyCORIS/DyLoRA", "dylora", "full"),
        ("LyCORIS/GLoRA", "glora", "full"),
        ("LyCORIS/Diag-OFT", "oft", "full"),
        ("LyCORIS/Native Fine-Tuning", "full", "full"),
    ],
)
def test_kinds_of_lora_in_the_gui(kind, algo, preset, home: Path):
    raw = {**PRESET, "LoRA_type": kind, "conv_dim": 16, "unit": 4, "constrain": 0.0}
    del raw["LyCORIS_preset"]
    run = run_of(gui_preset.read(json.dumps(raw), "p.json"), home)
    assert (run.adapter.algorithm, run.adapter.targets.preset) == (algo, preset)
    # sd-scripts and LyCORIS train one group of DyLoRA's ranks in a step
    assert getattr(run.adapter, "frozen", False) == (algo == "dylora")


def test_texts_that_are_no_preset():
    for text, said in (
        ("{", "is not JSON"),
        ("[1]", "no LoRA preset"),
        ('{"a": 1}', "no LoRA preset"),
    ):
        with pytest.raises(UserError, match=said):
            gui_preset.read(text, "p.json")
    with pytest.raises(UserError, match="LoRA_type 'Flux1' is not known"):
        gui_preset.read('{"LoRA_type": "Flux1"}', "p.json")


def test_a_script_file_becomes_a_run_elsewhere(home: Path, capsys):
    """Paths of the command start where it is given, those of run.toml where that lies."""
    (home / "train.bat").write_text(
        "@echo off\naccelerate launch train_network.py ^\n --pretrained_model_name_or_path=mame ^\n"
        " --train_data_dir=train --resolution=64 --network_module=networks.lora --vae E:\\vae.pt"
        " --caption_extension=.txt --wandb_api_key=secret123 --learning_rate=1e-4\npause\n"
    )
    assert main(["import-kohya", "train.bat", "-o", "there/run.toml"]) == 0
    text = (home / "there" / "run.toml").read_text(encoding="utf-8")
    assert "secret123" not in text + capsys.readouterr().out
    assert "# --wandb_api_key (not shown) - without effect" in text
    run = load_run(home / "there" / "run.toml")
    assert run.data.train_folder == str(home / "train")
    assert run.model.vae == "E:\\vae.pt"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.toml"], "nowhere.toml: there is no such file"),
        (["train"], "is a folder"),
        (["train_network.py --resume x --save_model_as pt"], "--save_model_as (only .safetensors"),
        (["train_network.py --network_dimm 4"], "Did you mean 'network_dim'?"),
        (["settings.toml", "-o", "train"], "is a folder"),
    ],
)
def test_import_mistakes_are_one_line_and_write_nothing(words, said, home: Path, capsys):
    target = [] if "-o" in words else ["-o", "new/run.toml"]
    assert main(["import-kohya", *words, *target]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert not (home / "new").exists()


@pytest.mark.parametrize(("cycles", "told"), [("", 1), ("1", 1), ("3", 0)])
def test_one_cycle_of_restarts_is_told(home: Path, capsys, cycles: str, told: int):
    """E5: sd-scripts' default of one cycle never restarts."""
    more = f" --lr_scheduler_num_cycles {cycles}" if cycles else ""
    words = f"train_network.py {BASE} --lr_scheduler cosine_with_restarts{more}"
    assert main(["import-kohya", words, "-o", "run.toml"]) == 0
    said = "".join(capsys.readouterr())
    assert said.count("is the plain cosine") == told
    assert said.count("--lr_scheduler_num_cycles.") == told
