"""README is run as it stands: its Python, its study, its commands' words, its links."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.settings import L1, L0Inf, SettingsFile, write
from tuner.cli import program
from tuner.spec import load_spec
from tuner.spec_file import parse_mapping

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def only(language: str, word: str) -> str:
    (block,) = [one for one in blocks(language) if word in one]
    return block


def run(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_lines_that_apply_a_file_to_ones_own_generator(tmp_path: Path) -> None:
    write(tmp_path / "settings.json", SettingsFile(sites={"code": L0Inf(k=4)}))
    printed = run(only("python", "attach(generator"), tmp_path)
    assert "'density': 0.25" in printed  # 4 of 16 channels at each position


def test_the_lines_that_apply_a_file_to_both_networks_of_a_gan(tmp_path: Path) -> None:
    sites = {"code": L0Inf(k=4), "discriminator.h0": L1(weight=0.1)}
    write(tmp_path / "both.json", SettingsFile(sites=sites))
    assert run(only("python", "discriminators(both)"), tmp_path) == "True True 0.25\n"


def test_one_training_by_hand(tmp_path: Path) -> None:
    code = only("python", "train_dip(")
    shorter = code.replace("600", "5").replace("(67, 201, ", "(2, ").replace("96", "32")
    assert shorter != code
    lines = run(shorter, tmp_path).splitlines()
    assert [line.split()[0] for line in lines] == ["2", "5"]


def test_the_study_of_ones_own_is_one_that_loads() -> None:
    spec = load_spec(parse_mapping(only("yaml", "name: my-photo"), "README.md"))
    assert (spec.name, spec.budget.trials, spec.budget.steps) == ("my-photo", 60, 1800)


def test_so_are_those_of_other_tasks() -> None:
    for name in ("my-gan", "my-classes"):
        spec = load_spec(parse_mapping(only("yaml", f"name: {name}"), "README.md"))
        assert spec.name == name
    assert (spec.task, spec.plan_with({}, {}).options.folders_are_classes) == ("classifier", True)
    for task in ("vae", "ddpm"):
        load_spec(parse_mapping(only("yaml", "name: my-classes"), "README.md"), overrides=[f"task={task}"])


def test_so_is_the_one_of_ones_own_generator() -> None:
    spec = load_spec(parse_mapping(only("yaml", "my_package"), "README.md"))
    assert spec.plan_with({}, {}).options.network.arguments == {"inputs": 32}


def commands() -> list[str]:
    lines = re.findall(r"^\.venv/bin/sparsity-tuner (.*)$", README, re.MULTILINE)
    inline = re.findall(r"`sparsity-tuner ([a-z]+[^`]*)`", README)
    return [line.partition("  #")[0].strip() for line in lines] + inline


@pytest.mark.parametrize("line", commands())
def test_each_command_is_one_that_the_program_takes(line: str) -> None:
    name, *words = shlex.split(line)
    command = program.commands[name]
    command.make_context(name, words)  # raises where a word or an option is unknown


def test_enough_commands_are_looked_at() -> None:
    assert {shlex.split(line)[0] for line in commands()} >= {
        "search",
        "resume",
        "best",
        "confirm",
        "export",
        "train",
    }


def test_each_file_that_is_linked_is_there() -> None:
    linked = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    linked += re.findall(r'src="([^"]+)"', README)
    assert linked
    assert [link for link in linked if not (ROOT / link).exists()] == []


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README
