"""What is drawn on pictures: read back by those who use it; the pictures stay as they are (B2)."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from renma.config.prepare.erase import EraseOptions
from renma.data.masks import Masks
from renma.prepare import boxes
from renma.prepare.erase import EraseWork

NAME = "1_aa/a.png"


@pytest.fixture
def folder(workspace: Path) -> Path:
    where = workspace / "set"
    (where / "1_aa").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40), "red").save(where / "1_aa" / name)
    return where


def png(size: tuple[int, int] = (60, 40), box: tuple[int, ...] = (5, 6, 25, 16)) -> str:
    picture = Image.new("L", size, 0)
    picture.paste(255, box)  # pyright: ignore[reportArgumentType]
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.copy()


def post(client: TestClient, what: str, **body: Any) -> Any:
    return client.post(f"/api/datasets/marks/{what}", json={"path": "set", "name": NAME, **body})


def test_frames_are_a_list_of_boxes_that_crop_reads(client: TestClient, folder: Path):
    before = {p: p.read_bytes() for p in folder.rglob("*.png")}
    assert post(client, "frame", box=[3, 4, 30, 20]).json()["frames"] == 1
    post(client, "frame", box=[0, 0, 8, 8], name="1_aa/b.png")
    found = boxes.read(folder.with_name("set-frames.csv"), [NAME, "1_aa/b.png"])
    assert found[NAME][0].box((60, 40)) == (3, 4, 33, 24)
    assert found["1_aa/b.png"][0].box((60, 40)) == (0, 0, 8, 8)
    shown = client.get("/api/datasets/marks/picture", params={"path": "set", "name": NAME}).json()
    assert (shown["width"], shown["height"], shown["frame"]) == (60, 40, [3, 4, 30, 20])
    post(client, "frame", box=None)
    assert client.get("/api/datasets/marks", params={"path": "set"}).json()["frames"] == {
        "1_aa/b.png": [0, 0, 8, 8]
    }
    assert {p: p.read_bytes() for p in folder.rglob("*.png")} == before


@pytest.mark.parametrize(
    "box", [[50, 0, 20, 20], [0, 0, 61, 40], [0, 0, 4, 20], [-1, 0, 9, 9], [0]]
)
def test_a_frame_lies_within_its_picture(client: TestClient, folder: Path, box: list[int]):
    assert post(client, "frame", box=box).status_code == 422
    assert not folder.with_name("set-frames.csv").exists()


def test_a_list_of_somebody_else_is_not_written_over(client: TestClient, folder: Path):
    folder.with_name("set-frames.csv").write_text("my,own,numbers\n")
    assert post(client, "frame", box=[0, 0, 20, 20]).status_code == 422
    assert folder.with_name("set-frames.csv").read_text() == "my,own,numbers\n"


def test_masks_are_found_by_training_and_by_erase(client: TestClient, folder: Path):
    for kind in ("masks", "erase"):
        assert post(client, "mask", kind=kind, data=png()).json()["mask"] == f"set-{kind}/{NAME}"
    work = EraseWork.of(EraseOptions(folder=folder, masks=folder.with_name("set-erase")))
    hole = work.hole(opened(folder / NAME), NAME)
    wanted = np.zeros((40, 60), bool)
    wanted[6:16, 5:25] = True
    assert (hole == wanted).all()
    assert client.post("/api/datasets/marks/fill", json={"path": "set"}).json() == {"made": 1}
    masks = Masks(folder.with_name("set-masks") / "1_aa")
    assert np.asarray(opened(masks.of(folder / NAME)))[6:16, 5:25].min() == 255
    assert np.asarray(opened(masks.of(folder / "1_aa" / "b.png"))).min() == 255
    post(client, "mask", kind="erase", data=None)
    assert not (folder.with_name("set-erase") / NAME).exists()


def test_what_is_no_mask_of_the_picture_is_refused(client: TestClient, folder: Path):
    jpeg = io.BytesIO()
    Image.new("L", (60, 40)).save(jpeg, "JPEG")
    bad = ["!", "", base64.b64encode(jpeg.getvalue()).decode(), png((61, 40)), png((4_000, 3_000))]
    for data in bad:
        answer = post(client, "mask", kind="masks", data=data)
        assert answer.status_code == 422, data[:20]
    for name in ("../a.png", "/etc/passwd", "1_aa", "x.png"):
        assert post(client, "mask", kind="masks", data=png(), name=name).status_code == 404
    assert not folder.with_name("set-masks").exists()


def test_masks_do_not_follow_a_link_out_of_the_workspace(
    client: TestClient, folder: Path, tmp_path: Path
):
    (tmp_path / "elsewhere").mkdir()
    folder.with_name("set-masks").symlink_to(tmp_path / "elsewhere")
    assert post(client, "mask", kind="masks", data=png()).status_code == 403
    assert not any((tmp_path / "elsewhere").iterdir())
