"""``renma sample``: what it writes, keeps, repeats and refuses. Rows F2, F5, F6 and E8."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from renma.cli.app import main
from renma.config import Run, load_run
from renma.config.load import dump
from renma.drawing.picture_source import payload_hash
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from renma.formats import lora_file
from renma.formats.weight_hash import known_hash
from testbed.lora_files import POINT, write
from testbed.lora_files import lora as lora_layer

SMALL = ("--width", "64", "--height", "96", "--steps", "2", "--device", "cpu")
Made = Callable[..., list[Path]]


def sample(out: Path, *words: str, model: str = "mame", small: bool = True) -> list[Path]:
    """Runs the command and returns its pictures by name."""
    assert (
        main(
            [
                "sample",
                *([model] if model else []),
                *words,
                *(SMALL if small else ()),
                "-o",
                str(out),
            ]
        )
        == 0
    )
    return sorted(out.glob("0*.png"))


def levels(one: Path | Image.Image, other: Path | Image.Image) -> int:
    a, b = (opened(p) if isinstance(p, Path) else p for p in (one, other))
    return int(np.abs(np.asarray(a, int) - np.asarray(b, int)).max())


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture.copy()


def settings(line: str) -> dict[str, str]:
    """Reads ``Name: value, Name: "quoted, value"`` as the web UI does."""
    found: dict[str, str] = {}
    while line:
        name, _, line = line.partition(": ")
        if line.startswith('"'):
            value, end = json.JSONDecoder().raw_decode(line)
            line = line[end:].removeprefix(", ")
        else:
            value, _, line = line.partition(", ")
        found[name] = value
    return found


@pytest.fixture
def lora(case, tmp_path: Path) -> Path:
    (tmp_path / "loras" / "below").mkdir(parents=True)
    path = tmp_path / "loras" / "below" / "hero.safetensors"
    shutil.copy(case("lora").path, path)
    return path


def test_pictures_are_those_of_the_sampler(mame, lora: Path, tmp_path: Path):
    """Seeds count up; a LoRA acts at its two strengths; all in one sheet."""
    words = ("--prompt", "smile", "--negative", "bad", "--lora", f"{lora}:0.8:0.3", "--count", "3")
    made = sample(tmp_path / "o", *words, "--seed", "7", "--cfg", "4", "--sampler", "k_euler_a")
    shots = [Shot("smile", "bad", 64, 96, 7 + i, 2, 4, "k_euler_a") for i in range(3)]
    with Network.from_file(mame, lora).at(unet=0.8, text_encoder=0.3):
        expected = draw(mame, shots)
    assert [path.name.split("-")[:2] for path in made] == [
        [f"000{i + 1}", str(7 + i)] for i in range(3)
    ]
    assert max(map(levels, made, expected)) <= 1
    assert min(map(levels, made, draw(mame, shots))) > 3
    assert opened(tmp_path / "o" / "sheet.png").width > 3 * 64


def test_web_uis_read_how_it_was_drawn(mame, lora: Path, tmp_path: Path):
    """AUTOMATIC1111's text: prompt, negative prompt, one line of settings."""
    text = 'a "b", (c:1.2) <lora:hero:0.5>'
    words = ("--prompt", text, "--negative", "bad: x", "--lora-dir", str(tmp_path / "loras"))
    more = (
        "--lora",
        f"{lora}:1:0.5",
        "--blocks",
        f"{lora}=OUTD",
        "--hires",
        "1.5",
        "--set",
        "clip_skip=2",
    )
    (path,) = sample(tmp_path / "o", *words, *more, "--seed", "5", "--sampler", "dpmsolver++")
    picture = opened(path)
    prompt, negative, line = picture.info["parameters"].split("\n")
    own = text.replace("hero:0.5", "hero:0.5:lbw=OUTD")
    assert prompt == f"{own} <lora:hero:unet=1:te=0.5:lbw=OUTD>"
    assert negative == "Negative prompt: bad: x"
    digits = payload_hash(lora)[:12]
    assert settings(line) == {
        "Steps": "2", "Sampler": "DPM++ 2M", "CFG scale": "7.5", "Seed": "5", "Size": "64x96",
        "Model hash": mame.hashes["unet"][:10], "Model": "mame", "Clip skip": "2",
        "Denoising strength": "0.7", "Hires upscale": "1.5", "Hires steps": "2",
        "Hires upscaler": "Latent", "Lora hashes": f"hero: {digits}", "Version": "renma",
    }  # fmt: skip
    assert picture.size == (96, 144)
    assert known_hash(mame.facts.parts["unet"].file).startswith(settings(line)["Model hash"])


def test_the_hash_is_kohyas_and_metadata_does_not_change_it(lora: Path, tmp_path: Path):
    file = lora_file.read(lora)
    lora_file.write(tmp_path / "other.safetensors", file, file.naming)
    _, metadata = lora_file.named(file, file.naming)
    assert payload_hash(tmp_path / "other.safetensors") == metadata["sshs_model_hash"]


def test_a_picture_is_drawn_again_from_itself(lora: Path, tmp_path: Path, capsys):
    words = ("--prompt", "a <lora:hero:0.5> AND b :0.6", "--lora-dir", str(tmp_path / "loras"))
    (path,) = sample(tmp_path / "o", *words, "--hires", "1.5", "--hires-upscaler", "lanczos")
    loras = ("--lora-dir", str(tmp_path / "loras"))
    (again,) = sample(tmp_path / "p", "--again", str(path), *loras, model="", small=False)
    assert levels(path, again) == 0
    assert opened(again).info == opened(path).info
    assert again.name == path.name
    assert str(tmp_path) not in str(opened(path).info)
    moved = tmp_path / "elsewhere"
    (tmp_path / "loras").rename(moved)
    other = tmp_path / "q"
    assert main(["sample", "--again", str(path), "-o", str(other)]) == 2
    assert "hero.safetensors: is not there" in capsys.readouterr().err
    (third,) = sample(other, "--again", str(path), "--lora-dir", str(moved), model="", small=False)
    assert levels(path, third) == 0


def test_what_is_there_is_kept_and_the_rest_is_drawn(tmp_path: Path, capsys):
    out = tmp_path / "o"
    before = sample(out, "--prompt", "a", "--count", "3")
    before[1].unlink()
    times = [path.stat().st_mtime_ns for path in (before[0], before[2])]
    capsys.readouterr()
    assert sample(out, "--prompt", "a", "--count", "3") == before
    assert [path.stat().st_mtime_ns for path in (before[0], before[2])] == times
    assert "2 pictures there already, kept" in capsys.readouterr().out
    more = sample(out, "--prompt", "b", "--prompt", "a")
    assert len(more) == 4
    assert len(sample(out, "--prompt", "a", "--cfg", "3")) == 5


def test_prompts_come_from_a_file_with_their_own_settings(mame, tmp_path: Path):
    """sd-scripts' flags; what a line does not say comes from the options."""
    (tmp_path / "p.txt").write_text(
        "# none\na --n worse --w 96 --h 64 --d 9 --s 1 --ss k_lms --l 3\nb\n"
    )
    made = sample(tmp_path / "o", "--prompts", str(tmp_path / "p.txt"), "--negative", "bad")
    shots = [Shot("a", "worse", 96, 64, 9, 1, 3, "k_lms"), Shot("b", "bad", 64, 96, 0, 2)]
    assert max(map(levels, made, draw(mame, shots))) <= 1


def test_a_run_is_drawn_with_its_lora_and_its_settings(mame, lora: Path, tmp_path: Path):
    run = tmp_path / "project" / "runs" / "001"
    (run / "lora").mkdir(parents=True)
    shutil.copy(lora, run / "lora" / "lora.safetensors")
    made = {
        "sample": {"steps": 2, "scale": 3.0, "sampler": "euler"},
        "train": {"precision": "fp32"},
    }
    text = dump(Run.model_validate({**made, "output": {"name": "lora"}}))
    for folder in (run, run.parent.parent):
        (folder / "run.toml").write_text(text)
    assert load_run(run / "run.toml").sample.steps == 2
    words = ("--prompt", "a", "--width", "64", "--height", "96")
    (path,) = sample(tmp_path / "o", *words, model=str(tmp_path / "project"), small=False)
    with Network.from_file(mame, lora).at():
        (expected,) = draw(mame, [Shot("a", "", 64, 96, 0, 2, 3, "euler")])
    assert levels(path, expected) <= 1


def test_one_region_is_the_plain_picture_and_two_are_not(lora: Path, tmp_path: Path, monkeypatch):
    for name, colours in (("one", ["red"]), ("two", ["red", "lime"])):
        page = Image.new("RGB", (20, 10), colours[-1])
        page.paste(colours[0], (0, 0, 20 // len(colours), 10))
        page.save(tmp_path / f"{name}.png")
    folder = ("--lora-dir", str(tmp_path / "loras"))
    (plain,) = sample(tmp_path / "o", "--prompt", "a <lora:hero:1>", *folder)
    one = ("--regions", str(tmp_path / "one.png"), "--region", "red=a <lora:hero:1>")
    (same,) = sample(tmp_path / "p", *one, *folder)
    assert levels(plain, same) <= 1
    two = ("--regions", str(tmp_path / "two.png"), "--region", "red=a <lora:hero:1>")
    more = ("--region", "lime:0.7=b", "--prompt", "c", "--region-way", "layers")
    (other,) = sample(tmp_path / "q", *two, *more, *folder)
    assert levels(plain, other) > 3
    told = settings(opened(other).info["parameters"].split("\n")[-1])["Regions"]
    assert told == "red:1=a <lora:hero:1>; lime:0.7=b"
    monkeypatch.chdir(tmp_path)
    (again,) = sample(tmp_path / "r", "--again", str(other), *folder, model="", small=False)
    assert levels(again, other) == 0


MISTAKES = {
    "": "names no model",
    "mame": "nothing says what to draw",
    "nowhere --prompt a": "there is no such folder or file",
    "mame --prompt a --lora x.safetensors": "x.safetensors: there is no such file",
    "mame --prompt a --lora L:x": "'x' is no strength",
    "mame --prompt <lora:hero:1>": "Say where it lies with --lora-dir",
    "mame --prompt <lora:hera:1> --lora-dir loras": "Did you mean 'hero'?",
    "mame --prompt a --lora-dir nowhere": "is no folder",
    "mame --prompt a --negative <lora:hero:1>": "a LoRA in the negative prompt has no meaning",
    "mame --prompt a --lora L --blocks L=INX": "Did you mean 'INS'?",
    "mame --prompt a --lora L --blocks L=1,2": "2 values for the blocks, this model has 17 or 26",
    "mame --prompt a --lora L --blocks other=INS": "no LoRA 'other' is used",
    "mame --prompt a --blocks INS": "is not of the form FILE=PRESET",
    "mame --prompt a --region red=b": "Give --regions PICTURE too",
    "mame --prompt a --regions x.png --region red=b": "there is no such picture",
    "mame --prompt a --width 100": "multiple of 8",
    "mame --prompt a --sampler eular": "euler",
    "mame --prompt a --set clip_ship=2": "clip_skip",
    "mame --prompts nowhere.txt": "cannot be read",
    "mame --prompts empty.txt": "holds no prompt",
    "--again plain.png": "does not say how it was drawn",
    "--again empty.txt": "is no picture",
    "--again plain.png --prompt a": "the picture says what --prompt would",
    "--again foreign.png": "was not drawn by `renma sample`",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_every_mistake_is_one_line(line: str, lora: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").touch()
    page = Image.new("RGB", (8, 8))
    page.save("plain.png")
    info = PngInfo()
    info.add_text("renma", '{"title": "a grid"}')
    page.save("foreign.png", pnginfo=info)
    words = [word.replace("L", str(lora), 1) if word[0] == "L" else word for word in line.split()]
    assert main(["sample", *words, "-o", "out"]) == 2
    said = capsys.readouterr().err
    assert MISTAKES[line] in said
    assert said.count("\n") == 1
    assert not Path("out").exists() or not list(Path("out").iterdir())


def test_options_without_effect_are_told(tmp_path: Path, capsys):
    words = ("--prompt", "a", "--hires-steps", "3", "--feather", "2", "--lora-in-negative")
    sample(tmp_path / "o", *words)
    said = capsys.readouterr().out
    for name in ("--hires-steps", "--feather", "--lora-in-negative"):
        assert f"warning: {name} has no effect" in said


def test_a_lora_of_another_model_is_refused(tmp_path: Path, capsys):
    layer = "lora_unet_down_blocks_9_attentions_0_proj_in"
    path = write(tmp_path / "x.safetensors", {layer: lora_layer(POINT, 2, 1.0, 0)}, {})
    words = ["--prompt", "a", "--lora", str(path), "-o", str(tmp_path / "o")]
    assert main(["sample", "mame", *words]) == 2
    assert f"'{layer}' that the sd1 model does not have" in capsys.readouterr().err
