"""Files of ``renma sample``: LoRAs by name, pictures that are there already. Rows F2 and F6."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.cli.app import main
from renma.config.picture_recipe import Recipe
from renma.drawing.prompt_loras import with_blocks
from renma.engine.network import Network
from renma.engine.sample import Shot, draw
from renma.use import contact_sheet

SMALL = ("--width", "64", "--height", "64", "--steps", "1", "--device", "cpu")


def sample(out: Path, *words: str) -> list[Path]:
    assert main(["sample", "mame", *words, *SMALL, "-o", str(out)]) == 0
    return sorted(out.glob("0*.png"))


def pixels(path: Path | Image.Image) -> np.ndarray:
    if isinstance(path, Image.Image):
        return np.asarray(path, int)
    with Image.open(path) as picture:
        return np.asarray(picture, int)


@pytest.fixture
def loras(case, tmp_path: Path) -> Path:
    (tmp_path / "loras" / "below").mkdir(parents=True)
    shutil.copy(case("lora").path, tmp_path / "loras" / "hero.v1.5.safetensors")
    return tmp_path / "loras"


@pytest.mark.parametrize("name", ["hero.v1.5", "hero.v1.5.safetensors"])
def test_names_may_have_dots(mame, case, loras: Path, tmp_path: Path, name: str):
    (path,) = sample(tmp_path / "o", "--prompt", f"a <lora:{name}:1>", "--lora-dir", str(loras))
    with case("lora").network.at():
        (expected,) = draw(mame, [Shot("a", "", 64, 64, 0, 1)])
    assert np.abs(pixels(path) - pixels(expected)).max() <= 1


def test_two_files_of_one_name_are_refused_when_they_differ(case, loras: Path, tmp_path, capsys):
    words = ["--prompt", "a <lora:hero.v1.5:1>", "--lora-dir", str(loras)]
    other = loras / "below" / "hero.v1.5.safetensors"
    shutil.copy(loras / "hero.v1.5.safetensors", other)
    assert len(sample(tmp_path / "o", *words)) == 1
    shutil.copy(case("loha").path, other)
    assert main(["sample", "mame", *words, *SMALL, "-o", str(tmp_path / "p")]) == 2
    assert "holds different LoRAs named 'hero.v1.5'" in capsys.readouterr().err
    assert len(sample(tmp_path / "p", "--prompt", "a", "--lora-dir", str(loras))) == 1


def test_one_lora_twice_in_a_prompt_has_blocks_of_its_own_each_time(
    mame, case, loras: Path, tmp_path: Path
):
    """Blocks of --blocks where the prompt says none, its own where it does: here all or nothing."""
    shutil.copy(case("lora").path, loras / "h.safetensors")
    words = ("--lora-dir", str(loras), "--blocks", "h=NONE", "--prompt")
    (path,) = sample(tmp_path / "o", *words, "a <lora:h:20> <lora:h:0.5:lbw=ALL>")
    (swapped,) = sample(tmp_path / "p", *words, "a <lora:h:0.5:lbw=ALL> <lora:h:20>")
    network, made = Network.from_file(mame, loras / "h.safetensors"), []
    for strength in (0.5, 20.5):
        with network.at(unet=strength, text_encoder=strength):
            made += draw(mame, [Shot("a", "", 64, 64, 0, 1)])
    for one in (path, swapped):
        assert np.abs(pixels(one) - pixels(made[0])).max() <= 1
        assert np.abs(pixels(one) - pixels(made[1])).max() > 5
    with Image.open(path) as picture:
        first = picture.info["parameters"].split("\n")[0]
    assert first == "a <lora:h:20:lbw=NONE> <lora:h:0.5:lbw=ALL>"


def test_blocks_are_written_into_prompts_that_do_not_say_them():
    text = "a <lora:x> AND <lora:y:1:0.5> <lora:x:2:lbw=INS>"
    assert with_blocks(text, {"x": "OUTD", "z": "INS"}) == (
        "a <lora:x:1:lbw=OUTD> AND <lora:y:1:0.5> <lora:x:2:lbw=INS>"
    )


@pytest.mark.parametrize("harm", ["empty", "half", "foreign", "other"])
def test_what_is_no_whole_picture_of_the_recipe_is_drawn_anew(tmp_path: Path, harm: str, capsys):
    first, second = sample(tmp_path / "o", "--prompt", "a", "--prompt", "b")
    good = first.read_bytes()
    harmed = {"empty": b"", "half": good[:-200], "other": second.read_bytes()}
    if harm == "foreign":
        Image.new("RGB", (64, 64)).save(first)
    else:
        first.write_bytes(harmed[harm])
    capsys.readouterr()
    assert sample(tmp_path / "o", "--prompt", "a", "--prompt", "b") == [first, second]
    assert first.read_bytes() == good
    assert "1 picture there already, kept" in capsys.readouterr().out


def test_a_sheet_says_that_it_shows_the_first_pictures_alone(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr("renma.use.generate.MOST", 2)
    monkeypatch.setattr(contact_sheet, "MOST", 2)
    sample(tmp_path / "o", "--prompt", "a", "--count", "3")
    assert "sheet.png, the first 2 of 3" in capsys.readouterr().out
    sample(tmp_path / "p", "--prompt", "a", "--count", "2")
    assert "the first" not in capsys.readouterr().out


def test_mistakes_and_what_is_there_need_no_torch(tmp_path: Path):
    sample(tmp_path / "o", "--prompt", "a", "--prompt", "b")
    program = (
        "import json, sys\n"
        "from renma.cli.app import main\n"
        "code = main(sys.argv[1:])\n"
        "print(json.dumps([code, 'torch' in sys.modules]))\n"
    )
    two = ("--prompt", "a", "--prompt", "b")
    for words, code in ((two, 0), (("--prompt", "<lora:x:1>"), 2)):
        line = [sys.executable, "-c", program, "sample", "mame", *words, *SMALL]
        done = subprocess.run(
            [*line, "-o", str(tmp_path / "o")], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout.splitlines()[-1]) == [code, False]


def test_places_of_files_do_not_tell_pictures_apart_and_hashes_do():
    def recipe(folder: str, vae_hash: str = "1") -> Recipe:
        lora = {"name": "x", "path": f"{folder}/x.safetensors", "sha256": "2"}
        model = {"path": f"{folder}/m.ckpt", "vae": f"{folder}/v.pt"}
        row = {"model": model, "base": folder, "model_hash": "0", "vae_hash": vae_hash}
        return Recipe.model_validate({**row, "prompt": {"text": "a"}, "loras": [lora]})

    one = recipe("/home/anna/sd")
    assert one.portable() == recipe("C:\\Users\\anna").portable() == recipe("../m").portable()
    assert "anna" not in one.portable().model_dump_json()
    assert one.digest() == recipe("/elsewhere").digest() == one.portable().digest()
    assert one.digest() != recipe("/home/anna/sd", "3").digest()
