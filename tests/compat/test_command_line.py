"""Commands as people write them down: quotes, continued lines, launchers, several shells (E2)."""

from __future__ import annotations

import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renma.compat import arguments, command_line
from renma.core.errors import UserError

BATCH = r"""@echo off
rem --output_dir=old
set OUT=E:\my out
cd /d E:\sd-scripts
call venv\Scripts\activate
accelerate launch --num_processes=2 --multi_gpu ^
  sdxl_train_network.py --output_dir="%OUT%\" ^
  --network_args "conv_dim=4" "conv_alpha=1" --cache_latents & pause
"""
SHELL = r"""#!/bin/bash
# accelerate launch train_network.py --old
export OUT="/tmp/a b"
cd sd-scripts && source venv/bin/activate
accelerate launch --num_cpu_threads_per_process 8 --mixed_precision fp16 ./train_network.py \
  --output_dir "$OUT" --caption_prefix it\'s\ me \
  --lr_warmup_steps 10%   # a tenth
echo done
"""
POWERSHELL = """$model = "E:\\models\\sd 1.safetensors"
accelerate launch --num_cpu_threads_per_process=8 "./sd-scripts/train_network.py" `
  --pretrained_model_name_or_path=$model `
  --max_train_epochs 3 --network_args 'conv_dim=4'
"""


def read(text: str, flavour: command_line.Flavour = "any"):
    command = command_line.read(text, flavour)
    return arguments.read(command.words, command.sdxl), command


def test_batch_file():
    values, command = read(BATCH, "cmd")
    assert command.sdxl
    assert command.launcher == {"num_processes": "2", "multi_gpu": ""}
    assert values == {
        "output_dir": "E:\\my out\\",
        "network_args": ["conv_dim=4", "conv_alpha=1"],
        "cache_latents": True,
    }


@pytest.mark.parametrize("flavour", ["sh", "any"])
def test_shell_script(flavour):
    values, command = read(SHELL, flavour)
    assert not command.sdxl
    assert command.launcher == {"num_cpu_threads_per_process": "8", "mixed_precision": "fp16"}
    assert values == {"output_dir": "/tmp/a b", "caption_prefix": "it's me", "lr_warmup_steps": 0.1}


@pytest.mark.parametrize("flavour", ["ps1", "any"])
def test_powershell_script(flavour):
    values, _ = read(POWERSHELL, flavour)
    assert values == {
        "pretrained_model_name_or_path": "E:\\models\\sd 1.safetensors",
        "max_train_epochs": 3,
        "network_args": ["conv_dim=4"],
    }


@pytest.mark.parametrize(
    "start",
    [
        "train_network.py",
        "python train_network.py",
        "python -m renma.compat.train_network",
        "accelerate launch -m renma.compat.train_network",
        "accelerate launch --module renma.compat.train_network",
        r".\venv\Scripts\python.exe E:\sd-scripts\train_network.py",
        "torchrun --nproc_per_node 2 train_network.py",
        "cd /x && accelerate launch train_network.py",
    ],
)
def test_every_way_to_start_it(start):
    values, command = read(f"{start} --network_dim 8")
    assert values == {"network_dim": 8}
    assert not command.sdxl


def test_options_alone():
    assert read("--network_dim=8 --xformers")[0] == {"network_dim": 8, "xformers": True}


@given(st.lists(st.text("aZ0 '\"\\$`;&|#(){}*äß", min_size=1), max_size=4))
def test_posix_quoting_agrees_with_pythons(words):
    """Whatever shlex quotes for a shell is read back as it was."""
    line = shlex.join(["train_network.py", "--base_weights", *words])
    assert command_line.read(line, "sh").words[1:] == tuple(words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("echo hello", "holds no command of train_network.py"),
        ("python train_network.py --v2\npython train_network.py --xformers", "holds 2 training"),
        ("python train_db.py --v2", "train_db is a trainer that renma does not stand in for"),
        ("accelerate launch flux_train_network.py --a", "FLUX models are not supported"),
        ("python train_netwrk.py --v2", "Did you mean 'train_network'"),
        ("train_network.py --output_dir=$OUT", "holds the variable $OUT"),
    ],
)
def test_texts_that_are_no_command(text, said):
    with pytest.raises(UserError, match=re.escape(said)):
        command_line.read(text)


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["--network_dim=4", "--network_dim", "8"], {"network_dim": 8}),
        (["--learning=1e-4"], {"learning_rate": 1e-4}),
        (["--prior=0.5"], {"prior_loss_weight": 0.5}),
        (["--base_weights_multiplier", "0.5", "-1"], {"base_weights_multiplier": [0.5, -1.0]}),
        (["--adaptive_noise_scale", "-0.1"], {"adaptive_noise_scale": -0.1}),
        (["--network_args"], {"network_args": []}),
        (["--network_args", "a=1", "--v2"], {"network_args": ["a=1"], "v2": True}),
        (["--lr_warmup_steps", "100"], {"lr_warmup_steps": 100}),
        (["--lr_warmup_steps", "0.1"], {"lr_warmup_steps": 0.1}),
        (["--caption_prefix=--x y"], {"caption_prefix": "--x y"}),
    ],
)
def test_words_are_read_as_argparse_reads_them(words, values):
    assert arguments.read(words, False) == values


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--network_dimm", "4"], "Did you mean 'network_dim'?"),
        (["--sample", "4"], "could be --sample_at_first"),
        (["--network_dim", "4.0"], "--network_dim: '4.0' is no whole number"),
        (["--network_dim"], "--network_dim: needs a value"),
        (["--learning_rate", "nan"], "is no number"),
        (["--v2=yes"], "it is a switch without a value"),
        (["--lr_warmup_steps", "1.0"], "is no number or percentage"),
        (["--mixed_precision", "bf61"], "Did you mean 'bf16'?"),
        (["--caption_prefix", "a", "photo"], "there is no place for 'photo'"),
        (["stray"], "there is no place for 'stray'"),
        (["--"], "sd-scripts has no option"),
    ],
)
def test_mistakes_in_words_are_one_line(words, said):
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        arguments.read(words, False)
    assert "\n" not in caught.value.line()
