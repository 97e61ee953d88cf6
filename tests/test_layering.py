"""The arrow `tuner → search_spaces → trainers` and the imports that some files promise to do without.

Imports are read with `ast`: nothing that is judged is imported, and an import inside a function is seen too.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PACKAGES = ("trainers", "search_spaces", "tuner")  # each may import itself and those before it
HEAVY = {"torch", "torchvision", "ray", "optuna", "mlflow", "pandas", "scipy", "skimage", "pytorch_fid"}


@dataclass(frozen=True)
class Import:
    """One imported module; `at_import` unless it happens inside a function or only for the type checker."""

    module: str
    at_import: bool
    line: int

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports_of(path: Path, root: Path = REPOSITORY) -> list[Import]:
    """All imports of a file, relative ones resolved against its place below `root`."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    return list(_walk(ast.parse(path.read_text(encoding="utf-8")), package, at_import=True))


def _walk(node: ast.AST, package: tuple[str, ...], *, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(name.name, at_import, child.lineno) for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = package[: len(package) - child.level + 1] if child.level else ()
            module = [*base, *([child.module] if child.module else [])]
            names = [module, *([*module, name.name] for name in child.names)]
            yield from (Import(".".join(name), at_import, child.lineno) for name in names if name)
        elif isinstance(child, ast.Call) and _is_import_call(child):
            yield Import(str(ast.literal_eval(child.args[0])), at_import, child.lineno)
        later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_type_checking(
            child
        )
        yield from _walk(child, package, at_import=at_import and not later)


def _is_import_call(call: ast.Call) -> bool:
    named = isinstance(call.func, ast.Name | ast.Attribute) and ast.unparse(call.func).split(".")[-1]
    return (
        named in {"import_module", "__import__"}
        and bool(call.args)
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    )


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def files_of(package: str, root: Path = REPOSITORY) -> list[Path]:
    return sorted((root / package).rglob("*.py"))


def backward(package: str, root: Path = REPOSITORY) -> list[str]:
    """The imports of `package` that run against the arrow."""
    allowed = PACKAGES[: PACKAGES.index(package) + 1]
    return [
        f"{path.relative_to(root)}:{one.line} imports {one.module}"
        for path in files_of(package, root)
        for one in imports_of(path, root)
        if one.top in PACKAGES and one.top not in allowed
    ]


def loaded_by(module: str, root: Path = REPOSITORY) -> set[str]:
    """The top-level names of everything that importing `module` imports, through our own modules."""
    if not any(place.is_file() for place in _places(module, root)):
        raise FileNotFoundError(module)
    seen: set[str] = set()
    tops: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        parts = name.split(".")
        waiting += [
            ".".join(parts[:n]) for n in range(1, len(parts))
        ]  # a module's packages are imported first
        path = next((p for p in _places(name, root) if p.is_file()), None)
        if name in seen or path is None:
            continue
        seen.add(name)
        for one in imports_of(path, root):
            if one.at_import:
                tops.add(one.top)
                waiting.append(one.module)
    return tops - set(PACKAGES)


def _places(module: str, root: Path) -> tuple[Path, Path]:
    place = root.joinpath(*module.split("."))
    return place.with_suffix(".py"), place / "__init__.py"


def modules_of(package: str) -> list[str]:
    names = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in files_of(package)]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("package", PACKAGES)
def test_the_arrow_never_runs_backwards(package: str) -> None:
    assert files_of(package)
    assert backward(package) == []


@pytest.mark.parametrize("package", ["trainers", "search_spaces"])
def test_only_the_tuner_knows_ray_and_mlflow(package: str) -> None:
    barred = {"ray", "mlflow"} | ({"optuna"} if package == "trainers" else set())
    found = [(str(p), one) for p in files_of(package) for one in imports_of(p) if one.top in barred]
    assert found == []


def test_the_exported_files_need_torch_and_each_other_alone() -> None:
    for name, needed in (("regularizers", []), ("settings", ["regularizers"]), ("sparsity", ["settings"])):
        found = imports_of(REPOSITORY / "trainers" / f"{name}.py")
        ours = {".".join(one.module.split(".")[:2]) for one in found if one.top == "trainers"}
        assert {f"trainers.{one}" for one in needed} <= ours
        assert ours <= {"trainers.regularizers", "trainers.settings"}
        assert {one.top for one in found} - sys.stdlib_module_names <= {"torch", "trainers"}


def test_settings_are_read_without_torch() -> None:
    program = "import sys, trainers.settings; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_exported_files_import_each_other_relatively() -> None:
    relative = [
        n for n in ast.walk(ast.parse((REPOSITORY / "trainers/sparsity.py").read_text())) if _is_relative(n)
    ]
    assert len(relative) > 0, "the copied package works only where settings is imported relatively"


def _is_relative(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level == 1


@pytest.mark.parametrize("module", ["trainers.plan", "trainers.tasks", "trainers.settings"])
def test_what_describes_a_training_imports_no_torch(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


@pytest.mark.parametrize("module", modules_of("search_spaces"))
def test_search_spaces_import_neither_torch_nor_optuna(module: str) -> None:
    assert loaded_by(module) & {"torch", "optuna"} == set()


@pytest.mark.parametrize(
    "module", ["tuner.__main__", "tuner.cli", "tuner.screen", "tuner.progress", "tuner.doctor", "tuner.spec"]
)
def test_the_command_line_imports_nothing_heavy_before_it_is_needed(module: str) -> None:
    assert loaded_by(module) & HEAVY == set()


@pytest.mark.parametrize("module", ["tuner.query", "tuner.export", "tuner.tracking"])
def test_query_and_export_import_neither_ray_nor_torch(module: str) -> None:
    assert loaded_by(module) & {"ray", "torch", "mlflow", "optuna"} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_a_docstring_that_gives_the_reading_order(package: str) -> None:
    tree = ast.parse((REPOSITORY / package / "__init__.py").read_text(encoding="utf-8"))
    assert "Read `" in (ast.get_docstring(tree) or "")
    assert len(tree.body) == 1


# The reader itself: each kind of violation is planted, and must be found.


def _plant(root: Path, text: str) -> Path:
    for package in PACKAGES:
        (root / package).mkdir()
        (root / package / "__init__.py").write_text("")
    (root / "tuner" / "heavy.py").write_text("import torch.nn\n")
    planted = root / "trainers" / "planted.py"
    planted.write_text(text)
    return planted


@pytest.mark.parametrize(
    "text",
    [
        "import tuner\n",
        "from tuner.record import Record\n",
        "def f():\n    from search_spaces import extras\n",
        "from .. import tuner\n",
        "import importlib\nimportlib.import_module('tuner.record')\n",
        "if TYPE_CHECKING:\n    import search_spaces.sparsity\n",
    ],
)
def test_a_planted_backward_arrow_is_found(tmp_path: Path, text: str) -> None:
    _plant(tmp_path, text)
    assert len(backward("trainers", tmp_path)) > 0


def test_only_imports_that_happen_at_import_are_followed(tmp_path: Path) -> None:
    _plant(
        tmp_path, "from tuner import heavy\ndef f():\n    import ray\nif TYPE_CHECKING:\n    import optuna\n"
    )
    assert loaded_by("trainers.planted", tmp_path) == {"torch"}
