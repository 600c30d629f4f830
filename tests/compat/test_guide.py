"""The guide's own commands and files, verbatim but for paths (E2, D2)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from renma.cli import main
from renma.compat import train_network
from renma.config import Run, load_run, read_toml, validate
from renma.config.dataset_toml import read_dataset_toml

COMMAND = (
    "accelerate launch --num_cpu_threads_per_process 12 train_network.py "
    "--pretrained_model_name_or_path=モデルファイルの場所 "
    '--output_dir="E:\\sd-scripts\\output" --prior_loss_weight=1.0 --network_dim=4 '
    "--network_alpha=0 --prior_loss_weight=1.0 --learning_rate=1e-4 --max_train_steps=800 "
    '--optimizer_type="AdamW8bit"  --xformers --mixed_precision=bf16  '
    "--persistent_data_loader_workers --save_every_n_epochs=10 --save_model_as=safetensors "
    "--clip_skip=2 --seed=42 --network_module=networks.lora "
    '--dataset_config="E:\\sd-scripts\\train\\settings.toml"'
)
"""The guide's command, letter by letter."""
HERE = COMMAND.replace("モデルファイルの場所", "mame").replace(
    "E:\\sd-scripts\\train\\settings.toml", "settings.toml"
)
MORE = [
    "--network_module networks.lora_fa",
    '--network_args "conv_dim=4" "conv_alpha=1"',
    "--network_module=locon.locon_kohya",
    "--lr_scheduler=cosine_with_restarts --lr_scheduler_num_cycles=4",
    ('--optimizer_type=adafactor --optimizer_args "relative_step=False" '
    '--lr_scheduler="constant_with_warmup" --max_grad_norm=0.0'),
    ('--optimizer_type=DAdaptAdam --learning_rate=1 --text_encoder_lr=1 --unet_lr=1 '
    '--lr_scheduler=cosine --optimizer_args "decouple=True" "weight_decay=0.4" "betas=0.9,0.99"'),
    ('--optimizer_type="prodigy" --learning_rate=1 '
    '--optimizer_args "betas=0.9,0.999" "weight_decay=0"'),
    ('--optimizer_type=adafactor --optimizer_args "scale_parameter=False" "relative_step=False" '
    '"warmup_init=False" --lr_scheduler=constant_with_warmup --lr_warmup_steps=100 '
    "--learning_rate=4e-7"),
    "--gradient_checkpointing --gradient_accumulation_steps=2 --mixed_precision=fp16",
    ("--scale_weight_norms=1 --network_dropout=0.1 --network_args rank_dropout=0.1 "
    "module_dropout=0.1"),
    "--sample_every_n_epochs=1 --sample_prompts=prompts.txt --sample_sampler=k_euler_a",
    "--unet_lr=1e-4 --text_encoder_lr=5e-5 --network_dim=32 --network_alpha=16",
]  # fmt: skip
"""Options that the guide's other sections give, laid over its command."""


def test_the_command_becomes_a_run(home: Path, capsys):
    assert main(["import-kohya", HERE, "-o", "run.toml", "--report"]) == 0
    said = capsys.readouterr().out
    for row in (
        "--network_dim ",
        "renamed: adapter.rank = 4",
        "--persistent_data_loader_workers",
        "(launcher) --num_cpu_threads_per_process",
    ):
        assert row in said
    run = load_run(home / "run.toml")
    assert (run.adapter.rank, run.adapter.alpha) == (4, 0)  # pyright: ignore[reportAttributeAccessIssue]
    assert (run.optimizer.name, run.optimizer.learning_rate) == ("adamw8bit", 1e-4)
    assert (run.train.max_steps, run.train.save_every_epochs, run.train.seed) == (800, 10, 42)
    assert (run.train.precision, run.output.precision) == ("bf16", "fp32")
    assert (run.model.path, run.model.clip_skip) == ("mame", 2)
    assert run.data.datasets[0].resolution == (384, 512)
    assert run.data.datasets[0].subsets[0].image_dir == "学習画像のフォルダ"
    assert main(["check", "run.toml", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["pictures"], plan["steps"], plan["showings_per_epoch"]) == (2, 800, 80)


@pytest.mark.parametrize("more", MORE, ids=lambda more: more[:40])
def test_its_other_sections_pass_the_check(more, home: Path, capsys):
    assert main(["import-kohya", f"{HERE} {more}", "-o", "run.toml"]) == 0
    assert main(["check", "run.toml"]) == 0, capsys.readouterr().err


def test_the_data_set_file_makes_the_round_trip(home: Path, capsys):
    """settings.toml -> run.toml -> the same data section."""
    assert main(["import-kohya", "settings.toml", "-o", "run.toml"]) == 0
    said = capsys.readouterr().out
    assert "--network_module is missing" in said
    ours = validate(Run, {"data": read_dataset_toml(home / "settings.toml")}, "settings").data
    assert validate(Run, read_toml(home / "run.toml"), "run").data == ours


def test_it_trains_and_the_file_says_so(home: Path, monkeypatch, capsys):
    """The guide's command, on small pictures and for few steps, leaves what its flags say."""
    text = (home / "settings.toml").read_text(encoding="utf-8")
    (home / "settings.toml").write_text(text.replace("[384, 512]", "64"), encoding="utf-8")
    # the launcher's part is the launcher's; bf16 has no hardware everywhere
    words = HERE.split("train_network.py ")[1].replace('"', "").split()
    short = ["--max_train_steps=3", "--save_every_n_steps=2", "--mixed_precision=no"]
    words += [*short, "--output_dir=out", "--output_name=aa12"]
    assert train_network.main(words) == 0, capsys.readouterr().err
    out = home / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "aa12-step00000002.safetensors",
        "aa12.renma",
        "aa12.safetensors",
    ]
    with safe_open(out / "aa12.safetensors", framework="pt") as file:
        metadata = file.metadata()
        tensor = file.get_tensor(
            "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"
        )
    assert tensor.shape[0] == 4
    said = {
        "ss_network_module": "networks.lora", "ss_network_dim": "4", "ss_network_alpha": "4.0",
        "ss_learning_rate": "0.0001", "ss_max_train_steps": "3", "ss_steps": "3",
        "ss_seed": "42", "ss_clip_skip": "2", "ss_mixed_precision": "no", "ss_output_name": "aa12",
        "ss_prior_loss_weight": "1.0", "ss_lr_scheduler": "constant",
        "ss_sd_model_name": "mame", "ss_keep_tokens": "1", "ss_shuffle_caption": "True",
    }  # fmt: skip
    assert {key: metadata.get(key) for key in said} == said
    assert "8bit" in metadata["ss_optimizer"].lower()
    run = load_run(out / "aa12.renma" / "run.toml")
    assert run.train.max_steps == 3
    assert "--network_alpha" in (out / "aa12.renma" / "run.given.toml").read_text("utf-8")
