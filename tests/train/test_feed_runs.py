"""Whole runs on data sets with everything on: stopped and gone on with, they end the same (E7)."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent, read_events
from renma.train import task

AUGMENTED = (
    "data.flip_aug=true", "data.color_aug=true", "data.random_crop=true", "data.rotate_degrees=10",
    "data.caption_dropout_rate=0.2", "data.caption_tag_dropout_rate=0.2", "data.token_warmup_step=3",
    "data.resolution=48", "data.enable_bucket=false", "data.validation_split=0.3",
)  # fmt: skip


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def final(folder: Path) -> bytes:
    return (folder / "lora" / "lora.safetensors").read_bytes()


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_events(folder / "events.jsonl") if row["kind"] == "step"]


def test_an_augmented_run_goes_on_exactly(lopsided: Path):
    values = (*AUGMENTED, "train.max_steps=4")
    out = train(lopsided, "a", *values)
    straight, before = final(out), losses(out)
    (out / "lora" / "lora.safetensors").unlink()
    sorted((out / "state").iterdir())[-1].unlink()
    train(lopsided, "a", *values, resume=True)
    assert final(out) == straight
    assert losses(out)[4:] == before[2:]
    plain = losses(train(lopsided, "b", "train.max_steps=4", *AUGMENTED[6:]))
    assert plain != before


@pytest.mark.parametrize("ending", ["toml", "json"])
def test_a_data_set_file_with_metadata_and_masks_trains(project: Path, ending: str):
    """D2, D3: fine-tuning metadata and masks, by sd-scripts' own keys."""
    folder = project / "train" / "2_aa12 person"
    (project / "masks").mkdir()
    for name in ("red", "green", "blue"):
        with Image.open(folder / f"{name}.png") as picture:
            Image.new("L", picture.size, 128).save(project / "masks" / f"{name}.png")
    (project / "meta.json").write_text(
        '{"red": {"caption": "aa12", "tags": "red"}, "green.png": {"tags": "green"}}'
    )
    written = {
        "toml": "[[datasets]]\nresolution = 64\nbatch_size = 2\n[[datasets.subsets]]\n"
        "image_dir = 'train/2_aa12 person'\nmetadata_file = 'meta.json'\n"
        "conditioning_data_dir = 'masks'\nnum_repeats = 2\n",
        "json": '{"datasets": [{"resolution": 64, "batch_size": 2, "subsets": [{"image_dir": '
        '"train/2_aa12 person", "metadata_file": "meta.json", "conditioning_data_dir": "masks", '
        '"num_repeats": 2}]}]}',
    }[ending]
    (project / f"settings.{ending}").write_text(written)
    values = ("train.max_steps=2", "train.threads=1", "train.tensorboard=false", "adapter.rank=2")
    out = project / "out"
    options = TrainOptions(dataset_config=project / f"settings.{ending}", set=values, out=out)
    task.run(options, Silent())
    assert len(losses(out)) == 2
    (started,) = [row for row in read_events(out / "events.jsonl") if row["kind"] == "started"]
    assert started["plan"]["pictures"] == 2
