"""Files of concepts: LECO's YAML and the same as TOML read alike; every mistake is one line (A10)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from renma.config.erase import EraseConfig, ErasePrompt
from renma.config.erase_prompts import prompts, read
from renma.core.errors import UserError

YAML = """\
# LECO's own file
- target: "sunglasses"
  positive: glasses
  unconditional: ""
  neutral:
  action: "erase"
  guidance_scale: 1.5
  resolution: 512
  dynamic_resolution: true
  batch_size: 2
- target: no      # a word here, no truth value
  action: enhance
  guidance_scale: 1e-1
  dynamic_crops: yes
"""
TOML = """
[[prompts]]
target = "sunglasses"
positive = "glasses"
unconditional = ""
action = "erase"
guidance_scale = 1.5
resolution = 512
dynamic_resolution = true
batch_size = 2
[[prompts]]
target = "no"
action = "enhance"
guidance_scale = 0.1
dynamic_crops = true
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["p.yaml", "p.yml", "P.YAML"])
def test_yaml_and_toml_read_alike(tmp_path: Path, name):
    found = read(written(tmp_path, name, YAML))
    assert found == read(written(tmp_path, "p.toml", TOML))
    assert found == (
        ErasePrompt(
            target="sunglasses", positive="glasses", guidance_scale=1.5, resolution=512,
            dynamic_resolution=True, batch_size=2,
        ),
        ErasePrompt(target="no", action="enhance", guidance_scale=0.1, dynamic_crops=True),
    )  # fmt: skip


def test_defaults_are_lecos():
    """p1atdev's PromptSettings: positive = target, unconditional = "", neutral = unconditional."""
    plain = ErasePrompt(target="a")
    assert (plain.away, plain.like, plain.unconditional) == ("a", "", "")
    assert (plain.action, plain.guidance_scale, plain.batch_size) == ("erase", 1, 1)
    assert ErasePrompt(target="a", unconditional="u").like == "u"
    assert ErasePrompt(target="a", positive="").away == ""
    assert plain.side(768) == 768
    assert ErasePrompt(target="a", resolution=512).side(768) == 512


def test_written_ones_come_before_those_of_the_file(tmp_path: Path):
    written(tmp_path, "p.yaml", "- target: b\n")
    config = EraseConfig(prompts=(ErasePrompt(target="a"),), prompts_file="p.yaml")
    assert [one.target for one in prompts(config, tmp_path)] == ["a", "b"]
    with pytest.raises(UserError, match=r"erase.prompts_file = q.yaml: there is no such file"):
        prompts(EraseConfig(prompts_file="q.yaml"), tmp_path)


MISTAKES = {
    "unknown key": ("- target: x\n- target: y\n  guidance: 3\n", ":2: unknown key 'guidance'. Did you mean 'guidance_scale'?"),
    "tab": ("- target: x\n\ttab: 3\n", ":2: is not valid YAML"),
    "two documents": ("---\n- target: a\n---\n- target: b\n", ":3: is not valid YAML"),
    "a table": ("target: x\n", "is no list of concepts. Begin each with '- target:'."),
    "texts": ("- x\n", ":1: is no table of keys"),
    "nothing": ("", "is no list of concepts"),
    "an empty list": ("[]", "holds no concept"),
    "twice": ("- target: x\n  batch_size: 1\n  batch_size: 2\n", ":3: 'batch_size' stands twice"),
    "no target": ("- neutral: x\n", ":1: 'target' is missing"),
    "null target": ("- target:\n", ":1: 'target' is missing"),
    "a list": ("- target: [a]\n", ":1: 'target' is neither a text nor a number"),
    "python object": ("- target: a\n  batch_size: !!python/object/apply:os.getcwd []\n", ":2: 'batch_size' is neither"),
    "unknown tag": ("- target: a\n  batch_size: !thing 3\n", ":2: 'batch_size' has a value that cannot be read"),
    "another kind": ("- target: a\n  dynamic_crops: !!bool zz\n", ":2: 'dynamic_crops' has a value that cannot be read"),
    "a date": ("- target: a\n  resolution: !!timestamp zz\n", ":2: 'resolution' has a value that cannot be read"),
    "sixties": ("- target: a\n  resolution: 8:32\n", ":2: 'resolution' is no decimal number: 8:32"),
    "hexadecimal": ("- target: a\n  resolution: 0x200\n", ":2: 'resolution' is no decimal number: 0x200"),
    "fraction": ("- target: a\n  batch_size: 2.5\n", ":1: 'batch_size' = 2.5 is no whole number"),
    "action": ("- target: a\n  action: remove\n", ":1: 'action' = 'remove'"),
    "below": ("- target: a\n  guidance_scale: -1\n", ":1: 'guidance_scale' = -1"),
    "itself": ("- &a [*a]\n", ":1: is no table"),
    "deep": ("[" * 5000, "is nested too deeply"),
}  # fmt: skip


def test_numbers_are_as_they_look(tmp_path: Path):
    """YAML 1.1 would take 0512 for 330, and 1e-1 for a text."""
    text = "- target: a\n  resolution: 0512\n  guidance_scale: 15e-1\n  batch_size: 2\n"
    (found,) = read(written(tmp_path, "p.yaml", text))
    assert (found.resolution, found.guidance_scale, found.batch_size) == (512, 1.5, 2)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_yaml_are_one_line(tmp_path: Path, name):
    text, said = MISTAKES[name]
    path = written(tmp_path, "p.yaml", text)
    with pytest.raises(UserError) as caught:
        read(path)
    line = caught.value.line()
    assert line.startswith(str(path))
    assert said in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[prompts]]\ntarget = 'x'\nguidanc = 2\n", ":3: unknown key"),
        ("prompts = 3\n", ":1: 'prompts' = 3 is no list"),
        ("prompts = []\n", "holds no concept"),
        ("[[prompts]\n", "is not valid TOML"),
        ("", "'prompts' is missing"),
    ],
)
def test_mistakes_in_toml_are_one_line(tmp_path: Path, text, said):
    path = written(tmp_path, "p.toml", text)
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(path) in caught.value.line()
    assert said in caught.value.line()


def test_other_files(tmp_path: Path):
    with pytest.raises(UserError, match=r"is none of \.yaml, \.yml, \.toml"):
        read(written(tmp_path, "p.txt", "x"))
    path = tmp_path / "p.yaml"
    path.write_bytes("- target: 猫\n".encode("cp932"))
    with pytest.raises(UserError, match="is no UTF-8 text"):
        read(path)
    (tmp_path / "d.yaml").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read(tmp_path / "d.yaml")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"steps": 10, "last_step": 10},
            "erase.last_step = 10: is not before the last of 10 steps",
        ),
        ({"steps": 10, "first_step": 10}, "erase.first_step = 10: leaves no step up to 9"),
        ({"steps": 4, "points": 4}, "erase.points = 4: is more than the 3 places from step 1 to 3"),
    ],
)
def test_places_that_a_way_does_not_have(values, said):
    with pytest.raises(UserError, match=said):
        EraseConfig(**values)
    assert EraseConfig(steps=4, points=4, first_step=0).range == (0, 3)


def test_torch_and_yaml_stay_out():
    code = "import sys, renma.config.erase_prompts; print({'torch', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
