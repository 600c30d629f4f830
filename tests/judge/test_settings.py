"""G4: what differs from what a run began with - its preset, or the defaults."""

from __future__ import annotations

from pathlib import Path

from renma.config import Run, load_run
from renma.config.load import validate
from renma.config.presets import laid_under
from renma.config.schedule import CosineWithRestarts
from renma.judge import report
from renma.judge.report.settings import beginning, differences
from testbed.html_page import Page


def test_settings_that_differ_from_the_defaults(tmp_path: Path) -> None:
    assert differences(Run()) == []
    (tmp_path / "run.toml").write_text(
        "[optimizer]\nname = 'prodigy'\n[schedule]\nname = 'cosine_with_restarts'\nnum_cycles = 3\n"
        "[data]\nkeep_tokens = 2\n"
        "[[data.datasets]]\nkeep_tokens = 2\nbatch_size = 2\n[[data.datasets.subsets]]\nimage_dir = 'a'\nkeep_tokens = 3\n"
    )
    run = load_run(tmp_path / "run.toml")
    assert isinstance(run.schedule, CosineWithRestarts)
    found = {d.key: (d.value, d.default) for d in differences(run)}
    assert found == {
        "data.keep_tokens": ("2", "0"),
        "data.datasets[0].batch_size": ("2", "1"),
        "data.datasets[0].subsets[0].keep_tokens": ("3", "0"),
        "data.datasets[0].subsets[0].image_dir": ("a", "none"),
        "optimizer.name": ("prodigy", "adamw"),
        "schedule.name": ("cosine_with_restarts", "constant"),
        "schedule.num_cycles": ("3", ""),
    }
    assert all(d.help for d in differences(run))


def of_preset(**sections: object) -> Run:
    return validate(Run, laid_under({"preset": "sd15-8gb", **sections}, "x"), "x")


def test_settings_that_differ_from_the_preset() -> None:
    """sd15-8gb says rank 16, adamw8bit, a cosine with a warm-up of 0.05."""
    assert differences(of_preset(), beginning(of_preset()).run) == []
    run = of_preset(
        adapter={"rank": 8}, schedule={"name": "constant"}, train={"gradient_checkpointing": False}
    )
    began = beginning(run)
    assert (began.words, began.column) == ("the preset sd15-8gb", "Preset")
    found = {d.key: (d.value, d.default) for d in differences(run, began.run)}
    assert found == {
        "adapter.rank": ("8", "16"),
        "schedule.name": ("constant", "cosine"),
        "train.gradient_checkpointing": ("false", "true"),
    }


def test_the_page_names_what_it_compares_with(finished: Path) -> None:
    page = Page(report.write_report(finished).read_text(encoding="utf-8"))
    assert "Settings that differ from the defaults" in page.text
    toml = (finished / "run.toml").read_text()
    (finished / "run.toml").write_text(f'preset = "sd15-8gb"\n{toml}')
    page = Page(report.write_report(finished).read_text(encoding="utf-8"))
    assert "Settings that differ from the preset sd15-8gb" in page.text
    # the preset's cosine is the run's, too
    assert "schedule.name" not in page.text.split("All settings")[0]


def test_a_preset_of_another_version_is_said() -> None:
    began = beginning(Run(preset="sd99-1gb"))
    assert "sd99-1gb is not known" in began.note
    assert began.words == "the defaults"
