"""What `make` says where it cannot install; the sentences come before anything is written."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
TOOLS = ("sh", "sed", "awk", "df", "du", "rm", "touch", "make")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what `make` reads, and `tools` with the few programs that it may find."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    (tmp_path / "tools").mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, f"this test needs {tool}"
        (tmp_path / "tools" / tool).symlink_to(found)
    return tmp_path


def add_python(checkout: Path, name: str, script: str) -> None:
    file = checkout / "tools" / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def refusal(checkout: Path, *words: str) -> str:
    """The one sentence with which `make install` gives up; checks that it left nothing behind."""
    before = sorted(checkout.rglob("*"))
    done = subprocess.run(
        ["make", "install", *words],
        cwd=checkout,
        env={"PATH": str(checkout / "tools")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert sorted(checkout.rglob("*")) == before
    sentence, *rest = done.stderr.splitlines()
    assert all(line.startswith("make:") for line in rest)
    return sentence


def real_python(version: str = "") -> str:
    """Run this interpreter, where wanted as another version."""
    claim = f"import sys; sys.version_info = ({version}); " if version else ""
    return f'[ "$1" = -c ] && shift && exec {sys.executable} -c "{claim}$1"\nexit 1'


def test_no_python_at_all(checkout: Path) -> None:
    assert refusal(checkout).startswith(
        "None of python3.13, python3.12, python3.11 and python3 runs here as a Python >=3"
    )


def test_a_shim_that_exists_and_does_not_run_is_passed_over(checkout: Path) -> None:
    add_python(checkout, "python3.13", "exit 127")
    assert refusal(checkout).startswith("None of ")
    add_python(checkout, "python3.12", real_python())
    assert "GB of disk are free" in refusal(checkout, "NEED_GB=1000000")


@pytest.mark.parametrize("version", ["3, 10", "3, 14"])
def test_a_python_that_pyproject_does_not_admit_is_passed_over(checkout: Path, version: str) -> None:
    add_python(checkout, "python3", real_python(version))
    assert refusal(checkout).startswith("None of ")


def test_a_python_that_was_named_is_taken_or_refused_and_never_replaced(checkout: Path) -> None:
    add_python(checkout, "python3.12", real_python())
    assert refusal(checkout, "PYTHON=tools/none").startswith(
        "PYTHON=tools/none does not run as a Python >=3.11,<3.14"
    )


def test_a_missing_venv_names_the_package(checkout: Path) -> None:
    without = f'case "$*" in *ensurepip*) exit 1;; esac\n{real_python()}'
    add_python(checkout, "python3.11", without)
    major, minor = sys.version_info[:2]
    assert f"apt-get install python{major}.{minor}-venv" in refusal(checkout)


def test_too_little_room_says_how_much_there_is(checkout: Path) -> None:
    add_python(checkout, "python3.11", real_python())
    free = shutil.disk_usage(checkout).free // 2**30
    sentence = refusal(checkout, "NEED_GB=1000000")
    assert abs(int(sentence.split()[0]) - free) <= 1
    assert "needs 1000000" in sentence
