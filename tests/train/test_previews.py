"""Previews of a run: what they leave, and that training never notices them. Row E8."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from renma.config.adapter import Lora
from renma.config.prompts import Prompt
from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from renma.engine.text_states import TextStates
from renma.train import preview_file, task
from renma.train.preview_file import Drawing, parameters
from renma.train.preview_sheet import (
    CELL,
    GAP,
    HEAD,
    LABEL,
    MOST_ROWS,
    MOST_STEPS,
    Drawn,
    Overview,
    sheet,
)
from renma.train.previews import Previews

END = "Training step: 30, Version: renma"
QUICK = {"width": 64, "height": 64, "steps": 1}


class Told:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict]] = []

    def event(self, kind: str, **data) -> None:
        self.events.append((kind, data))

    def line(self, text: str) -> None:
        pass

    def of(self, kind: str) -> list[dict]:
        return [data for k, data in self.events if k == kind]


def strong(mame) -> Network:
    """A network that changes pictures a lot."""
    network = Network.fresh(mame, Lora(rank=2, alpha=2), 1, ("unet",))
    generator = torch.Generator().manual_seed(2)
    for member in network.members.values():
        for parameter in member.adapter.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return network


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path), int)


@pytest.mark.parametrize("parts", ["unet", "both"])
def test_training_is_the_same_bits_with_and_without_previews(project: Path, parts: str):
    """sd-scripts saves and restores the random state around them; here there is none to restore."""
    text = (project / "run.toml").read_text().replace("max_steps = 6", "max_steps = 4")
    dropouts = "dropout = 0.2\nrank_dropout = 0.2\nmodule_dropout = 0.2\n"
    text = text.replace("rank = 2\n", f"rank = 2\n{dropouts}")
    if parts == "unet":  # then captions are encoded once and the encoder leaves
        text = text.replace("[train]", "[train]\ntext_encoder = false", 1)
    (project / "run.toml").write_text(text)
    how = (
        "sample.prompts=['aa12 --s 2 --ss euler_a --w 64 --h 64', '(a:1.3) --s 1 --w 64 --h 64']",
        "sample.every_steps=1", "sample.at_first=true", "sample.weights=[0.5, 1.0]",
    )  # fmt: skip
    files = []
    for name, values in {"with": how, "without": ()}.items():
        report = Told()
        options = TrainOptions(run=project / "run.toml", set=values, out=project / name)
        task.run(options, report)
        files.append(safetensors.torch.load_file(project / name / "lora" / "lora.safetensors"))
        assert len(report.of("sample")) == (4 * 5 if values else 0)
    assert files[0].keys() == files[1].keys()
    assert all(torch.equal(files[0][name], files[1][name]) for name in files[0])


def test_each_prompt_is_drawn_at_each_weight(mame, tmp_path: Path):
    """kohya.md 8, item 30: previews at the LoRA's full weight alone told little about its use."""
    prompts = [Prompt(text="aa12", negative="b", **QUICK), Prompt(text="c", seed=7, **QUICK)]
    network, report = strong(mame), Told()
    previews = Previews(prompts, tmp_path, 42, weights=(0.0, 0.5, 1.0), lora="mine")
    network.attach()
    try:
        before = dict(network.strength)
        previews.draw(mame, 30, report, None, network)
        assert network.strength == before
        expected = draw(mame, [Shot("c", seed=7, **QUICK)])[0]
    finally:
        network.detach()
    files = {path.name for path in (tmp_path / "samples").iterdir()}
    assert files == {f"step-00000030-{i:02d}-w{w}.png" for i in (0, 1) for w in ("0", "0.5", "1")}
    told = [(row["index"], row["prompt"], row["weight"]) for row in report.of("sample")]
    wanted = [("aa12", 0.0), ("aa12", 0.5), ("aa12", 1.0), ("c", 0.0), ("c", 0.5), ("c", 1.0)]
    assert sorted(told) == [(i, *row) for i, row in enumerate(wanted)]
    assert [row["done"] for row in report.of("sampling")] == [2, 4, 6]
    plain, half, full = (
        pixels(tmp_path / "samples" / f"step-00000030-01-w{w}.png") for w in ("0", "0.5", "1")
    )
    assert np.abs(full - np.asarray(expected, int)).max() <= 1
    (base,) = draw(mame, [Shot("c", seed=7, **QUICK)])
    assert np.abs(plain - np.asarray(base, int)).max() <= 1
    assert min(np.abs(full - half).max(), np.abs(half - plain).max()) > 9


def test_a_preview_says_what_it_was_drawn_from(mame, tmp_path: Path):
    """The chunk ``parameters`` is what Stable Diffusion web UIs read back into their forms."""
    prompt = Prompt(
        text="aa12, 雨 (smile:1.2)", negative="blurry", scale=4.5, sampler="k_euler_a", **QUICK
    )
    Previews([prompt], tmp_path, 42, lora="mine").draw(mame, 30, Told(), None)
    with Image.open(tmp_path / "samples" / "step-00000030-00.png") as picture:
        text, about = picture.info["parameters"], json.loads(picture.info["renma"])
    seed = about["seed"]
    assert text.splitlines() == [
        "aa12, 雨 (smile:1.2) <lora:mine:1>",
        "Negative prompt: blurry",
        f"Steps: 1, Sampler: Euler a, CFG scale: 4.5, Seed: {seed}, Size: 64x64, {END}",
    ]
    kept = {key: about[key] for key in ("prompt", "negative", "scale", "sampler", "weight", "step")}
    assert kept == {
        "prompt": prompt.text, "negative": "blurry", "scale": 4.5, "sampler": "k_euler_a",
        "weight": 1.0, "step": 30,
    }  # fmt: skip
    shot = Shot(about["prompt"], about["negative"], 64, 64, seed, 1, 4.5, about["sampler"])
    (again,) = draw(mame, [shot])
    drawn = pixels(tmp_path / "samples" / "step-00000030-00.png")
    assert np.abs(drawn - np.asarray(again, int)).max() <= 1


def test_a_prompt_without_a_negative_has_no_such_line():
    drawing = Drawing(Shot("a", seed=3, sampler="dpmsingle", rescale=0.7), 0.6, 0, 0, True)
    assert parameters(drawing, (512, 768), "b", 30).splitlines() == [
        "a <lora:b:0.6>",
        "Steps: 20, Sampler: dpmsingle, CFG scale: 7.5, Seed: 3, Size: 512x768, CFG Rescale: 0.7, "
        + END,
    ]


def test_texts_are_ready_when_the_encoder_has_left(mame, tmp_path: Path, monkeypatch):
    long = "smile, " * 40
    prompts = [
        Prompt(text=long, negative="(blurry:1.2)", **QUICK),
        Prompt(text="aa12", negative="never asked for", scale=1, **QUICK),
    ]
    previews, text = Previews(prompts, tmp_path, 42), TextStates(mame)
    previews.prepare(mame, text)
    monkeypatch.setattr(mame, "text_encoder", None)
    report = Told()
    previews.draw(mame, 1, report, text.condition)
    assert len(report.of("sample")) == 2
    assert text.missing(["never asked for"], chunks=1) == ["never asked for"]


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "not enough memory to draw a preview"),
        (UserError("cannot be written (No space left on device)"), "No space left"),
    ],
)
def test_a_failure_is_said_once_and_the_next_time_is_tried_again(
    mame, tmp_path: Path, monkeypatch, failure: Exception, message: str
):
    previews, report = Previews([Prompt(text="a", **QUICK)], tmp_path, 42), Told()
    network = strong(mame)
    previews.weights = (0.5,)

    def fails(*_, **__):
        raise failure

    with monkeypatch.context() as patched:
        if isinstance(failure, UserError):
            patched.setattr(preview_file, "write_atomic", fails)
        else:
            patched.setattr(mame, "predict", fails)
        for step in (1, 2):
            previews.draw(mame, step, report, None, network)
            assert network.strength == {"unet": 1.0, "text_encoder": 1.0}
    (warning,) = report.of("warned")
    assert message in warning["text"]
    previews.draw(mame, 3, report, None, network)
    assert [row["step"] for row in report.of("sample")] == [3]


def test_a_defect_is_no_lack_of_memory(mame, tmp_path: Path, monkeypatch):
    def fails(*_):
        raise RuntimeError("mat1 and mat2")

    monkeypatch.setattr(mame, "predict", fails)
    with pytest.raises(RuntimeError, match="mat1"):
        Previews([Prompt(text="a", **QUICK)], tmp_path, 42).draw(mame, 1, Told(), None)


def tile(step: int, number: int, colour: str, size: tuple[int, int] = (40, 30)) -> Drawn:
    how = ("seed 1", "ddim, 4 steps")
    return Drawn(step, (number, 1.0), f"{number}: prompt", how, Image.new("RGB", size, colour))


def at(page: Image.Image, column: int, row: int, size: tuple[int, int] = (40, 30)) -> object:
    """The colour in the middle of a cell."""
    x = LABEL + column * (size[0] + GAP) + size[0] // 2
    return page.getpixel((x, HEAD + row * (size[1] + GAP) + size[1] // 2))


def test_the_overview_has_a_row_a_prompt_and_a_column_a_time():
    red, green, blue = (255, 0, 0), (0, 128, 0), (0, 0, 255)
    page = sheet([tile(10, 1, "green"), tile(9, 0, "red"), tile(10, 0, "blue")])
    assert page.size == (LABEL + 2 * (40 + GAP), HEAD + 2 * (30 + GAP))
    cells = [[at(page, column, row) for column in (0, 1)] for row in (0, 1)]
    assert cells == [[red, blue], [(255, 255, 255), green]]
    labels = page.crop((0, HEAD, LABEL, page.height)).convert("L")
    heads = page.crop((LABEL, 0, page.width, HEAD)).convert("L")
    assert labels.getextrema()[0] < 99  # something is written there
    assert heads.getextrema()[0] < 99


def test_labels_tell_seed_and_sampler_and_keep_room_for_them(tmp_path: Path):
    """What decides how a picture looks is read off the sheet; a long prompt is cut for it."""
    shot = Shot("aa12, " + "smile, " * 60, seed=4711, sampler="dpmsolver++", steps=30)
    picture = Image.new("RGB", (64, 64), "grey")
    path = tmp_path / "samples" / "step-00000005-00.png"
    path.parent.mkdir()
    preview_file.write(path, picture, Drawing(shot, 1.0, 0, 0, False), "lora", 5)
    (drawn,) = Overview(tmp_path).scan()
    assert drawn.drawn_with == ("seed 4711", "dpmsolver++, 30 steps")
    labels = [
        sheet([replace(drawn, drawn_with=how)]).crop((0, HEAD, LABEL, HEAD + 64)).tobytes()
        for how in (drawn.drawn_with, ("seed 4711", "ddim, 30 steps"), ("seed 1", "ddim, 30 steps"))
    ]
    assert len(set(labels)) == 3


def test_the_overview_stays_of_a_size_that_can_be_looked_at():
    many = [tile(step, number, "grey", (8, 8)) for step in range(40) for number in range(30)]
    many[0], many[39 * 30] = tile(0, 0, "red", (8, 8)), tile(39, 0, "blue", (8, 8))
    page = sheet(many)
    assert page.size == (LABEL + MOST_STEPS * (8 + GAP), HEAD + MOST_ROWS * (8 + GAP))
    assert at(page, 0, 0, (8, 8)) == (255, 0, 0)
    assert at(page, MOST_STEPS - 1, 0, (8, 8)) == (0, 0, 255)


def test_the_overview_grows_and_a_resumed_run_goes_on_with_it(mame, tmp_path: Path):
    prompts = [Prompt(text="雨", width=64, height=256, steps=1)]
    Previews(prompts, tmp_path, 42).draw(mame, 1, Told(), None)
    one = pixels(tmp_path / "previews.png").shape[1::-1]
    assert one == (LABEL + CELL // 4 + GAP, HEAD + CELL + GAP)
    (tmp_path / "samples" / "step-mine.png").write_bytes(b"no picture")
    Image.new("RGB", (9, 9)).save(tmp_path / "samples" / "step-00000001-09.png")
    later = Previews(prompts, tmp_path, 42)
    later.draw(mame, 2, Told(), None)
    later.draw(mame, 3, Told(), None)
    three = pixels(tmp_path / "previews.png").shape[1::-1]
    assert three == (LABEL + 3 * (CELL // 4 + GAP), one[1])
    assert [drawn.step for drawn in Overview(tmp_path).scan()] == [1, 2, 3]
    assert Overview(tmp_path / "empty").write() is None
