"""Preview prompts as kohya-ss/sd-scripts writes them: row E8."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from renma.config.prompts import Prompt, parse, prompts, read
from renma.config.sample import SampleConfig, Sampler
from renma.core.errors import UserError

DEFAULTS = {"scale": 7.5, "steps": 20, "sampler": "ddim"}
KOHYA_SAMPLERS = [
    "ddim", "pndm", "lms", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver",
    "dpmsolver++", "dpmsingle", "k_lms", "k_euler", "k_euler_a", "k_dpm_2", "k_dpm_2_a",
]  # fmt: skip


def noted(line: str) -> tuple[Prompt, list[str]]:
    notes: list[str] = []
    return parse(line, DEFAULTS, "p.txt", notes.append), notes


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("aa12", {"text": "aa12", "negative": "", "width": None, "seed": None, "scale": 7.5}),
        ("aa12 --n bad, worse", {"negative": "bad, worse"}),
        ("aa12 --w 512 --h 768", {"width": 512, "height": 768}),
        ("aa12 --W 512 --N Bad", {"width": 512, "negative": "Bad"}),
        ("aa12 --d 3 --l 5.5 --s 28", {"seed": 3, "scale": 5.5, "steps": 28}),
        ("aa12 --ss K_Euler_A", {"sampler": "k_euler_a"}),
        ("aa12\t--s  9 ", {"text": "aa12", "steps": 9}),
        ("--n bad", {"text": "", "negative": "bad"}),
        ("aa12 --n ", {"negative": ""}),
        ("well-known--thing --s 4", {"text": "well-known--thing", "steps": 4}),
    ],
)
def test_a_line_says_what_its_options_say(line: str, values: dict[str, object]):
    found, notes = noted(line)
    assert {key: getattr(found, key) for key in values} == values
    assert notes == []


@pytest.mark.parametrize(
    "text",
    [
        "s 20 girls", "w 640, h 480 monitor", "d 7 and l 9", "n blurry", "ss euler",
        "cn tower, g 3", "fs 12",
    ],
)  # fmt: skip
def test_no_option_is_read_out_of_the_prompts_own_words(text: str):
    """sd-scripts tries its patterns on the prompt too: a line 's 20 girls' set 20 steps there."""
    found, _ = noted(f"{text} --w 64")
    assert found == Prompt(text=text, width=64)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_words_come_back_as_they_were_written(text: str):
    text = " ".join(text.replace("--", "-").split())
    assert noted(f"{text} --s 3")[0].text == text


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("a --w 515", {"width": 512}),
        ("a --h 767", {"height": 760}),
        ("a --w 8", {"width": 64}),
        ("a --w 0", {"width": 64}),
        ("a --s 0", {"steps": 1}),
        ("a --s 2000", {"steps": 1000}),
        ("a --l 0.5", {"scale": 1.0}),
    ],
)
def test_numbers_move_as_in_sd_scripts_and_that_is_said(line: str, values: dict[str, object]):
    found, notes = noted(line)
    assert {key: getattr(found, key) for key in values} == values
    assert len(notes) == 1
    assert str(next(iter(values.values()))).removesuffix(".0") in notes[0]
    assert line in notes[0]


def test_of_an_option_given_twice_the_last_counts():
    found, notes = noted("a --s 3 --s 4")
    assert found.steps == 4
    assert "twice" in notes[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a --x 3", r"^p.txt: 'a --x 3': '--x' is no option"),
        ("a --sss euler", "Did you mean '--ss'"),
        ("a --ss eulr", "Did you mean 'euler'"),
        ("a --ss flow", "Known: ddim"),
        ("a --w wide", "'width' = 'wide' is no whole number"),
        ("a --w", "'width' = '' is no whole number"),
        ("a --d -1", "'seed' = '-1'"),
        ("a --s 2.5", "'steps' = '2.5' is no whole number"),
        ("a --w 99999", "'width' = 99992"),
        ("a -- b", "'--' is no option"),
        ("a --cn x.png", "ControlNet"),
        ("a --g 3.5", "FLUX"),
        ("a --ctr 0.5", "Lumina"),
        ("a --rcfg 1", "Lumina"),
        ("a --fs 3", "flow-matching"),
    ],
)
def test_mistakes_in_a_line_are_answered(line: str, message: str):
    with pytest.raises(UserError, match=message):
        noted(line)


def test_every_sampler_of_sd_scripts_is_known():
    """kohya.md 5.8 lists 16 names; there an unknown one silently becomes ddim."""
    assert sorted(get_args(Sampler)) == sorted(KOHYA_SAMPLERS)
    assert {noted(f"a --ss {name}")[0].sampler for name in KOHYA_SAMPLERS} == set(KOHYA_SAMPLERS)


LINE = "aa12, smile --n bad --w 64 --d 3 --l 4 --s 5 --ss heun"
OBJECT = (
    '{"prompt": "aa12, smile", "negative_prompt": "bad", "width": 64, "height": null, "seed": 3,'
    ' "scale": 4, "sample_steps": 5, "sample_sampler": "heun"}'
)
TABLE = (
    '[prompt]\nnegative_prompt = "bad"\nwidth = 64\nscale = 9.0\nsample_steps = 5\n'
    'sample_sampler = "heun"\n[[prompt.subset]]\nprompt = "aa12, smile"\nseed = 3\nscale = 4.0\n'
)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", f"# comment\n\n  \n  # another\n{LINE}\n"),
        ("p.TXT", f"{LINE}\r\n"),
        ("p.toml", TABLE),
        ("p.json", f"[{OBJECT}]"),
        ("p.json", f'["{LINE}"]'),
    ],
)
def test_all_kinds_of_file_say_the_same(tmp_path: Path, name: str, text: str):
    """In the TOML a key stands in both tables: sd-scripts ends in a TypeError, here the inner wins."""
    (tmp_path / name).write_text(text)
    expected = Prompt(
        text="aa12, smile", negative="bad", width=64, seed=3, scale=4, steps=5, sampler="heun"
    )
    assert prompts(SampleConfig(prompts_file=name), tmp_path) == [expected]


def test_a_toml_without_subsets_is_one_prompt_and_each_subset_is_one(tmp_path: Path):
    path = tmp_path / "p.toml"
    config = SampleConfig(prompts_file="p.toml")
    path.write_text('[prompt]\nprompt = "a"\nwidth = 64\n')
    assert prompts(config, tmp_path) == [Prompt(text="a", width=64)]
    path.write_text('[prompt]\nprompt = "a"\n[[prompt.subset]]\n[[prompt.subset]]\nprompt = "b"\n')
    assert [p.text for p in prompts(config, tmp_path)] == ["a", "b"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp932"])
@pytest.mark.parametrize("end", ["txt", "toml", "json"])
def test_files_in_the_encodings_of_japanese_windows(tmp_path: Path, encoding: str, end: str):
    """sd-scripts #513: a prompt file in cp932 ended in a UnicodeDecodeError."""
    texts = {
        "txt": "雨, 表示 --n 悪い",
        "toml": '[prompt]\nprompt = "雨, 表示"\nnegative_prompt = "悪い"\n',
        "json": '[{"prompt": "雨, 表示", "negative_prompt": "悪い"}]',
    }
    (tmp_path / f"p.{end}").write_bytes(texts[end].encode(encoding))
    found = read(SampleConfig(prompts_file=f"p.{end}"), tmp_path)
    assert found.prompts == [Prompt(text="雨, 表示", negative="悪い")]
    assert ["cp932" in note for note in found.notes] == [True] * (encoding == "cp932")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("p.txt", None, "No such file"),
        ("p.yaml", b"a", "neither a .txt, a .toml nor a .json"),
        ("p.txt", "a".encode("utf-16-le"), "zero bytes"),
        ("p.txt", b"\x81", "not text"),
        ("p.txt", b"a --s x", "'steps' = 'x'"),
        ("p.toml", b"[prompt", "not valid TOML"),
        ("p.toml", b"prompt = 3", r"no \[prompt\] table"),
        ("p.toml", b"[prompt]\nsubset = [3]", "no table"),
        ("p.toml", b"[prompt]\nwidth = 64", "no 'prompt'"),
        ("p.toml", b"[prompt]\nprompt = 'a'\nwidth = true", "is no number"),
        ("p.toml", b"[prompt]\nprompt = 'a'\nstep = 3", "'step' is no option"),
        ("p.toml", b"[prompt]\nprompt = 'a'\nsample_step = 3", "Did you mean 'sample_steps'"),
        ("p.toml", b"[prompt]\nprompt = 'a'\nflow_shift = 3", "flow-matching"),
        ("p.json", b"[", "is not JSON"),
        ("p.json", b"{}", "must be a list"),
        ("p.json", b"[3]", "neither a text nor a table"),
        ("p.json", b'[{"prompt": "a", "controlnet_image": "x"}]', "ControlNet"),
        ("p.json", b'[{"prompt": "a", "seed": [1, 2]}]', "'seed'"),
    ],
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, name: str, data: bytes | None, message: str):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        prompts(SampleConfig(prompts_file=name), tmp_path)
    assert caught.value.line().startswith(str(tmp_path / name))


def test_odd_files_are_read_with_a_note(tmp_path: Path):
    (tmp_path / "p.txt").write_text("# nothing but this\n")
    assert "holds no prompt" in read(SampleConfig(prompts_file="p.txt"), tmp_path).notes[0]
    (tmp_path / "p.json").write_text('[{"prompt": "a --w 64"}]')
    found = read(SampleConfig(prompts_file="p.json"), tmp_path)
    assert found.prompts == [Prompt(text="a --w 64")]
    assert "--w are words here" in found.notes[0]


def test_what_the_section_says_is_the_default_of_every_prompt(tmp_path: Path):
    (tmp_path / "p.json").write_text('["b", {"prompt": "c", "scale": 2}]')
    section = SampleConfig(
        prompts=("a --s 3",), prompts_file="p.json", steps=7, scale=3, sampler="pndm", rescale=0.7
    )
    how = {"sampler": "pndm", "rescale": 0.7}
    assert prompts(section, tmp_path) == [
        Prompt(text="a", steps=3, scale=3, **how),
        Prompt(text="b", steps=7, scale=3, **how),
        Prompt(text="c", steps=7, scale=2, **how),
    ]


@pytest.mark.parametrize("values", [{"weights": ()}, {"weights": (11,)}, {"rescale": 1.5}])
def test_limits_of_weights_and_rescale(values: dict[str, object]):
    with pytest.raises(ValidationError):
        SampleConfig.model_validate(values)
