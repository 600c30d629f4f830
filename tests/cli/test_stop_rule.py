"""`renma train` with `[stop]`, judged by the real judge from the first step on (G3)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from renma.cli import app


def test_a_new_run_is_judged_while_it_trains_and_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, run = tmp_path / "mine", tmp_path / "mine" / "run"
    assert app.main(["init", str(project), "--sample", "character"]) == 0
    values = [
        "train.max_steps=8", "train.save_every_steps=1", "train.threads=1", "train.precision=fp32",
        "stop.every_checkpoints=1", "stop.patience=1", "stop.min_delta=0.9",
        "judge.pictures=2", "sample.steps=1", "sample.every_steps=0", "data.reg_folder=''",
    ]  # fmt: skip
    words = [word for value in values for word in ("--set", value)]
    assert app.main(["train", str(project / "run.toml"), *words, "--out", str(run)]) == 0
    text = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in text]
    judged = [event for event in events if event["kind"] == "judged"]
    # nothing betters the first by 90 points, so the second is the last before the finished LoRA
    assert [event["step"] for event in judged][:2] == [1, 2]
    (end,) = [event for event in events if event["kind"] == "finished"]
    assert end["steps"] == 2
    assert "stopped early" in end["reason"]
    best = max(judged, key=lambda event: event["merit"])
    copy = (run / "best" / "aa12.safetensors").read_bytes()
    assert copy == (run / best["path"]).read_bytes()
    capsys.readouterr()
    # what it drew for its judgements is what `renma judge` looks at
    cells = set((run / "cells").iterdir())
    assert app.main(["judge", str(run), "--json"]) == 0
    assert set((run / "cells").iterdir()) == cells
    score = json.loads(capsys.readouterr().out)
    assert {row["step"] for row in score["checkpoints"]} == {1, 2}
    merits = {event["step"]: event["merit"] for event in judged}
    for row in score["checkpoints"]:
        assert row["merit"] == pytest.approx(merits[row["step"]], abs=2e-4)
