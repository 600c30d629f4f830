"""``renma judge`` from run to score.json, pictures really drawn on mame (G3)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from renma.cli import main
from renma.core.events import Silent
from renma.drawing import drawn_file, painter
from renma.judge.encoders.unet import UnetEncoder
from renma.judge.folder import RunRecord
from renma.judge.report import score_file
from renma.judge.scoring import examiner
from renma.judge.scoring.examiner import Examiner, Manner
from renma.judge.scoring.measure import MEASURES, Drawn, Yardstick
from testbed.small_run import COLOURS, LAST, learnt, small_run, step

CAPTIONS = sorted(f"aa12, person, {colour} hat, {n} dots" for n, colour in enumerate(COLOURS))
PROMPTS = ["aa12, person, wink", *CAPTIONS[:2]]
PLAIN = ["person", *[text.removeprefix("aa12, ") for text in CAPTIONS[:2]]]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory, mame: Any) -> tuple[Path, str]:
    """A run of two checkpoints that was judged, and what was printed.

    Its real pictures are what the second one draws.
    """
    judge = {
        "trigger_prompts": PROMPTS[:1],
        "class_prompts": PLAIN[:1],
        "pictures": 2,
        "attributes": {"hair_colour": "pink"},
    }
    folder = small_run(tmp_path_factory.mktemp("judged") / "run", judge=judge)
    learnt(folder, mame)
    with pytest.MonkeyPatch.context() as patch:
        told: list[str] = []
        patch.setattr("renma.cli.screen.Screen.line", lambda _, text: told.append(text))
        assert main(["judge", str(folder), "--device", "cpu"]) == 0
    return folder, "\n".join(told)


@pytest.fixture
def folder(judged: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(judged[0], tmp_path / "run"))


def score_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "score.json").read_text(encoding="utf-8"))


def drawn(folder: Path) -> list[tuple[Path, Any]]:
    return [(path, drawn_file.read(path)) for path in sorted((folder / "cells").glob("*.png"))]


def test_score_json_says_everything_by_its_stable_names(judged: tuple[Path, str]) -> None:
    folder, told = judged
    score = score_of(folder)
    paths = [f"lora/{step(10)}", f"lora/{LAST}"]
    assert [row["path"] for row in score["checkpoints"]] == paths
    assert [row["step"] for row in score["checkpoints"]] == [10, 20]
    assert [row["label"] for row in score["checkpoints"]] == ["step 10", "last (step 20)"]
    assert sorted(row["place"] for row in score["checkpoints"]) == [1, 2]
    best = next(row for row in score["checkpoints"] if row["place"] == 1)
    assert score["best"] == best["path"]
    assert score["runners_up"] == [path for path in paths if path != best["path"]]
    assert (score["version"], score["seed"], score["weight"]) == (2, 3, 1.0)
    assert (score["seconds"], score["peak_memory_mib"]) == (9.0, 512.0)
    assert score["pictures"] == {"trigger": 6, "class": 6}
    assert score["prompts"] == {"trigger": PROMPTS, "class": PLAIN}
    assert score["real_pictures"] == {"training": 4, "held_out": 0}
    assert score["encoder"] == "the base model's own U-Net"
    assert list(score["measures"]) == list(MEASURES)
    assert score["measures"]["likeness"]["better"] == "high"
    assert 0 <= score["confidence"] <= 1
    sides = [score["base"], score["real"], *score["checkpoints"]]
    assert all(list(one["scores"]) == list(MEASURES) for one in sides)
    for row in score["checkpoints"]:
        assert all(isinstance(number, float) for number in row["scores"].values())
        assert {"likeness", "leakage", "following", "copying", "loss"} == set(row["errors"])
        assert list(row["drift"]) == PLAIN
    assert score["base"]["scores"]["drift"] == 0
    assert score["base"]["scores"]["norm"] is None
    assert score["state"] == "undecided"  # of six pictures
    # the pictures trained on are what the last one draws
    assert score["best"] == paths[1]
    early, late = (row["scores"] for row in score["checkpoints"])
    assert late["likeness"] > early["likeness"] + 0.3 > score["base"]["scores"]["likeness"]
    assert late["leakage"] > 0.3
    # what is printed is what is written
    for sentence in (*score["verdict"], *score["advice"]):
        assert sentence in told
    assert f"best: {folder / 'best' / LAST}" in told
    read = score_file.read(folder / "score.json")
    assert (read.best, read.state, len(read.checkpoints)) == (score["best"], score["state"], 2)


def test_the_copy_of_the_best_is_the_best(judged: tuple[Path, str]) -> None:
    folder, _ = judged
    score = score_of(folder)
    assert score["copied"] == f"best/{LAST}"
    assert (folder / score["copied"]).read_bytes() == (folder / score["best"]).read_bytes()
    assert [path.name for path in (folder / "best").iterdir()] == [LAST]


def test_all_draw_the_same_prompts_from_the_same_noise(judged: tuple[Path, str]) -> None:
    folder, _ = judged
    asked: dict[str, list[tuple[str, int]]] = {}
    for _, recipe in drawn(folder):
        name = "".join(lora.name for lora in recipe.loras)
        asked.setdefault(name, []).append((recipe.prompt.text, recipe.prompt.seed))
        assert (recipe.prompt.width, recipe.prompt.height, recipe.prompt.steps) == (128, 128, 4)
    assert set(asked) == {"", "aa12-step00000010", "aa12"}
    base, *others = (sorted(rows) for rows in asked.values())
    assert all(rows == base for rows in others)
    counts = {text: [t for t, _ in base].count(text) for text in (*PROMPTS, *PLAIN)}
    assert counts == dict(zip((*PROMPTS, *PLAIN), (2, 2, 2) * 2, strict=True))
    # with and without the trigger from the same noise, other prompts from another one
    seeds = {text: {seed for t, seed in base if t == text} for text in counts}
    assert all(seeds[a] == seeds[b] for a, b in zip(PROMPTS, PLAIN, strict=True))
    assert len(set().union(*seeds.values())) == 6


def test_likeness_is_measured_on_the_pictures_of_each_checkpoint(
    judged: tuple[Path, str], mame: Any
) -> None:
    """From the cells alone: whose picture is whose stands in the files."""
    folder, _ = judged
    encoder = UnetEncoder(mame)
    real = encoder.encode([Image.open(p) for p in sorted((folder / "train").rglob("*.png"))])
    found: dict[str, Drawn] = {}
    for name in ("", "aa12-step00000010", "aa12"):
        rows = [(p, r.prompt) for p, r in drawn(folder) if "".join(x.name for x in r.loras) == name]
        parts = []
        for texts in (PROMPTS, PLAIN):
            some = [pair for pair in rows if pair[1].text in texts]
            some.sort(key=lambda pair: (texts.index(pair[1].text), pair[1].seed))
            parts.append(encoder.encode([Image.open(path).convert("RGB") for path, _ in some]))
        found[name] = Drawn(*parts)
    prompts = [0, 0, 1, 1, 2, 2]
    ruler = Yardstick(real, None, found[""], prompts, prompts)
    score = score_of(folder)
    names = ["", "aa12-step00000010", "aa12"]
    for name, row in zip(names, [score["base"], *score["checkpoints"]], strict=True):
        expected = ruler.measured(found[name]).values
        for measure, value in expected.items():
            assert row["scores"][measure] == pytest.approx(value, abs=2e-3), (name, measure)


def test_the_reader_of_mame_stands_beside_the_scores(judged: tuple[Path, str]) -> None:
    from renma.judge.attributes import AttributeReader

    folder, _ = judged
    score = score_of(folder)
    own = [p for p, r in drawn(folder) if not r.loras and r.prompt.text == PROMPTS[0]]
    read = AttributeReader.load().read([Image.open(path).convert("RGB") for path in own])
    share = sum(one["hair_colour"].label == "pink" for one in read) / 2
    assert score["read_with"] == "attributes"
    assert score["base_likeness"] == share == score["attributes"]["hair_colour"]["base_likeness"]
    for row in score["checkpoints"]:
        assert set(row["attributes"]["hair_colour"]) == {"likeness", "leakage"}


def test_evidence_shows_base_and_best(judged: tuple[Path, str]) -> None:
    with Image.open(judged[0] / "score.png") as picture:
        width, height = picture.size
    assert width > 6 * 128
    assert height > 4 * 128


@pytest.fixture
def count_drawn(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files of the pictures that are drawn from now on."""
    written: list[Path] = []
    write = drawn_file.write

    def told(path: Path, *rest: Any) -> None:
        written.append(path)
        write(path, *rest)

    monkeypatch.setattr(drawn_file, "write", told)
    return written


def test_a_second_judging_draws_nothing_and_prints_one_object(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = score_of(folder)
    monkeypatch.setattr(painter, "draw", lambda *_, **__: pytest.fail("all is drawn already"))
    assert main(["judge", str(folder), "--json", "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert json.loads(told) == score_of(folder) == before


def test_what_was_interrupted_goes_on_where_it_was(
    folder: Path, count_drawn: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = score_of(folder)
    cells = sorted((folder / "cells").iterdir())
    (folder / "score.json").unlink()
    shutil.rmtree(folder / "best")
    for path in cells[:5]:
        path.unlink()
    cells[6].write_bytes(cells[6].read_bytes()[:300])  # the machine went down

    class Killed(BaseException):
        pass

    counted_write = drawn_file.write

    def killed(path: Path, *rest: Any) -> None:
        if len(count_drawn) == 2:
            raise Killed
        counted_write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(drawn_file, "write", killed)
        with pytest.raises(Killed):
            main(["judge", str(folder), "--device", "cpu", "--batch-size", "1"])
    assert not (folder / "score.json").exists()
    assert main(["judge", str(folder), "--device", "cpu", "--batch-size", "1"]) == 0
    assert sorted(count_drawn) == [*cells[:5], cells[6]]  # each once
    after = score_of(folder)
    assert (after["best"], after["state"]) == (before["best"], before["state"])
    for old, new in zip(before["checkpoints"], after["checkpoints"], strict=True):
        # drawn beside others, a picture may differ by a level in 255
        assert new["scores"]["likeness"] == pytest.approx(old["scores"]["likeness"], abs=0.02)
        assert new["drift"] == pytest.approx(old["drift"], abs=0.02)


class Colours:
    """Sees the mean colour of each quarter of a picture."""

    name = "a toy"

    def encode(self, pictures: Any) -> np.ndarray:
        small = [np.asarray(p.resize((2, 2), Image.Resampling.BOX), np.float32) for p in pictures]
        return np.stack([row.ravel() for row in small])


def test_held_out_pictures_are_what_checkpoints_are_held_against(tmp_path: Path, mame: Any) -> None:
    run = small_run(tmp_path / "run", data={"validation_split": 0.5, "validation_seed": 1})
    more = run / "train" / "5_aa12 person"
    for number in range(4):
        Image.new("RGB", (128, 128), (60 * number, 20, 90)).save(more / f"more{number}.png")
        (more / f"more{number}.txt").write_text(f"aa12, more {number}", encoding="utf-8")
    for number, path in enumerate(sorted(more.glob("*.png"))):  # what mame never draws
        Image.new("RGB", (128, 128), (250, 3 * number, 250 - number)).save(path)
    one = Examiner(RunRecord.open(run), Silent(), loaded=mame, encoder=Colours())
    assert (len(one.training), len(one.held_out)) == (4, 4)
    assert not {item.path for item in one.training} & {item.path for item in one.held_out}
    score = one.base.scores
    assert len(score.each["loss"]) == 4
    held = Colours().encode([Image.open(item.path) for item in one.held_out])
    np.testing.assert_allclose(one.yardstick.subject.position(held), one.yardstick.subject.real)
    # prompts are made of the captions that were trained on
    assert not any("more" in q.text for q in one.questions.trigger) or any(
        "more" in item.path.name for item in one.training
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"train_folder": "gone"}}, "gone"),
        ({"output": {"trigger": ""}}, "no prompt and no trigger word"),
        ({"judge": {"pictures": 1, "trigger_prompts": ["aa12"]}, "output": {"trigger": ""}},
         "a single picture drawn is too few"),
        ({"judge": {"attributes": {"hair_color": "pink"}, "trigger_prompts": ["aa12"]}},
         "Did you mean 'hair_colour'"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_said_in_one_line_before_anything_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], said: str
) -> None:
    run = small_run(tmp_path / "run", **change)
    assert main(["judge", str(run)]) == 2
    told = capsys.readouterr().err.strip()
    assert said in told
    assert "\n" not in told
    assert not (run / "cells").exists()


def test_too_few_pictures_and_wrong_encoders_are_told_first_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = small_run(tmp_path / "run")
    assert main(["judge", str(run), "--encoder", "dino:nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    for colour in COLOURS[:2]:
        (run / "train" / "5_aa12 person" / f"{colour}.png").unlink()
    assert main(["judge", str(run)]) == 2
    told = capsys.readouterr().err.strip()
    assert "2 training pictures are too few to judge by" in told
    assert "\n" not in told
    shutil.rmtree(run / "train")
    assert main(["judge", str(run)]) == 2
    assert "train" in capsys.readouterr().err
    shutil.rmtree(run / "lora")
    assert main(["judge", str(run)]) == 2
    assert "Train first" in capsys.readouterr().err
    assert not (run / "cells").exists()


QUICK = {"trigger_prompts": ["aa12, hat"], "class_prompts": [], "pictures": 2}


def test_runs_upon_other_loras_draw_with_them_standing(tmp_path: Path, mame: Any) -> None:
    """start.base_weights: base pictures and losses have them too (E6)."""
    from renma.engine.network import Network
    from renma.judge.scoring.losses import Losses, Real

    run = small_run(
        tmp_path / "run",
        {20: 0.5},
        start={"base_weights": ["under.safetensors"], "base_strengths": [0.5]},
        judge=QUICK,
        output={"trigger": ""},
    )
    shutil.copy(run / "lora" / LAST, run / "under.safetensors")
    assert main(["judge", str(run), "--device", "cpu"]) == 0
    recipes = [recipe for _, recipe in drawn(run)]
    loras = sorted([(x.name, x.unet, x.text_encoder) for x in r.loras] for r in recipes)
    under = ("under", 0.5, 0.5)
    assert loras == [[under]] * 2 + [[under, ("aa12", 1.0, 1.0)]] * 2
    one = Examiner(RunRecord.open(run), Silent(), loaded=mame)
    real = [Real(i.path, f"aa12, person, {i.path.stem} hat, {COLOURS.index(i.path.stem)} dots")
            for i in one.training]  # fmt: skip
    from renma.diffusion.schedule import NoiseSchedule

    losses = Losses(mame, real, NoiseSchedule.of(mame.scheduler_config))
    bare = losses.measure().mean()
    with Network.from_file(mame, run / "under.safetensors").at(unet=0.5, text_encoder=0.5):
        expected = losses.measure().mean()
    found = score_of(run)["base"]["scores"]["loss"]
    assert found == pytest.approx(expected, abs=6e-5)
    assert abs(bare - expected) > 5e-4


def test_a_damaged_checkpoint_is_named_and_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strengths = {10: 0.1, 20: float("nan")}
    run = small_run(tmp_path / "run", strengths, judge=QUICK, output={"trigger": ""})
    cut = run / "lora" / step(15)
    cut.write_bytes(b"no")
    assert main(["judge", str(run), "--device", "cpu"]) == 0
    score = score_of(run)
    assert score["best"] == f"lora/{step(10)}"
    assert [row["path"] for row in score["checkpoints"]] == [score["best"]]
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("passed over") == 2
    assert cut.name in told
    assert "aa12.safetensors: it holds numbers that are none" in told


def test_a_run_of_damaged_checkpoints_has_no_best(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strengths = {10: float("nan"), 20: float("nan")}
    run = small_run(tmp_path / "run", strengths, judge=QUICK, output={"trigger": ""})
    assert main(["judge", str(run), "--device", "cpu"]) == 2
    assert "every checkpoint is damaged" in capsys.readouterr().err
    assert not (run / "best").exists()
    assert not (run / "score.json").exists()


def test_many_real_pictures_are_looked_at_a_few_at_a_time(tmp_path: Path, mame: Any) -> None:
    sizes: list[int] = []

    class Counting(Colours):
        def encode(self, pictures: Any) -> np.ndarray:
            sizes.append(len(pictures))
            return super().encode(pictures)

    run = small_run(tmp_path / "run")
    folder = run / "train" / "5_aa12 person"
    for number in range(250):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"aa12, {number}", encoding="utf-8")
    one = Examiner(RunRecord.open(run), Silent(), Manner(), loaded=mame, encoder=Counting())
    assert len(one.training) == examiner.MOST
    assert one._features(one.training).shape == (200, 12)
    assert max(sizes) <= examiner.LOOKED_AT
    assert sum(sizes) == 200
