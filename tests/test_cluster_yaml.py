"""cluster.yaml, README's section on it and docs/cluster.md: what can be held true without an AWS account."""

import itertools
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import click
import pytest
import yaml
from packaging.specifiers import SpecifierSet

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from tuner.cli import program
from tuner.spec import load_spec

ROOT = Path(__file__).parent.parent
FILE = ROOT / "cluster.yaml"
TEXT = FILE.read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("## On a cluster\n")[2].partition("\n## ")[0]
DOCS = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMMANDS = ("setup_commands", "head_setup_commands", "worker_setup_commands")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")


def config() -> dict[str, Any]:
    """As `ray up` reads it, before Ray fills in its defaults."""
    read = yaml.safe_load(TEXT)
    assert isinstance(read, dict)
    return read


def workers() -> dict[str, dict[str, Any]]:
    return {
        name: kind
        for name, kind in config()["available_node_types"].items()
        if name != config()["head_node_type"]
    }


def all_commands() -> list[str]:
    return [line for key in (*COMMANDS, *STARTS) for line in config()[key]]


def test_ray_accepts_it() -> None:
    prepared = prepare_config(config())
    validate_config(prepared)
    assert prepared["head_setup_commands"][-1] == config()["head_setup_commands"][-1]


def test_ray_would_refuse_an_unknown_key() -> None:
    with pytest.raises(Exception, match="idle_timeout"):
        validate_config(prepare_config({**config(), "idle_timeout": 10}))


def test_it_leaves_nothing_to_the_defaults_that_ray_has_for_aws() -> None:
    """They name wheels of another Ray and an image of another Python."""
    prepared = prepare_config(config())
    unset = {key for key in prepared if key not in config()}
    assert unset <= {
        "upscaling_speed",
        "docker",
        "cluster_synced_files",
        "file_mounts_sync_continuously",
        "rsync_filter",
        "initialization_commands",
    }
    assert all("ImageId" in kind["node_config"] for kind in config()["available_node_types"].values())


def test_the_head_takes_no_trials_and_is_on_demand() -> None:
    head = config()["available_node_types"][config()["head_node_type"]]
    assert (head["resources"], head["min_workers"], head["max_workers"]) == ({"CPU": 0, "GPU": 0}, 0, 0)
    assert "InstanceMarketOptions" not in head["node_config"]


def test_workers_are_spot_gpus_of_several_types_from_zero() -> None:
    assert len(workers()) >= 2
    for name, kind in workers().items():
        assert kind["min_workers"] == 0, name
        assert kind["max_workers"] > 0, name
        assert kind["resources"]["GPU"] >= 1, name
        assert kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}, name
    assert len({kind["node_config"]["InstanceType"] for kind in workers().values()}) == len(workers())


def test_the_global_limit_is_what_the_types_may_have_together() -> None:
    """Ray compares neither a type's limit nor their sum with it."""
    assert config()["max_workers"] == sum(kind["max_workers"] for kind in workers().values())


def test_idle_machines_are_given_back_and_stopped_ones_not_kept() -> None:
    assert 0 < config()["idle_timeout_minutes"] <= 30
    assert config()["provider"]["cache_stopped_nodes"] is False


def test_all_nodes_have_one_python_and_the_versions_of_constraints() -> None:
    """The file names no version: the checkout and constraints.txt do."""
    images = {kind["node_config"]["ImageId"] for kind in config()["available_node_types"].values()}
    ubuntu = {re.search(r"ubuntu\D*(\d\d\.\d\d)", image) for image in images}
    assert {found[1] for found in ubuntu if found} == {"24.04"} and None not in ubuntu
    python = "3.12"  # Ubuntu 24.04's
    assert python in SpecifierSet(PROJECT["requires-python"])
    (install,) = [line for line in all_commands() if "pip install" in line]
    assert shlex.split(install.partition("&&")[2]) == shlex.split(
        "python -m pip install --quiet --constraint constraints.txt --editable '.[cluster]'"
    )
    assert re.findall(r"(?:ray|torch|python\d?)\s*[=<>~]=|python3\.\d|\bpip install -U", TEXT) == []
    assert not any("--index-url" in line or "://" in line for line in all_commands() if "pip" in line)


def test_the_extra_is_in_the_constraints() -> None:
    pinned = set(re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M))
    wanted = {
        re.split(r"[\[>]", need)[0] for need in PROJECT["optional-dependencies"]["cluster"]
    }  # names before "[" or ">="
    assert wanted >= {"boto3", "s3fs"}
    assert wanted <= pinned


def test_what_is_copied_installs_as_this_project(tmp_path: Path) -> None:
    """And no .venv, no study and no .git is among it."""
    place = tmp_path / "node"
    for remote, local in config()["file_mounts"].items():
        assert not local.startswith(("/", ".", "~")) and (ROOT / local).exists(), local
        there = place / remote.removeprefix("~/sparsity-tuner/")
        assert there != place
        if (ROOT / local).is_dir():
            shutil.copytree(ROOT / local, there, ignore=shutil.ignore_patterns(*config()["rsync_exclude"]))
        else:
            place.mkdir(exist_ok=True)
            shutil.copy(ROOT / local, there)
    assert {path.name for path in place.iterdir()}.isdisjoint({".venv", "studies", "cluster-studies", ".git"})
    assert not list(place.rglob("__pycache__")) and (place / "constraints.txt").is_file()
    target = tmp_path / "installed"
    pip = "-m pip install --quiet --no-deps --no-build-isolation --no-index --target"
    done = subprocess.run(
        [sys.executable, *pip.split(), str(target), str(place)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for package in ("trainers", "search_spaces", "tuner"):
        kept = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}
        kept |= {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.yaml")}
        assert [path for path in kept if not (target / path).is_file()] == []


def test_no_secret_and_no_account() -> None:
    for text in (TEXT, SECTION, DOCS):
        assert re.findall(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}", text) == []  # an access key
        assert (
            re.findall(r"(?<![A-Za-z0-9/+=-])[A-Za-z0-9+]{40}(?![A-Za-z0-9/+=-])", text) == []
        )  # its secret
        assert re.findall(r"\barn:aws:iam::\d+|\bami-[0-9a-f]{8,}|://[^/\s]*:[^/\s]*@", text) == []
        assert re.findall(r"(?i)aws_(?:access|secret|session)|(?:password|token|secret)\s*[:=]", text) == []
    assert all(
        "IamInstanceProfile" in kind["node_config"] for kind in config()["available_node_types"].values()
    )
    assert set(config()["auth"]) == {"ssh_user"}


def test_one_line_is_the_users() -> None:
    told = [line for line in TEXT.splitlines() if "YOUR-BUCKET" in line and not line.startswith("#")]
    assert len(told) == 1
    assert TEXT.count("s3://") == 1  # docs/cluster.md reads the bucket's name from there


def test_the_shells_after_the_setup_know_python_the_bucket_and_mlflow(tmp_path: Path) -> None:
    """Run twice, as `ray up` may, from the lines that prepare the shells; they are in force once."""
    lines = [line for line in config()["setup_commands"] if ".sparsity-tuner" in line]
    assert len(lines) == 2
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    for line in lines * 2:
        subprocess.run(["bash", "-c", line], env=environment, check=True)
    assert (tmp_path / ".bashrc").read_text(encoding="utf-8").count("\n") == 1
    asked = 'source ~/.bashrc; echo "$PATH" "$STUDIES" "$MLFLOW_TRACKING_URI"'
    said = subprocess.run(
        ["bash", "-c", asked], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert said[0].startswith(f"{tmp_path}/venv/bin:")
    assert said[1:] == ["s3://YOUR-BUCKET/studies", "http://127.0.0.1:5000"]


def test_a_node_without_the_storage_fails_its_setup(tmp_path: Path) -> None:
    (line,) = [line for line in config()["setup_commands"] if "Storage" in line]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "STUDIES": str(tmp_path / "shared")}
    assert subprocess.run(["bash", "-c", line], env=environment).returncode == 0
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        ["bash", "-c", line],
        env={**environment, "STUDIES": str(tmp_path / "file")},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "cannot be written and read" in done.stderr


@pytest.mark.slow
def test_the_mlflow_server_is_one_and_for_the_head_alone(tmp_path: Path) -> None:
    """The very command, twice, on another port: one server, on localhost, that outlives its shell."""
    (line,) = [line for line in config()["head_start_ray_commands"] if "mlflow" in line]
    assert "--host 127.0.0.1 --port 5000" in line
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    line = line.replace("--port 5000", f"--port {port}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    (tmp_path / "studies").mkdir()
    try:
        for _ in range(2):
            subprocess.run(["bash", "-c", line], env=environment, check=True)
        wait_for(f"http://127.0.0.1:{port}/health", tmp_path / "mlflow.log")
        servers = {pid for pid, words in processes(tmp_path) if words[0].endswith("flock")}
        assert len(servers) == 1
        assert (tmp_path / "studies" / "mlflow.db").is_file()
    finally:
        for pid, _ in processes(tmp_path):
            os.kill(pid, signal.SIGKILL)


def wait_for(address: str, log: Path) -> None:
    for _ in range(600):
        try:
            with urlopen(address, timeout=5) as answer:
                assert answer.status == 200
            return
        except OSError:
            time.sleep(0.2)  # the server tells nobody when it is up
    raise AssertionError(log.read_text(encoding="utf-8"))


def processes(home: Path) -> list[tuple[int, list[str]]]:
    """Those whose HOME is that folder, with their words."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                around = (entry / "environ").read_bytes().split(b"\0")
                words = (entry / "cmdline").read_text(encoding="utf-8").split("\0")
            except (OSError, UnicodeDecodeError):
                continue
            if f"HOME={home}".encode() in around and words[0]:
                found.append((int(entry.name), words))
    return found


def test_ray_starts_as_the_autoscaler_needs_it() -> None:
    (head,) = [line for line in config()["head_start_ray_commands"] if "ray start" in line]
    (worker,) = [line for line in config()["worker_start_ray_commands"] if "ray start" in line]
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head and "--head" in head
    assert "--address=$RAY_HEAD_IP:6379" in worker and "--port=6379" in head
    for line in (head, worker):
        parsed_ray(line.partition("; ")[2].removeprefix("ray "))
    assert "0.0.0.0" not in TEXT  # neither the dashboard nor MLflow is open to the network


def parsed_ray(line: str) -> click.Context:
    """Raises where Ray's command line has no such command, option or number of arguments."""
    name, *words = shlex.split(line)
    command = ray_cli.commands[name]
    return command.make_context(name, words)


def ray_lines(text: str) -> list[str]:
    return re.findall(r"^\.venv/bin/ray (.*)$", text, re.M) + re.findall(r"`\.venv/bin/ray ([^`]+)`", text)


def sent(text: str) -> list[str]:
    """The commands of this program that are sent to the head."""
    lines = [line for line in ray_lines(text) if line.startswith("exec ")]
    return [part.strip() for line in lines for part in str(parsed_ray(line).params["cmd"]).split("&&")]


@pytest.mark.parametrize("line", ray_lines(SECTION) + ray_lines(DOCS))
def test_each_command_of_ray_is_one_that_it_takes(line: str) -> None:
    found = parsed_ray(line).params
    assert found["cluster_config_file"] == FILE.name


@pytest.mark.parametrize("line", sent(SECTION) + sent(DOCS))
def test_each_command_that_is_sent_is_one_that_the_program_takes(line: str) -> None:
    called, name, *words = shlex.split(line)
    assert called == "sparsity-tuner"
    command = program.commands[name]
    command.make_context(name, words)


def test_the_five_commands_go_from_nothing_to_settings_and_back() -> None:
    (block,) = [one for one in re.findall(r"^```\n(.*?)^```", SECTION, re.M | re.S) if "ray up" in one]
    lines = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [words[0] for words in lines] == ["up", "exec", "exec", "rsync-down", "down"]
    assert "--address auto" in sent(block)[0] and "--tmux" in lines[1]  # it lives on without this machine
    assert [line.split()[1] for line in sent(block)] == ["search", "export", "best"]


def test_the_study_that_is_sent_fits_the_workers() -> None:
    words = shlex.split(sent(SECTION)[0])[2:]
    sets = [value for flag, value in itertools.pairwise(words) if flag == "--set"]
    spec = load_spec(words[0], overrides=[one.replace("$STUDIES", "s3://mine/studies") for one in sets])
    assert spec.storage == "s3://mine/studies"
    for name, kind in workers().items():
        assert spec.resources.cpu <= kind["resources"]["CPU"], name
        assert 0 < spec.resources.gpu <= kind["resources"]["GPU"], name
    assert spec.plan["download"] is True
    assert spec.plan["objective"] != "fid"  # Inception's weights are on no node


def test_what_an_account_needs_once_is_what_the_file_names() -> None:
    profiles = {
        kind["node_config"]["IamInstanceProfile"]["Name"]
        for kind in config()["available_node_types"].values()
    }
    assert profiles == set(re.findall(r"for role in ([\w-]+) ([\w-]+);", DOCS)[0])
    (block,) = [one for one in re.findall(r"^```\n(.*?)^```", DOCS, re.M | re.S) if "create-role" in one]
    read = "\n".join(block.splitlines()[:2]) + '\necho "$BUCKET $REGION"'
    done = subprocess.run(["bash", "-c", read], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["YOUR-BUCKET", config()["provider"]["region"]]
