"""Every option of sd-scripts and what becomes of it: the table in the manual, and --help."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from renma.compat.options import Option, options
from renma.compat.rules import RULES
from renma.config.views import from_kohya
from renma.core.store import write_text

SPOKEN: dict[str, str] = {
    "v2": "`model.family`",
    "v_parameterization": "`model.prediction`",
    "xformers": "`model.attention`; `auto` takes the fastest there is",
    "sdpa": "`model.attention`",
    "mem_eff_attn": "`model.attention`; torch's own is memory-efficient too",
    "fp8_base": "`model.quantize`, the U-Net only",
    "fp8_base_unet": "`model.quantize`",
    "full_fp16": "without effect: adapter weights always stay fp32",
    "full_bf16": "without effect: adapter weights always stay fp32",
    "network_module": "`adapter.algo`",
    "network_args": "keys of `[adapter]`; unknown ones are mistakes here",
    "optimizer_type": "`optimizer.name`",
    "use_8bit_adam": "`optimizer.name`",
    "use_lion_optimizer": "`optimizer.name`",
    "lr_scheduler": "`schedule.name`",
    "dataset_config": "`[data]`",
    "caption_extention": "`data.caption_extension`: the old spelling",
    "dataset_repeats": "`data.num_repeats`, beside --dataset_config and --in_json",
    "dataset_class": "not supported: foreign code is not run",
    "masked_loss": "always so: pictures with a mask are masked",
    "config_file": "read first; the command line wins",
    "output_dir": "the run's folder lies in it; checkpoints are linked there",
    "save_model_as": "safetensors only; others are not supported: pickles can run code",
    "save_n_epoch_ratio": "`train.save_every_epochs`, beside --max_train_epochs",
    "save_last_n_steps": "`train.keep_checkpoints`",
    "save_last_n_steps_state": "`train.keep_states`",
    "resume": "a run's folder of renma; states of sd-scripts are not supported",
    "logging_dir": "`train.tensorboard`; curves lie in the run's folder",
}
"""What becomes of options that a part of the translation takes by itself."""


def fate(option: Option) -> str:
    """Returns what becomes of an option, for the manual."""
    if option.name in SPOKEN:
        return SPOKEN[option.name]
    if option.name in RULES:
        return ": ".join(RULES[option.name])
    return ", ".join(f"`{key}`" for key in _names().get(option.name, []))


def page() -> str:
    """Returns ``docs/kohya.md``."""
    rows = [
        f"| `--{option.name}` | {_type(option)} | {_default(option)} | {fate(option)} |"
        for option in sorted(options().values(), key=lambda option: option.name)
    ]
    head = _INTRO.strip().splitlines()
    columns = ["| option | value | default there | here |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, "", *columns, *rows, ""])


def usage(sdxl: bool) -> list[str]:
    """Returns what --help shows."""
    name = "sdxl_train_network" if sdxl else "train_network"
    known = [option for option in options().values() if sdxl or not option.sdxl]
    width = max(len(option.name) for option in known)
    about = f"Takes the options of sd-scripts' {name}.py; `renma import-kohya` makes a run.toml."
    head = [f"Usage: python -m renma.compat.{name} --option=value ...", about, ""]
    return head + [f"  --{option.name:<{width}}  {fate(option)}" for option in known]


def handled(name: str) -> bool:
    """Says whether something is said about an option."""
    return name in SPOKEN or name in RULES or name in _names()


@cache
def _names() -> dict[str, list[str]]:
    return from_kohya()


def _type(option: Option) -> str:
    if option.type == "flag":
        return "switch"
    values = ", ".join(f"`{choice}`" for choice in option.choices)
    kind = {"str": "text", "int": "whole number", "float": "number"}.get(option.type, "steps")
    return values or (f"list of {kind}" if option.many else kind)


def _default(option: Option) -> str:
    if option.type == "flag":
        return "off"
    return "" if option.default in (None, "") else f"`{option.default}`"


_INTRO = """
# Coming from kohya-ss/sd-scripts

Made from the table of options by `python -m renma.compat.manual`; do not edit.

**Turn what you have into a run.** A command in quotes, a .sh, .bat, .ps1 or .txt file with one, a
config file or data set file (.toml), a preset of the GUI kohya_ss (.json):

    renma import-kohya train.bat -o mine/run.toml --report

`--report` shows what became of every option; the same stands as comments at the end of the file.
What cannot be done here is refused by name, with the reason, and nothing is written. What changes
nothing is remarked on. Where sd-scripts' own default differs from renma's, it is written out, so
that the run means the same.

**Or keep the command and change the script's name.** The same options train directly:

    accelerate launch -m renma.compat.train_network --pretrained_model_name_or_path=... ...
    accelerate launch -m renma.compat.sdxl_train_network --pretrained_model_name_or_path=... ...

`python -m` and `torchrun -m` work too. The run's folder is `OUTPUT_DIR/OUTPUT_NAME.renma` (and
`.renma-002` ... for the next ones); checkpoints are linked into `OUTPUT_DIR` under the names that
sd-scripts gives them. `--resume OUTPUT_DIR/OUTPUT_NAME.renma` goes on with a stopped run. A
launcher that was asked for several processes and started one is noticed; `--processes N` says how
many there have to be where it cannot be.

**What is different on purpose.** `--seed` is never drawn in secret (42 if none is given). The rate
of 2e-6 that holds where none is given is kept, and warned about: a LoRA learns nothing from it.
Unknown `network_args` and unknown keys of a config file are mistakes, not ignored. With
`--network_weights` the file's own alpha stays in force. Previews without a size have the model's
own size. Pictures are turned upright by their EXIF mark, and transparent ones are laid on white.
"""


def main(arguments: list[str]) -> int:
    """Writes the page, or checks it; returns the exit code."""
    path = Path("docs/kohya.md")
    if path.exists() and path.read_text(encoding="utf-8") == page():
        return 0
    if "--check" in arguments:
        print(f"{path}: stale; run python -m renma.compat.manual", file=sys.stderr)
        return 1
    write_text(path, page())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
