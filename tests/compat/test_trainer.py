"""Standing in for sd-scripts' trainer: its file names, its folders, going on, one-line mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from renma.compat import sdxl_train_network, train_network, trainer
from renma.compat.checkpoints import Mirror
from renma.config import load_run
from renma.core.events import Silent, read_events

BASE = [
    "--pretrained_model_name_or_path=mame",
    "--train_data_dir=train",
    "--resolution=64",
    "--network_module=networks.lora",
    "--network_dim=2",
    "--learning_rate=1e-3",
    "--output_dir=out",
    "--caption_extension=.txt",
    "--network_train_unet_only",
]


class Heard(Silent):
    """Keeps events."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, dict[str, Any]]] = []

    def event(self, kind: str, **data: Any) -> None:
        """Keeps one."""
        self.rows.append((kind, data))


def test_epochs_names_and_going_on(home: Path, capsys):
    """Without a name files are called as sd-scripts calls them; --resume goes on with the run."""
    words = [*BASE, "--max_train_epochs=3", "--save_every_n_epochs=1"]
    assert train_network.main(words) == 0, capsys.readouterr().err
    files = {"epoch-000001.safetensors", "epoch-000002.safetensors", "last.safetensors"}
    assert {path.name for path in (home / "out").glob("*.safetensors")} == files
    run = home / "out" / "last.renma"
    first = (home / "out" / "last.safetensors").read_bytes()
    assert train_network.main([*words[:-2], "--max_train_epochs=4", f"--resume={run}"]) == 0
    assert load_run(run / "run.toml").train.max_epochs == 4
    assert (home / "out" / "last.safetensors").read_bytes() != first
    steps = [row["step"] for row in read_events(run / "events.jsonl") if row["kind"] == "step"]
    assert steps == list(range(1, len(steps) + 1)), "no step was done twice"
    capsys.readouterr()
    assert train_network.main([*BASE, "--max_train_steps=1"]) == 0
    assert (home / "out" / "last.renma-002" / "run.toml").exists()
    assert "will be written over" in capsys.readouterr().out


def test_copies_follow_the_run(tmp_path: Path):
    lora, out = tmp_path / "lora", tmp_path / "out"
    lora.mkdir()
    out.mkdir()
    (out / "a-000009.safetensors").write_text("somebody else's")
    mirror = Mirror(lora, out, "a", False, heard := Heard())
    (lora / "a-000001.safetensors").write_text("one")
    (lora / "b.safetensors").write_text("no checkpoint of this run")
    mirror.event("saved", path="lora/a-000001.safetensors")
    assert (out / "a-000001.safetensors").read_text() == "one"
    (lora / "a-000001.safetensors").unlink()  # keep_checkpoints
    (lora / "a-000002.safetensors").write_text("two")
    mirror.event("saved", path="lora/a-000002.safetensors")
    assert sorted(p.name for p in out.iterdir()) == ["a-000002.safetensors", "a-000009.safetensors"]
    # a run that goes on knows its own copies, and writes a new file over an old one whole
    again = Mirror(lora, out, "a", False, heard)
    (lora / "new").write_text("changed")
    (lora / "new").replace(lora / "a-000002.safetensors")
    again.event("finished")
    assert (out / "a-000002.safetensors").read_text() == "changed"
    (lora / "a-000002.safetensors").unlink()
    again.update()
    assert [p.name for p in out.iterdir()] == ["a-000009.safetensors"]
    assert [kind for kind, _ in heard.rows] == ["saved", "saved", "finished"]


def test_copies_without_links_and_a_folder_that_is_gone(tmp_path: Path, monkeypatch):
    def no_links(*_: object) -> None:
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "a.safetensors").write_text("one")
    mirror = Mirror(tmp_path / "lora", tmp_path / "gone", "a", False, heard := Heard())
    mirror.event("finished")
    assert [kind for kind, _ in heard.rows] == ["warned", "finished"], "said, and training goes on"
    (tmp_path / "gone").mkdir()
    mirror.update()
    assert (tmp_path / "gone" / "a.safetensors").read_text() == "one"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--pretrained_model_name_or_path: is missing"),
        (BASE[:1], "--network_module: is missing"),
        (BASE[:1] + BASE[3:4], "--resolution: is missing"),
        (BASE[:1] + BASE[2:4], "--train_data_dir: is missing"),
        ([w for w in BASE if "output_dir" not in w], "--output_dir: is missing"),
        ([*BASE, "--resume=elsewhere"], "--resume=elsewhere: there is no such folder"),
        ([*BASE, "--save_model_as=ckpt"], "pickles can run code"),
        ([*BASE, "--network_dimm=3"], "Did you mean 'network_dim'?"),
        ([*BASE, "--train_data_dir=train/2_aa12"], "2_aa12"),
        ([*BASE, "--dataset_config=nowhere.toml"], "there is no such file"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(words, said, home: Path, capsys):
    """The guide's own classic, the inner folder, among them (D1)."""
    assert train_network.main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("renma: ")
    assert err.count("\n") == 1
    assert said in err


def test_help_lists_the_options_of_the_script(capsys):
    assert train_network.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "--network_dim" in shown
    assert "--cache_text_encoder_outputs " not in shown
    assert sdxl_train_network.main(["-h"]) == 0
    assert "--cache_text_encoder_outputs " in capsys.readouterr().out


def test_the_module_starts_without_torch():
    """`python -m` and a mistake: torch is not loaded to say so."""
    code = (
        "import sys; from renma.compat import train_network; "
        "rc = train_network.main(['--v3']); print(rc, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["2", "False"]


def test_a_restarted_launcher_goes_on_in_the_same_folder(tmp_path: Path, monkeypatch):
    def begin(name: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "events.jsonl").write_text('{"time": 1, "kind": "started"}\n')

    folder = lambda: trainer.folder_of(tmp_path, "a").path.name  # noqa: E731
    assert folder() == "a.renma"
    begin("a.renma")
    assert folder() == "a.renma-002"
    begin("a.renma-002")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert folder() == "a.renma-002"
