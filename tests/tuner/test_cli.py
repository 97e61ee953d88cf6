"""The command line in process: errors are one sentence, and a study from its search to its deletion."""

import csv
import errno
import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Shell, printed
from hypothesis import HealthCheck, given
from hypothesis import settings as settings_
from hypothesis import strategies as st

import tuner.study
from trainers import settings
from tuner.cli import plain_warnings, sentence
from tuner.tables import attained_text, best_csv, best_table

SPEC: dict[str, Any] = {
    "name": "study",
    "task": "analytic:TASK",
    "budget": {"trials": 6, "steps": 90, "grace": 30, "reduction": 3, "baseline_seeds": 3},
    "resources": {"concurrent": 1},  # each process of a trial takes seconds to start
}


def write(folder: Path, name: str = "study.yaml", **changes: Any) -> str:
    (folder / name).write_text(yaml.safe_dump(SPEC | changes))
    return name


# mistakes


def test_without_words_it_shows_its_help(shell: Shell) -> None:
    status, _, err = shell.run()
    assert status == 2
    assert "\nCommands:\n" in err


def test_an_unknown_command_is_answered_with_those_that_exist(shell: Shell) -> None:
    told = shell.mistake("serch", "dip-denoise")
    assert "'serch'" in told
    known = "best confirm delete doctor export layers list logs presets resume search sync train"
    assert told.endswith(f"the commands are {', '.join(known.split())}")


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (("search", "dip-denoise", "--trails", "3"), "--trials"),
        (("best", "x", "--fromat", "json"), "--format"),
        (("--rot", "x", "list"), "--root"),
        (("list", "--format", "json"), "--tracking"),
    ],
)
def test_an_unknown_option_is_answered_with_those_that_exist(
    shell: Shell, words: tuple[str, ...], known: str
) -> None:
    assert f"{known}," in shell.mistake(*words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("search",), "Missing argument 'SPEC'"),
        (("search", "nowhere.yaml"), "nowhere.yaml"),
        (("search", "dip-denois"), "dip-denoise"),
        (("search", "dip-denoise", "--set", "budget.trails=3"), "trails"),
        (("search", "dip-denoise", "--set", "budget.trials"), "key=value"),
        (("search", "dip-denoise", "--set", "budget.grace=900"), "budget.grace"),
        (("search", "dip-denoise", "--set", "search.sampler=cmaes"), "cmaes"),
        (("search", "dip-denoise", "--set", "space.sites=[]"), "space.sites"),
        (("search", "dip-denoise", "--set", "space.sites=[up9]"), "up9"),
        (("search", "dip-denoise", "--set", "space.regularizers={l2: {weight: [0.1, 1]}}"), "l2"),
        (("search", "dip-denoise", "--set", "space.regularizers={l0: {keep: [0.5, 2]}}"), "keep"),
        (("search", "dip-denoise", "--set", "plan.image=nowhere.png"), "nowhere.png"),
        (("search", "dip-denoise", "--name", "../up"), "not a path"),
        (("search", "dip-denoise", "--trials", "0"), "budget.trials"),
        (("search", "dip-denoise", "--trials", "many"), "'many'"),
        (("search", "dip-denoise", "--time", "soon"), "soon"),
        (("search", "dip-denoise", "--address", "ray://head:10001"), "ray job submit"),
        (("search", "dip-denoise", "--tracking", "nonsense"), "nonsense"),
        (("resume", "nowhere"), "nowhere"),
        (("resume", "nowhere", "--time", "0s"), "--time"),
        (("confirm", "nowhere"), "nowhere"),
        (("best", "nowhere"), "mlflow.db is not there"),
        (("export", "nowhere"), "mlflow.db is not there"),
        (("delete", "nowhere"), "nowhere"),
        (("logs", "nowhere", "1"), "nowhere"),
        (("sync", "nowhere"), "nowhere"),
        (("layers", "nowhere"), "skip"),
        (("presets", "nowhere"), "dip-denoise-full"),
        (("train", "--settings", "nowhere.json"), "nowhere.json"),
        (("train",), "--settings"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    shell: Shell, words: tuple[str, ...], told: str
) -> None:
    assert told in shell.mistake(*words)
    left = [path for path in shell.folder.rglob("*") if path.name != "mlflow.db" and path.is_file()]
    assert left == []


def test_a_traceback_only_with_debug_before_or_after_the_command(shell: Shell) -> None:
    shell.mistake("resume", "nowhere")
    for words in (("--debug", "resume", "nowhere"), ("resume", "nowhere", "--debug")):
        status, _, err = shell.run(*words)
        assert status == 2
        assert err.startswith("Traceback")
        assert err.splitlines()[-1].startswith("no study 'nowhere'")


def test_the_root_is_taken_before_or_after_the_command(shell: Shell) -> None:
    for words in (
        ("--root", "runs", "list"),
        ("list", "--root", "runs"),
        ("--root", "x", "list", "--root", "runs"),
    ):
        assert "no study under 'runs'" in shell.fine(*words)
    assert "no study under 'studies'" in shell.fine("list")


def test_what_nobody_foresaw_names_its_kind_on_one_line() -> None:
    assert sentence(KeyError("a\nb")).startswith("KeyError: 'a\\nb' (unforeseen; --debug")
    assert sentence(RuntimeError("the disk\nis full")) == "the disk is full"
    full = OSError(errno.ENOSPC, "No space left on device", "/data/x")
    assert sentence(full) == (
        "/data/x cannot be written or read (No space left on device): free room there, or mend its rights, "
        "and run the same command again"
    )
    assert sentence(PermissionError(errno.EACCES, "Permission denied", "/data/x")).startswith(
        "/data/x cannot"
    )
    assert sentence(OSError(errno.ENXIO, "No such device")).startswith("OSError: ")
    assert sentence(RuntimeError()).startswith("RuntimeError: no more is known")


def test_a_warning_is_its_sentence_alone() -> None:
    before = warnings.formatwarning
    with plain_warnings():
        assert warnings.formatwarning("two\n words", UserWarning, "gan.py", 87) == "two words\n"
    assert warnings.formatwarning is before


def test_a_failure_at_run_time_has_status_1(shell: Shell) -> None:
    write(shell.folder)
    told = shell.mistake("search", "study.yaml", "--tracking", "http://127.0.0.1:9", status=1)
    assert "http://127.0.0.1:9" in told and "does not answer" in told
    assert not (shell.folder / "studies").exists()


# a study, from its search to its deletion


@dataclass(frozen=True)
class Studied:
    """A finished and confirmed study, and what each command printed."""

    root: Path
    spec: Path
    search: str
    confirm: str
    export: str

    def words(self, *words: str) -> tuple[str, ...]:
        return (*words, "--root", str(self.root))


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Studied:
    folder = tmp_path_factory.mktemp("studied")
    spec, root = folder / write(folder), folder / "runs"
    at = ("--root", str(root))
    search = printed(folder, "search", str(spec), *at)
    confirm = printed(folder, "confirm", "study", *at)
    return Studied(root, spec, search, confirm, printed(folder, "export", "study", *at))


def test_a_search_ends_with_the_screen_that_one_wants_to_keep(studied: Studied) -> None:
    lines = studied.search.splitlines()
    assert lines[0].startswith("study: 0 of 6 proposals done")  # plain progress, not a terminal here
    assert "\x1b" not in studied.search
    assert any(line.startswith("Trial ") and "leads with score" in line for line in lines)
    assert any("minus the baseline of the same seed (" in line for line in lines)
    assert any("minus the baseline's mean over 3 seeds (" in line for line in lines)
    assert "Neither difference is evidence" in studied.search


def test_every_command_that_is_printed_runs_as_pasted(studied: Studied, shell: Shell) -> None:
    commands = [line.partition(":")[2].strip() for line in studied.search.splitlines()[-3:]]
    assert [shlex.split(command)[1] for command in commands] == ["confirm", "export", "ui"]
    for command in commands:
        program, *words = shlex.split(command)
        assert Path(program).is_file() and os.access(program, os.X_OK)
        if "ui" not in words:
            shell.fine(*words)
    assert commands[-1].endswith(f"--backend-store-uri sqlite:///{studied.root}/mlflow.db")


def test_the_same_search_again_trains_nothing_and_prints_the_result(studied: Studied, shell: Shell) -> None:
    before = (studied.root / "study" / "study.db").stat().st_mtime_ns
    fewer = shell.mistake(*studied.words("search", str(studied.spec), "--trials", "2"))
    assert "--trials is 2" in fewer and "has 6 trials already" in fewer and "--trials T " in fewer
    more = shell.fine(*studied.words("search", str(studied.spec), "--trials", "9")).splitlines()
    assert "had 6 trials" in more[-1] and f"resume study --trials 9 --root {studied.root}" in more[-1]
    assert "6 of 6 proposals done" in "".join(more)
    again = shell.fine(*studied.words("search", str(studied.spec)))
    assert studied.search.endswith(again)
    assert (studied.root / "study" / "study.db").stat().st_mtime_ns == before


def test_a_name_that_is_taken_by_another_spec_is_refused_with_the_keys(
    studied: Studied, shell: Shell
) -> None:
    other = studied.words("search", str(studied.spec), "--set", "budget.steps=60", "--set", "search.seed=4")
    told = shell.mistake(*other)
    assert "budget.steps" in told and "search.seed" in told and "--name" in told


def test_confirm_says_its_cost_first_and_its_sentence_last(studied: Studied, shell: Shell) -> None:
    lines = studied.confirm.splitlines()
    assert lines[0].startswith("study: 10 trainings of 90 steps")
    assert any(line.split()[:3] == ["step", "pairs", "winner"] for line in lines)
    verdict = next(line for line in reversed(lines) if line.startswith("Trial "))
    assert "at 90 steps" in verdict and "5 pairs" in verdict
    again = shell.fine(*studied.words("confirm", "study"))
    assert "nothing to train" in again
    assert verdict in again


def test_best_in_json_is_pure_and_complete(studied: Studied, shell: Shell) -> None:
    rows = json.loads(shell.fine(*studied.words("best", "study", "--format", "json", "-n", "99")))
    assert len(rows) == 6
    assert {"run_id", "role", "trial", "state", "reason", "metric", "value", "step", "settings", "baseline",
            "confirmed"} <= set(rows[0])  # fmt: skip
    assert rows[0]["state"] == "COMPLETE"
    assert rows[0]["confirmed"] is not None
    values = [row["value"] for row in rows if row["state"] == "COMPLETE"]
    assert values == sorted(values, reverse=True)
    assert all(row["value"] is None for row in rows if row["state"] != "COMPLETE")


def test_best_as_a_table_and_for_a_spreadsheet(studied: Studied, shell: Shell) -> None:
    rows = json.loads(shell.fine(*studied.words("best", "study", "--format", "json")))
    table = shell.fine(*studied.words("best", str(studied.spec))).splitlines()
    assert table[0].split()[:3] == ["trial", "state", "score"]
    assert table[1].split()[:2] == [rows[0]["trial"], "COMPLETE"]
    assert table[-1].startswith("baseline ")
    cells = list(csv.DictReader(io.StringIO(shell.fine(*studied.words("best", "study", "--format", "csv")))))
    assert [cell["trial"] for cell in cells] == [row["trial"] for row in rows]
    assert json.loads(cells[0]["settings"]) == rows[0]["settings"]
    assert json.loads(cells[0]["attained"]) == rows[0]["attained"]
    for site, entry in rows[0]["attained"].items():
        assert attained_text(site, entry) in table[1]


def test_best_shows_extras_beside_the_settings_and_what_was_attained() -> None:
    entry = {"density": 0.25, "removed_energy": 0.5, "baseline_density": 0.9}
    row = {
        "run_id": "1", "role": "proposal", "trial": "3", "state": "COMPLETE", "reason": None,
        "metric": "score", "value": 1.0, "step": 9, "settings": {"up0": {"kind": "l0", "keep": 0.25}},
        "extras": {"lr": 0.01}, "attained": {"up0": entry}, "baseline": None, "confirmed": None,
        "oracle": False, "direction": "minimize", "measured": "on 20000 samples",
        "companions": {
            "fd_pixels": {"value": 0.25, "baseline": 0.5, "direction": "minimize", "oracle": False}
        },
    }  # fmt: skip
    shown = best_table([row]).splitlines()[1]
    assert "up0 l0 keep=0.25, lr=0.01" in shown
    assert "up0 0.25 (baseline 0.9, removed 0.5 of the energy)" in shown
    (cells,) = csv.DictReader(io.StringIO(best_csv([row])))
    assert json.loads(cells["extras"]) == {"lr": 0.01}
    assert json.loads(cells["companions"]) == row["companions"] and cells["measured"] == "on 20000 samples"


def test_best_shows_what_stands_beside_the_metric_and_how_that_is_measured() -> None:
    row = {
        "run_id": "1", "role": "proposal", "trial": "3", "state": "COMPLETE", "reason": None,
        "metric": "fid", "value": 1.0, "step": 9, "settings": {}, "extras": {}, "attained": {},
        "baseline": {"mean": 2.0, "sd": 0.1, "seeds": [0, 1]}, "confirmed": None, "oracle": False,
        "direction": "minimize", "measured": "on 20000 samples",
        "companions": {
            "fd_pixels": {"value": 0.25, "baseline": 0.5, "direction": "minimize", "oracle": False}
        },
    }  # fmt: skip
    pruned = row | {"value": None, "state": "PRUNED", "companions": {"fd_pixels": {"value": None}}}
    table = best_table([row, pruned]).splitlines()
    assert table[0].split()[:6] == ["trial", "state", "fid", "−", "baseline", "fd_pixels"]
    assert table[1].split()[:6] == ["3", "COMPLETE", "1.00", "-1.00", "0.25", "9"]
    assert table[2].split()[:3] == ["3", "PRUNED", "9"]
    assert table[3] == "(lower is better; on 20000 samples)"
    assert table[4].startswith("baseline 2.00 ± 0.10 over 2 seeds, fd_pixels 0.5; no difference is evidence")


def test_best_of_other_roles_and_states_by_filter(studied: Studied, shell: Shell) -> None:
    where = ("--where", "tags.role = 'baseline'")
    rows = json.loads(shell.fine(*studied.words("best", "study", "--format", "json", *where)))
    assert {row["role"] for row in rows} == {"baseline"} and len(rows) == 3


def test_export_gives_the_file_and_what_to_do_with_it(studied: Studied, shell: Shell) -> None:
    path = studied.root / "study" / "settings.json"
    assert studied.export.splitlines()[0] == f"Wrote {path}"
    exported_file = settings.load(path)
    assert exported_file.metric == "score" and exported_file.confirmed is not None
    out = shell.fine(*studied.words("export", "study", "-o", "mine.json", "--package", "package"))
    assert "Wrote package" in out
    assert settings.load(shell.folder / "mine.json").sites == exported_file.sites
    assert {"settings.py", "sparsity.py"} <= {path.name for path in (shell.folder / "package").iterdir()}
    train = next(line for line in out.splitlines() if line.startswith("Train with it:")).partition(":")[2]
    assert "step 90: score " in shell.fine(*shlex.split(train)[1:])


def test_a_running_study_is_not_synced_beside_its_own_thread(studied: Studied, shell: Shell) -> None:
    from tuner.lock import StudyLock

    with StudyLock(studied.root / "study"):
        shell.mistake(*studied.words("sync", "study"))


def test_what_mlflow_lacks_is_told_with_the_command_that_brings_it(
    studied: Studied, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner.study, "WAIT", 0.5)
    words = studied.words("confirm", "study")
    assert "MLflow lacks" not in shell.fine(*words)
    away = shell.fine(*words, "--tracking", "http://127.0.0.1:9")
    (told,) = [line for line in away.splitlines() if line.startswith("MLflow lacks ")]
    assert " evaluations: " in told
    assert told.endswith(f" sync study --root {studied.root} --tracking http://127.0.0.1:9")


def test_logs_list_and_sync(studied: Studied, shell: Shell) -> None:
    assert "step 30: " in shell.fine(*studied.words("logs", "study", "baseline:1"))
    assert "baseline:9" in shell.mistake(*studied.words("logs", "study", "baseline:9"))
    (listed,) = [
        line for line in shell.fine(*studied.words("list")).splitlines() if line.startswith("study ")
    ][1:]
    assert "analytic:TASK" in listed and "6 of 6" in listed
    assert "has all" in shell.fine(*studied.words("sync", "study"))
    assert "does not answer" in shell.mistake(
        *studied.words("sync", "study", "--tracking", "http://127.0.0.1:9"), status=1
    )


def test_best_and_export_import_neither_ray_nor_torch(studied: Studied, tmp_path: Path) -> None:
    program = (
        "import sys; from tuner.cli import main; "
        f"assert main(['best', 'study', '--root', {str(studied.root)!r}]) == 0; "
        f"assert main(['export', 'study', '-o', 'x.json', '--root', {str(studied.root)!r}]) == 0; "
        "print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.usefixtures("local_ray")
def test_a_study_is_extended_shortened_never_and_deleted(shell: Shell) -> None:
    write(shell.folder, budget={**SPEC["budget"], "trials": 2, "baseline_seeds": 1})
    shell.fine("search", "study.yaml")
    assert "--trials 1" in shell.mistake("resume", "study", "--trials", "1")
    assert "4 of 4 proposals done" in shell.fine("resume", "study", "--trials", "4")
    assert "Deleted study 'study'" in shell.fine("delete", "study")
    assert "no study under" in shell.fine("list")
    assert "'study'" in shell.mistake("best", "study")


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_says_how_to_go_on_and_nothing_is_lost(tmp_path: Path, sent: signal.Signals) -> None:
    """In a process and with a Ray of its own; its HOME is empty, and all that may appear there is `.ray`."""
    home = tmp_path / "home"
    home.mkdir()
    spec = write(tmp_path, budget={**SPEC["budget"], "trials": 400})
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tuner", "search", spec]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # in the background it is ignored
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("study: 0 of 400 proposals done")
        process.send_signal(sent)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "SIGTERM received" not in err  # Ray would dump its stack
    told = err.strip().splitlines()[-1]
    go_on = shlex.split(told.partition("goes on from here: ")[2])
    assert go_on == [sys.executable, "-m", "tuner", "resume", "study"]
    assert {path.name for path in home.iterdir()} <= {".ray"}
    finished = subprocess.run(
        [*go_on, "--time", "0.001"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "Go on:" in finished.stdout
    told = finished.stdout.strip().splitlines()[-1]
    assert told.startswith("The time is up") and told.endswith(f"checkpoint with: {shlex.join(go_on)}")


@pytest.mark.usefixtures("local_ray")
def test_a_study_of_which_every_trial_failed_says_where_to_look_and_has_status_1(shell: Shell) -> None:
    budget = {**SPEC["budget"], "trials": 1, "baseline_seeds": 1}
    write(shell.folder, budget=budget, plan={"raise_at": 30})
    status, out, _ = shell.run("search", "study.yaml")
    assert status == 1
    assert "  2 × ValueError: the training broke at step 30" in out
    (line,) = [line.partition(":")[2].strip() for line in out.splitlines() if line.startswith("What a trial")]
    assert "the training broke" in shell.fine(*shlex.split(line)[1:])
    assert "is not tried again: mend what failed, and begin anew with --name, or after" in out


# names, files and folders from elsewhere

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghij")
)
HOSTILE = {
    "bomb": f"{BOMB}tracking: *j\n".encode(),
    "deep": b"tracking: " + b"[" * 3000,
    "code": b"!!python/object/apply:os.mkdir [ran]",
    "binary": bytes(range(256)),
    "empty": b"",
    "elsewhere": b"{name: ../elsewhere, task: 'analytic:TASK', uuid: u}",
}
NAMES = (
    "..", ".", "", "../trap", "../../trap", "/", "/etc", "a/b", "a" * 101, "x" * 300, "x" * 5000,
    "a\0b", "a\nb",
    "é", "\u202e", "\udcff", "~", "--", "*", "'", "file", "file/x", "../studies/bomb", *HOSTILE,
)  # fmt: skip


@pytest.fixture(scope="module")
def hostile(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root full of traps, below a folder that looks like a study itself."""
    above = tmp_path_factory.mktemp("hostile")
    root = above / "studies"
    for name, content in HOSTILE.items():
        (root / name).mkdir(parents=True)
        (root / name / "spec.yaml").write_bytes(content)
    for trap in (above, above / "trap"):
        trap.mkdir(exist_ok=True)
        (trap / "spec.yaml").write_text(yaml.safe_dump(SPEC | {"name": trap.name, "uuid": "u"}))
    (root / "file").write_text("x")
    shutil.copyfile(empty_store, root / "mlflow.db")
    return root


@pytest.mark.parametrize("command", ["resume", "best", "export", "logs", "delete", "sync", "confirm"])
def test_no_name_leaves_the_root_or_makes_the_program_stumble(
    shell: Shell, hostile: Path, command: str
) -> None:
    before = sorted(hostile.parent.rglob("*"))
    for name in NAMES:
        told = shell.mistake(
            command, "--root", str(hostile), "--", name, *(["7"] if command == "logs" else [])
        )
        assert "unforeseen" not in told and len(told) < 2500 and told.isprintable(), name
    assert sorted(hostile.parent.rglob("*")) == before
    assert list(shell.folder.iterdir()) == []


def test_a_list_of_traps_says_of_each_what_it_is(shell: Shell, hostile: Path) -> None:
    listed = shell.fine("list", "--root", str(hostile)).splitlines()
    assert {line.split()[0] for line in listed[1:]} == set(HOSTILE)
    assert "aliases are not read here" in "".join(listed) and "analytic" not in "".join(listed)


@pytest.mark.usefixtures("local_ray")
@settings_(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=30),
    key=st.sampled_from(["--set", "--name", "--time", "--trials", "--address", "-n"]),
)
def test_any_text_for_an_option_is_taken_or_one_sentence(shell: Shell, text: str, key: str) -> None:
    write(shell.folder, tracking="nonsense")  # a study that is refused at last, whatever else it is
    words = ("best", "x", "-n", text) if key == "-n" else ("search", "study.yaml", f"{key}={text}")
    if key == "--set":
        words = ("search", "study.yaml", "--set", f"plan.image={text}", "--set", text)
    assert "unforeseen" not in shell.mistake(*words)
    assert [path.name for path in shell.folder.iterdir()] == ["study.yaml"]


@pytest.mark.usefixtures("local_ray")
def test_a_root_or_a_study_that_cannot_be_written_is_one_sentence(shell: Shell) -> None:
    write(shell.folder)
    (shell.folder / "studies").mkdir()
    for file in ("file", "studies/study"):
        (shell.folder / file).write_text("x")
    for root in ("studies", "file", "/proc/none", "/sys", "x" * 300):
        told = shell.mistake("search", "study.yaml", "--root", root, status=1)
        assert "cannot be written or read" in told or "cannot be used" in told
        for words in (("list",), ("best", "study"), ("resume", "study")):
            _, out, err = shell.run(*words, "--root", root)
            assert len((out + err).splitlines()) == 1 and "unforeseen" not in err, (root, words)
    assert (shell.folder / "studies" / "study").read_text() == "x"


def test_a_study_that_is_a_link_is_read_and_not_deleted(studied: Studied, shell: Shell) -> None:
    root = shell.folder / "other"
    root.mkdir()
    (root / "study").symlink_to(studied.root / "study")
    assert "step 30: " in shell.fine("logs", "study", "0", "--root", str(root))
    told = shell.mistake("delete", "study", "--root", str(root))
    assert "is a link: delete the study where it lies, with --root " in told and str(studied.root) in told
    assert (studied.root / "study" / "study.db").is_file()


def test_a_package_is_put_into_any_folder_but_over_no_file(studied: Studied, shell: Shell) -> None:
    (shell.folder / "file").write_text("x")
    for place in ("file", "file/below", "/proc/none/x", "x" * 300):
        got, _, err = shell.run(*studied.words("export", "study", "-o", "mine.json", "--package", place))
        assert got in (1, 2) and "unforeseen" not in err and len(err.splitlines()) == 1, (place, err)
        assert not (shell.folder / "mine.json").exists()
    (shell.folder / "kept").mkdir()
    (shell.folder / "kept" / "other.py").write_text("x")
    (shell.folder / "link").symlink_to("kept")
    for place in ("kept", "link", ".", "kept/../kept"):
        shell.fine(*studied.words("export", "study", "-o", "mine.json", "--package", place))
    assert (shell.folder / "kept" / "other.py").read_text() == "x" and (
        shell.folder / "sparsity.py"
    ).is_file()
