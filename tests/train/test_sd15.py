"""The full Stable Diffusion 1.5 shape with random weights: trained, saved, read by diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from renma.config.model import ModelConfig
from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent
from renma.engine.model import load_family
from renma.engine.network import Network
from renma.engine.sample import Shot, denoise
from renma.families import _twins
from renma.formats import safetensors
from renma.train import task

pytestmark = pytest.mark.slow
SHOT = Shot("aa12, smile", negative="frown", width=64, height=64, seed=5, steps=2, scale=5)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sd15") / "model"
    return _twins.write_folder("sd1", folder, dtype=torch.float16, full=True)


@pytest.mark.parametrize("layout", ["folders", "settings.toml"])
def test_three_steps_and_back_into_diffusers(project: Path, model: Path, layout: str):
    from diffusers import StableDiffusionPipeline

    values = [
        f"model.path={model}",
        "train.max_steps=3",
        "optimizer.learning_rate=1e-3",
        "train.seed=1",
    ]
    settings = project / "settings.toml"
    settings.write_text(
        "[general]\nenable_bucket = false\nshuffle_caption = true\nkeep_tokens = 1\n"
        "[[datasets]]\nbatch_size = 1\nresolution = [256, 256]\n"
        "[[datasets.subsets]]\nimage_dir = 'train/2_aa12 person'\ncaption_extension = '.txt'\nnum_repeats = 40\n"
    )
    if layout == "folders":
        buckets = [
            "data.min_bucket_reso=128",
            "data.max_bucket_reso=512",
            "data.bucket_reso_steps=64",
        ]
        options = TrainOptions(
            run=project / "run.toml",
            set=(*values, "data.resolution=256", *buckets),
            out=project / "o",
        )
    else:
        options = TrainOptions(
            dataset_config=settings, set=(*values, "train.tensorboard=false"), out=project / "o"
        )
    task.run(options, Silent())
    path = project / "o" / "lora" / "lora.safetensors"
    names = safetensors.read_tensors(path)
    assert len(names) == 3 * (192 + 72)

    pipe = StableDiffusionPipeline.from_pretrained(model, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_lora_weights(str(path))
    theirs = pipe(
        SHOT.prompt, negative_prompt=SHOT.negative, guidance_scale=SHOT.scale, width=64, height=64,
        num_inference_steps=SHOT.steps, generator=torch.Generator().manual_seed(SHOT.seed), output_type="latent",
    ).images  # fmt: skip
    del pipe
    family = load_family(ModelConfig(path=str(model)), device="cpu")
    plain = denoise(family, [SHOT])
    with Network.from_file(family, path).at():
        ours = denoise(family, [SHOT])
    assert not torch.equal(ours, plain)
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
