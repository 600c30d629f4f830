"""Makes the mistakes that beginners make and writes down the line each of them gets.

python tools/mistakes.py            writes docs/mistakes.md
python tools/mistakes.py --check    says whether it is up to date
"""

# ruff: noqa: E501 - tables of cases read better on one line
from __future__ import annotations

import contextlib
import io
import json
import math
import os
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from PIL import Image, ImageDraw

from renma import assets

PAGE = Path(__file__).parents[1] / "docs" / "mistakes.md"
RUN = """\
[model]
path = "mame"

[data]
train_folder = "train"
reg_folder = "reg"
resolution = 128
batch_size = 2
enable_bucket = true
min_bucket_reso = 64
max_bucket_reso = 256
bucket_reso_steps = 32
shuffle_caption = true
keep_tokens = 1

[adapter]
rank = 16
alpha = 16.0

[optimizer]
name = "adamw"
learning_rate = 1e-3

[schedule]
name = "constant"

[train]
max_steps = 200
save_every_steps = 50
precision = "fp32"

[sample]
prompts = ["aa12, person"]
every_steps = 50

[output]
name = "aa12"
trigger = "aa12"
"""
TRAIN, REG = "train/10_aa12 person", "reg/1_person"
Change = Callable[[], object]


@dataclass(frozen=True)
class Mistake:
    """One way to go wrong, starting from a project without mistakes.

    Attributes:
        what: it is, in a beginner's words.
        make: makes it; the project is the current folder.
        words: the command line.
    """

    what: str
    make: Change
    words: tuple[str, ...] = ("check", "run.toml")


@dataclass(frozen=True)
class Answer:
    """What a mistake gets: exit code, lines on standard error, texts of warnings and notes."""

    code: int
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def put(old: str, new: str) -> Change:
    """Replaces a text of run.toml."""

    def change() -> None:
        text = Path("run.toml").read_text(encoding="utf-8")
        assert old in text, old
        Path("run.toml").write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def add(section: str, line: str) -> Change:
    """Adds a line to a section."""
    return put(f"[{section}]\n", f"[{section}]\n{line}\n")


def objective(lines: str) -> Change:
    """Adds the section [objective]."""
    return put("[adapter]", f"[objective]\n{lines}\n\n[adapter]")


def both(*changes: Change) -> Change:
    """Makes several changes."""
    return lambda: [change() for change in changes]


def write(name: str, content: str | bytes) -> Change:
    """Writes a file."""

    def change() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def each_caption(change: Callable[[str], str]) -> Change:
    """Changes every training caption."""
    return lambda: [p.write_text(change(p.read_text())) for p in sorted(Path(TRAIN).glob("*.txt"))]


def remove(pattern: str) -> Change:
    """Removes files and folders."""
    found = Path().glob
    return lambda: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in [*found(pattern)]]


def tensors(name: str, shapes: dict[str, list[int]]) -> Change:
    """Writes a safetensors file of zeros."""
    header, end = {}, 0
    for key, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[key] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return write(name, struct.pack("<Q", len(text)) + text + bytes(end))


def program() -> None:
    """Saves a checkpoint that runs something when it is read carelessly."""
    import torch

    torch.save({"state_dict": _Runs()}, "m.ckpt")


class _Runs:
    """Something that a pickle can make a program do."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("I ran",)


def two_runs() -> None:
    """Leaves a run's folder locked, as a process that trains there does."""
    Path("out").mkdir()
    lock = FileLock("out/.lock", timeout=0)
    lock.acquire()
    _LOCKS.append(lock)


_LOCKS: list[FileLock] = []


def sd2_file() -> None:
    """Writes a small model of SD 2.x that does not say what it predicts."""
    from renma.families import _twins

    _twins.write_file("sd2", Path("sd2.safetensors"), metadata={})


def wide_pictures() -> None:
    """Makes the pictures five times as wide as high."""
    for path in Path(TRAIN).glob("*.png"):
        Image.open(path).resize((640, 128)).save(path)


def clear_pictures() -> None:
    """Makes the corners of the pictures transparent."""
    for path in Path(TRAIN).glob("*.png"):
        picture = Image.open(path).convert("RGBA")
        picture.putpixel((0, 0), (0, 0, 0, 0))
        picture.save(path)


ADAPTER = "lora_unet_mid_block_attentions_0_proj_in"
LORA = {f"{ADAPTER}.lora_down.weight": [4, 320, 1, 1], f"{ADAPTER}.lora_up.weight": [320, 4, 1, 1]}
FOLDERS = 'train_folder = "train"\nreg_folder = "reg"\n'
SUBSET = 'datasets = [{{subsets = [{{image_dir = "{}"}}]}}]\n'
STARTED = '{"time": 1, "kind": "started"}\n'

REFUSED = (
    Mistake("a letter missing in a key", put("max_steps", "max_step")),
    Mistake("a section with a typo", put("[optimizer]", "[optimiser]")),
    Mistake("a key in the wrong section", add("model", "batch_size = 2")),
    Mistake("the name sd-scripts has for an option", put("rank = 16", "network_dim = 16")),
    Mistake("a number in quotes", put("rank = 16", 'rank = "16"')),
    Mistake("a learning rate in quotes", put("1e-3", '"1e-3"')),
    Mistake("a size in quotes", put("resolution = 128", 'resolution = "128,128"')),
    Mistake("a folder's key in [data]", add("data", 'mask_dir = "masks"')),
    Mistake("yes instead of true", put("shuffle_caption = true", 'shuffle_caption = "yes"')),
    Mistake("half a step", put("max_steps = 200", "max_steps = 10.5")),
    Mistake("no steps", put("max_steps = 200", "max_steps = 0")),
    Mistake("no pictures in a batch", put("batch_size = 2", "batch_size = 0")),
    Mistake("an unknown optimizer", put('"adamw"', '"adamv"')),
    Mistake("an unknown schedule", put('"constant"', '"cosine_restarts"')),
    Mistake("restarts without their number", put('"constant"', '"cosine_with_restarts"')),
    Mistake("an unknown precision", put('"fp32"', '"f16"')),
    Mistake("an unknown algorithm", add("adapter", 'algo = "locon"')),
    Mistake("another algorithm's option", both(add("adapter", 'algo = "ia3"'), put("alpha = 16.0\n", ""))),
    Mistake("an unknown preset", put("[model]", 'preset = "sd15-8g"\n[model]')),
    Mistake("a missing bracket", put("[train]", "[train")),
    Mistake("a Windows path in double quotes", put('"train"', '"E:\\train"')),
    Mistake("a run file that is not there", lambda: None, ("check", "my.toml")),
    Mistake("the folder instead of run.toml", lambda: None, ("check", ".")),
    Mistake("a picture folder that is not there", put('"train"', '"trian"')),
    Mistake("the inner folder instead of its parent", put('"train"', f'"{TRAIN}"')),
    Mistake("pictures without an inner folder", both(remove(TRAIN), lambda: draw("train", "aa12"))),
    Mistake("an empty folder", remove("train/*")),
    Mistake("an inner folder without pictures", both(remove(f"{TRAIN}/*"))),
    Mistake("an empty caption", write(f"{TRAIN}/red.txt", "")),
    Mistake("half a picture", lambda: os.truncate(f"{TRAIN}/red.png", 200)),
    Mistake("a web page saved as a picture", write(f"{TRAIN}/red.png", "<html>404</html>")),
    Mistake("both ways to name pictures", add("data", 'datasets = [{subsets = [{image_dir = "reg/1_person"}]}]')),
    Mistake("a resolution that no latent has", put("resolution = 128", "resolution = 130")),
    Mistake("the smallest bucket above the resolution", put("min_bucket_reso = 64", "min_bucket_reso = 192")),
    Mistake("the largest bucket below the resolution", put("max_bucket_reso = 256", "max_bucket_reso = 96")),
    Mistake("U-Net and text encoder both off", add("train", "unet = false\ntext_encoder = false")),
    Mistake("a model that is not there", put('"mame"', '"sd15.safetensors"')),
    Mistake("a LoRA as the model", both(tensors("lora.safetensors", LORA), put('"mame"', '"lora.safetensors"'))),
    Mistake("a web page saved as a model", both(write("m.safetensors", "<html>"), put('"mame"', '"m.safetensors"'))),
    Mistake("a checkpoint with a program in it", both(program, put('"mame"', '"m.ckpt"'))),
    Mistake("an SD 2 file that does not say what it predicts", both(sd2_file, put('"mame"', '"sd2.safetensors"'))),
    Mistake("the wrong family", put("[model]", '[model]\nfamily = "sdxl"')),
    Mistake("a LoRA of another model to go on from", both(tensors("l.safetensors", LORA), put("[adapter]", '[start]\nweights = "l.safetensors"\n[adapter]'))),
    Mistake("a LoRA to go on from that is not there", put("[adapter]", '[start]\nweights = "l.safetensors"\n[adapter]')),
    Mistake("an unknown sampler", put('"aa12, person"', '"aa12, person --ss eular"')),
    Mistake("a prompt file that is not there", put('prompts = ["aa12, person"]', 'prompts_file = "prompt.txt"')),
    Mistake("one prompt without brackets", put('["aa12, person"]', '"aa12, person"')),
    Mistake("an argument the optimizer does not have", add("optimizer", "args = {momentum = 0.9}")),
    Mistake("an optimizer class that is not installed", put('"adamw"', '"custom"\nclass_path = "lion_torch.Lion"')),
    Mistake("Adafactor's own schedule beside a fixed rate", both(put('"adamw"', '"adafactor"\nrelative_step = false'), put('"constant"', '"adafactor"'))),
    Mistake("Prodigy with two learning rates", both(put('"adamw"', '"prodigy"'), put("1e-3", "1.0\ntext_encoder_lr = 0.5"))),
    Mistake("a falling schedule with a schedule-free optimizer", both(put('"adamw"', '"adamwschedulefree"'), put('"constant"', '"cosine"'))),
    Mistake("an option for v-prediction on another model", objective("scale_v_pred_loss_like_noise_pred = true")),
    Mistake("zero terminal SNR on a noise prediction model", objective("zero_terminal_snr = true")),
    Mistake("timesteps the wrong way around", objective("min_timestep = 900\nmax_timestep = 100")),
    Mistake("an image_dir that is not there", put(FOLDERS, SUBSET.format("pics"))),
    Mistake("a word instead of section.key=value", lambda: None, ("check", "run.toml", "--set", "rank")),
    Mistake("a typo on the command line", lambda: None, ("check", "run.toml", "--jsn")),
    Mistake("a character that file names cannot have", put('name = "aa12"', 'name = "aa12: v2"')),
    Mistake("going on with a run that never was", lambda: None, ("train", "run.toml", "--resume")),
    Mistake("training into a folder that holds a run", write("out/events.jsonl", STARTED), ("train", "run.toml", "--out", "out")),
    Mistake("training into a file", write("out", "text"), ("train", "run.toml", "--out", "out")),
    Mistake("two trainings in one folder", two_runs, ("train", "run.toml", "--out", "out")),
)  # fmt: skip

WARNED = (
    Mistake("neither captions nor a class", both(remove(f"{TRAIN}/*.txt"), put(FOLDERS, SUBSET.format(TRAIN)))),
    Mistake("captions with another ending", lambda: [p.rename(p.with_suffix(".caption")) for p in Path(TRAIN).glob("*.txt")]),
    Mistake("captions longer than is read", each_caption(lambda text: text + ", long hair" * 60)),
    Mistake("the trigger word forgotten in one caption", write(f"{TRAIN}/red.txt", "person, red, smile")),
    Mistake("the trigger word in regularisation captions", write(f"{REG}/grey.txt", "aa12, person, grey")),
    Mistake("shuffling without keep_tokens", put("keep_tokens = 1\n", "")),
    Mistake("keep_tokens without shuffling", put("shuffle_caption = true\n", "")),
    Mistake("keep_tokens counted in CLIP tokens", put("keep_tokens = 1", "keep_tokens = 75")),
    Mistake("every caption dropped", add("data", "caption_dropout_rate = 1.0")),
    Mistake("mirroring what is not symmetric", both(add("data", "flip_aug = true"), each_caption(lambda t: t + ", scar on left cheek"))),
    Mistake("the same picture twice", lambda: shutil.copy(f"{TRAIN}/red.png", f"{TRAIN}/copy.png")),
    Mistake("a training picture among the regularisation", lambda: shutil.copy(f"{TRAIN}/red.png", f"{REG}/red.png")),
    Mistake("pictures much smaller than the resolution", put("resolution = 128", "resolution = 256")),
    Mistake("pictures of another shape without buckets", both(wide_pictures, put("enable_bucket = true", "enable_bucket = false"))),
    Mistake("transparent pictures", clear_pictures),
    Mistake("a batch that no bucket fills", put("batch_size = 2", "batch_size = 100")),
    Mistake("too few steps to show everything", put("max_steps = 200", "max_steps = 1")),
    Mistake("far too many steps", put("max_steps = 200", "max_steps = 90000")),
    Mistake("steps and epochs both given", add("train", "max_epochs = 2")),
    Mistake("alpha 1 at rank 128", both(put("rank = 16", "rank = 128"), put("alpha = 16.0", "alpha = 1.0"))),
    Mistake("alpha far above the rank", put("alpha = 16.0", "alpha = 128.0")),
    Mistake("a rank for convolutions that are not trained", add("adapter", "conv_rank = 8")),
    Mistake("Prodigy with AdamW's learning rate", both(put('"adamw"', '"prodigy"'), put("1e-3", "1e-4"))),
    Mistake("a learning rate a hundred times too high", put("1e-3", "0.1")),
    Mistake("a warm-up as long as the run", put('"constant"', '"constant_with_warmup"\nwarmup_steps = 300')),
    Mistake("a rate for a text encoder that is off", both(put("1e-3", "1e-3\ntext_encoder_lr = 1e-4"), add("train", "text_encoder = false"))),
    Mistake("a prefix in the place of the trigger word", add("data", 'caption_prefix = "masterpiece,"')),
    Mistake("saving every step", put("save_every_steps = 50", "save_every_steps = 1")),
    Mistake("a checkpoint that never comes", put("save_every_steps = 50", "save_every_steps = 500")),
    Mistake("previews without an interval", put("every_steps = 50\n\n[output]", "\n[output]")),
    Mistake("a preview interval without prompts", put('prompts = ["aa12, person"]\n', "")),
    Mistake("validation without held-out pictures", add("train", "validate_every_steps = 50")),
    Mistake("a weight for regularisation pictures that are not there", both(put('reg_folder = "reg"\n', ""), objective("prior_loss_weight = 0.5"))),
    Mistake("an option of Huber loss with another loss", objective("huber_c = 0.5")),
    Mistake("bucket limits without buckets", put("enable_bucket = true", "enable_bucket = false")),
    Mistake("fp16 on a processor", put('"fp32"', '"fp16"\ndevice = "cpu"')),
)  # fmt: skip


def draw(folder: str, name: str) -> None:
    """Draws four pictures with captions."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    colours = ("red", "green", "blue", "orange") if name == "aa12" else ("grey", "black", "brown")
    for colour in colours:
        picture = Image.new("RGB", (128, 128), "white")
        ImageDraw.Draw(picture).ellipse((16, 16, 112, 112), fill=colour)
        picture.save(f"{folder}/{colour}.png")
        words = f"{name}, person" if name == "aa12" else "person"
        Path(f"{folder}/{colour}.txt").write_text(f"{words}, {colour}, smile")


def make_project() -> None:
    """Makes the project without mistakes in the current folder."""
    Path("run.toml").write_text(RUN)
    draw(TRAIN, "aa12")
    draw(REG, "person")


def answer(mistake: Mistake) -> Answer:
    """Makes a mistake in a project of its own and returns what it gets."""
    from renma.cli.app import main

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        make_project()
        mistake.make()
        told, wrong = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(wrong):
            code = main(mistake.words)
        while _LOCKS:
            _LOCKS.pop().release()
        places = (str(Path.cwd()), folder)
    lines = [_bare(wrong.getvalue(), places), _bare(told.getvalue(), places)]
    heads = ("warning: ", "note: ")
    found = (line.removeprefix(h) for line in lines[1] for h in heads if line.startswith(h))
    return Answer(code, tuple(lines[0]), tuple(found))


def _bare(text: str, places: tuple[str, ...]) -> list[str]:
    for place in places:
        text = text.replace(f"{place}/", "").replace(place, "/home/me/aa12")
    return text.replace(str(assets.MAME), "mame").splitlines()


def rows() -> list[tuple[Mistake, Answer]]:
    """Makes all mistakes."""
    return [(mistake, answer(mistake)) for mistake in (*REFUSED, *WARNED)]


def page(found: list[tuple[Mistake, Answer]]) -> str:
    """Returns the page."""
    refused = [_row(mistake, told.errors[:1]) for mistake, told in found if mistake in REFUSED]
    warned = [_row(mistake, told.warnings) for mistake, told in found if mistake in WARNED]
    head = "| mistake | the line it gets |\n|---|---|\n"
    tables = [head + "\n".join(rows) for rows in (refused, warned)]
    return _PAGE.format(len(refused), tables[0], len(warned), tables[1])


_PAGE = """\
# Beginners' mistakes, and the line each of them gets

Written by `python tools/mistakes.py`, which makes every one of these mistakes in a small project. \
`renma check` finds them before anything is loaded, and `renma train` begins with the same look.

## Refused ({})

Exit code 2 and this one line:

{}

## Warned about ({})

It can be trained, so it is said and goes on; exit code 0.

{}
"""


def _row(mistake: Mistake, lines: tuple[str, ...]) -> str:
    texts = "<br>".join(f"`{line.removeprefix('renma: ')}`" for line in lines)
    return f"| {mistake.what} | {texts.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    text = page(rows())
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == text else f"{PAGE} is out of date")
    PAGE.write_text(text, encoding="utf-8")
