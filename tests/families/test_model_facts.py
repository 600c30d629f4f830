"""E1: what a model is, from its header alone; published shapes, and every refusal in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from renma import assets
from renma.config.model import ModelConfig
from renma.core.errors import UserError
from renma.formats.model_facts import facts, notes, problem

ARCHITECTURES = Path(__file__).parents[1] / "config" / "architectures.json"
# kind: family, native size, text layers, tensors of U-Net, VAE, text encoders (published files)
PUBLISHED = {
    "sd1": ("sd1", 512, 12, (686, 248, 196), 859_520_964),
    "sd2": ("sd2", 512, 23, (686, 248, 372), 865_910_724),
    "sd2-v": ("sd2", 768, 23, (686, 248, 372), 865_910_724),
    "sdxl": ("sdxl", 1024, 12, (1680, 248, 196, 517), 2_567_463_684),
}
V = {"modelspec.prediction_type": "v"}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_files(hollow_file, kind: str):
    family, size, layers, counts, numbers = PUBLISHED[kind]
    path = hollow_file(kind, metadata=V if kind == "sd2-v" else {})
    found = facts(path, ModelConfig(prediction="epsilon") if kind == "sd2" else None)
    assert (found.family, found.native_size, found.text_layers) == (family, size, layers)
    assert (found.latent_factor, found.channels, found.problem) == (8, 320, "")
    names = ("unet", "vae", "text_encoder", "text_encoder_2")[: len(counts)]
    assert tuple(len(found.parts[name].places) for name in names) == counts
    assert found.parts["unet"].numbers == numbers
    assert sum(found.files.values()) <= path.stat().st_size
    known = json.loads(ARCHITECTURES.read_text())[family]
    for part, config in known.items():
        ours = dict(found.parts[part].config)
        config["sample_size"] = ours.get("sample_size")  # told apart by the prediction
        assert {name: ours.get(name) for name in config if config[name] is not None} == {
            name: value for name, value in config.items() if value is not None
        }
    assert found.parts["vae"].config["block_out_channels"] == [128, 256, 512, 512]


@pytest.mark.timed
def test_facts_are_quick_and_need_no_torch(hollow_file):
    path = hollow_file("sdxl")
    code = (
        "import sys, time; from pathlib import Path; from renma.formats.model_facts import facts\n"
        f"facts(Path({str(assets.MAME)!r})); start = time.process_time()\n"
        f"found = facts(Path({str(path)!r})); print(time.process_time() - start)\n"
        "print(len(found.slots()), [m for m in ('torch', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, said = done.stdout.splitlines()
    assert said.endswith("[]")
    assert int(said.split()[0]) > 1000
    assert float(seconds) < 0.2


TOLD = [
    # kind, metadata, extra keys, option -> prediction, base version, architecture
    ("sd1", {}, (), "auto", "epsilon", "sd_v1", "stable-diffusion-v1"),
    ("sd1", {}, ("v_pred",), "auto", "v_prediction", "sd_v1_v", "stable-diffusion-v1"),
    ("sd2", {}, (), "auto", None, "sd_v2", "stable-diffusion-v2-512"),
    ("sd2", {}, (), "epsilon", "epsilon", "sd_v2", "stable-diffusion-v2-512"),
    ("sd2", {}, (), "v_prediction", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v"),
    ("sd2", V, (), "auto", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v"),
    ("sd2", {"modelspec.architecture": "stable-diffusion-v2-768-v"}, (), "auto", "v_prediction", "sd_v2_v", "stable-diffusion-v2-768-v"),
    ("sd2", {"modelspec.prediction_type": "epsilon"}, (), "auto", "epsilon", "sd_v2", "stable-diffusion-v2-512"),
    ("sdxl", {}, (), "auto", "epsilon", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
    ("sdxl", {}, ("v_pred", "ztsnr"), "auto", "v_prediction", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
    ("sdxl", V, (), "epsilon", "epsilon", "sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "metadata", "extra", "option", "told", "version", "name"), TOLD)
def test_prediction(hollow_file, kind, metadata, extra, option, told, version, name):
    path = hollow_file(kind, metadata=metadata, extra=extra)
    found = facts(path, ModelConfig(prediction=option))
    assert found.prediction == told
    assert found.scheduler["rescale_betas_zero_snr"] == ("ztsnr" in extra)
    if told is None:
        assert "Set model.prediction = 'v_prediction'" in found.problem
    else:
        assert found.problem == ""
        assert found.scheduler["prediction_type"] == told
        assert (found.base_version, found.architecture) == (version, name)


CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"
REFUSED = [
    ("sd1", {"reshaped": {CONV_IN: [320, 9, 3, 3]}}, {}, "of inpainting kind"),
    ("sd1", {"without": ("first_stage_model.",)}, {}, "holds no vae. Name one: model.vae"),
    ("sdxl", {"without": ("conditioner.embedders.1",)}, {}, "holds no text encoder 2"),
    (
        "sd2",
        {"without": ("cond_stage_model.",)},
        {"prediction": "epsilon"},
        "holds no text encoder",
    ),
    ("sd1", {}, {"clip_skip": 13}, "has 12 text encoder layers, fewer than model.clip_skip = 13"),
]


@pytest.mark.parametrize(("kind", "change", "options", "words"), REFUSED)
def test_problems(hollow_file, kind, change, options, words):
    path = hollow_file(kind, **change)
    assert words in problem(path, ModelConfig(**options))


def test_a_vae_of_its_own_ends_the_problem(hollow_file, twins):
    path = hollow_file("sd1", without=("first_stage_model.",))
    model = ModelConfig(vae=twins["sd1"].file.name)
    assert problem(path, model, twins["sd1"].file.parent) == ""


@pytest.mark.parametrize(
    ("kind", "family"), [("sd1", "sdxl"), ("sdxl", "sd2"), ("sd2", "sd1"), ("sd1", "sd2")]
)
def test_another_family_than_the_one_named_is_refused(hollow_file, kind: str, family: str):
    with pytest.raises(UserError, match=f"but model.family = '{family}'"):
        facts(hollow_file(kind), ModelConfig(family=family))
    right = ModelConfig(family=kind, prediction="epsilon")
    assert facts(hollow_file(kind), right).problem == ""


def test_folders_say_what_they_predict(twins, tmp_path: Path):
    folder = shutil.copytree(twins["sd2-v"].folder, tmp_path / "m")
    assert facts(folder).prediction == "v_prediction"
    assert (
        facts(folder, ModelConfig(prediction="epsilon")).scheduler["prediction_type"] == "epsilon"
    )
    path = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, "prediction_type": "sample"}))
    assert "predicts 'sample'" in problem(folder)
    path.write_text(json.dumps({**settings, "beta_schedule": "linear"}))
    assert "noise schedule 'linear'" in problem(folder)


def test_mame():
    found = facts(assets.MAME)
    assert (found.family, found.native_size, found.text_layers) == ("sd1", 128, 3)
    assert problem(assets.MAME, ModelConfig(clip_skip=4)) != ""


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda p: (p / "m").mkdir(), "holds no U-Net"),
        (lambda p: (p / "m").write_text("no model"), "is not a safetensors file"),
        (lambda p: None, "there is no such"),
    ],
)
def test_what_is_no_model_is_one_line(tmp_path: Path, write, words):
    write(tmp_path)
    model = ModelConfig(path="m")
    with pytest.raises(UserError, match=words) as caught:
        facts(model.place(tmp_path), model, tmp_path)
    assert len(caught.value.line().splitlines()) == 1


def test_options_without_effect_are_named(hollow_file):
    def said(kind: str, **options) -> str:
        model = ModelConfig(**options)
        return " ".join(notes(facts(hollow_file(kind), model), model))

    assert "clip_skip = 2 has no effect" in said("sdxl", clip_skip=2)
    assert said("sd1", clip_skip=2) == ""
    assert "counts from" in said("sd2", clip_skip=2, prediction="epsilon")
    assert "own files say 'epsilon'" in said("sdxl", prediction="v_prediction")
    assert said("sd2", prediction="v_prediction") == ""
