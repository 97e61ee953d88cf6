"""Live progress: plain lines off a terminal, one picture that is redrawn on it."""

import contextlib
import io
import sys
from collections.abc import Iterator

import pytest

from trainers.settings import L0
from tuner.progress import Progress
from tuner.rows import Recorded, Row
from tuner.spec import load_spec
from tuner.tracker import Lag

SPEC = load_spec(
    {"name": "study", "task": "analytic:TASK", "budget": {"trials": 9, "steps": 90, "grace": 10}}
)


def rows(ended: int) -> list[Row]:
    evaluation = (Recorded(0, 1.0, 90, {"score": 1.0}),)
    running = Row("proposal", ended, "RUNNING", None, 0, {"up0": L0(keep=0.3)}, {}, (), None, 0.0, None)
    done = [
        Row("proposal", i, "COMPLETE", None, 0, {"up0": L0(keep=0.2)}, {}, evaluation, 1.0 + i, 0.0, 1.0)
        for i in range(ended)
    ]
    return [*done, running]


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "300")
    yield Terminal()


def test_off_a_terminal_it_prints_plain_lines_when_trials_have_ended() -> None:
    stream, clock = io.StringIO(), Clock()
    with Progress(stream=stream, clock=clock, every=5.0) as progress:
        for ended, seconds in ((0, 0), (0, 60), (1, 60), (2, 1), (3, 1), (4, 4)):
            clock.now += seconds
            progress.update(rows(ended), spec=SPEC, elapsed=clock.now - 1000, tracking_behind=None)
        clock.now += 1
        progress.update(
            rows(5), spec=SPEC, elapsed=clock.now - 1000, tracking_behind=Lag(3, "it answers 503", 125)
        )
    lines = stream.getvalue().splitlines()
    # The first update; 1 ended; 2 and 3 came within five seconds of it; 4; and 5 because it is the last.
    assert [line.partition(" of")[0] for line in lines] == ["study: 0", "study: 1", "study: 4", "study: 5"]
    assert "\x1b" not in stream.getvalue()
    assert "trial 4 leads: score 5; up0 l0 keep=0.2" in lines[-1]
    assert "MLflow lacks 3 evaluations, for 2 min 05 s: it answers 503; training goes on" in lines[-1]


def test_the_last_line_is_not_printed_twice() -> None:
    stream = io.StringIO()
    with Progress(stream=stream, clock=Clock()) as progress:
        progress.update(rows(2), spec=SPEC, elapsed=1, tracking_behind=None)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_confirmation_shows_its_trainings_and_no_leader() -> None:
    stream = io.StringIO()
    pair = Row("confirmation", 0, "COMPLETE", None, 1000, {}, {}, (), 1.0, 0.0, 1.0, 0)
    with Progress(stream=stream, clock=Clock(), confirming=True) as progress:
        progress.update([*rows(2), pair], spec=SPEC, elapsed=1, tracking_behind=None)
    assert stream.getvalue().startswith("study: 1 of 1 confirmations done")
    assert "leads" not in stream.getvalue()


def test_without_an_update_nothing_is_printed() -> None:
    stream = io.StringIO()
    with Progress(stream=stream):
        pass
    assert stream.getvalue() == ""


def test_on_a_terminal_it_draws_and_leaves_nothing_behind(terminal: Terminal) -> None:
    with Progress(stream=terminal, clock=Clock()) as progress:
        assert "starting Ray" in terminal.getvalue()
        progress.update(rows(2), spec=SPEC, elapsed=61, tracking_behind=None)
    drawn = terminal.getvalue()
    assert "study: 2 of 9 proposals done · 1 running · baseline 0 of 5" in drawn
    assert "1 min 01 s" in drawn
    assert "trial 1 leads: score 2" in drawn
    assert drawn.rindex("\x1b[2K") > drawn.rindex("trial 1 leads")  # erased: the last screen takes its place


def test_the_clock_goes_on_between_two_updates(terminal: Terminal) -> None:
    clock = Clock()
    with Progress(stream=terminal, clock=clock) as progress:
        progress.update(rows(2), spec=SPEC, elapsed=61, tracking_behind=None)
        clock.now += 30
    assert "1 min 31 s" in terminal.getvalue()


def test_an_exception_gives_the_terminal_back(terminal: Terminal) -> None:
    with pytest.raises(KeyboardInterrupt), Progress(stream=terminal):
        raise KeyboardInterrupt
    shown, hidden = terminal.getvalue().rindex("\x1b[?25h"), terminal.getvalue().rindex("\x1b[?25l")
    assert shown > hidden  # the cursor is visible again


def test_it_prints_where_it_was_begun_while_rays_own_output_is_redirected(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Progress(clock=Clock()) as progress, contextlib.redirect_stdout(sys.stderr):
        progress.update(rows(1), spec=SPEC, elapsed=1, tracking_behind=None)
    printed = capsys.readouterr()
    assert printed.out.startswith("study: 1 of 9")
    assert printed.err == ""


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with Progress(stream=terminal, clock=Clock()) as progress:
        progress.update(rows(1), spec=SPEC, elapsed=1, tracking_behind=None)
    assert terminal.getvalue().startswith("study: 1 of 9")
    assert "\x1b" not in terminal.getvalue()
