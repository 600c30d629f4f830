"""The stop rule's referee judges as ``renma judge`` does, and leaves the lent model alone (G3, D4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from renma.cli import main
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.judge.referee import RunReferee
from testbed.small_run import LAST, learnt, small_run, step

JUDGE = {
    "trigger_prompts": ["aa12, hat", "aa12, cat"],
    "class_prompts": ["person"],
    "pictures": 2,
}


def test_its_merit_is_that_of_the_score_and_the_model_is_as_it_was(
    tmp_path: Path, mame: Any
) -> None:
    strengths = {10: 0.5, 20: 1.0}
    run = small_run(tmp_path / "run", strengths, judge=JUDGE, output={"trigger": ""})
    learnt(run, mame)
    before = {
        (part, name): value.clone()
        for part, module in mame.parts().items()
        for name, value in module.state_dict().items()
    }
    modules = [m for part in mame.parts().values() for m in part.modules()]
    forwards = {id(m): m.__dict__.get("forward") for m in modules}
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in modules]
    referee = RunReferee(run, Silent())
    found = {name: referee.merit(run / "lora" / name, 10, mame) for name in (step(10), LAST)}
    after = {
        (part, name): value
        for part, module in mame.parts().items()
        for name, value in module.state_dict().items()
    }
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert all(m.__dict__.get("forward") is forwards[id(m)] for m in modules)
    assert [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in modules] == hooks
    assert not any(m.training for m in modules)
    cells = {path.name: path.stat().st_mtime_ns for path in (run / "cells").iterdir()}
    assert main(["judge", str(run), "--device", "cpu"]) == 0
    # nothing is drawn again
    assert {path.name: path.stat().st_mtime_ns for path in (run / "cells").iterdir()} == cells
    rows = json.loads((run / "score.json").read_text(encoding="utf-8"))["checkpoints"]
    assert rows[1]["merit"] > 0.2
    assert max(row["errors"]["leakage"] for row in rows) > 0.01
    for row in rows:
        judgement = found[Path(row["path"]).name]
        assert judgement.merit == pytest.approx(row["merit"], abs=2e-3)
        like, leak = row["errors"]["likeness"], row["errors"]["leakage"]
        assert judgement.error == pytest.approx((like**2 + (leak / 4) ** 2) ** 0.5, abs=2e-3)


def test_equal_checkpoints_get_equal_judgements_without_a_lent_model(tmp_path: Path) -> None:
    judge = JUDGE | {"trigger_prompts": ["aa12, hat"], "class_prompts": []}
    run = small_run(tmp_path / "run", {10: 0.5, 20: 0.5}, judge=judge, output={"trigger": ""})
    referee = RunReferee(run, Silent())
    first = referee.merit(run / "lora" / step(10), 10, None)
    assert referee.merit(run / "lora" / step(10), 10, None) == first
    assert referee.merit(run / "lora" / LAST, 20, None) == first


def test_mistakes_are_told_before_the_first_step(tmp_path: Path) -> None:
    """It is made when a run begins: there is no checkpoint yet."""
    run = small_run(tmp_path / "run", judge=JUDGE, output={"trigger": ""})
    for path in (run / "lora").iterdir():
        path.unlink()
    referee = RunReferee(run, Silent())
    with pytest.raises(UserError, match="checkpoint of step 10 is gone"):
        referee.merit(run / "lora" / step(10), 10, None)
    unasked = small_run(tmp_path / "unasked", output={"trigger": ""})
    with pytest.raises(UserError, match="no trigger word"):
        RunReferee(unasked, Silent())
    few = small_run(tmp_path / "few")
    for path in sorted((few / "train").rglob("*.png"))[2:]:
        path.unlink()
    with pytest.raises(UserError, match="too few"):
        RunReferee(few, Silent())


def test_a_broken_file_is_a_mistake_of_its_own(tmp_path: Path, mame: Any) -> None:
    run = small_run(tmp_path / "run", {20: 0.5}, judge=JUDGE, output={"trigger": ""})
    (run / "lora" / LAST).write_bytes(b"broken")
    with pytest.raises(UserError):
        RunReferee(run, Silent()).merit(run / "lora" / LAST, 20, mame)
