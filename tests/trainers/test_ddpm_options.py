"""The keys of task `ddpm`: defaults, what a user may write, and the sentence for what they may not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from trainers.ddpm_options import DdpmNetwork, DdpmOptions
from trainers.plan import Plan
from trainers.settings import Mistake
from trainers.tasks import extras_of, find_task, make_plan, measured_of, network_of, networks_of, sites_of

DDPM = find_task("ddpm")


def plan(**options: Any) -> Plan:
    return make_plan(DDPM, options, evaluate_at=(5,))


def written(**options: Any) -> DdpmOptions:
    """The options that a user's file means, through the door that it takes."""
    read = plan(**options).options
    assert isinstance(read, DdpmOptions)
    return read


def test_the_defaults_are_the_papers_on_cifar10(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert written().model_dump() == {
        "data": "cifar10", "root": str(tmp_path / "data"), "download": False, "limit": None, "size": 32,
        "channels": None, "network": {"kind": "ddpm", "width": 128, "blocks": 3}, "objective": "fid",
        "also": (), "samples": 10_000, "batch": 128, "lr": 2e-4, "noise_steps": 1000, "sampling_steps": 50,
        "average": 0.9999, "ramp": 0.0, "folders_are_classes": False,
    }  # fmt: skip


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    options = written(network={"width": 8}, limit=0.5, also=["fd_pixels"], root=str(tmp_path), channels=1)
    assert DdpmOptions.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize(("network", "meant"), [
    ({}, DdpmNetwork()),
    ("ddpm", DdpmNetwork()),
    ({"width": 16}, DdpmNetwork(width=16)),
    ({"kind": "ddpm", "blocks": 2}, DdpmNetwork(blocks=2)),
    (DdpmNetwork(width=8), DdpmNetwork(width=8)),
])  # fmt: skip
def test_a_network_is_the_unet_however_it_is_written(network: Any, meant: BaseModel) -> None:
    assert written(network=network).network == meant
    assert network_of(plan(network=network)) == "ddpm"


@pytest.mark.parametrize(("options", "told"), [
    ({"network": "my_module:unet"}, r"plan\.network\.kind is 'my_module:unet', but the networks of task"),
    ({"network": {"kind": "my_module:unet"}}, r"'my_module:unet', .* are ddpm, and your own train with"),
    ({"network": {"kind": "dcgan"}}, r"network\.kind is 'dcgan', but the networks of task ddpm are"),
    ({"network": {"kind": None}}, r"plan\.network\.kind is None"),
    ({"network": 3}, r"plan\.network is 3, but it is a section: write for example \{kind: ddpm\}"),
    ({"network": {"widht": 8}}, r"plan\.network\.widht.*width"),
    ({"network": {"width": 0}}, r"plan\.network\.width is 0"),
    ({"network": {"blocks": 7}}, r"plan\.network\.blocks is 7"),
    ({"size": 36}, r"size is 36, but a network of 3 blocks .* take a multiple of 8"),
    ({"sampling_steps": 1001}, r"plan\.sampling_steps is 1001, but noise comes in 1000 steps: take at most"),
    ({"sampling_steps": 50, "noise_steps": 20}, r"sampling_steps is 50, but noise comes in 20 steps"),
    ({"sampling_steps": 1}, r"plan\.sampling_steps is 1, but it must be greater than or equal to 2"),
    ({"noise_steps": 1}, r"plan\.noise_steps is 1"),
    ({"lr": 0}, r"plan\.lr is 0"),
    ({"average": 1}, r"plan\.average is 1"),
    ({"batch": 1}, r"plan\.batch is 1"),
    ({"limit": 64}, r"plan\.limit is 64, but a batch has 128 pictures"),
    ({"generator_lr": 1e-3}, r"plan\.generator_lr.*lr"),
    ({"objective": "psnr"}, r"plan\.objective is 'psnr'.*fd_pixels"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_key_and_value(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        plan(**options)
    assert "\n" not in str(caught.value)


def test_a_file_names_its_network_and_it_is_the_only_one() -> None:
    assert networks_of(DDPM) == ["ddpm"]


def test_a_search_can_vary_the_rate_the_average_and_the_ramp() -> None:
    assert sorted(extras_of(written())) == ["average", "lr", "ramp"]


def test_sites_go_down_through_the_middle_and_up_to_the_code() -> None:
    assert sites_of(DDPM, plan(size=16, network={"width": 4, "blocks": 2})) == {
        "down0": (4, 16, 16), "down1": (8, 8, 8), "mid": (8, 4, 4),
        "up0": (8, 8, 8), "up1": (4, 16, 16), "code": (4, 16, 16),
    }  # fmt: skip


def test_how_the_objective_is_measured_says_in_how_many_steps() -> None:
    assert measured_of(DDPM, plan(sampling_steps=20)).endswith(
        "10,000 pictures of the averaged generator against all of cifar10 at 32×32, each drawn in 20 steps"
    )


def test_no_torch_is_needed_to_read_them() -> None:
    program = (
        "import sys; from trainers.tasks import find_task, make_plan; "
        "make_plan(find_task('ddpm'), {}, evaluate_at=(5,)); print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False"]
