"""Thresholds tried on kept scores: the page counts as the tagger would choose (C1, C3)."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from renma.caption.choose import Opinion, choose
from renma.caption.scores import Scores
from renma.config.caption.tag import TagOptions
from renma.core.store import file_hash
from renma.engine.taggers._base import find
from renma.engine.taggers._session import Settings
from renma.studio.pictures.guesses import STEPS, step_of


@given(
    score=st.floats(0.015625, 1, width=32) | st.integers(1, STEPS).map(lambda k: k / STEPS),
    step=st.integers(1, STEPS),
)
def test_a_step_says_exactly_what_comparing_says(score: float, step: int):
    assert (step_of(score) >= step) == (score >= step / STEPS)


def test_counts_by_threshold_are_those_of_the_tagger(
    client: TestClient, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RENMA_CACHE", str(tmp_path / "cache"))
    tagger, chance = find(None), random.Random(5)
    tags = tagger.tags()
    scores = Scores(tagger, Settings())
    kept: list[dict[int, float]] = []
    (workspace / "set").mkdir()
    for number in range(6):
        file = workspace / "set" / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file)
        if number == 5:
            continue  # nobody looked at it
        row = np.array([chance.random() ** 2 for _ in tags], np.float32)
        scores.put(file_hash(file), row)
        kept.append(scores.get(file_hash(file)))
    found = client.get("/api/datasets/scores", params={"path": "set"}).json()
    assert (found["known"], found["total"]) == (5, 6)
    for step in (1, 20, 35, 50, 85, 100):
        options = TagOptions(
            folder=workspace, threshold=step / STEPS, character_threshold=step / STEPS
        )
        wanted: dict[str, int] = {}
        for row in kept:
            for each in choose([Opinion(tags, row)], options):
                if each.tag.category not in ("rating", "quality"):
                    wanted[each.tag.name] = wanted.get(each.tag.name, 0) + 1
        assert _reached(found["rows"], step) == wanted
    (one, *_) = client.get(
        "/api/datasets/scores/one", params={"path": "set", "name": "0.png"}
    ).json()
    best = max(kept[0], key=lambda place: kept[0][place])
    assert one["tag"] == tags[best].name
    none = client.get("/api/datasets/scores/one", params={"path": "set", "name": "5.png"})
    assert none.json() == []


def _reached(rows: list[dict[str, Any]], step: int) -> dict[str, int]:
    counts = {row["tag"]: sum(n for at, n in row["bins"] if at >= step) for row in rows}
    return {tag: count for tag, count in counts.items() if count}


def test_a_tagger_outside_of_the_workspace_is_not_opened(client: TestClient, workspace: Path):
    (workspace / "set").mkdir()
    Image.new("RGB", (8, 8)).save(workspace / "set" / "a.png")
    for model in ("/etc/passwd", "../x.onnx", "~/x.onnx"):
        asked = {"path": "set", "model": model}
        assert client.get("/api/datasets/scores", params=asked).status_code == 403
        assert client.post("/api/datasets/tag", json=asked).status_code == 403
    assert client.get("/api/jobs").json() == []
