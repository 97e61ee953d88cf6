"""What is said of a study: counts, the leader, time left, the last screen; all from rows made by hand."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainers.settings import L0, L0Inf
from tuner.called import Commands, program
from tuner.rows import Recorded, Row
from tuner.screen import (
    difference,
    duration,
    failure_line,
    lag_line,
    last_screen,
    leader_line,
    mean_text,
    number,
    settings_text,
    standing,
    status,
    time_left,
    timing,
)
from tuner.spec import load_spec
from tuner.tracker import Lag

SPEC = load_spec(
    {
        "name": "study",
        "task": "analytic:TASK",
        "budget": {"trials": 6, "steps": 90, "grace": 10, "reduction": 3, "baseline_seeds": 3},
    }
)


def row(number: int, role: str = "proposal", steps: tuple[int, ...] = (10, 30, 90), **changes: Any) -> Row:
    """A trial that was evaluated once a second from second 100; COMPLETE where it has a value."""
    value = changes.get("value")
    parts: dict[str, Any] = {
        "state": "RUNNING" if value is None else "COMPLETE",
        "reason": None,
        "seed": 0,
        "settings": {} if role == "baseline" else {"up0": L0(keep=0.25)},
        "extras": {},
        "evaluations": tuple(Recorded(i, 100.0 + i, step, {"score": 0.0}) for i, step in enumerate(steps)),
        "value": value,
        "started": 99.0,
        "finished": None if value is None else 103.0,
    }
    return Row(role=role, number=number, **(parts | changes))


BASELINES = [row(i, "baseline", seed=i, value=value) for i, value in enumerate((20.4, 20.0, 20.2))]
PROPOSALS = [
    row(0, value=20.1),
    row(1, value=20.9, settings={"up0": L0(keep=0.2371), "code": L0Inf(k=4)}, extras={"lr": 0.003}),
    row(2, steps=(10,), state="PRUNED", reason="behind at step 10", finished=101.0),
    row(3, steps=(10,), state="PRUNED", reason="diverged", finished=101.0),
    row(4, steps=(), state="FAILED", reason="ValueError: the training broke", finished=101.0),
]


def test_the_leader_is_the_best_finished_proposal_in_the_direction_of_the_metric() -> None:
    most, least = standing(PROPOSALS + BASELINES, "maximize"), standing(PROPOSALS + BASELINES, "minimize")
    assert most is not None and least is not None
    assert (most.leader.number, least.leader.number) == (1, 0)
    assert most.same_seed == 20.4
    assert most.baseline is not None
    assert most.baseline.mean == pytest.approx(20.2)
    assert most.baseline.sd == pytest.approx(0.2)
    assert len(most.baseline.seeds) == 3


def test_a_pruned_trial_never_leads_whatever_it_reached() -> None:
    good = row(5, steps=(10,), state="PRUNED", reason="behind at step 10")
    assert standing([good, *BASELINES], "maximize") is None
    ahead = standing([PROPOSALS[0], good], "maximize")
    assert ahead is not None and ahead.leader.number == 0


def test_of_equal_proposals_the_earlier_leads() -> None:
    for direction in ("maximize", "minimize"):
        first = standing([row(3, value=1.0), row(2, value=1.0)], direction)
        assert first is not None and first.leader.number == 2


def test_one_baseline_has_a_mean_and_no_spread() -> None:
    now = standing([PROPOSALS[0], BASELINES[1]], "maximize")
    assert now is not None and now.baseline is not None
    assert (now.baseline.mean, now.baseline.sd, mean_text(now.baseline)) == (20.0, None, "20")
    assert now.same_seed is None


@pytest.mark.parametrize(
    ("value", "sd", "text"),
    [
        (27.2588, 0.1123, "27.26"),
        (27.2588, 0.0123, "27.259"),
        (1457.3, 228.0, "1457"),
        (0.73512, None, "0.7351"),
        (0.5, 0.0, "0.5"),
        (float("nan"), 0.1, "nan"),
        (1.0, 1e-12, "1.000000"),
    ],
)
def test_values_have_the_digits_that_their_spread_leaves_a_meaning(
    value: float, sd: float | None, text: str
) -> None:
    assert number(value, sd) == text


def test_differences_are_signed() -> None:
    assert difference(27.41, 27.26, 0.11) == "+0.15"
    assert difference(27.0, 27.26, 0.11) == "-0.26"
    assert difference(1.0, 1.0) == "+0"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (133, "2 min 13 s"), (7384, "2 h 03 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_settings_in_one_line() -> None:
    assert settings_text(PROPOSALS[1].settings, PROPOSALS[1].extras) == (
        "up0 l0 keep=0.2371, code l0inf k=4, lr=0.003"
    )
    assert settings_text({}) == "nothing"


def test_the_status_counts_each_way_of_ending_apart() -> None:
    running = [row(5, steps=()), row(3, "baseline", steps=())]
    assert status(PROPOSALS + BASELINES + running, SPEC) == (
        "5 of 6 proposals done (1 pruned, 1 diverged, 1 failed) · 2 running · baseline 3 of 4"
    )


def test_a_confirmation_counts_its_own_trainings() -> None:
    pairs = [row(0, "confirmation", value=1.0), *(row(i, "confirmation", steps=()) for i in (1, 2))]
    text = status(PROPOSALS + BASELINES + pairs, SPEC, confirming=True)
    assert text == "1 of 3 confirmations done · 2 to go"


def test_the_timing_says_what_is_not_known_and_what_mlflow_lacks() -> None:
    assert timing(5, None) == "5 s, time left not known yet"
    assert timing(133, 61) == "2 min 13 s, about 1 min 01 s left"
    away = Lag(1, "connection refused", 0)
    assert lag_line(away) == "MLflow lacks 1 evaluation, for 0 s: connection refused; training goes on"
    assert lag_line(replace(away, waiting=0.0)) == "MLflow lacks 1 evaluation, for 0 s: connection refused"


def test_the_leaders_line_compares_as_soon_as_a_baseline_has_finished() -> None:
    assert leader_line(BASELINES, SPEC) == "no proposal has finished yet"
    assert leader_line(PROPOSALS, SPEC) == (
        "trial 1 leads: score 20.9; up0 l0 keep=0.2371, code l0inf k=4, lr=0.003"
    )
    assert "score 20.90 (+0.70 to the baseline's 20.20 ± 0.20)" in leader_line(PROPOSALS + BASELINES, SPEC)


def test_the_last_failure_is_told_while_the_study_runs() -> None:
    assert failure_line(BASELINES) is None
    assert failure_line(PROPOSALS) == "trial 4 failed: ValueError: the training broke"


def test_time_left_is_counted_in_steps() -> None:
    """Two of three trials end at step 10, the third at 90, so a proposal takes 110 / 3 steps."""
    done = [
        row(0, value=1.0),
        row(1, steps=(10,), state="PRUNED"),
        row(2, steps=(10,), state="PRUNED"),
        *BASELINES,
    ]
    # All 380 steps of it in 19 s: 20 steps a second. To come: three proposals of 110 / 3 steps.
    assert time_left(done, SPEC, elapsed=19, now=110) == pytest.approx(3 * 110 / 3 / 20)


def test_a_trial_that_got_further_than_the_others_is_expected_to_reach_the_end() -> None:
    rows = [
        row(0, steps=(10,), state="PRUNED"),
        row(1, steps=(10, 30)),
        *BASELINES,
        *(row(i, value=1.0) for i in (2, 3, 4, 5)),
    ]
    # 10 + 30 + 7 · 90 steps in 67 s: 10 steps a second; trial 1 lacks 60.
    assert time_left(rows, SPEC, elapsed=67, now=150) == pytest.approx(60 / 10)


def test_what_an_earlier_run_trained_says_nothing_about_the_speed_of_this_one() -> None:
    old = [row(0, value=1.0), *BASELINES]
    assert time_left(old, SPEC, elapsed=10, now=500) is None
    fresh = row(1, steps=(10,), evaluations=(Recorded(9, 495.0, 10, {}),), state="PRUNED")
    left = time_left([*old, fresh], SPEC, elapsed=10, now=500)
    assert left == pytest.approx(4 * (90 + 10) / 2)  # one step a second


def test_the_last_screen_says_all_that_one_wants_to_keep() -> None:
    text = last_screen(
        PROPOSALS + BASELINES, SPEC, tracking="sqlite:////data/mlflow.db", commands=Commands("runs")
    )
    assert text.splitlines()[:-4] == [
        "study: 5 of 6 proposals done (1 pruned, 1 diverged, 1 failed), 3 of 3 baselines finished",
        "",
        "Trial 1 leads with score 20.90 at step 90:",
        "  up0 l0 keep=0.2371",
        "  code l0inf k=4",
        "  lr=0.003",
        "  +0.50 minus the baseline of the same seed (20.40)",
        "  +0.70 minus the baseline's mean over 3 seeds (20.20 ± 0.20)",
        "  (higher is better)",
        "Neither difference is evidence: the leader was picked as the best of 5, with the luck of seed",
        "0 in it; only a confirmation over fresh seeds compares.",
        "",
    ]
    go_on, confirm, export, page = text.splitlines()[-4:]
    assert go_on.endswith("resume study --root runs")
    assert confirm.endswith("confirm study --root runs")
    assert export.endswith("export study --root runs")
    assert page.endswith("ui --backend-store-uri sqlite:////data/mlflow.db")


def test_a_metric_that_needs_the_clean_picture_is_marked_wherever_it_is_shown() -> None:
    spec = load_spec({"name": "x", "plan": {"size": 32, "network": {"width": 4, "scales": 2}}})
    rows = [*PROPOSALS, *BASELINES]
    assert "psnr (oracle)" in leader_line(rows, spec)
    text = last_screen(rows, spec, tracking="http://host", commands=Commands())
    assert "leads with psnr (oracle) 20.90" in text
    assert "oracle: it needs the clean picture" in text


def test_how_the_metric_is_measured_and_what_stands_beside_it() -> None:
    spec = load_spec({"name": "x", "task": "sharing:TASK", "plan": {"text": "never read"}})
    rows = [*PROPOSALS, *BASELINES]

    def with_beside(row: Row) -> Row:
        told = (replace(one, metrics=one.metrics | {"beside": 0.5}) for one in row.evaluations)
        return replace(row, evaluations=tuple(told))

    measured = [with_beside(one) for one in rows]
    text = last_screen(measured, spec, tracking="http://host", commands=Commands())
    assert "\n  with beside 0.5 (baseline 0.5)\n" in text
    assert "\n  (higher is better; 3 less half of the sites)\n" in text
    alone = last_screen(measured[: len(PROPOSALS)], spec, tracking="http://host", commands=Commands())
    assert (
        "\n  with beside 0.5\n  (higher is better; 3 less half of the sites)\nNo baseline finished" in alone
    )
    assert "\n  with beside not known\n" in last_screen(rows[:5], spec, tracking="", commands=Commands())


def test_what_is_better_the_other_way_beside_the_metric_is_said() -> None:
    plan = {"size": 32, "network": {"width": 4, "scales": 2}, "objective": "sure"}
    spec = load_spec({"name": "x", "plan": plan})
    rows = [replace(one, value=-one.value) for one in PROPOSALS if one.value is not None]
    text = last_screen(rows, spec, tracking="http://host", commands=Commands())
    assert "\n  with psnr (oracle) not known\n" in text
    assert "\n  (lower is better, higher for psnr (oracle); Stein's estimate of the mean squared " in text


def test_a_finished_study_is_not_told_to_go_on_and_one_without_a_value_says_why() -> None:
    rows = [row(i, value=1.0 + i) for i in range(6)]
    assert "Go on" not in last_screen(rows, SPEC, tracking="http://host:5000", commands=Commands())
    failed = [row(i, steps=(), state="FAILED", reason="ValueError: broke", finished=1.0) for i in range(6)]
    text = last_screen(failed, SPEC, tracking="http://host:5000", commands=Commands())
    assert "No proposal finished" in text
    assert "6 × ValueError: broke" in text
    assert "confirm" not in text
    assert text.endswith(" http://host:5000")


def called(monkeypatch: pytest.MonkeyPatch, *argv: str) -> None:
    monkeypatch.setattr(sys, "argv", list(argv))


def test_commands_name_the_program_as_it_was_called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    called(monkeypatch, ".venv/bin/sparsity-tuner", "search")
    assert program() == ".venv/bin/sparsity-tuner"
    called(monkeypatch, "/some where/tuner/__main__.py")
    monkeypatch.setattr(sys, "orig_argv", ["/my python", "-m", "tuner"])
    assert program() == "'/my python' -m tuner"
    called(monkeypatch, "/usr/lib/pytest/__main__.py")
    assert program().endswith("sparsity-tuner")


def test_a_program_on_the_path_is_named_without_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "sparsity-tuner"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    called(monkeypatch, str(script))
    assert program() == "sparsity-tuner"
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    assert program() == str(script)


def test_commands_are_quoted_and_carry_a_root_that_is_not_the_default() -> None:
    assert Commands("my runs").line("best", "x").endswith(" best x --root 'my runs'")
    assert Commands("studies").line("best", "x").endswith(" best x")
    assert "--backend-store-uri 'sqlite:////a b/mlflow.db'" in Commands.page("sqlite:////a b/mlflow.db")


def test_no_password_stands_on_the_screen() -> None:
    page = Commands.page("postgresql://me:se@cret@host/runs")
    assert page.endswith(" ui --backend-store-uri postgresql://host/runs")
    assert Commands.page("https://me:secret@host:5000/x") == "https://host:5000/x"
