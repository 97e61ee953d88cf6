"""The smaller commands in process: layers, presets, train."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import own_networks
import pytest
import torch
import yaml
from command_line import Shell
from safetensors.torch import load_file

from search_spaces.presets import preset_names
from trainers import settings
from trainers.pair_options import PAIRS
from trainers.settings import L0, SettingsFile
from trainers.sparsity import attach
from tuner.session import Session
from tuner.spec import load_spec, to_yaml

# what needs no study


def test_layers_shows_the_sites_in_order_of_execution(shell: Shell) -> None:
    lines = shell.fine("layers", "skip").splitlines()
    assert [line.split()[0] for line in lines[2:]] == [
        "down0", "down1", "down2", "down3", "down4", "up0", "up1", "up2", "up3", "code",
    ]  # fmt: skip
    assert lines[2].split() == ["down0", "128", "256", "256", str(128 * 256 * 256)]
    of_study = shell.fine("layers", "dip-denoise").splitlines()
    assert of_study[-1].split() == ["code", "16", "96", "96", str(16 * 96 * 96)]
    assert "skip, as task dip trains it" in lines[0]
    for network, last in (("dcgan", ["code", "64", "32", "32"]), ("sngan", ["code", "256", "32", "32"])):
        lines = shell.fine("layers", network).splitlines()
        assert f"{network}, as task gan trains it" in lines[0]
        assert last in [line.split()[:4] for line in lines]
        assert lines[-1].startswith("discriminator.code")
    assert "plan.discriminator_sites" not in shell.fine("layers", "skip")
    judge = {"kind": "own_networks:Features"}
    study = {
        "name": "own",
        "task": "gan",
        "plan": {"network": {"kind": "own_networks:Shared", "discriminator": judge}},
    }
    (shell.folder / "own.yaml").write_text(yaml.safe_dump(study))
    told = shell.fine("layers", str(shell.folder / "own.yaml"))
    assert "With plan.discriminator_sites: true none more, for a Features has no activation module" in told
    assert "vae, as task vae trains it" in shell.fine("layers", "vae")
    lines = shell.fine("layers", "ddpm").splitlines()
    assert "ddpm, as task ddpm trains it" in lines[0]
    assert [line.split()[0] for line in lines[2:]] == [
        "down0", "down1", "down2", "mid", "up0", "up1", "up2", "code",
    ]  # fmt: skip
    lines = shell.fine("layers", "classifier").splitlines()
    assert "classifier, as task classifier trains it" in lines[0]
    assert lines[-1].split() == ["code", "64", "8", "8", str(64 * 8 * 8)]
    known = ", ".join(sorted([*PAIRS, "classifier", "ddpm", "skip", "vae"]))
    assert f"neither a network ({known}) nor a preset" in shell.mistake("layers", "dcgam")
    own = shell.fine("layers", "analytic:TASK").splitlines()
    assert [line.split()[0] for line in own[2:]] == ["down0", "up0", "code"]


def test_layers_shows_the_activations_of_a_network_of_ones_own(shell: Shell) -> None:
    lines = shell.fine("layers", "small_generator:Generator", "--input", "3,6,5").splitlines()
    assert "for an input of 3×6×5" in lines[0]
    assert lines[2].split() == ["first.act", "8", "6", "5", "240"]
    assert "for an input of 3×64×64" in shell.fine("layers", "small_generator:Generator")
    assert "--input" in shell.mistake("layers", "torch.nn:Identity")
    assert "'3,6'" in shell.mistake("layers", "small_generator:Generator", "--input", "3,6")
    assert "leave it out" in shell.mistake("layers", "skip", "--input", "3")
    assert "nowhere_at_all" in shell.mistake("layers", "nowhere_at_all:X")


def test_layers_calls_a_factory_with_what_is_set(shell: Shell) -> None:
    name = "own_networks:hourglass"
    lines = shell.fine("layers", name, "--set", "inputs=2", "--set", "width=3").splitlines()
    assert f"{name}, for an input of 2×64×64" in lines[0]
    assert [line.split()[:2] for line in lines[2:]] == [["2", "3"], ["5", "3"], ["8", "3"]]
    told = shell.mistake("layers", name, "--set", "depth=3")
    assert "called with {'depth': 3} (TypeError" in told and "plan.network.arguments" in told
    assert "'width=3', but it is for a factory" in shell.mistake("layers", "skip", "--set", "width=3")
    assert "--set 'width' is not key=value" in shell.mistake("layers", name, "--set", "width")


def test_layers_says_where_one_module_runs_several_times(shell: Shell) -> None:
    last = shell.fine("layers", "own_networks:Shared").splitlines()[-1]
    assert last == "act runs 2 times (8×4×4, 4×8×8): a regularizer there acts each time"


def test_layers_of_a_study_over_ones_own_generator_takes_its_keys(shell: Shell) -> None:
    plan = {"size": 32, "network": {"kind": "own_networks:hourglass", "input_channels": 8, "multiple": 4}}
    (shell.folder / "own.yaml").write_text(yaml.safe_dump({"name": "own", "plan": plan}))
    lines = shell.fine("layers", "own.yaml", "--set", "plan.network.names={code: '8'}").splitlines()
    assert lines[0].startswith("own_networks:hourglass, as task dip trains it")
    assert [line.split()[:4] for line in lines[2:]] == [["code", "6", "32", "32"]]


@pytest.mark.slow
def test_a_study_over_ones_own_generator_is_trained_again_with_its_spec_alone(
    shell: Shell, local_ray: None
) -> None:
    network = {
        "kind": "own_networks:hourglass", "input_channels": 8, "multiple": 4, "output": "sigmoid",
        "names": {"low": 2, "middle": 5, "code": 8},
    }  # fmt: skip
    spec = {
        "name": "own",
        "plan": {"size": 20, "network": network},
        "space": {"regularizers": {"l0": {"keep": [0.1, 0.5]}}},
        "budget": {"trials": 2, "steps": 6, "grace": 2, "baseline_seeds": 1},
    }
    (shell.folder / "own.yaml").write_text(yaml.safe_dump(spec))
    shell.fine("search", "own.yaml")
    (best, *_) = json.loads(shell.fine("best", "own", "--format", "json"))
    assert best["settings"].keys() <= {"low", "middle", "code"}
    told = shell.fine("export", "own", "-o", "settings.json", "--weights")
    exported = settings.load(shell.folder / "settings.json")
    assert exported.network == "own_networks:hourglass"
    network = own_networks.hourglass()
    network.load_state_dict(load_file(shell.folder / "settings.safetensors"))
    modules = {"low": "2", "middle": "5", "code": "8"}
    used = {site: modules[site] for site in exported}
    attach(network, exported, names=used).detach()
    assert f"attach(network, 'settings.json', names={used})" in told
    assert "--spec" in shell.mistake("train", "--settings", "settings.json")
    (line,) = [line.partition("train ")[2] for line in told.splitlines() if line.startswith("Train with it")]
    trained = shell.fine("train", *shlex.split(line))
    assert f"step 6: psnr (oracle) {exported.value:.4g}" in trained


def test_a_module_beside_the_user_is_found_by_the_console_script(tmp_path: Path) -> None:
    text = (
        "from trainers.tasks import Task\n"
        "TASK = Task('mine', 'score', 'minimize', train=print, sites={'h0': (4, 2, 3)})\n"
    )
    (tmp_path / "beside_me.py").write_text(text)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [Path(sys.executable).parent / "sparsity-tuner", "layers", "beside_me:TASK"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["h0", "4", "2", "3", "24"]


def test_what_an_interruption_says_depends_on_what_is_written_by_then(tmp_path: Path) -> None:
    session = Session(root=str(tmp_path), words=("search", "my spec.yaml", "--trials", "3"))
    assert session.when_interrupted() == "Interrupted."
    file = tmp_path / "study" / "spec.yaml"
    session.goes_on_with("resume", "study", once=file)
    assert session.when_interrupted().endswith(" search 'my spec.yaml' --trials 3")
    file.parent.mkdir()
    file.touch()
    assert session.when_interrupted().endswith(f" resume study --root {tmp_path}")


def test_a_preset_can_be_printed_changed_and_run(shell: Shell) -> None:
    listed = shell.fine("presets")
    assert [line.split()[0] for line in listed.splitlines()] == preset_names()
    text = shell.fine("presets", "dip-denoise")
    assert yaml.safe_load(text)["name"] == "dip-denoise"


# train


@pytest.fixture
def picture_spec(shell: Shell) -> Path:
    """A study of seconds over a real photograph."""
    spec = {
        "name": "small",
        "plan": {"size": 32, "network": {"width": 4, "scales": 2, "input_channels": 4}},
        "budget": {"steps": 6, "grace": 2},
    }
    path = shell.folder / "small.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def exported(folder: Path, **changes: Any) -> str:
    parts: dict[str, Any] = {"task": "dip", "network": "skip", "sites": {"up0": L0(keep=0.3)}}
    settings.write(folder / "settings.json", SettingsFile(**(parts | changes)))
    return "settings.json"


def test_train_takes_as_many_threads_as_the_trial_had(
    shell: Shell, picture_spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen = torch.get_num_threads(), list[int]()
    monkeypatch.setattr("tuner.errands._follow", lambda *_: seen.append(torch.get_num_threads()))
    for threads in (3, "many"):  # a file made by hand may say anything
        file = exported(shell.folder, provenance={"threads": threads})
        shell.fine("train", "--settings", file, "--spec", str(picture_spec))
    assert seen == [3, before]
    assert torch.get_num_threads() == before


def test_train_prints_each_evaluation_and_keeps_pictures_and_a_checkpoint(
    shell: Shell, picture_spec: Path
) -> None:
    file = exported(shell.folder)
    out = shell.fine("train", "--settings", file, "--spec", str(picture_spec), "--seed", "3", "-o", "out")
    steps = [line for line in out.splitlines() if line.startswith("step ")]
    assert [line.partition(":")[0] for line in steps] == ["step 2", "step 6"]
    assert all("psnr (oracle) " in line and "loss " in line for line in steps)
    assert "up0: density 0.3" in out and "(higher is better; oracle: it needs the clean picture)" in out
    assert out.startswith("6 steps with seed 3 on ") and "first, what they need is prepared" in out
    assert sorted(path.name for path in (shell.folder / "out" / "pictures").iterdir()) == [
        "2-comparison.png", "6-comparison.png",
    ]  # fmt: skip
    assert (shell.folder / "out" / "checkpoint.pt").is_file()
    again = shell.fine("train", "--settings", file, "--spec", str(picture_spec), "--seed", "3", "-o", "out")
    assert [line for line in again.splitlines() if line.startswith("step ")] == steps[-1:]
    other = ("train", "--settings", file, "--spec", str(picture_spec), "--seed", "4", "-o", "out")
    status, _, err = shell.run(*other)
    assert status == 2
    assert "belongs to another training" in err and len(err.splitlines()) == 1


def test_of_a_noisy_photograph_nobody_speaks_of_psnr(shell: Shell) -> None:
    assert "psnr" not in shell.fine("presets", "dip-noisy-photo").lower()
    small = ["plan.size=32", "plan.network={width: 4, scales: 2}", "budget.steps=6", "budget.grace=2"]
    text = shell.fine("presets", "dip-noisy-photo")
    spec = load_spec(yaml.safe_load(text), overrides=[*small, "space.sites=[up0]"])
    (shell.folder / "photo.yaml").write_text(to_yaml(spec))
    file = exported(shell.folder)
    out = shell.fine("train", "--settings", file, "--spec", "photo.yaml", "-o", "out")
    assert "step 6: held_out 0." in out and "psnr" not in out.lower() and "oracle" not in out
    assert "(lower is better; mean squared error at 2% of the observed pixels, which no training sees)" in out
    assert sorted(path.name for path in (shell.folder / "out" / "pictures").iterdir()) == [
        "2-comparison.png", "2-restored.png", "6-comparison.png", "6-restored.png",
    ]  # fmt: skip


def test_train_marks_what_stands_beside_the_metric_and_says_which_way_it_is_better(
    shell: Shell, picture_spec: Path
) -> None:
    spec = load_spec(picture_spec, overrides=["plan.objective=sure", "budget.steps=3"])
    (shell.folder / "sure.yaml").write_text(to_yaml(spec))
    out = shell.fine("train", "--settings", exported(shell.folder), "--spec", "sure.yaml")
    assert "step 3: sure " in out and ", psnr (oracle) " in out and ", ssim (oracle) " in out
    assert "(lower is better, higher for psnr (oracle); Stein's estimate of the mean squared " in out


def test_train_writes_among_nothing_else(shell: Shell) -> None:
    from trainers.tasks import find_task, make_plan

    options = {"size": 32, "network": {"width": 4, "scales": 2, "input_channels": 4}}
    plan = make_plan(find_task("dip"), options, evaluate_at=(3,)).model_dump(
        mode="json", exclude={"settings"}
    )
    file = exported(shell.folder, plan=plan)
    (shell.folder / "photos" / "cats").mkdir(parents=True)
    told = shell.mistake("train", "--settings", file, "-o", "photos")
    assert "-o is 'photos', where 'cats' lies and no training: give a folder, new or empty" in told
    (shell.folder / "file").write_text("mine")
    assert "-o is 'file', which is a file: give a folder" in shell.mistake(
        "train", "--settings", file, "-o", "file"
    )
    for _ in range(2):  # the second goes on in what the first has left
        shell.fine("train", "--settings", file, "-o", "out")


def test_train_takes_plan_and_seed_from_the_file(shell: Shell) -> None:
    from trainers.tasks import find_task, make_plan

    options = {"size": 32, "network": {"width": 4, "scales": 2, "input_channels": 4}}
    plan = make_plan(find_task("dip"), options, evaluate_at=(3,))
    file = exported(
        shell.folder, plan=plan.model_dump(mode="json", exclude={"settings"}), provenance={"seed": 5}
    )
    out = shell.fine("train", "--settings", file)
    assert "3 steps with seed 5" in out
    assert (shell.folder / "trained" / "settings-seed5" / "checkpoint.pt").is_file()


def test_train_warns_where_this_machine_prepares_something_else(shell: Shell) -> None:
    from trainers.tasks import find_task, make_plan, prepared_of

    options = {"size": 32, "network": {"width": 4, "scales": 2, "input_channels": 4}}
    plan = make_plan(find_task("dip"), options, evaluate_at=(3,))
    for prepared, told in (
        (prepared_of(find_task("dip"), plan), ""),
        ({"picture": "0" * 64}, "another picture than the study, so this training is like its own"),
    ):
        plan = make_plan(find_task("dip"), options, evaluate_at=(3,), prepared=prepared)
        file = exported(shell.folder, plan=plan.model_dump(mode="json", exclude={"settings"}))
        status, out, err = shell.run("train", "--settings", file)  # the same training both times
        assert status == 0 and told in err and len(err.splitlines()) == bool(told)
        assert "step 3: psnr (oracle) " in out


def test_train_with_a_spec_keeps_the_extras_that_were_found_with_the_settings(
    shell: Shell, picture_spec: Path
) -> None:
    words = ("train", "--spec", str(picture_spec), "--settings")
    plain = shell.fine(*words, exported(shell.folder), "-o", "plain")
    plan = {"task": "dip", "extras": {"lr": 1e-5}}
    slow = shell.fine(*words, exported(shell.folder, plan=plan), "-o", "slow")
    assert plain.splitlines()[1:3] != slow.splitlines()[1:3]
    other = exported(shell.folder, plan=plan, task="another")
    assert plain.splitlines()[1:3] == shell.fine(*words, other, "-o", "other").splitlines()[1:3]
    odd = exported(shell.folder, plan={"task": "dip", "extras": {"depth": 3}})
    assert "extras.depth" in shell.mistake(*words, odd, "-o", "odd")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"network": "dcgan"}, "'dcgan'"),
        ({"sites": {}}, "names no site"),
        ({"sites": {"up7": L0(keep=0.3)}}, "'up7'"),
    ],
)
def test_train_refuses_settings_of_something_else(
    shell: Shell, picture_spec: Path, changes: dict[str, Any], told: str
) -> None:
    file = exported(shell.folder, **changes)
    assert told in shell.mistake("train", "--settings", file, "--spec", str(picture_spec), "-o", "out")
    assert not (shell.folder / "out").exists()


def test_a_file_never_causes_an_import(shell: Shell) -> None:
    (shell.folder / "evil.py").write_text("raise SystemExit('imported')\n")
    plan = {"task": "evil:TASK", "options": {}, "evaluate_at": [3]}
    file = exported(shell.folder, task="evil:TASK", plan=plan)
    assert "evil:TASK" in shell.mistake("train", "--settings", file)
    assert "no plan" in shell.mistake("train", "--settings", exported(shell.folder))
