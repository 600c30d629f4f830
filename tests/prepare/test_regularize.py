"""Regularisation pictures by the model to be trained, as many as the plan shows (B10)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from renma import assets
from renma.cli import main
from renma.config.adapter import Lora
from renma.config.data import Subset
from renma.config.prepare.regularize import RegularizeOptions
from renma.config.prompts import Prompt
from renma.core.errors import Interrupted, UserError
from renma.engine.sample import Shot, draw
from renma.families import _twins
from renma.prepare.class_pictures import Job, class_of, drawings
from renma.prepare.regularize import run
from testbed.moved_networks import moved, save

RUN = """
[model]
path = "{model}"
[data]
train_folder = "train"
resolution = 64
enable_bucket = true
min_bucket_reso = 32
max_bucket_reso = 128
bucket_reso_steps = 32
batch_size = 2
[train]
max_epochs = 3
threads = 1
precision = "fp32"
device = "cpu"
tensorboard = false
[sample]
steps = 2
scale = 4
"""
QUICK: dict[str, Any] = {"size": (32, 32)}


class Lines:
    """A report that keeps what it is told, and can be stopped with Ctrl-C."""

    def __init__(self, stop_at: int = -1) -> None:
        self.lines: list[str] = []
        self.drawn = 0
        self._stop_at = stop_at

    def event(self, kind: str, **data: Any) -> None:
        if kind == "warned":
            self.lines.append(str(data["text"]))
        if kind == "sampling":
            self.drawn = data["done"]
            if self.drawn == self._stop_at:
                raise KeyboardInterrupt

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A run on mame with three pictures, one of them wide, each shown twice in an epoch."""
    return a_project(tmp_path / "project")


def a_project(folder: Path, model: str = "mame", name: str = "2_aa12 person") -> Path:
    (folder / "train" / name).mkdir(parents=True)
    for colour, width in (("red", 128), ("green", 64), ("blue", 64)):
        picture = Image.new("RGB", (width, 64 if width == 64 else 32), "white")
        ImageDraw.Draw(picture).ellipse((8, 8, 30, 30), fill=colour)
        picture.save(folder / "train" / name / f"{colour}.png")
        (folder / "train" / name / f"{colour}.txt").write_text(f"aa12, {colour}")
    (folder / "run.toml").write_text(RUN.format(model=model))
    return folder


def made(project: Path, report: Lines | None = None, **given: Any) -> Path:
    """Draws, and returns the folder."""
    run(RegularizeOptions.model_validate({"folder": project, **given}), report or Lines())
    return given.get("out") or project / "reg" / "1_person"


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        p.name: p.read_bytes() for p in sorted(folder.iterdir()) if p.suffix in (".png", ".txt")
    }


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
    return picture


def levels(one: Path | Image.Image, other: Path | Image.Image) -> int:
    """The largest difference of two pictures, of 255 levels."""
    pair = [np.asarray(opened(p) if isinstance(p, Path) else p, int) for p in (one, other)]
    return int(np.abs(pair[0] - pair[1]).max())


def facts_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / ".renma" / "made.jsonl").read_text().splitlines()
    return [json.loads(line)["outputs"][0]["facts"] for line in lines]


@pytest.mark.parametrize("kind", ["mame", "sd1", "sd2-v", "sdxl"])
def test_a_picture_is_that_of_diffusers_pipeline_for_the_same_noise(tmp_path: Path, kind: Any):
    """B10 "generated with the very model that will be trained"."""
    place = assets.MAME
    if kind != "mame":
        place = _twins.write_folder(kind, tmp_path / kind, seed=3)
    project = a_project(tmp_path / "project", "mame" if kind == "mame" else str(place))
    out = made(project, negative="blurry", count=2, seed=5, size=(64, 64), steps=3)
    maker = StableDiffusionXLPipeline if kind == "sdxl" else StableDiffusionPipeline
    pipeline: Any = maker.from_pretrained(
        place, **({} if kind == "sdxl" else {"safety_checker": None})
    )
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    for name, seed in (("0001", 5), ("0002", 6)):
        side = 64 // pipeline.vae_scale_factor
        noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(seed))
        (theirs,) = pipeline(
            "person", negative_prompt="blurry", latents=noise, num_inference_steps=3,
            guidance_scale=4, height=64, width=64, output_type="pil",
        ).images  # fmt: skip
        assert levels(out / f"{name}.png", theirs) <= 1
    assert levels(out / "0001.png", out / "0002.png") > 9


def test_as_many_and_as_large_as_the_plan_shows_training_pictures(project: Path, capsys: Any):
    """B10: prior preservation shows each of them once an epoch; `renma check` takes the folder."""
    report = Lines()
    out = made(project, report)
    assert "  reg_folder = 'reg'" in report.lines
    assert any(
        "draws best at 128x128, and much worse at 64x64, 128x32:" in line for line in report.lines
    )
    sizes = Counter(opened(path).size for path in out.glob("*.png"))
    assert sizes == {(128, 32): 2, (64, 64): 4}
    assert {path.read_text() for path in out.glob("*.txt")} == {"person\n"}
    run_toml = str(project / "run.toml")
    assert main(["check", run_toml, "--json", "--set", "data.reg_folder=reg"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["regularisation"] == {"pictures": 6, "never": 0, "least": 3, "most": 3}
    assert plan["showings_per_epoch"] == 12
    rows = {row["size"]: row for row in plan["bucket_rows"]}
    assert {size: row["showings"] for size, row in rows.items()} == {"64x64": 8, "128x32": 4}
    assert [row["cropped"] for row in rows.values()] == [0, 0]
    report = Lines()
    made(project, report, set=("data.reg_folder=reg",))
    assert report.drawn == 0
    assert not any("reg_folder" in line for line in report.lines)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_stopped_and_started_again_gives_the_same_bytes(project: Path, tmp_path: Path, batch_size):
    how = {**QUICK, "count": 5, "batch_size": batch_size, "sampler": "euler_a"}
    whole = made(project, out=tmp_path / "whole", **how)
    with pytest.raises(Interrupted):
        made(project, Lines(stop_at=batch_size), out=tmp_path / "parts", **how)
    assert len(list((tmp_path / "parts").glob("*.png"))) == batch_size
    report = Lines()
    parts = made(project, report, out=tmp_path / "parts", **how)
    assert report.drawn == 5 - batch_size
    assert bytes_of(parts) == bytes_of(whole)


def test_killed_and_started_again_gives_the_same_bytes(project: Path, tmp_path: Path):
    """F14's promise: every finished picture is kept, none is half written."""
    command = [sys.executable, "-m", "renma", "prepare", "regularize", str(project), "-o"]
    more = ["--count", "16", "--size", "64", "--steps", "8"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([*command, str(killed), *more], stdout=subprocess.DEVNULL)
    rows = killed / ".renma" / "made.jsonl"
    while process.poll() is None and not (rows.exists() and rows.read_text().count("\n") >= 2):
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = {p.name: p.stat().st_mtime_ns for p in killed.glob("*.png")}
    done = rows.read_text().count("\n")
    assert 2 <= done < 16
    with rows.open("a") as file:
        file.write('{"source": "0016", "dig')  # torn, as a kill in the middle of a line leaves it
    # processes like the first one: how many threads add up a number shows in its last bit
    again = subprocess.run([*command, str(killed), *more], capture_output=True, text=True)
    assert f"{16 - done} drawn" in again.stdout, again
    subprocess.run([*command, str(whole), *more], check=True, stdout=subprocess.DEVNULL)
    kept = [name for name, then in before.items() if (killed / name).stat().st_mtime_ns == then]
    assert len(kept) >= done
    assert bytes_of(killed) == bytes_of(whole)
    assert not list(killed.glob(".*.part"))


def test_more_can_be_added_and_the_first_ones_stay(project: Path, tmp_path: Path):
    first = bytes_of(made(project, count=2, **QUICK))
    report = Lines()
    more = bytes_of(made(project, report, count=5, **QUICK))
    assert report.drawn == 3
    assert first.items() < more.items()
    assert more == bytes_of(made(project, out=tmp_path / "at once", count=5, **QUICK))
    made(project, report, count=1, **QUICK)
    assert more == bytes_of(project / "reg" / "1_person")


def test_pictures_drawn_in_different_ways_are_not_mixed(project: Path):
    out = made(project, count=3, **QUICK)
    before = bytes_of(out)
    other: list[tuple[str, dict[str, Any]]] = [
        ("steps 2, now 3", {"steps": 3}),
        ("seed 0, now 1", {"seed": 1}),
        ("prompt 'person', now 'dog'", {"prompt": ("dog",), "out": out}),
        ("captions True, now False", {"no_captions": True}),
        ("model", {"set": ("model.clip_skip=2",)}),
        ("width 32, now 64", {"size": (64, 32)}),
    ]
    for said, change in other:
        with pytest.raises(UserError, match=said) as caught:
            made(project, **{"count": 3, **QUICK, **change})
        assert "--again" in caught.value.remedy
    assert bytes_of(out) == before
    report = Lines()
    again = bytes_of(made(project, report, count=2, seed=1, again=True, **QUICK))
    assert report.drawn == 2
    assert again["0001.png"] == before["0002.png"]
    assert sorted(again) == ["0001.png", "0001.txt", "0002.png", "0002.txt"]


def test_what_a_person_did_to_the_pictures_stays(project: Path):
    out = made(project, count=4, **QUICK)
    (out / "0001.png").unlink()
    (out / "0002.txt").write_text("person, hat")
    Image.new("RGB", (32, 32), "red").save(out / "0003.png")
    report = Lines()
    made(project, report, count=4, **QUICK)
    assert report.drawn == 0
    removed = "1 picture removed by hand, not drawn again: --count 4 counts what was removed, "
    assert f"{removed}--count 5 makes up" in report.lines
    assert f"0 drawn, 3 there already: {out}" in report.lines
    made(project, would := Lines(), count=4, dry_run=True, **QUICK)
    assert f"would be drawn into {out}, 3 there already; {removed}" in would.lines[0]
    made(project, report, count=4, seed=9, again=True, **QUICK)
    assert report.drawn == 3
    assert any("0003.png was changed by hand" in line for line in report.lines)
    assert opened(out / "0003.png").getpixel((0, 0)) == (255, 0, 0)
    report = Lines()
    made(project, report, count=4, seed=9, **QUICK)
    assert report.drawn == 0


def test_prompts_take_turns_and_say_their_own(project: Path, tmp_path: Path):
    lines = ("person, smile --d 7 --w 64 --h 96 --n hat", "person, sad --s 1 --ss euler --l 1")
    out = made(project, count=4, prompt=lines, negative="blurry", no_captions=True)
    assert not list(out.glob("*.txt"))
    facts = facts_of(out)
    assert [f["prompt"] for f in facts] == ["person, smile", "person, sad"] * 2
    assert [f["seed"] for f in facts] == [7, 1, 8, 3]
    assert [f["negative"] for f in facts] == ["hat", "blurry"] * 2
    assert (facts[0]["width"], facts[0]["height"], facts[1]["sampler"]) == (64, 96, "euler")
    assert opened(out / "0001.png").info["parameters"].startswith("person, smile\nNegative pro")
    (tmp_path / "prompts.txt").write_text("\n".join(lines))
    same = made(
        project, count=4, prompts=tmp_path / "prompts.txt", negative="blurry", no_captions=True,
        out=tmp_path / "same",
    )  # fmt: skip
    assert bytes_of(same) == bytes_of(out)


def test_base_weights_are_in_the_model_and_what_training_goes_on_from_is_not(project: Path, mame):
    """The picture before training: base weights belong to the base, start.weights do not."""
    network = moved(mame, Lora(rank=2, alpha=2))
    save(network, project / "a.safetensors")
    network.attach()
    try:
        (expected,) = draw(mame, [Shot("person", width=32, height=32, steps=2, scale=4)])
    finally:
        network.detach()
    plain = made(project, count=1, out=project / "plain", **QUICK)
    based = ('start.base_weights=["a.safetensors"]',)
    merged = made(project, count=1, out=project / "merged", set=based, **QUICK)
    begun = ("start.weights=a.safetensors",)
    going = made(project, count=1, out=project / "going", set=begun, **QUICK)
    assert levels(merged / "0001.png", expected) <= 2
    assert levels(merged / "0001.png", plain / "0001.png") > 9
    assert bytes_of(going) == bytes_of(plain)
    with pytest.raises(UserError, match="drawn otherwise: 0001.png with model"):
        made(project, count=1, out=project / "plain", set=based, **QUICK)


def test_each_class_gets_a_folder_and_the_record_can_be_repeated(project: Path, tmp_path: Path):
    (project / "train" / "1_bb7 tabby cat").mkdir()
    Image.new("RGB", (64, 64), "grey").save(project / "train" / "1_bb7 tabby cat" / "a.png")
    made(project, steps=1)
    cats = project / "reg" / "1_tabby cat"
    assert len(list(cats.glob("*.png"))) == 1
    assert len(list((project / "reg" / "1_person").glob("*.png"))) == 6
    assert main(["prepare", "repeat", str(cats), "-o", str(tmp_path / "again")]) == 0
    assert bytes_of(tmp_path / "again") == bytes_of(cats)


def test_written_out_data_sets_are_told_what_to_write(project: Path):
    text = (project / "run.toml").read_text().replace('train_folder = "train"\n', "")
    folder = "train/2_aa12 person"
    subsets = f'[[data.datasets]]\n[[data.datasets.subsets]]\nimage_dir = "{folder}"\n'
    reg = '[[data.datasets.subsets]]\nimage_dir = "reg/1_dog"\nis_reg = true\n'
    (project / "run.toml").write_text(text + subsets)
    with pytest.raises(UserError, match="what the class of the subject is"):
        made(project, **QUICK)
    report = Lines()
    made(project, report, prompt=("dog",), **QUICK)
    said = "\n".join(line.strip() for line in report.lines[-3:]).replace("'", '"')
    assert said == reg.strip()
    (project / "run.toml").write_text(text + subsets + reg)
    assert main(["check", str(project / "run.toml")]) == 0


@pytest.mark.parametrize(
    ("tokens", "trigger", "expected"),
    [
        ("aa12 person", "", "person"),
        ("aa12, tabby cat", "", "tabby cat"),
        ("my hero person", "my hero", "person"),
        ("my hero person", "other", "hero person"),
        ("aa12", "aa12", ""),
        ("", "", ""),
    ],
)
def test_the_class_is_what_follows_the_trigger(tokens: str, trigger: str, expected: str):
    """C6 "class+identifier"."""
    assert class_of(Subset(class_tokens=tokens), trigger) == expected


@given(
    st.dictionaries(
        st.tuples(st.integers(8, 999), st.integers(8, 999)), st.integers(1, 9), min_size=1
    ),
    st.integers(1, 3),
    st.data(),
)
def test_sizes_have_their_share_and_do_not_depend_on_what_is_there(shares, epochs, data):
    total = sum(shares.values())
    job = Job(Path("reg"), (Prompt.model_validate({"text": "person"}),), total * epochs)
    whole = [(d.width, d.height) for d in drawings(job, 0, shares, {})]
    assert Counter(whole) == {size: share * epochs for size, share in shares.items()}
    there = data.draw(st.sets(st.integers(0, len(whole) - 1)))
    known = {index: whole[index] for index in there}
    assert [(d.width, d.height) for d in drawings(job, 0, shares, known)] == whole


def test_mistakes_are_told_before_torch_is_loaded(project: Path):
    code = (
        "import sys; from renma.cli import main\n"
        f"status = main(['prepare', 'regularize', {str(project)!r}, '--dry-run'])\n"
        f"other = main(['prepare', 'regularize', {str(project / 'train')!r}])\n"
        "print(status, other, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "6 pictures would be drawn" in done.stdout
    assert "holds no run.toml" in done.stderr + done.stdout
    assert done.stdout.splitlines()[-1] == "0 2 False"
    assert not (project / "reg").exists()


def test_a_size_that_no_latent_has_is_refused(project: Path):
    with pytest.raises(UserError, match="--size 64x63"):
        made(project, size=(64, 63))


def test_a_folder_of_somebody_else_is_left_alone(project: Path):
    out = project / "reg" / "1_person"
    out.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(out / "mine.png")
    with pytest.raises(UserError, match="was not made by this command"):
        made(project, **QUICK)
    assert [path.name for path in out.iterdir()] == ["mine.png"]
