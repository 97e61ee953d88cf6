"""Three files of ours and a JSON file are a package of their own, for whoever has torch."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import trainers.settings
from trainers.settings import L0, L1, L0Inf, Mistake, SettingsFile, load, write
from tuner.export import PACKAGE

FILES = [Path(str(trainers.settings.__file__)).with_name(name) for name in PACKAGE]
SETTINGS = SettingsFile(
    sites={"up0": L0(0.25), "up1": L1(0.5), "code": L0Inf(2)},
    of={"up0": 4096, "code": 8},
    value=27.3,
    step=900,
)
FOREIGN = """
import json
import os
import sys

folder, path = sys.argv[1:]
PROJECT = {"trainers", "search_spaces", "tuner"}


class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in PROJECT | {"ray", "optuna", "mlflow", "pydantic", "yaml", "skimage"}:
            raise ImportError(f"{name} is no part of this program")


sys.meta_path.insert(0, Refuse())
sys.path = [place for place in sys.path if not os.path.isdir(os.path.join(place, "trainers"))]
for name in PROJECT:
    try:
        __import__(name)
    except ImportError:
        continue
    raise SystemExit(f"{name} can be imported, so this program shows nothing")
sys.path.insert(0, folder)

import torch
from sparse_settings.settings import Mistake, load
from sparse_settings.sparsity import attach
from torch import nn


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.ConvTranspose2d(4, 16, 4, 2, 1), nn.ReLU(True), nn.ConvTranspose2d(16, 8, 4, 2, 1),
            nn.BatchNorm2d(8), nn.ReLU(True), nn.Conv2d(8, 3, 3, padding=1), nn.Tanh(),
        )

    def forward(self, z):
        return self.net(z)


torch.manual_seed(0)
torch.set_num_threads(1)
generator = Foreign()
attached = attach(generator, path, names={"up0": "net.1", "up1": "net.3", "code": "net.4"})
optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
z, target = torch.randn(2, 4, 8, 8), torch.rand(2, 3, 32, 32)
losses = []
for _ in range(20):
    loss = nn.functional.mse_loss(generator(z), target) + attached.penalty()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
try:
    attach(generator, path)
except Mistake as mistake:
    refused = str(mistake)
print(json.dumps({
    "losses": losses, "sparsity": attached.sparsity(), "refused": refused, "of": load(path).of,
    "files": sorted(m.__file__ for n, m in sys.modules.items() if n.startswith("sparse_settings.")),
    "project": [name for name in sys.modules if name.partition(".")[0] in PROJECT],
}))
"""


def package(folder: Path) -> Path:
    inner = folder / "vendored" / "sparse_settings"
    inner.mkdir(parents=True)
    for file in FILES:
        shutil.copy(file, inner)
    write(inner / "settings.json", SETTINGS)
    return inner


def test_a_foreign_program_trains_its_own_generator_with_the_package(tmp_path: Path) -> None:
    inner, elsewhere = package(tmp_path), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "train.py").write_text(FOREIGN)
    command = [sys.executable, "-I", "train.py", str(inner.parent), str(inner / "settings.json")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=elsewhere, capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["project"] == []
    assert told["files"] == [str(inner / name) for name in PACKAGE]
    assert told["losses"][-1] < told["losses"][0]
    assert told["sparsity"]["code"]["density"] <= 2 / 8 and told["sparsity"]["up0"]["density"] <= 0.25
    assert told["sparsity"]["up1"]["removed_energy"] == 0
    assert told["of"] == SETTINGS.of and "already" in told["refused"]
    assert "carries over" not in done.stderr  # the numbers are out of what they were out of


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_these_files_import_torch_and_the_standard_library_alone(file: Path) -> None:
    allowed = set(sys.stdlib_module_names) | (set() if file.name == "settings.py" else {"torch"})
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {name.name.partition(".")[0] for name in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).partition(".")[0] in allowed
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 and f"{node.module}.py" in PACKAGE[: PACKAGE.index(file.name)]


def test_a_file_never_causes_an_import(tmp_path: Path) -> None:
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    for entry in ({"kind": "trap:Trap", "weight": 1}, {"kind": "trap.Trap", "weight": 1}):
        (tmp_path / "s.json").write_text(json.dumps({"schema": 1, "sites": {"code": entry}}))
        with pytest.raises(Mistake, match="has the kind 'trap"):
            load(tmp_path / "s.json")
    content = {
        "schema": 1,
        "task": "trap:task",
        "network": "trap:network",
        "sites": {},
        "plan": {"task": "trap:task"},
    }
    (tmp_path / "s.json").write_text(json.dumps(content))
    assert load(tmp_path / "s.json").network == "trap:network" and "trap" not in sys.modules
