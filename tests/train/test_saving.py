"""What a run leaves and when: checkpoints, states, previews, metadata, the lock."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch

from renma.config.run_tasks import TrainOptions
from renma.core.errors import UserError
from renma.core.events import Silent, read_events
from renma.formats.safetensors import read_header
from renma.train import task


def train(project: Path, out: str, *values: str, resume: bool = False) -> Path:
    options = TrainOptions(run=project / "run.toml", set=values, out=project / out, resume=resume)
    task.run(options, Silent())
    return project / out


def rows(folder: Path, kind: str) -> list[dict]:
    return [row for row in read_events(folder / "events.jsonl") if row["kind"] == kind]


def metadata(path: Path) -> dict[str, str]:
    return read_header(path)[1]


@pytest.fixture
def three(project: Path) -> Path:
    """The project with three pictures in two buckets: epochs of two batches."""
    (project / "train" / "2_aa12 person").rename(project / "train" / "1_aa12 person")
    text = (project / "run.toml").read_text()
    text = text.replace('reg_folder = "reg"\n', "").replace("save_every_steps = 2\n", "")
    (project / "run.toml").write_text(text)
    return project


def test_checkpoints_by_epoch_and_what_they_say_of_themselves(three: Path):
    out = train(three, "a", "train.max_epochs=4", "train.save_every_epochs=1")
    facts = {p.name: metadata(p) for p in (out / "lora").iterdir()}
    told = {name: (m["ss_epoch"], m["ss_steps"]) for name, m in facts.items()}
    assert told == {
        "lora-000001.safetensors": ("1", "2"),
        "lora-000002.safetensors": ("2", "4"),
        "lora-000003.safetensors": ("3", "6"),
        "lora.safetensors": ("4", "8"),
    }
    assert {m["ss_num_epochs"] for m in facts.values()} == {"4"}
    assert {m["ss_num_train_images"] for m in facts.values()} == {"3"}
    assert {m["ss_num_reg_images"] for m in facts.values()} == {"0"}
    assert {m["ss_max_train_steps"] for m in facts.values()} == {"8"}
    saved = [(row["step"], row["path"]) for row in rows(out, "saved")]
    assert sorted(saved) == sorted((int(told[n][1]), f"lora/{n}") for n in told)


def test_checkpoints_every_other_epoch_and_step(three: Path):
    by_epoch = train(three, "a", "train.max_epochs=5", "train.save_every_epochs=2")
    assert [row["step"] for row in rows(by_epoch, "saved")] == [4, 8, 10]
    by_step = train(three, "b", "train.max_steps=7", "train.save_every_steps=3")
    assert [row["step"] for row in rows(by_step, "saved")] == [3, 6, 7]


def test_a_checkpoint_in_the_middle_of_an_epoch_counts_that_epoch(three: Path):
    out = train(three, "a", "train.max_steps=4", "train.save_every_steps=1")
    told = {p.name: metadata(p)["ss_epoch"] for p in (out / "lora").iterdir()}
    assert told == {
        "lora-step00000001.safetensors": "1",
        "lora-step00000002.safetensors": "1",
        "lora-step00000003.safetensors": "2",
        "lora.safetensors": "2",
    }
    assert [row["epoch"] for row in rows(out, "step")] == [1, 1, 2, 2]


def state_steps(folder: Path) -> list[str]:
    return [path.stem for path in sorted((folder / "state").iterdir())]


def test_states_are_saved_by_the_clock(three: Path):
    """So short a time that every step is overdue; two states are kept."""
    often = train(three, "a", "train.max_steps=3", "train.state_every_minutes=0.0000001")
    assert state_steps(often) == ["step-00000002", "step-00000003"]
    never = train(three, "b", "train.max_steps=3", "train.state_every_minutes=0")
    assert state_steps(never) == ["step-00000003"]
    rarely = train(three, "c", "train.max_steps=3", "train.state_every_minutes=60")
    assert state_steps(rarely) == ["step-00000003"]


PROMPTS = "sample.prompts=['aa12 --s 1', 'aa12 --s 1', 'aa12 --s 1 --d 7']"


def drawn(folder: Path) -> list[int]:
    return [row["step"] for row in rows(folder, "sample") if row["index"] == 0]


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        (("sample.at_first=true",), [0]),
        (("sample.at_first=true", "sample.every_epochs=2"), [0, 4]),
        (("sample.every_epochs=1",), [2, 4]),
        (("sample.every_steps=2", "sample.at_first=true"), [0, 2, 4]),
        (("sample.every_steps=1", "sample.every_epochs=2"), [4]),
        ((), []),
    ],
)
def test_previews_come_when_asked_for(three: Path, values, steps: list[int]):
    out = train(three, "a", "train.max_steps=5", "sample.prompts=['aa12 --s 1']", *values)
    assert drawn(out) == steps
    files = sorted(p.name for p in (out / "samples").iterdir()) if steps else []
    assert files == [f"step-{step:08d}-00.png" for step in steps]


def test_each_prompt_has_its_own_seed_that_stays(three: Path):
    """Without ``--d`` the seed follows from the run's seed and the prompt's place."""
    how = ("train.max_steps=1", "sample.at_first=true", "sample.every_steps=1", PROMPTS)
    first = train(three, "a", *how)
    seeds = [[r["seed"] for r in rows(first, "sample") if r["step"] == step] for step in (0, 1)]
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 3
    assert seeds[0][2] == 7
    pictures = [(first / "samples" / f"step-00000000-0{i}.png").read_bytes() for i in range(3)]
    assert len(set(pictures)) == 3
    other = train(three, "b", *how, "train.seed=43")
    again = [row["seed"] for row in rows(other, "sample")][:3]
    assert again[2] == 7
    assert not set(again[:2]) & set(seeds[0][:2])


def test_rates_in_the_file_are_those_of_each_part(three: Path):
    rates = ("optimizer.unet_lr=0.002", "optimizer.text_encoder_lr=0.0005", "train.max_steps=1")
    both = metadata(train(three, "a", *rates) / "lora" / "lora.safetensors")
    assert float(both["ss_learning_rate"]) == 1e-3
    assert float(both["ss_unet_lr"]) == 2e-3
    assert float(both["ss_text_encoder_lr"]) == 5e-4
    out = train(three, "b", "optimizer.text_encoder_lr=0", "train.max_steps=1")
    one = metadata(out / "lora" / "lora.safetensors")
    assert float(one["ss_unet_lr"]) == 1e-3
    assert one["ss_text_encoder_lr"] == "None"


def test_hashes_are_those_that_web_uis_compute(three: Path):
    """As kohya-ss/sd-scripts defines them, with the safetensors library's own writer.

    Model hash: SHA-256 of what follows the header. Legacy hash: first 8 digits of SHA-256 of the
    64 KiB at 1 MiB, of the file with ``ss_`` keys only; the file must be longer than that.
    """
    how = ("adapter.rank=12", "output.precision=fp32", "train.max_steps=1")
    path = train(three, "a", *how) / "lora" / "lora.safetensors"
    told, data = metadata(path), path.read_bytes()
    assert len(data) > 0x110000
    start = 8 + int.from_bytes(data[:8], "little")
    assert told["sshs_model_hash"] == hashlib.sha256(data[start:]).hexdigest()
    kept = {key: value for key, value in told.items() if key.startswith("ss_")}
    assert kept != told
    bare = safetensors.torch.save(safetensors.torch.load_file(path), metadata=kept)
    expected = hashlib.sha256(bare[0x100000:0x110000]).hexdigest()[:8]
    assert told["sshs_legacy_hash"] == expected


def test_metadata_is_text_that_the_library_reads(three: Path):
    path = train(three, "a", "train.max_steps=1") / "lora" / "lora.safetensors"
    with safetensors.safe_open(path, "pt") as file:
        assert file.metadata() == metadata(path)
    json.loads(metadata(path)["ss_bucket_info"])


HOLD = """
import sys
from pathlib import Path
from renma.train.folder import RunFolder, locked
with locked(RunFolder(Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_use_is_refused_and_one_left_by_a_dead_process_is_taken(three: Path):
    out = three / "a"
    command = [sys.executable, "-c", HOLD, str(out)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    assert holder.stdin
    try:
        assert holder.stdout.readline() == "held\n"
        before = sorted(p.name for p in out.iterdir())
        with pytest.raises(UserError, match="process"):
            train(three, "a", "train.max_steps=1")
        assert sorted(p.name for p in out.iterdir()) == before
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
    train(three, "a", "train.max_steps=1")
    assert (out / "lora" / "lora.safetensors").exists()
