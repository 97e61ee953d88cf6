"""What a cluster's workers get from the driver."""

import sys
from pathlib import Path

import pytest

from tuner.shipped import OURS, shipped

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder on the path: a module that imports another, a package, and what nobody imports."""
    (tmp_path / "shipped_task.py").write_text("import shipped_nets\nTASK = 1\n")
    (tmp_path / "shipped_nets.py").write_text("")
    (tmp_path / "shipped_other.py").write_text("")
    (tmp_path / "shipped_package" / "deep").mkdir(parents=True)
    for place in ("", "deep"):
        (tmp_path / "shipped_package" / place / "__init__.py").write_text("")
    (tmp_path / "data.bin").write_bytes(b"large")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def beyond(task: str, plan: object = None) -> set[Path]:
    found = shipped(task, plan)
    assert len(set(found)) == len(found)
    return set(found) - {ROOT / name for name in OURS}


def test_this_program_always_comes_along() -> None:
    assert shipped("dip", {"image": "this:that", "network": {"kind": "skip"}}) == [
        ROOT / name for name in OURS
    ]


def test_a_module_comes_with_what_lies_beside_it_and_is_imported(folder: Path) -> None:
    # in a process that has imported nothing of it, as one that resumes
    assert beyond("shipped_task:TASK") == {folder / "shipped_task.py", folder / "shipped_nets.py"}
    for name in ("shipped_task", "shipped_nets"):
        del sys.modules[name]


def test_a_package_comes_whole_wherever_the_spec_names_it(folder: Path) -> None:
    plan = {"networks": [{"kind": "shipped_package.deep:factory"}]}
    assert beyond("gan", plan) == {folder / "shipped_package"}


def test_an_installed_module_comes_alone() -> None:
    import yaml

    assert beyond("yaml.nodes:Node") == {Path(yaml.__file__).resolve().parent}


def test_no_module_is_imported_that_no_kind_names() -> None:
    sys.modules.pop("this", None)
    assert beyond("dip", {"image": "this:that"}) == set()
    assert "this" not in sys.modules


def test_what_every_node_has_in_the_same_version_stays_at_home() -> None:
    assert beyond("dip", {"network": {"kind": "torchvision.models:resnet18"}}) == set()


@pytest.mark.parametrize("place", ["dist-packages", "site-packages"])
def test_a_module_of_another_folder_for_installed_ones_comes_alone_too(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / place).mkdir()
    for name, text in {"placed_net": "import placed_huge\n", "placed_huge": ""}.items():
        (tmp_path / place / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path / place))
    assert beyond("placed_net:TASK") == {tmp_path / place / "placed_net.py"}
    for name in ("placed_net", "placed_huge"):
        del sys.modules[name]


@pytest.mark.parametrize("name", ["no_such_module:x", "sys:path", "trainers.tasks:TASKS"])
def test_what_is_not_there_or_is_there_anyway_is_left_out(name: str) -> None:
    assert beyond(name) == set()
