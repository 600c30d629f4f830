"""What the header of a trained LoRA says about its run."""

from __future__ import annotations

import json
from pathlib import Path

from renma.config.run_tasks import TrainOptions
from renma.core.events import Silent
from renma.formats import safetensors
from renma.train import task
from testbed.runs import train


def test_metadata_is_complete_and_tells_no_places(project: Path):
    out = train(project, "a", "output.trigger=aa12")
    metadata = safetensors.read_header(out / "lora" / "lora.safetensors")[1]
    assert metadata["ss_network_module"] == "networks.lora"
    assert metadata["ss_base_model_version"] == "sd_v1"
    assert metadata["ss_network_dim"] == "2"
    assert metadata["ss_num_train_images"] == "6"
    assert metadata["ss_num_reg_images"] == "6"
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
    assert metadata["modelspec.trigger_phrase"] == "aa12"
    assert json.loads(metadata["ss_tag_frequency"])["2_aa12 person"]["aa12"] == 3
    assert "rank = 2" in metadata["renma_run"]
    assert str(project) not in str(metadata)
    small = train(project, "b", "output.metadata=minimal")
    names = safetensors.read_header(small / "lora" / "lora.safetensors")[1]
    assert "ss_tag_frequency" not in names
    assert "renma_run" not in names
    assert names["ss_network_dim"] == "2"


def test_metadata_keys_are_kohyas(project: Path, reference: Path):
    """Beside the header of a file that sd-scripts wrote."""
    facts = reference / "spec" / "kohya_header.json"
    theirs = set(json.loads(facts.read_text())["metadata"])
    out = train(project, "a", "train.max_steps=1")
    ours = set(safetensors.read_header(out / "lora" / "lora.safetensors")[1])
    own = {key for key in ours - theirs if not key.startswith("renma_")}
    assert own <= {"ss_new_vae_hash", "ss_datasets"}


def test_metadata_tells_the_resolved_options_of_every_folder(project: Path):
    settings = project / "settings.toml"
    settings.write_text(
        "[[datasets]]\nresolution = 64\nshuffle_caption = true\nkeep_tokens = 1\nbatch_size = 2\n"
        "[[datasets.subsets]]\nimage_dir = 'train/2_aa12 person'\ncaption_extension = '.txt'\n"
        "flip_aug = true\nnum_repeats = 2\n"
        "[[datasets]]\nresolution = [32, 64]\n"
        "[[datasets.subsets]]\nimage_dir = 'reg/1_person'\ncaption_extension = '.txt'\n"
    )
    values = (
        "train.max_steps=3",
        "train.tensorboard=false",
        "schedule.name=linear",
        "schedule.warmup_steps=0.7",
    )
    task.run(TrainOptions(dataset_config=settings, set=values, out=project / "o"), Silent())
    found = safetensors.read_header(project / "o" / "lora" / "lora.safetensors")[1]
    assert (found["ss_shuffle_caption"], found["ss_keep_tokens"], found["ss_flip_aug"]) == (
        "True",
        "1",
        "True",
    )
    assert found["ss_lr_warmup_steps"] == "2"
    assert found["ss_num_epochs"] == found["ss_epoch"] == "1"
    one, two = json.loads(found["ss_datasets"])
    assert (one["resolution"], two["resolution"]) == ([64, 64], [32, 64])
    assert one["bucket_info"]["buckets"] == {"0": {"resolution": [64, 64], "count": 6}}
    assert two["bucket_info"]["buckets"] == {"0": {"resolution": [32, 64], "count": 2}}
    assert one["subsets"][0]["img_count"] == 3
    assert two["subsets"][0]["shuffle_caption"] is False
