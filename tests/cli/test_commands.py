"""The command line: what is asked for arrives, mistakes are one line, exit codes are as promised."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import renma
from renma.cli import main
from renma.cli.app import build
from renma.config.tasks import TASKS
from renma.config.views import json_schema

ROOM = """
import json
from pathlib import Path

from renma.core.errors import Interrupted, UserError

def run(options, report):
    report.line(json.dumps(options.model_dump(mode="json")))
    {ending}
"""
ENDINGS = {
    "passes": "pass",
    "user_error": 'raise UserError("the picture is broken", where="a.png", remedy="Remove it.")',
    "ctrl_c": 'raise Interrupted(130, "stopped after step 7")',
    "sigterm": 'raise Interrupted(143, "stopped after step 7")',
    "early_ctrl_c": "raise KeyboardInterrupt",
    "defect": 'raise ZeroDivisionError("by nothing")',
}


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd):
    """Runs a command line whose rooms end in a chosen way; returns exit code, output, errors."""

    def run(*words: str, ending: str = "passes") -> tuple[int, str, str]:
        module = f"room_{ending}"
        (tmp_path / f"{module}.py").write_text(ROOM.format(ending=ENDINGS[ending]))
        monkeypatch.syspath_prepend(str(tmp_path))
        code = main(words, tuple(replace(task, room=module) for task in TASKS))
        out, err = capfd.readouterr()
        return code, out, err

    return run


def test_options_arrive_with_their_types(call):
    code, out, _ = call(
        "train", "my.toml", "--set", "adapter.rank=8", "--set", "sample.prompts=['a, b', 'c']",
        "--out", "there", "--resume",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out) == {
        "run": "my.toml",
        "set": ["adapter.rank=8", "sample.prompts=['a, b', 'c']"],
        "dataset_config": None,
        "out": "there",
        "resume": True,
        "allow_change": [],
    }


def test_absent_options_have_the_defaults_of_the_schema(call):
    assert json.loads(call("demo", "--out", "x")[1]) == {"out": "x", "steps": None, "seed": 42}
    found = json.loads(call("grid", "x", "--weights", "0.5", "--weights", "1")[1])
    assert found["weights"] == [0.5, 1.0]


def test_check_takes_json(call):
    assert json.loads(call("check", "my.toml", "--json")[1])["as_json"] is True
    assert json.loads(call("check", "my.toml")[1])["as_json"] is False


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("passes", 0, ""),
        ("user_error", 2, "renma: a.png: the picture is broken. Remove it.\n"),
        ("ctrl_c", 130, "renma: stopped after step 7\n"),
        ("sigterm", 143, "renma: stopped after step 7\n"),
        ("early_ctrl_c", 130, "renma: stopped at once\n"),
    ],
)
def test_exit_code_and_the_one_line(call, ending, code, said):
    found = call("judge", "folder", ending=ending)
    assert (found[0], found[2]) == (code, said)


def test_defect_of_ours_shows_where_and_says_so(call):
    code, _, err = call("judge", "folder", ending="defect")
    assert code == 1
    assert "Traceback" in err
    assert "room_defect.py" in err
    assert err.splitlines()[-1].startswith("renma: this is a defect of renma (ZeroDivisionError")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian", "x"], 'Did you mean "train"?'),
        (["train", "x", "--resum"], "Did you mean --resume?"),
        (["train", "x", "y"], "There is no place for 'y'."),
        (["train"], "--dataset-config"),
        (["demo"], "--out"),
        (["demo", "--out", "x", "--steps", "0"], "greater than or equal to 1"),
        (["demo", "--out", "x", "--steps", "few"], "few"),
        (["init", "x", "--sample", "charakter"], 'Did you mean "character"?'),
        (["init"], "FOLDER"),
        (["options", "adaptor"], "Did you mean 'adapter'?"),
    ],
)
def test_users_mistake_is_one_line_and_exit_code_2(call, words, said):
    code, out, err = call(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("renma: ")
    assert err.count("\n") == 1
    assert said in err


def test_help_teaches_the_order_of_the_work_with_examples(call):
    code, out, _ = call("--help")
    assert code == 0
    shown = [task for task in TASKS if f"\n  {task.example}\n" in out]
    assert {"init", "caption tag", "check", "train", "judge"} <= {task.name for task in shown}
    places = [out.index(f"\n  {task.example}\n") for task in shown]
    assert places == sorted(places)
    for task in TASKS:
        assert f"│ {task.name.split()[0]} " in out, "every command, or its group, is listed"
    assert call()[1] == out, "the bare command shows the same"


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_help_of_a_command_has_every_option_of_its_schema(call, task):
    code, out, _ = call(*task.name.split(), "--help")
    assert code == 0
    words = " ".join(out.replace("│", " ").split())
    assert " ".join(task.summary.split()) in words
    assert task.example in words
    for name, field in task.options.model_fields.items():
        positional = (field.json_schema_extra or {}).get("positional")
        shown = name.upper() if positional else f"--{(field.alias or name).replace('_', '-')}"
        assert shown in words
        assert " ".join((field.description or "?").split()) in words


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_examples_are_command_lines_that_parse(task):
    command, bound, *_ = build().parse_args(shlex.split(task.example)[1:], exit_on_error=False)
    assert command.__name__ == task.name
    assert bound.arguments


def test_version(call):
    assert call("--version") == (0, f"renma {renma.__version__}\n", "")


def test_options_without_section_shows_basics_of_all_and_with_one_shows_everything(call):
    every, one = call("options")[1], call("options", "train")[1]
    assert all(f"[{name}]" in every for name in ("model", "data", "adapter", "train", "output"))
    assert "max_steps = 1600" in every
    assert "max_bad_steps" not in every
    assert "max_bad_steps = 10" in one
    assert "rank = " not in one


def test_schema_is_the_one_of_the_manual(call):
    assert call("schema")[1] == json_schema()


def test_python_dash_m_and_a_reader_that_leaves_early():
    command = [sys.executable, "-m", "renma", "options"]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_has_enough_is_no_failure(tmp_path: Path):
    """`renma plan layers ... | head -1` ends with 0 on both sides."""
    (tmp_path / "run.toml").write_text("[data]\ntrain_folder = 'train'\n")
    code = "import sys; from renma.cli.app import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "plan", "layers", str(tmp_path / "run.toml"), "--each"]
    writer = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.close()  # nobody reads
    error = writer.stderr.read()
    writer.stderr.close()
    assert writer.wait() == 0, error
