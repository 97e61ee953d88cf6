"""The keys of task `vae`: defaults, what a user may write, and the sentence for what they may not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainers.dip_options import SkipNetwork
from trainers.picture_options import measured, sites
from trainers.plan import Plan
from trainers.settings import L0Inf, Mistake
from trainers.tasks import extras_of, find_task, make_plan
from trainers.vae_options import VaeNetwork, VaeOptions

VAE = find_task("vae")


def plan(**options: Any) -> Plan:
    return make_plan(VAE, options, evaluate_at=(5,))


def written(**options: Any) -> VaeOptions:
    """The options that a user's file means, through the door that it takes."""
    read = plan(**options).options
    assert isinstance(read, VaeOptions)
    return read


def test_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert written().model_dump() == {
        "data": "cifar10", "root": str(tmp_path / "data"), "download": False, "limit": None, "size": 32,
        "channels": None, "network": {"kind": "vae", "width": 64, "blocks": 3, "latent": 128},
        "objective": "fid", "also": (), "samples": 10_000, "batch": 64, "lr": 1e-3, "beta": 1.0,
        "average": 0.0, "ramp": 0.0, "folders_are_classes": False,
    }  # fmt: skip


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    options = written(network={"width": 8, "blocks": 2}, limit=0.5, beta=0.5, root=str(tmp_path))
    assert VaeOptions.model_validate_json(options.model_dump_json()) == options


@pytest.mark.parametrize("network", ["vae", {}, {"kind": "vae"}, {"width": 64}, VaeNetwork()])
def test_a_network_is_meant_by_its_kind_or_without_one(network: Any) -> None:
    assert written(network=network).network == VaeNetwork()


def test_sites_are_those_of_the_decoder_at_the_size() -> None:
    small = plan(size=8, network={"blocks": 2, "width": 4})
    assert sites(small) == {"h0": (16, 2, 2), "h1": (8, 4, 4), "code": (4, 8, 8)}
    with pytest.raises(Mistake, match="name the site 'up0', but the sites of vae are h0, h1, h2, code"):
        make_plan(VAE, {}, settings={"up0": L0Inf(2)}, evaluate_at=(1,))


def test_a_search_can_vary_the_rate_and_the_weight_of_the_divergence() -> None:
    assert extras_of(VaeOptions()) == ["ramp", "average", "lr", "beta"]
    assert make_plan(VAE, {}, extras={"beta": 4.0}, evaluate_at=(1,)).value("beta") == 4
    with pytest.raises(Mistake, match=r"plan\.beta is 0\.0, but it must be greater than 0"):
        make_plan(VAE, {}, extras={"beta": 0.0}, evaluate_at=(1,))


def test_how_the_objective_is_measured_is_said_in_words() -> None:
    assert measured(plan(objective="fd_pixels", data="digits", size=8, samples=500, average=0.9)) == (
        "Fréchet distance on the principal components of the pixels, 500 pictures of the averaged generator "
        "against all of digits at 8×8"
    )


@pytest.mark.parametrize(("options", "told"), [
    ({"network": "my_package:generator"}, r"network\.kind is 'my_package:generator', but the networks of task"
     r" vae are vae, and your own train with gan, or a task of yours"),
    ({"network": {"kind": "dcgan"}}, r"network\.kind is 'dcgan', but the networks of task vae are vae, and"),
    ({"network": {"kind": None}}, r"plan\.network\.kind is None"),
    ({"network": SkipNetwork()}, r"plan\.network\.kind is 'skip'"),
    ({"network": 3}, r"plan\.network is 3, but it is a section: write for example \{kind: vae\}"),
    ({"network": {"spectral_norm": True}}, r"network\.spectral_norm is not a known key; .*blocks, latent"),
    ({"network": {"latent": 0}}, r"plan\.network\.latent is 0"),
    ({"network": {"blocks": 7}}, r"plan\.network\.blocks is 7"),
    ({"size": 36}, r"size is 36, but a network of 3 blocks doubles a map 3 times: take a multiple of 8"),
    ({"generator_lr": 0.1}, r"plan\.generator_lr is not a known key"),
    ({"lr": 0}, r"plan\.lr is 0, but it must be greater than 0"),
    ({"beta": -1}, r"plan\.beta is -1, but it must be greater than 0"),
    ({"beta": float("inf")}, r"plan\.beta is inf"),
    ({"objective": "psnr"}, r"plan\.objective is 'psnr'.*fid"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_key_and_value(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        plan(**options)
    assert "\n" not in str(caught.value)


def test_no_torch_is_needed_to_read_them() -> None:
    program = (
        "import sys; from trainers.tasks import find_task, make_plan; "
        "make_plan(find_task('vae'), {'network': {'width': 8}}, evaluate_at=(5,)); "
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False"]
