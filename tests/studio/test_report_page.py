"""The page of reports in a real browser; a hostile report reaches nothing (rows C3, E8)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testbed.studio_run import made_run

Open = Callable[..., Any]
HOSTILE = """<!doctype html><title>bad</title><p id="said">nothing</p>
<img src="/api/runs"><iframe src="/"></iframe>
<script>
const seen = ["ran"];
const tell = () => (document.getElementById("said").textContent = seen.join(" "));
const attempts = {
  parent: () => parent.document.title.length && seen.push("parent"),
  cookie: () => document.cookie.length && seen.push("cookie"),
  storage: () => localStorage.setItem("a", "b") ?? seen.push("storage"),
  frame: () => document.querySelector("iframe").contentDocument.title.length && seen.push("frame"),
};
for (const [name, act] of Object.entries(attempts)) try { act(); } catch { seen.push("no-" + name); }
const calls = [
  fetch("/api/jobs", { method: "POST", headers: { "content-type": "application/json" }, body: '{"task": "report", "options": {"folder": "run"}}' }),
  fetch("/api/jobs", { credentials: "include" }),
  fetch("/api/jobs", { method: "POST", mode: "no-cors", body: "{}" }),
  new Promise((done, fail) => { const x = new XMLHttpRequest(); x.onload = () => done(x); x.onerror = fail; x.open("GET", "/api/runs"); x.send(); }),
];
Promise.allSettled(calls).then((all) => { seen.push(...all.map((one) => one.status)); tell(); });
navigator.sendBeacon?.("/api/jobs", "{}");
tell();
</script>"""


@pytest.fixture
def run(workspace: Path) -> Path:
    return made_run(workspace / "run")


def test_a_report_is_made_and_shown(run: Path, opened: Open):
    page = opened("/queue")
    page.locator("#runs").get_by_role("link", name="Report").click()
    page.get_by_role("button", name="Make the report").click()
    shown = page.frame_locator("#shown")
    shown.get_by_text("aa12").first.wait_for(timeout=60_000)
    assert (run / "report.html").is_file()
    assert page.locator("#facts").get_by_text("up to date").is_visible()
    assert page.get_by_role("button", name="Make it anew").is_visible()
    assert page.get_by_role("link", name="Download").get_attribute("href").endswith("report.html")
    with page.expect_popup() as opening:
        page.get_by_role("link", name="Open in a tab").click()
    tab = opening.value
    tab.get_by_text("aa12").first.wait_for()
    assert tab.evaluate("self.origin") == "null"


def test_a_hostile_report_reaches_nothing(run: Path, served: Any, chromium: Any):
    """Its scripts run, but with an origin of their own: no cookie, no page around, no call."""
    (run / "report.html").write_text(HOSTILE)
    context = chromium.new_context()
    page = context.new_page()
    answers: list[tuple[str, int]] = []
    page.on("response", lambda answer: answers.append((answer.url, answer.status)))
    page.goto(served.entrance)
    page.goto(served.address + "/report?run=run")
    told = page.frame_locator("#shown").locator("#said")
    expected = "ran no-parent no-cookie no-storage no-frame" + " rejected" * 4
    told.get_by_text(expected, exact=True).wait_for()
    # as a page of its own, too
    page.goto(served.address + "/api/reports/page?path=run")
    page.locator("#said").get_by_text("no-cookie").wait_for()
    page.locator("#said").get_by_text("rejected rejected rejected rejected").wait_for()
    assert page.evaluate("self.origin") == "null"
    # nothing was put into the queue, and no call of the report's was answered
    assert context.request.get(served.address + "/api/jobs").json() == []
    assert not [url for url, status in answers if url.endswith("/api/jobs") and status < 400]
    context.close()


def test_where_the_list_says_what_it_knows(run: Path, opened: Open):
    made_run(run.parent / "other")
    (run / "report.html").write_text("<p>told</p>")
    page = opened("/report?run=run", width=390, color_scheme="dark")
    row = page.get_by_role("row", name="run", exact=False)
    page.get_by_role("cell", name="up to date").wait_for()
    page.get_by_role("cell", name="none yet").wait_for()
    assert row.count() >= 2
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    sandbox = page.locator("#shown").get_attribute("sandbox")
    assert sandbox == "allow-scripts"
