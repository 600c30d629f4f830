"""The preflight's figures beside what training and other libraries then do (G2, D4, C7, C9, E5)."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from renma.cli.app import main
from renma.config import load_run
from renma.config.run_tasks import InitOptions, TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.data.latent_key import all_wanted
from renma.train import plan_table
from renma.train.check import table
from renma.train.feed import Feed
from renma.train.plan import Plan, prepare


def planned(project: Path, *values: str) -> Plan:
    return prepare(load_run(project / "run.toml", values), project).plan


def answer(capsys, *words: str) -> dict:
    assert main(["check", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def crooked(project: Path) -> Path:
    """The project with one picture so long that buckets cut it."""
    Image.new("RGB", (300, 64), "red").save(project / "train" / "2_aa12 person" / "red.png")
    return project


def test_crop_loss_is_what_pillow_would_cut_away(crooked: Path):
    """The longest picture goes to 128x32 at most: 300x64 becomes 150x32, of which 22 are cut."""
    rows = {row.size: row for row in planned(crooked).bucket_rows}
    row = rows["128x32"]
    assert row.worst_picture == "red.png"
    assert row.worst == pytest.approx(1 - 128 / 150, abs=1e-4)
    assert row.pictures == 1
    # 96x64 covers 64x64 at its own height
    assert (rows["64x64"].worst, rows["64x64"].worst_picture) == (
        pytest.approx(1 / 3, abs=1e-4),
        "grey.png",
    )
    assert rows["64x64"].cropped == pytest.approx(1 / 12, abs=1e-4)


def test_bars_are_as_long_as_the_buckets_are_full(crooked: Path):
    plan = planned(crooked)
    bars = {m[1]: len(m[2]) for x in table(plan) if (m := re.match(r"\s+(\d+x\d+) (█+)", x))}
    assert bars.keys() == plan.buckets.keys()
    most = max(plan.buckets.values())
    for size, count in plan.buckets.items():
        assert bars[size] == max(1, round(24 * count / most))


def test_showings_are_those_of_the_order(project: Path):
    """Counted batch by batch over the whole run, by a plain loop."""
    run = load_run(project / "run.toml", ["train.max_steps=11"])
    prepared = prepare(run, project)
    counts: Counter[tuple[int, int]] = Counter()
    batches = (b for epoch in range(99) for b in prepared.order.epoch(epoch))
    for _, batch in zip(range(11), batches, strict=False):
        counts.update((s.set_index, s.item_index) for s in batch.showings)
    items = prepared.scan.sets[0].items
    trained = [n for (_, i), n in counts.items() if not items[i].subset.is_reg]
    found = prepared.plan.seen
    assert (found.least, found.most, found.never) == (min(trained), max(trained), 0)
    assert found.average == pytest.approx(sum(trained) / 3, abs=0.05)
    assert planned(project, "train.max_steps=1").seen.never > 0


@pytest.mark.parametrize(
    "values",
    [
        ("train.save_every_steps=4", "train.max_steps=9"),
        ("train.save_every_steps=0", "train.save_every_epochs=1", "train.max_epochs=3"),
        ("train.save_every_steps=5", "train.save_every_epochs=2", "train.max_steps=15"),
        ("train.save_every_epochs=1", "train.gradient_accumulation_steps=4", "train.max_steps=5"),
        ("train.save_every_steps=2", "train.keep_checkpoints=2", "train.max_steps=8"),
    ],
    ids=["steps", "epochs", "both", "accumulated", "kept"],
)
def test_files_are_those_that_training_writes(project: Path, values: tuple[str, ...]):
    options = TrainOptions(run=project / "run.toml", set=values, out=project / "o")
    from renma.train import task

    task.run(options, Silent())
    saved = [row for row in read_events(project / "o" / "events.jsonl") if row["kind"] == "saved"]
    plan = planned(project, *values)
    wrote = {(Path(row["path"]).name, row["step"]) for row in saved}
    assert set(plan.saves.files) == wrote
    left = list((project / "o" / "lora").glob("*.safetensors"))
    assert len(left) == plan.saves.kept
    assert plan.saves.file_bytes <= left[0].stat().st_size < plan.saves.file_bytes + 200_000
    state = max((project / "o" / "state").glob("step-*.safetensors")).stat().st_size
    assert plan.saves.state_bytes == pytest.approx(state, rel=0.25)


def test_previews_are_those_that_training_draws(project: Path):
    values = ["sample.prompts=['a --s 1']", "sample.every_steps=2", "sample.at_first=true"]
    assert planned(project, *values).saves.preview_steps == (0, 2, 4, 6)
    epochs = [values[0], "sample.every_epochs=1", "train.max_epochs=2"]
    plan = planned(project, *epochs)
    assert plan.saves.preview_steps == (plan.batches_per_epoch, plan.steps)
    assert planned(project).saves.preview_steps == ()


def test_tokens_are_those_of_transformers(project: Path, capsys):
    """C9: real CLIP tokens, of the caption as it is shown, with the tags in their new order."""
    from transformers import CLIPTokenizer

    from renma import assets

    theirs = CLIPTokenizer.from_pretrained(assets.MAME / "tokenizer")
    found = answer(capsys, str(project / "run.toml"), "--captions")
    assert len(found["showings"]) == 5
    for row in found["showings"]:
        assert row["tokens"] == len(theirs(row["caption"])["input_ids"]) - 2
        assert row["cut"] == 0
    longest = max(found["showings"], key=lambda row: row["tokens"])
    assert found["captions"]["longest"] == longest["tokens"]


def test_captions_keep_the_trigger_in_front_and_are_shuffled_behind_it(project: Path, capsys):
    """C7: what is printed is what the first epoch shows."""
    folder = project / "train" / "2_aa12 person"
    tags = [f"tag{n}" for n in range(12)]
    for path in folder.glob("*.txt"):
        path.write_text(", ".join(["aa12", *tags]))
    said = answer(capsys, str(project / "run.toml"), "--captions")["showings"]
    rows = [row["caption"].split(", ") for row in said if "aa12" in row["caption"]]
    assert len(rows) == 3
    assert all(row[0] == "aa12" for row in rows)
    assert all(sorted(row[1:]) == sorted(tags) for row in rows)
    assert any(row[1:] != tags for row in rows)


def test_cut_captions_are_told_with_the_longest(project: Path, capsys):
    path = project / "train" / "2_aa12 person" / "red.txt"
    path.write_text("aa12, " + ", ".join(["long hair"] * 40))
    said = " ".join(planned(project).warnings)
    assert re.search(
        r"1 caption longer than the 75 tokens .* of red.png, has \d+\. Set model.max_to", said
    )
    assert "tokens" not in " ".join(planned(project, "model.max_tokens=225").warnings)
    assert main(["check", str(project / "run.toml"), "--captions"]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if "CUT" in x]
    tokens, cut = int(line.split()[0]), int(line.split("CUT")[1])
    assert cut == tokens - 75


@pytest.mark.parametrize("sample", ["character", "style"])
def test_the_sample_projects_are_not_called_odd(sample: str, tmp_path: Path):
    from renma.use import init

    init.run(InitOptions(folder=tmp_path / "p", sample=sample), Silent())
    plan = planned(tmp_path / "p")
    assert (plan.warnings, plan.notes) == ((), ())


def test_the_table_is_narrow_and_names_everything(project: Path):
    values = [f"train.max_steps={10**5}", "train.save_every_steps=7", "data.validation_split=0.3"]
    plan = planned(project, *values, "sample.prompts=['a']", "sample.every_steps=9")
    lines = plan_table.lines(plan)
    assert max(map(len, lines)) <= plan_table.WIDTH
    said = "\n".join(lines)
    for word in ("1 held out", "regularisation", "previews", "states", "memory", "learning rate"):
        assert word in said


def test_presets_are_shown(project: Path, capsys):
    run = (project / "run.toml").read_text()
    (project / "run.toml").write_text('preset = "sd15-8gb"\n' + run)
    assert main(["check", str(project / "run.toml")]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["preset", "sd15-8gb"]


def test_json_has_the_findings_with_reason_and_remedy(project: Path, capsys):
    found = answer(capsys, str(project / "run.toml"), "--set", "adapter.alpha=64")
    (row,) = [r for r in found["findings"] if r["rule"] == "strong-scale"]
    assert row["level"] == "warning"
    assert row["where"] == "adapter.alpha"
    assert all(row[key] for key in ("message", "reason", "remedy"))
    assert found["rates"] == {"unet": 1e-3, "text_encoder": 1e-3}
    assert found["memory"]["activations"] > 0


@pytest.mark.timed
def test_a_second_check_of_a_thousand_pictures_is_quick(project: Path, tmp_path: Path, monkeypatch):
    """G2: under 2 seconds, all of it: settings, scan, plan, table. Every picture is another file."""
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))
    for number in range(1000):
        folder = project / "train" / f"1_aa12 part{number % 100}"
        folder.mkdir(exist_ok=True)
        colour = (number % 256, number // 256, 99)
        Image.new("RGB", (64 + 8 * (number % 5), 64), colour).save(folder / f"{number:04}.png")
        (folder / f"{number:04}.txt").write_text(f"aa12, smile, {number}")
    words = ["check", str(project / "run.toml"), "--set", "train.max_steps=5000"]
    assert main(words) == 0
    before = time.process_time()
    assert main(words) == 0
    assert time.process_time() - before < 2


@pytest.mark.timed
def test_a_check_takes_no_longer_for_a_longer_run(project: Path):
    """The longest run there can be, with regularisation pictures that take turns."""
    values = ["train.save_every_steps=0"]
    planned(project, *values)
    before = time.process_time()
    plan = planned(project, *values, "train.max_steps=10_000_000", "schedule={name='cosine'}")
    assert time.process_time() - before < 1
    assert plan.steps == 10**7
    with pytest.raises(UserError, match="max_steps"):
        load_run(project / "run.toml", ["train.max_steps=10_000_001"])


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("data.flip_aug=true",),
        ("data.validation_split=0.4", "data.flip_aug=true"),
        ("data.random_crop=true",),
        ("data.color_aug=true", "data.validation_split=0.4"),
        ("data.enable_bucket=false", "data.random_crop=true"),
    ],
    ids=lambda values: " ".join(values) or "plain",
)
def test_the_plan_and_the_run_want_the_same_latents(crooked: Path, values: tuple[str, ...]):
    """What the plan counts as missing is what a run then encodes, to the key."""
    run = load_run(crooked / "run.toml", values)
    prepared = prepare(run, crooked)
    nothing: Any = None
    theirs = Feed(run, prepared, nothing).all_wanted()
    ours = list(all_wanted(prepared.order))
    assert [wanted.key("vae") for wanted in ours] == [wanted.key("vae") for wanted in theirs]
    assert len(ours) or "color_aug" in values[0]


def test_latents_in_the_cache_are_counted(project: Path, tmp_path: Path, monkeypatch):
    """E7: none at first; after a run all that it encoded; a changed picture is missing again."""
    from renma.train import task

    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))

    (project / "train" / "2_aa12 person" / "red.txt").write_text("aa12, only here")
    Image.new("RGB", (64, 64), (1, 2, 3)).save(project / "train" / "2_aa12 person" / "new.png")
    values = ("train.max_steps=1", "data.flip_aug=true", "train.device=cpu")
    before = planned(project, *values).cached
    assert (before.latents, before.there, before.anew) == (12, 0, 0)
    events = []

    class Watch(Silent):
        def event(self, kind: str, **data) -> None:
            events.append((kind, data))

    task.run(TrainOptions(run=project / "run.toml", set=values, out=project / "o"), Watch())
    made = [
        data["total"] for kind, data in events if kind == "caching" and data["what"] == "latents"
    ]
    assert made[0] == before.latents
    assert planned(project, *values).cached.there == before.latents
    Image.new("RGB", (64, 64), (3, 2, 1)).save(project / "train" / "2_aa12 person" / "new.png")
    assert planned(project, *values).cached.there == before.latents - 2
    assert planned(project, *values, "data.color_aug=true").cached.anew == 6
