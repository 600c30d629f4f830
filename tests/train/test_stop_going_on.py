"""A run that ended by itself: what a resume says, how it goes on; its plan and its door (G2, G3)."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from renma.cli import main
from renma.config import load_run
from renma.core.errors import UserError
from renma.core.events import Silent
from renma.core.judgement import Judgement
from renma.train import check
from renma.train.plan import prepare
from renma.train.signals import StopRequest
from testbed.heard import Heard
from testbed.referees import FEW, Scripted, judged
from testbed.runs import kinds, rows

ON = ("train.max_steps=4", "train.save_every_steps=1", "stop.every_checkpoints=1", FEW)
PEAK = {1: 0.9, 2: 0.2, 3: 0.95, 4: 0.5}


def test_resume_says_why_it_ended_and_how_to_go_on(project: Path):
    referee = Scripted(PEAK)
    out = judged(project, "a", referee, *ON, "stop.patience=1")
    before = kinds(out)
    (out / "lora" / "lora.safetensors").unlink()
    heard = Heard()
    judged(project, "a", referee, *ON, "stop.patience=1", resume=True, report=heard)
    new = set(kinds(out)[len(before) :])
    assert "saved" in new  # the lost file came back, nothing else happened
    assert not new & {"started", "step", "judged", "finished"}
    said = "\n".join(heard.lines)
    assert "nothing to do: after step 2 of 4 it stopped early: no betterment in 1 judging" in said
    assert "step 1, merit 0.900" in said
    assert "--set stop.patience=2, or stop.every_checkpoints=0 to the last step" in said
    judged(project, "a", referee, *ON, "stop.patience=2", resume=True)
    assert referee.asked == [1, 2, 3, 4]  # step 3 came in time
    assert rows(out, "finished")[-1]["steps"] == 4
    assert "reason" not in rows(out, "finished")[-1]
    assert rows(out, "judged")[-1]["best_step"] == 3


def test_less_patience_ends_a_run_that_goes_on_and_no_rule_takes_it_to_its_end(project: Path):
    out = judged(project, "a", Scripted(PEAK), *ON, "train.max_steps=2", "stop.patience=9")
    judged(project, "a", Scripted(PEAK), *ON, "stop.patience=1", resume=True)
    assert rows(out, "finished")[-1]["steps"] == 2
    assert rows(out, "finished")[-1]["reason"].startswith("stopped early")
    off = ("train.max_steps=3", "stop.every_checkpoints=0")
    judged(project, "a", Scripted({}), *ON, *off, resume=True)
    assert [row["step"] for row in rows(out, "step")] == [1, 2, 3]
    assert rows(out, "finished")[-1]["steps"] == 3


def test_nobody_who_wants_to_stop_waits_for_a_judging(project: Path, monkeypatch):
    """What is due then is judged first when the run goes on."""
    from renma.core.errors import Interrupted

    referee = Scripted(PEAK)
    with monkeypatch.context() as patch:
        patch.setattr(StopRequest, "exit_code", property(lambda _: 130, lambda *_: None), False)
        with pytest.raises(Interrupted, match="stopped after step 1"):
            judged(project, "a", referee, *ON, "train.max_steps=2")
    assert not referee.asked
    judged(project, "a", referee, *ON, "train.max_steps=2", resume=True)
    assert referee.asked == [1, 2]


def test_check_shows_when_it_judges_and_what_that_takes(project: Path):
    values = [
        *ON,
        "train.max_steps=8",
        "judge.trigger_prompts=['aa12', 'aa12, smile']",
        "judge.pictures=3",
    ]
    run = load_run(project / "run.toml", values)
    plan = prepare(run, project).plan
    assert plan.judgings.steps == (1, 2, 3, 4, 5, 6, 7, 8)
    assert plan.judgings.pictures == 6
    assert plan.judgings.seconds > 0
    (line,) = [row for row in check.table(plan) if row.startswith("judged")]
    assert "after step 1, 2, 3, 4 ... 8, about 6 pictures each time" in line
    # nine times six pictures of 20 steps with guidance, against 8 steps of two pictures
    assert any(finding.rule == "dear-judging" for finding in plan.findings)
    half = [*values, "sample.steps=10"]
    other = prepare(load_run(project / "run.toml", half), project).plan
    assert other.judgings.share == pytest.approx(plan.judgings.share / 2)
    assert other.saves.room == plan.saves.room
    off = prepare(
        load_run(project / "run.toml", [*values, "stop.every_checkpoints=0"]), project
    ).plan
    assert plan.saves.room - off.saves.room == plan.file_bytes
    assert not [row for row in check.table(off) if row.startswith("judged")]


def test_the_command_hands_the_judge_to_the_trainer(project: Path, monkeypatch, capsys):
    """The judge is made for the run's folder, once its settings lie there."""
    made: list[Path] = []

    class RunReferee:
        def __init__(self, folder: Path, report: Any) -> None:
            assert (folder / "run.toml").is_file()
            report.event("sampling", done=0, total=1)
            made.append(folder)

        def merit(self, checkpoint: Path, step: int, family: Any) -> Judgement:
            assert checkpoint.is_file()
            assert family is not None
            return Judgement(PEAK[step])

    module = types.ModuleType("renma.judge.referee")
    module.RunReferee = RunReferee  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "renma.judge.referee", module)
    command = ["train", str(project / "run.toml"), "--out", str(project / "a")]
    for value in (*ON, "stop.patience=1"):
        command += ["--set", value]
    assert main(command) == 0
    assert made == [project / "a"]
    told = capsys.readouterr().out
    assert "step 2 judged: merit 0.200; the best is step 1 with 0.900" in told
    assert "stopped early" in told


def test_a_judge_that_cannot_work_ends_the_run_before_its_first_step(project: Path):
    class Appointed(Scripted):
        pass

    def appoint(_folder: Path, _report: object) -> Appointed:
        raise UserError("there is nothing to judge by")

    from renma.config.run_tasks import TrainOptions
    from renma.train import task

    options = TrainOptions(run=project / "run.toml", set=ON, out=project / "a")
    with pytest.raises(UserError, match="nothing to judge by"):
        task.run(options, Silent(), appoint)
    assert "started" not in kinds(project / "a")


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from testbed.referees import Scripted, judged
from renma.train.processes import Processes
referee = Scripted({1: 0.9, 2: 0.2, 3: 0.3})
judged(Path(sys.argv[2]), "two", referee, *sys.argv[3:])
assert referee.asked == ([1, 2, 3] if Processes.of().main else []), referee.asked
"""


@pytest.mark.slow
def test_of_two_processes_the_first_judges_and_both_stop(project: Path):
    (project / "run.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", str(project / "run.py"), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [*command, str(project), *ON, "stop.patience=2"],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows(project / "two", "step")[-1]["step"] == 3
    assert rows(project / "two", "finished")[-1]["steps"] == 3
