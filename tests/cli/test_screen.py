"""What a person sees while a task works."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from renma.cli.screen import Pace, Screen, duration


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown(clock: Clock, *, terminal: bool) -> tuple[Screen, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system="standard")
    return Screen(console, clock), out


def step(number: int, of: int, loss: float | None = 0.25) -> dict:
    return {
        "step": number, "steps": of, "epoch": 1.0, "epochs": 2.4, "loss": loss,
        "loss_average": loss, "lr": {"unet": 1e-4}, "seconds": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (62, "1:02"), (3600, "1:00:00"), (59.6, "1:00"), (-1, "0:00")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_pace_counts_from_where_a_resumed_run_began(clock):
    pace = Pace(clock)
    assert pace.at(500, 600) == ""
    clock.now += 20
    # 40 steps in 20 s, 60 to go
    assert pace.at(540, 600) == "2.0/s, 0:30 left"


def test_slow_steps_are_told_in_seconds_each(clock):
    pace = Pace(clock)
    pace.at(0, 10)
    clock.now += 5
    assert pace.at(2, 10) == "2.5 s each, 0:20 left"


def test_without_a_terminal_there_are_few_plain_lines(clock):
    screen, out = shown(clock, terminal=False)
    with screen:
        for number in range(1, 401):
            screen.event("step", **step(number, 400))
            clock.now += 0.5
    lines = out.getvalue().splitlines()
    assert 20 <= len(lines) <= 22
    assert "\x1b" not in out.getvalue()
    assert lines[1].startswith("step 20/400  loss 0.2500, epoch 1/3, 2.0/s, 3:10 left")
    assert lines[-1].startswith("step 400/400")


def test_a_quick_task_prints_its_beginning_and_its_end(clock):
    screen, out = shown(clock, terminal=False)
    for number in range(1, 129):
        screen.event("working", done=number, total=128, what="layers")
        clock.now += 0.001
    assert [line.split()[3] for line in out.getvalue().splitlines()] == ["1/128", "128/128"]


def test_a_loss_that_is_not_finite_is_said(clock):
    screen, out = shown(clock, terminal=False)
    screen.event("step", **step(1, 4, loss=None))
    assert "loss not finite" in out.getvalue()


def test_terminal_shows_bar_loss_and_what_is_said_meanwhile(clock):
    screen, out = shown(clock, terminal=True)
    with screen:
        screen.event("caching", done=1, total=2, what="latents")
        screen.event("caching", done=2, total=2, what="latents")
        screen.event("step", **step(1, 40))
        clock.now += 2
        screen.event("step", **step(5, 40))
        screen.event("saved", step=5, path="lora/x.safetensors")
        screen.event("warned", text="the caption is cut")
        screen.event("finished", steps=40, seconds=83.0, path="lora/x.safetensors")
    text = out.getvalue()
    assert "5/40" in text
    assert "loss 0.2500" in text
    assert "2.0/s, 0:18 left" in text
    assert "saved lora/x.safetensors" in text
    assert "\x1b[33mwarning: the caption is cut\x1b[0m" in text
    assert "finished in 1:23: lora/x.safetensors" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0, "the cursor is given back"


def test_work_of_any_kind_has_a_bar_and_lines(clock):
    screen, out = shown(clock, terminal=False)
    for done in range(1, 101):
        screen.event("working", done=done, total=100, what="layers")
        clock.now += 0.25
    lines = out.getvalue().splitlines()
    assert lines[0] == "working on layers 1/100"
    assert lines[1] == "working on layers 5/100  4.0/s, 0:24 left"
    assert len(lines) == 21
    screen, out = shown(clock, terminal=True)
    with screen:
        screen.event("working", done=1, total=3, what="layers")
        screen.event("working", done=2, total=3, what="layers")
    assert "working on layers" in out.getvalue()
    assert "2/3" in out.getvalue()


def test_lines_are_neither_broken_nor_read_as_markup(clock):
    screen, out = shown(clock, terminal=False)
    long = "[bold]x[/bold] " + "word " * 100
    screen.line(long)
    assert out.getvalue() == long + "\n"


def test_events_that_are_not_for_people_are_passed_over(clock):
    screen, out = shown(clock, terminal=False)
    screen.event("started", step=0)
    screen.event("stopped", seconds=1)
    assert out.getvalue() == ""


def test_second_round_has_a_pace_of_its_own(clock):
    """A grid after an hour of training is not called slow because previews were drawn before."""
    screen, out = shown(clock, terminal=False)
    for done, now in ((2, 0.0), (4, 10.0), (2, 3600.0), (4, 3601.0)):
        clock.now = now
        screen.event("sampling", done=done, total=4)
    assert "sampling 4/4  2.0/s" in out.getvalue().splitlines()[-1]
