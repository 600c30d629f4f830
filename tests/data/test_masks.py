"""What counts in the loss: transparency and mask files, moved along with the picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from renma.config.data import DataConfig
from renma.core.errors import UserError
from renma.data.augment import Augment
from renma.data.buckets import Fit, fit
from renma.data.folder import Scan, expand, scan
from renma.data.pixels import load_fitted

SHARES = np.array([[0, 64, 128], [192, 255, 20]], np.uint8)  # of 3 x 2 fields


def fields(side: int = 32) -> Image.Image:
    return Image.fromarray(SHARES.repeat(side, 0).repeat(side, 1))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """pics/a.png (96 x 64, transparent by fields), pics/b.png (opaque), masks of both."""
    for folder in ("pics", "masks"):
        (tmp_path / folder).mkdir()
    picture = Image.new("RGBA", (96, 64), "red")
    picture.putalpha(fields())
    picture.save(tmp_path / "pics" / "a.png")
    Image.new("RGB", (96, 64), "blue").save(tmp_path / "pics" / "b.png")
    colour = Image.merge("RGB", (fields(), *[Image.new("L", (96, 64), 77)] * 2))
    colour.save(tmp_path / "masks" / "a.webp", lossless=True)
    fields(16).save(tmp_path / "masks" / "b.png")  # half as large
    return tmp_path


def scanned(base: Path, **subset) -> Scan:
    data = DataConfig.model_validate(
        {
            "class_tokens": "x",
            "resolution": [96, 64],
            "datasets": [{"subsets": [{"image_dir": "pics", **subset}]}],
        }
    )
    return scan(expand(data, base), data)


def masks(base: Path, shown: Augment | None = None, **subset) -> list[np.ndarray | None]:
    found = scanned(base, **subset).sets[0]
    plain = [Augment(fit(i.width, i.height, found.dataset)) for i in found.items]
    return [load_fitted(i, shown or p).mask for i, p in zip(found.items, plain, strict=True)]


EXPECTED = np.asarray(fields(), np.float32) / 255


def test_transparency_and_mask_files_say_the_same(project: Path):
    """alpha_mask reads alpha, mask_dir the red channel or the grey; opaque pictures count whole."""
    alpha, none = masks(project, alpha_mask=True)
    np.testing.assert_allclose(alpha, EXPECTED)
    assert none is None
    colour, half = masks(project, mask_dir="masks")
    np.testing.assert_allclose(colour, EXPECTED)
    middles = np.s_[16::32, 16::32]
    np.testing.assert_allclose(half[middles], EXPECTED[middles], atol=0.01)
    assert masks(project) == [None, None]


@pytest.mark.parametrize("angle", [0.0, 25.0])
@pytest.mark.parametrize("flip", [False, True])
def test_a_mask_moves_with_its_picture(project: Path, angle: float, flip: bool):
    """The mask drawn as a picture ends where the picture's own pixels end."""
    one = scanned(project, alpha_mask=True, background=(0, 0, 0)).sets[0].items[0]
    shown = Augment(Fit(48, 32, (96, 64), (30, 16)), flip, angle)
    found = load_fitted(one, shown)
    assert found.mask is not None
    # on black, the red that is left is the opacity
    red = found.rgb[..., 0].astype(float) / 255
    assert np.abs(found.mask - red).mean() < 0.02
    assert np.ptp(found.mask) > 0.5


def test_a_mask_file_beats_transparency_and_says_so(project: Path):
    fields().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(project / "masks" / "a.png")
    both = scanned(project, alpha_mask=True, mask_dir="masks")
    assert any("alpha_mask has no effect, the masks of mask_dir" in w for w in both.warnings)
    np.testing.assert_allclose(
        load_fitted(both.sets[0].items[0], Augment(Fit(96, 64, (96, 64), (0, 0)))).mask,
        EXPECTED[:, ::-1],
    )


def test_a_picture_without_mask_is_named(project: Path):
    (project / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match=r"b\.png: has no mask in .*masks"):
        scanned(project, mask_dir="masks")


def test_a_mask_of_another_shape_is_refused(project: Path):
    Image.new("L", (64, 64)).save(project / "masks" / "b.png")
    with pytest.raises(UserError, match=r"b\.png: is 64x64 and does not fit its picture of 96x64"):
        masks(project, mask_dir="masks")


def test_what_a_mask_hangs_on_tells_entries_apart(project: Path):
    plain, alpha, files = (
        [i.mask_key for i in scanned(project, **options).sets[0].items]
        for options in ({}, {"alpha_mask": True}, {"mask_dir": "masks"})
    )
    assert plain == ["", ""]
    assert alpha == ["alpha", ""]
    fields(32).rotate(180).save(project / "masks" / "b.png")
    redrawn = [i.mask_key for i in scanned(project, mask_dir="masks").sets[0].items]
    assert redrawn[0] == files[0]
    assert len({*plain, *alpha, *files, redrawn[1]}) == 5


def test_options_without_effect_are_named(tmp_path: Path):
    (tmp_path / "pics").mkdir()
    Image.new("RGB", (70, 70)).save(tmp_path / "pics" / "a.png")
    options = {
        "alpha_mask": True, "rotate_degrees": 20, "face_crop_aug_range": [1, 2],
        "keep_tokens_separator": "|||", "secondary_separator": ";;;", "enable_wildcard": True,
        "token_warmup_min": 3,
    }  # fmt: skip
    data = DataConfig.model_validate(
        {
            "class_tokens": "x", "resolution": 64, "validation_seed": 4,
            "without_effect": ["cache_info has no effect."],
            "datasets": [{"subsets": [{"image_dir": "pics", **options}]}],
        }
    )  # fmt: skip
    told = scan(expand(data, tmp_path), data).warnings
    for name in (*options, "validation_seed", "cache_info"):
        (line,) = [text for text in told if text.startswith(name)]
        assert "\n" not in line
