"""The preflight on headers of full-size models: what is odd there and what is not (G2)."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


def resized(project: Path, size: tuple[int, int]) -> None:
    """Gives all pictures of a project another size."""
    for path in project.rglob("*.png"):
        with Image.open(path) as picture:
            changed = picture.convert("RGB").resize(size)
        changed.save(path)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Headers of full-size models."""
    spec = importlib.util.spec_from_file_location("_hollow", ROOT / "tools" / "hollow_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("hollow")
    return lambda kind: module.hollow_model(kind, folder / f"{kind}.safetensors")


@pytest.mark.parametrize(
    ("kind", "bad", "good"), [("sd1", 1024, (512, 640, 768)), ("sdxl", 512, (768, 1024))]
)
def test_full_models_at_sizes_they_were_not_made_for(project: Path, real, kind, bad, good):
    """SDXL at 512 and SD 1.x at 1024; with the preset's own settings nothing else is odd."""
    resized(project, (1024, 1024))
    preset = f"preset = '{'sdxl-24gb' if kind == 'sdxl' else 'sd15-8gb'}'\n"
    data = '[data]\ntrain_folder="train"\nreg_folder="reg"\nshuffle_caption=true\nkeep_tokens=1\n'
    (project / "run.toml").write_text(f"{preset}[model]\npath = '{real(kind)}'\n{data}")
    from renma.train.plan import prepare
    from renma.train.source import load

    def odd(*values: str) -> set[str]:
        source = load(project / "run.toml", None, ["train.max_steps=240", *values])
        plan = prepare(source.run, source.base).plan
        return {finding.rule for finding in plan.findings}

    for size in good:
        assert odd(f"data.resolution={size}", "data.min_bucket_reso=256") == set()
    assert "far-from-native" in odd(f"data.resolution={bad}", "data.min_bucket_reso=256")
    assert "eager-text-encoder" in odd("optimizer.text_encoder_lr=1e-3")
    assert "trigger-is-a-word" in odd("output.trigger=person")
    assert "trigger-is-a-word" not in odd("output.trigger=aa12")
    if kind == "sdxl":
        resized(project, (832, 1216))
        assert "bucket-limit" in odd("data.max_bucket_reso=1024")
        assert "bucket-limit" not in odd("data.max_bucket_reso=2048")
        assert "model-options" in odd("model.clip_skip=2")
