"""What is said of a study, as text: where it stands, who leads, and the last screen, which one wants to keep.

Pure functions of rows of the record; nothing here draws, asks Ray or reads a file.
"""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainers.settings import Regularizer, strength_of
from trainers.tasks import ORACLES
from tuner.called import Commands
from tuner.exported import baseline_of, companions_of
from tuner.runs import safe
from tuner.standing import Baseline, baseline, leaders
from tuner.states import COMPLETE, DIVERGED, FAILED, RUNNING

if TYPE_CHECKING:
    from tuner.rows import Row
    from tuner.spec import StudySpec
    from tuner.tracker import Lag

NO_EVIDENCE = (
    "Neither difference is evidence: the leader was picked as the best of {count}, with the luck of seed\n"
    "{seed} in it; only a confirmation over fresh seeds compares."
)


@dataclass(frozen=True)
class Standing:
    """Who leads, and what it is compared with."""

    leader: "Row"
    value: float
    same_seed: float | None
    baseline: Baseline | None

    @property
    def sd(self) -> float | None:
        """The baselines' standard deviation, by which values are rounded."""
        return self.baseline.sd if self.baseline else None


def standing(rows: Sequence["Row"], direction: str) -> Standing | None:
    """The best finished proposal against the finished baselines; None while no proposal has finished."""
    first = leaders(rows, direction, 1)
    if not first or first[0].value is None:
        return None
    leader, value = first[0], first[0].value
    same = (row.value for row in rows if row.role == "baseline" and row.seed == leader.seed)
    return Standing(leader, value, next(same, None), baseline(rows))


def mean_text(known: Baseline) -> str:
    """A baseline's mean, and its standard deviation where there is one: `26.61 ± 0.15`."""
    spread = "" if known.sd is None else f" ± {number(known.sd, known.sd)}"
    return f"{number(known.mean, known.sd)}{spread}"


def seeds_text(seeds: object) -> str:
    """How many seeds a list has, or a number says.

    >>> seeds_text([0, 1, 2]), seeds_text(1)
    ('3 seeds', '1 seed')
    """
    count = len(seeds) if isinstance(seeds, list | tuple) else int(str(seeds))
    return f"{count} seed{'' if count == 1 else 's'}"


def shown_metric(metric: str) -> str:
    """A metric's name as it is shown to people: marked where it could not be known in earnest.

    >>> shown_metric("psnr"), shown_metric("fid")
    ('psnr (oracle)', 'fid')
    """
    return f"{metric} (oracle)" if metric in ORACLES else metric


def better(direction: str) -> str:
    """Which way a metric is better, in words.

    >>> better("maximize")
    'higher is better'
    """
    return f"{'higher' if direction == 'maximize' else 'lower'} is better"


def caption(direction: str, measured: str | None, beside: Mapping[str, str | None] | None = None) -> str:
    """How the values of a table are to be read.

    Args:
        direction, measured: of what is optimised.
        beside: which way each metric that stands beside it is better, None where that is not known.

    >>> caption("minimize", "on 20000 samples")
    '(lower is better; on 20000 samples)'
    >>> caption("minimize", None, {"psnr": "maximize", "loss": "minimize"})
    '(lower is better, higher for psnr (oracle))'
    """
    others = [shown_metric(name) for name, way in (beside or {}).items() if way not in (None, direction)]
    said = better(direction)
    if others:
        said += f", {'lower' if direction == 'maximize' else 'higher'} for {' and '.join(others)}"
    return f"({said}; {measured})" if measured else f"({said})"


def companion_text(name: str, value: float | None, baseline: float | None) -> str:
    """A metric that stands beside the one that is optimised.

    >>> companion_text("fd_pixels", 0.3112, 0.35)
    'fd_pixels 0.3112 (baseline 0.35)'
    """
    shown = f"{shown_metric(name)} {'not known' if value is None else number(value)}"
    return shown if baseline is None else f"{shown} (baseline {number(baseline)})"


def number(value: float, sd: float | None = None) -> str:
    """A value with the digits that its standard deviation leaves a meaning: two of the sd, else four in all.

    >>> number(27.2588, 0.1123), number(1457.3, 228.0), number(0.73512)
    ('27.26', '1457', '0.7351')
    """
    if not sd or not math.isfinite(sd) or not math.isfinite(value):
        return f"{value:.4g}"
    return f"{value:.{min(6, max(0, 1 - math.floor(math.log10(sd))))}f}"


def difference(value: float, other: float, sd: float | None = None) -> str:
    """A signed difference, rounded as `number` rounds.

    >>> difference(27.41, 27.26, 0.11)
    '+0.15'
    """
    text = number(value - other, sd)
    return text if text.startswith("-") else f"+{text}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(7.2), duration(133), duration(3903)
    ('7 s', '2 min 13 s', '1 h 05 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def settings_text(settings: Mapping[str, Regularizer], extras: Mapping[str, float] | None = None) -> str:
    """Settings and extras in one line.

    >>> from trainers.settings import L0
    >>> settings_text({"up0": L0(keep=0.2371)}, {"lr": 0.01})
    'up0 l0 keep=0.2371, lr=0.01'
    """
    parts = []
    for site, regularizer in settings.items():
        name = strength_of(regularizer)
        parts.append(f"{site} {regularizer.kind} {name}={getattr(regularizer, name):.4g}")
    parts += [f"{name}={value:.4g}" for name, value in (extras or {}).items()]
    return ", ".join(parts) or "nothing"


def status(rows: Sequence["Row"], spec: "StudySpec", *, confirming: bool = False) -> str:
    """Running, pruned and done of the total, in one line."""
    role = "confirmation" if confirming else "proposal"
    ours = [row for row in rows if row.role == role]
    total = len(ours) if confirming else max(spec.budget.trials, len(ours))
    parts = [f"{sum(row.state != 'RUNNING' for row in ours)} of {total} {role}s done{_endings(ours)}"]
    running = sum(row.state == RUNNING for row in rows)
    parts.append(f"{running} {'to go' if confirming else 'running'}")
    if not confirming:
        baselines = [row for row in rows if row.role == "baseline"]
        ended = sum(row.state != RUNNING for row in baselines)
        parts.append(f"baseline {ended} of {max(spec.budget.baseline_seeds, len(baselines))}")
    return " · ".join(parts)


def timing(elapsed: float, left: float | None) -> str:
    """How long it has taken and will take.

    >>> timing(133, 61)
    '2 min 13 s, about 1 min 01 s left'
    """
    text = duration(elapsed)
    return f"{text}, time left not known yet" if left is None else f"{text}, about {duration(left)} left"


def evaluations(count: int) -> str:
    """So many evaluations.

    >>> evaluations(1), evaluations(2)
    ('1 evaluation', '2 evaluations')
    """
    return f"{count} evaluation{'' if count == 1 else 's'}"


def lag_line(lag: "Lag") -> str:
    """What MLflow lacks, since when and why, and whether it is waited for, in one line.

    >>> from tuner.tracker import Lag
    >>> lag_line(Lag(12, "connection refused", 125))
    'MLflow lacks 12 evaluations, for 2 min 05 s: connection refused; training goes on'
    >>> lag_line(Lag(1, "it answers 503", 3, at_most=True, waiting=58))
    'MLflow lacks up to 1 evaluation, for 3 s: it answers 503; waiting for it, at most 58 s more'
    """
    lacking = f"MLflow lacks {'up to ' if lag.at_most else ''}{evaluations(lag.evaluations)}"
    line = f"{lacking}, for {duration(lag.seconds)}: {lag.reason}"
    if lag.waiting is None:
        return f"{line}; training goes on"
    return f"{line}; waiting for it, at most {duration(lag.waiting)} more" if lag.waiting else line


def _endings(rows: Sequence["Row"]) -> str:
    """How trials ended, apart from COMPLETE: ` (5 pruned, 1 diverged, 1 failed)`."""
    ends = Counter("diverged" if row.reason == DIVERGED else row.state.lower() for row in rows)
    parts = [f"{ends[end]} {end}" for end in ("pruned", "diverged", "failed") if ends[end]]
    return f" ({', '.join(parts)})" if parts else ""


def leader_line(rows: Sequence["Row"], spec: "StudySpec") -> str:
    """Who leads at the moment, in one line, against the baseline as far as it has finished."""
    now = standing(rows, spec.direction())
    if now is None:
        return "no proposal has finished yet"
    sd = now.sd
    text = f"trial {now.leader.label} leads: {shown_metric(spec.metric())} {number(now.value, sd)}"
    if now.baseline is not None:
        text += (
            f" ({difference(now.value, now.baseline.mean, sd)} to the baseline's {mean_text(now.baseline)})"
        )
    return f"{text}; {settings_text(now.leader.settings, now.leader.extras)}"


def failure_line(rows: Sequence["Row"]) -> str | None:
    """The reason of the last failure, so that a study that fails says why while it runs."""
    failed = [row for row in rows if row.state == FAILED]
    if not failed:
        return None
    last = max(failed, key=lambda row: row.finished or 0.0)
    return f"trial {last.label} failed: {last.reason or 'no reason was recorded'}"


def time_left(
    rows: Sequence["Row"], spec: "StudySpec", *, elapsed: float, now: float, confirming: bool = False
) -> float | None:
    """Seconds that the steps still to be trained take at the speed of this run so far.

    Counted in training steps and not in trials, since a pruned trial is a short one; a trial that is open, or
    not yet proposed, is expected to get as far as those before it. None before this run's first evaluation.
    """
    begun = now - elapsed
    ours = [row for row in rows if (row.role == "confirmation") == confirming]
    trained = sum(_reached(row) - _reached(row, before=begun) for row in ours)
    if trained <= 0 or elapsed <= 0:
        return None
    ends = [_reached(row) for row in ours if row.role == "proposal" and row.state != RUNNING]
    left = 0.0
    for row in ours:
        if row.state == RUNNING:
            reached = _reached(row)
            left += _expected(ends if row.role == "proposal" else [], reached, spec) - reached
    if not confirming:
        budget, count = spec.budget, Counter(row.role for row in ours)
        left += max(0, budget.trials - count["proposal"]) * _expected(ends, 0, spec)
        left += max(0, budget.baseline_seeds - count["baseline"]) * budget.steps
    return left * elapsed / trained


def _reached(row: "Row", before: float = math.inf) -> int:
    return max((one.step for one in row.evaluations if one.time < before), default=0)


def _expected(ends: Sequence[int], reached: int, spec: "StudySpec") -> float:
    further = [end for end in ends if end > reached]
    return statistics.fmean(further) if further else spec.budget.steps


def last_screen(rows: Sequence["Row"], spec: "StudySpec", *, tracking: str, commands: Commands) -> str:
    """The end of a search: the leader, two differences and why neither is evidence, and what to do next."""
    proposals = [row for row in rows if row.role == "proposal"]
    baselines = [row for row in rows if row.role == "baseline"]
    ended = sum(row.state != RUNNING for row in proposals)
    finished = sum(row.state == COMPLETE for row in baselines)
    total = max(spec.budget.trials, len(proposals))
    lines = [
        f"{spec.name}: {ended} of {total} proposals done{_endings(proposals)}, "
        f"{finished} of {spec.budget.baseline_seeds} baselines finished"
    ]
    restarted = sum(row.restarts > 0 for row in rows)
    if restarted:
        trials = "1 trial was" if restarted == 1 else f"{restarted} trials were"
        lines.append(f"{trials} restarted from the beginning: no checkpoint was there to go on from.")
    now = standing(rows, spec.direction())
    if now is None:
        lines += ["", "No proposal finished, so there is nothing to compare.", *_reasons(rows)]
        if all_failed(rows):
            lines += ["", *_way_out(rows, spec, commands)]
    else:
        beside = companions_of(
            spec.companions(),
            {safe(name): value for name, value in now.leader.evaluations[-1].metrics.items()},
            baseline_of(rows, spec.companions()),
        )
        lines += ["", *_leader(now, spec, ended, beside), ""]
    page = ("See it in MLflow", commands.page(tracking))
    confirm = ("Confirm it", commands.line("confirm", spec.name))
    export = ("Export it", commands.line("export", spec.name))
    more = ("Go on", commands.line("resume", spec.name))
    following = ([more] if ended < total else []) + ([confirm, export] if now else []) + [page]
    return "\n".join(lines + [f"{what + ':':<18}{how}" for what, how in following])


def all_failed(rows: Sequence["Row"]) -> bool:
    """Whether every proposal failed, which is a mistake or a broken machine and no result."""
    proposals = [row for row in rows if row.role == "proposal"]
    return bool(proposals) and all(row.state == FAILED for row in proposals)


def _way_out(rows: Sequence["Row"], spec: "StudySpec", commands: Commands) -> list[str]:
    last = next(row for row in reversed(rows) if row.state == FAILED)
    return [
        f"What a trial wrote:  {commands.line('logs', spec.name, last.label)}",
        "A trial that failed is not tried again: mend what failed, and begin anew with --name, or after",
        f"  {commands.line('delete', spec.name)}",
    ]


def _leader(
    now: Standing, spec: "StudySpec", count: int, beside: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    sd = now.sd
    value, step = number(now.value, sd), now.leader.evaluations[-1].step
    lines = [f"Trial {now.leader.label} leads with {shown_metric(spec.metric())} {value} at step {step}:"]
    for site, regularizer in now.leader.settings.items():
        lines.append(f"  {settings_text({site: regularizer})}")
    lines += [f"  {settings_text({}, {name: value})}" for name, value in now.leader.extras.items()]
    lines += [
        f"  with {companion_text(name, entry['value'], entry['baseline'])}" for name, entry in beside.items()
    ]
    how = f"  {caption(spec.direction(), spec.measured(), spec.companions())}"
    if now.baseline is None:
        return [*lines, how, "No baseline finished, so there is nothing to compare it with."]
    if now.same_seed is not None:
        gap = difference(now.value, now.same_seed, sd)
        lines.append(f"  {gap} minus the baseline of the same seed ({number(now.same_seed, sd)})")
    gap = difference(now.value, now.baseline.mean, sd)
    seeds, mean = seeds_text(now.baseline.seeds), mean_text(now.baseline)
    lines.append(f"  {gap} minus the baseline's mean over {seeds} ({mean})")
    return [*lines, how, NO_EVIDENCE.format(count=count, seed=now.leader.seed)]


def _reasons(rows: Sequence["Row"]) -> list[str]:
    """Why trials ended without a value, the most frequent reason first."""
    ended = (row for row in rows if row.state not in (RUNNING, COMPLETE))
    reasons = Counter(row.reason or row.state.lower() for row in ended)
    return [f"  {count} × {reason}" for reason, count in reasons.most_common(5)]
