"""Grids, drawings, judging and blocks as the interface offers them (row C3)."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from renma.config import validate
from renma.config.sample_task import SampleOptions
from renma.studio.app import application
from renma.studio.place import Place
from renma.studio.token import Token
from testbed.studio import SECRET
from testbed.studio_run import made_run, picture, score

RUN = "mine/runs/001"
RED, BLUE = "#e6194b", "#4363d8"


@pytest.fixture
def calls(place: Place) -> Iterator[TestClient]:
    """A caller with the token, a run, and a queue that begins nothing."""
    made_run(place.root / RUN)
    app: Any = application(place, Token(SECRET))
    headers = {"authorization": f"Bearer {SECRET}"}
    made = TestClient(app, base_url="http://127.0.0.1", headers=headers)
    yield made
    made.close()


def post(calls: TestClient, what: str, **body: Any) -> Any:
    return calls.post(f"/api/compare/{what}", json={"path": RUN, "name": "one", **body})


def asked(workspace: Path) -> dict[str, Any]:
    """Returns the newest job."""
    folders = sorted((workspace / ".renma-studio/jobs").iterdir())
    return json.loads((folders[-1] / "job.json").read_text())


def halves(*colours: str) -> str:
    """Returns a picture with a colour on each side, as a page sends it."""
    made = Image.new("RGBA", (64, 64))
    for number, colour in enumerate(colours):
        made.paste(Image.new("RGB", (32, 64), colour), (32 * number, 0))
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_a_run_tells_what_it_can_be_compared_by(calls: TestClient, workspace: Path):
    run = workspace / RUN
    picture(run / "grids/a.png")
    (run / "grids/b.html").write_text("x")
    (run / "grids/c.txt").write_text("x")
    (run / "grids/d.png").symlink_to("/etc/passwd")
    (run / "score.json").write_text(json.dumps(score()))
    found = calls.get("/api/compare/facts", params={"path": RUN}).json()
    assert [row["label"] for row in found["checkpoints"]] == ["step 10", "last (step 20)"]
    assert found["prompts"] == ["aa12, smile", "person, smile"]
    assert {row["path"] for row in found["grids"]} == {"grids/a.png", "grids/b.html"}
    assert found["score"]["best"] == "lora/aa12.safetensors"
    assert found["size"] == 128


def test_planning_and_comparing_never_load_torch(workspace: Path):
    """Row C3: the studio's own process stays small."""
    made_run(workspace / RUN)
    code = f"""
import sys
from pathlib import Path
from renma.studio.api import compare, settings
from renma.studio.drawing_wish import GridWish
from renma.studio.place import Place
place = Place.made(Path({str(workspace)!r}))
compare.facts({RUN!r}, place)
wish = GridWish(path={RUN!r}, name="a", x={{"name": "checkpoint"}})
assert compare.plan(wish, place)["pictures"] == 2
settings.options()
text = "accelerate launch train_network.py --network_module=networks.lora --resolution=128"
settings.read_kohya(settings.Pasted(project="", text=text), place)
settings.check(settings.Settings(project="", values={{}}), place)
sys.exit("torch" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_grid_is_counted_before_it_is_drawn(calls: TestClient):
    axes = {
        "x": {"name": "weight", "values": "0-1(+0.25)"},
        "y": {"name": "checkpoint", "values": "all"},
        "z": {"name": "seed", "values": "1-3"},
    }
    found = post(calls, "plan", **axes).json()
    assert found["pictures"] == 5 * 2 * 3
    assert found["y"]["labels"] == ["step 10", "last (step 20)"]
    twice = post(calls, "plan", **axes, steps=20).json()
    assert twice["seconds"] == pytest.approx(2 * found["seconds"], abs=1)
    wrong = post(calls, "plan", x={"name": "seed", "values": "x"}).json()
    assert "'x' is no number" in wrong["problem"]
    assert found["command"].startswith(f"renma grid {RUN} --x 'weight=0-1(+0.25)'")


def test_a_grid_is_a_job_in_the_folder_of_the_run(calls: TestClient, workspace: Path):
    answer = post(calls, "grid", x={"name": "checkpoint"}, kind="html", prompts=["aa12"])
    assert answer.status_code == 200, answer.text
    job = asked(workspace)
    assert job["task"] == "grid"
    assert job["options"]["out"] == str(workspace / RUN / "grids/one.html")
    (row,) = calls.get("/api/compare/jobs", params={"path": RUN}).json()
    assert (row["state"], row["title"]) == ("queued", "grid one")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "../one"}, {"name": "a/b"}, {"name": ".hidden"}, {"name": "a\\b"},
        {"path": "../x"}, {"path": "/etc"}, {"path": "mine"}, {"others": ["../x"]},
        {"x": {"name": "checkpoint", "values": "/etc/passwd"}},
        {"x": {"name": "checkpoint", "values": "last, ../../x.safetensors"}},
        {"x": {"name": "prompt", "values": "a <lora:/etc/passwd:1>"}},
        {"prompts": ["a <lora:../../x:1>"]}, {"x": {"name": "nothing", "values": "1"}},
        {"x": {"name": "seed", "values": "1-99999999"}}, {"model": "/etc"}, {"lora_dir": "/etc"},
    ],
)  # fmt: skip
def test_a_grid_reads_and_writes_nothing_outside(
    calls: TestClient, workspace: Path, body: dict[str, Any]
):
    """Groups "web paths" and "config" of the bad inputs."""
    answer = post(calls, "grid", **body)
    assert answer.status_code in (403, 404, 422), answer.text
    assert str(workspace) not in answer.text
    assert calls.get("/api/jobs").json() == []


def test_regions_become_a_picture_and_prompts_with_their_loras(calls: TestClient, workspace: Path):
    lora = f"{RUN}/lora/aa12.safetensors"
    parts = [
        {"prompt": "aa12, smile", "lora": lora, "lora_weight": 0.8, "colour": RED},
        {"prompt": "person", "colour": BLUE, "strength": 0.5},
    ]
    answer = post(calls, "draw", parts=parts, rest="a park", picture=halves(RED, BLUE), seed=3)
    assert answer.status_code == 200, answer.text
    folder = workspace / RUN / "drawn/one"
    options = asked(workspace)["options"]
    drawn = validate(SampleOptions, options, "job")
    assert drawn.region == (
        f"{RED}:1=aa12, smile <lora:{workspace / lora}:0.8>",
        f"{BLUE}:0.5=person",
    )
    assert drawn.prompt == ("a park",)
    assert drawn.seed == 3
    # nothing but the prompts that name a LoRA has one
    assert drawn.lora == (f"{workspace / lora}:0",)
    with Image.open(folder / "regions.png") as found:
        assert found.convert("RGB").getpixel((5, 5)) == (0xE6, 0x19, 0x4B)
    (row,) = calls.get("/api/compare/facts", params={"path": RUN}).json()["drawn"]
    assert row["asked"]["parts"][0]["lora"] == lora
    assert post(calls, "draw", parts=parts, picture=halves(RED, BLUE)).status_code == 422


def test_a_job_of_regions_makes_the_recipe_that_was_meant(calls: TestClient, workspace: Path):
    """What the page sends is understood by `renma sample` itself, up to the drawing."""
    from renma.use.recipes import recipes

    parts = [
        {"prompt": "aa12", "lora": f"{RUN}/lora/aa12.safetensors", "lora_weight": 0.5},
        {"prompt": "person", "weight": 1.5},
    ]
    assert post(calls, "draw", parts=parts).status_code == 200
    options = validate(SampleOptions, asked(workspace)["options"], "job")
    (recipe,) = recipes(options, lambda _: None)
    assert recipe.prompt.text.endswith("AND person :1.5")
    assert [lora.name.rpartition("/")[2] for lora in recipe.named] == ["aa12.safetensors"]
    assert [lora.unet for lora in recipe.loras] == [0]
    assert recipe.prompt.steps == 10  # the run's own


@pytest.mark.parametrize(
    "body",
    [
        {"parts": []},
        {"parts": [{"prompt": "a", "colour": "red"}]},
        {"parts": [{"prompt": "a", "colour": RED}], "picture": "data:image/png;base64,AAAA"},
        {"parts": [{"prompt": "a", "colour": RED}], "picture": "not base64"},
        {"parts": [{"prompt": "a", "colour": BLUE}], "picture": halves(RED)},
        {"parts": [{"prompt": "", "colour": RED}], "picture": halves(RED)},
        {"parts": [{"prompt": "a", "lora": "../x.safetensors"}]},
        {"parts": [{"prompt": "a", "lora": f"{RUN}/run.toml"}]},
        {"parts": [{"prompt": "a <lora:/etc/x:1>"}]},
        {"parts": [{"prompt": "a"}], "name": "../x"},
        {"parts": [{"prompt": "a"}], "width": 100},
        {"parts": [{"prompt": "a"}], "count": 1000},
    ],
)
def test_drawings_that_cannot_be_are_refused_at_once(
    calls: TestClient, workspace: Path, body: dict[str, Any]
):
    answer = post(calls, "draw", **body)
    assert answer.status_code in (403, 404, 422), answer.text
    assert calls.get("/api/jobs").json() == []


def test_judging_and_blocks_are_jobs(calls: TestClient, workspace: Path):
    body = {"path": RUN, "pictures": 2}
    assert calls.post("/api/compare/judge", json=body).status_code == 200
    assert asked(workspace)["options"] == {"folder": str(workspace / RUN), "pictures": 2}
    body = {"path": RUN, "seeds": 1, "presets": True}
    assert calls.post("/api/compare/blocks", json=body).status_code == 200
    job = asked(workspace)
    assert job["options"]["out"] == str(workspace / RUN / "blocks.html")
    assert job["options"]["seeds"] == 1
