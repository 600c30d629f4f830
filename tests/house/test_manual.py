"""The manual is made from the schema and leaves nothing out."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from renma.config import Run, validate, views
from renma.core.errors import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads(views.json_schema())


def properties(name: str) -> dict:
    """The properties of one class in the JSON Schema, an independent reading of the same types."""
    return SCHEMA["$defs"][name]["properties"]


def test_pages_in_the_repository_are_fresh():
    assert views.stale(ROOT / "docs" / "options") == []


def test_check_names_missing_changed_and_left_over_pages(tmp_path: Path, capsys):
    assert views.main([str(tmp_path)]) == 0
    assert views.main([str(tmp_path), "--check"]) == 0
    (tmp_path / "adapter.md").write_text("old")
    (tmp_path / "gone.md").write_text("a section that was removed")
    (tmp_path / "train.md").unlink()
    capsys.readouterr()
    assert views.main([str(tmp_path), "--check"]) == 1
    said = capsys.readouterr().err
    assert re.findall(r"(\w+\.md): stale", said) == ["adapter.md", "gone.md", "train.md"]
    assert (tmp_path / "adapter.md").read_text() == "old"
    assert views.main([str(tmp_path)]) == 0
    assert views.stale(tmp_path) == []


@pytest.mark.parametrize(
    ("section", "model"),
    [
        ("model", "ModelConfig"),
        ("train", "TrainConfig"),
        ("data", "DataConfig"),
        ("data", "Subset"),
        ("optimizer", "Prodigy"),
        ("schedule", "Polynomial"),
        ("judge", "JudgeConfig"),
    ],
)
def test_page_and_terminal_show_every_key(section, model):
    page = views.pages()[f"{section}.md"]
    terminal = "\n".join(views.terminal_manual(section))
    for key, schema in properties(model).items():
        if "const" in schema or key in ("datasets", "subsets"):
            continue
        assert f"| `{key}` |" in page
        assert f"    {key} = " in terminal
        if "minimum" in schema:
            rows = [line for line in page.splitlines() if f"| `{key}` |" in line]
            assert any(f"at least {schema['minimum']:g}" in row for row in rows)


def test_basic_comes_before_advanced_before_expert():
    lines = views.terminal_manual("train")
    marks = [line.strip() for line in lines if line.strip() in views.LEVELS]
    assert marks == ["basic", "advanced", "expert"]
    assert not any("expert" in line for line in views.terminal_manual("train", ("basic",)))


def test_kohya_names_lead_to_keys_that_exist():
    table = views.from_kohya()
    assert table["network_dim"] == ["adapter.rank"]
    assert table["train_batch_size"] == ["data.batch_size"]
    assert table["is_reg"] == ["data.datasets.subsets.is_reg"]
    assert table["sample_prompts"] == ["sample.prompts", "sample.prompts_file"]
    names = set(re.findall(r'"kohya": "(\w+)"', json.dumps(SCHEMA)))
    assert set(table) == names
    assert names


def test_unknown_section_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'adapter'"):
        views.terminal_manual("adaptor")


def test_taught_toml_holds_the_values_and_says_what_they_mean():
    values = {
        "adapter": {"algo": "lora", "rank": 8},
        "judge": {"attributes": {"hair colour": "pink"}, "trigger_prompts": ("a" * 80, 'b "c"')},
    }
    text = views.taught(values)
    run = validate(Run, tomllib.loads(text), "taught")
    assert run.adapter.rank == 8
    assert run.judge.attributes == values["judge"]["attributes"]
    assert run.judge.trigger_prompts == values["judge"]["trigger_prompts"]
    above = text.split("rank = 8")[0].splitlines()[-1]
    assert above.removeprefix("# ") == properties("Lora")["rank"]["description"]
