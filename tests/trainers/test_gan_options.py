"""The keys of task `gan`: defaults, what a user may write, and the sentence for what they may not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from trainers import gan_options
from trainers.gan_options import GanOptions
from trainers.losses.build import LOSSES
from trainers.pair_options import PAIRS, DcganNetwork, SnganNetwork
from trainers.picture_options import (
    FEATURES,
    FEATURES_IN_WORDS,
    FEATURES_OF,
    SOURCES,
    Distance,
    companions,
    measured,
    sites,
)
from trainers.plan import Plan
from trainers.settings import Mistake
from trainers.sources import READERS
from trainers.tasks import find_task, make_plan

GAN = find_task("gan")


def plan(**options: Any) -> Plan:
    return make_plan(GAN, options, evaluate_at=(5,))


def written(**options: Any) -> GanOptions:
    """The options that a user's file means, through the door that it takes."""
    read = plan(**options).options
    assert isinstance(read, GanOptions)
    return read


def refused(told: str, **options: Any) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        plan(**options)
    assert "\n" not in str(caught.value)


# --- defaults --------------------------------------------------------------------------------------


def test_the_defaults_are_the_fields_reference_on_cifar10(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert written().model_dump() == {
        "data": "cifar10", "root": str(tmp_path / "data"), "download": False, "limit": None, "size": 32,
        "channels": None,
        "network": {"kind": "dcgan", "width": 64, "blocks": 3, "latent": 128, "spectral_norm": False},
        "loss": "non_saturating", "objective": "fid", "also": (), "samples": 10_000, "batch": 64,
        "generator_lr": 2e-4, "discriminator_lr": 2e-4, "beta1": 0.0, "beta2": 0.9, "decay": "linear",
        "discriminator_steps": 5, "average": 0.0, "augment": (), "ramp": 0.0, "discriminator_sites": False,
        "folders_are_classes": False,
    }  # fmt: skip
    assert written(network={"kind": "sngan"}).network.model_dump() == {
        "kind": "sngan", "width": 256, "discriminator_width": 128, "blocks": 3, "latent": 128,
        "spectral_norm": True,
    }  # fmt: skip


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    for network in ({"width": 8}, *({"kind": kind, "blocks": 2} for kind in PAIRS)):
        options = written(network=network, limit=0.5, also=["fd_pixels"], root=str(tmp_path), channels=1)
        assert GanOptions.model_validate_json(options.model_dump_json()) == options


# --- networks and losses ---------------------------------------------------------------------------


@pytest.mark.parametrize(("network", "meant"), [
    ({}, DcganNetwork()),
    ({"width": 16}, DcganNetwork(width=16)),
    ({"kind": "dcgan", "blocks": 2}, DcganNetwork(blocks=2)),
    ({"kind": "sngan"}, SnganNetwork()),
    ({"kind": "sngan", "discriminator_width": 32}, SnganNetwork(discriminator_width=32)),
    (SnganNetwork(width=8), SnganNetwork(width=8)),
])  # fmt: skip
def test_a_network_is_meant_by_its_kind_and_is_a_dcgan_without_one(network: Any, meant: BaseModel) -> None:
    assert written(network=network).network == meant


@pytest.mark.parametrize(("network", "told"), [
    (3, r"plan\.network is 3, but it is a section: write for example \{kind: dcgan\}"),
    (None, r"plan\.network is None, but it is a section"),
    (["sngan"], r"plan\.network is \['sngan'\], but it is a section"),
    ({"kind": "skip"}, r"plan\.network\.kind is 'skip', but the networks of task gan are dcgan, sngan"),
    ({"kind": None}, r"plan\.network\.kind is None, but the networks of task gan are dcgan, sngan"),
    ({"kind": ["sngan"]}, r"plan\.network\.kind is \['sngan'\]"),
    ({"widht": 8}, r"plan\.network\.widht.*width"),
    ({"discriminator_width": 8}, r"plan\.network\.discriminator_width is not a known key; .*kind, width"),
    ({"kind": "sngan", "depth": 8}, r"plan\.network\.depth.*discriminator_width"),
    ({"width": 0}, r"plan\.network\.width is 0"),
    ({"kind": "sngan", "width": 2.5}, r"plan\.network\.width is 2\.5"),
    ({"kind": "sngan", "width": "wide"}, r"plan\.network\.width is 'wide'"),
    ({"blocks": 7}, r"plan\.network\.blocks is 7"),
    ({"latent": 0}, r"plan\.network\.latent is 0"),
    ({"spectral_norm": "perhaps"}, r"plan\.network\.spectral_norm is 'perhaps'"),
])  # fmt: skip
def test_another_network_is_refused_in_the_users_words(network: Any, told: str) -> None:
    refused(told, network=network)


@pytest.mark.parametrize(("options", "loss"), [
    ({}, "non_saturating"),
    ({"network": {"width": 8}}, "non_saturating"),
    ({"network": {"kind": "sngan"}}, "hinge"),
    ({"network": SnganNetwork()}, "hinge"),
    ({"network": {"kind": "sngan"}, "loss": "non_saturating"}, "non_saturating"),
    ({"loss": "hinge"}, "hinge"),
    ({"network": "ssgan"}, "rotation"),
    ({"network": "infomax"}, "infomax"),
    ({"network": {"kind": "sagan"}}, "hinge"),
    ({"network": {"kind": "cgan"}}, "hinge"),
    ({"network": "a_module:of_mine"}, "non_saturating"),
    ({"network": "ssgan", "loss": "wasserstein_gp"}, "wasserstein_gp"),
])  # fmt: skip
def test_a_loss_that_is_left_out_is_the_one_that_its_network_was_published_with(
    options: dict[str, Any], loss: str
) -> None:
    assert written(**options).loss == loss
    assert GanOptions(**options).loss == loss


def test_every_list_names_what_there_is() -> None:
    fields = GanOptions.model_fields
    assert get_args(fields["loss"].annotation) == tuple(LOSSES)
    tagged = tuple(get_args(one)[0] for one in get_args(get_args(gan_options.Network)[0]))
    assert tagged == (*PAIRS.values(), gan_options.OwnPair)
    assert sorted(SOURCES) == sorted(READERS)
    assert get_args(Distance) == tuple(frechet for frechet, _ in FEATURES.values())
    assert list(FEATURES_OF.items()) == [(frechet, name) for name, (frechet, _) in FEATURES.items()]
    assert FEATURES_IN_WORDS.keys() == FEATURES.keys()


@pytest.mark.parametrize("key", ["loss", "objective", "decay"])
def test_an_unknown_choice_lists_the_known_ones(key: str) -> None:
    known = get_args(GanOptions.model_fields[key].annotation)
    refused(rf"plan\.{key} is 'other'.*{'.*'.join(known)}", **{key: "other"})


# --- limit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "meant"), [
    (None, None), (500, 500), (500.0, 500), (64, 64), (0.2, 0.2), (0.999, 0.999), (1e-6, 1e-6),
])  # fmt: skip
def test_a_limit_is_a_count_or_a_fraction(limit: Any, meant: Any) -> None:
    read = written(limit=limit).limit
    assert read == meant and type(read) is type(meant)


@pytest.mark.parametrize(
    "limit", [0, 0.0, -1, -0.5, True, False, "20%", "500", [500], float("nan"), float("inf")]
)
def test_what_is_neither_is_refused(limit: Any) -> None:
    refused(
        r"plan\.limit is .*, but it must be a count of pictures, a fraction of them between 0 and 1, or null",
        limit=limit,
    )


@pytest.mark.parametrize("limit", [2.5, 64.25])
def test_a_part_of_a_picture_is_refused(limit: float) -> None:
    refused(rf"plan\.limit is {limit}, but it must be a whole count of pictures, or a fraction", limit=limit)


@pytest.mark.parametrize(("limit", "batch"), [(63, 64), (1.0, 64), (1, 2)])
def test_a_count_below_a_batch_is_refused(limit: Any, batch: int) -> None:
    told = rf"plan\.limit is {int(limit)}, but a batch has {batch} pictures: raise the limit, or lower"
    refused(told, limit=limit, batch=batch)


# --- the others ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "told"), [
    ({"widht": 8}, r"plan\.widht"),
    ({"lr": 0.1}, r"plan\.lr.*generator_lr"),
    ({"size": 4}, r"plan\.size is 4"),
    ({"size": 36}, r"size is 36, but a network of 3 blocks doubles a map 3 times: take a multiple of 8"),
    ({"size": 8, "network": {"blocks": 4}}, r"size is 8, but a network of 4 blocks"),
    ({"channels": 2}, r"plan\.channels is 2"),
    ({"batch": 1}, r"plan\.batch is 1"),
    ({"samples": 99}, r"plan\.samples is 99"),
    ({"samples": 150.5}, r"plan\.samples is 150\.5"),
    ({"generator_lr": 0}, r"plan\.generator_lr is 0"),
    ({"discriminator_lr": float("nan")}, r"plan\.discriminator_lr is nan"),
    ({"beta1": 1}, r"plan\.beta1 is 1"),
    ({"average": 1}, r"plan\.average is 1"),
    ({"discriminator_steps": 0}, r"plan\.discriminator_steps is 0"),
    ({"data": ""}, r"plan\.data is ''"),
    ({"root": ""}, r"plan\.root is ''"),
    ({"download": "maybe"}, r"plan\.download is 'maybe'"),
    ({"also": ["fid"]}, r"plan\.also is \['fid'\], and the objective is fid, but each"),
    ({"also": ["fd_pixels", "fd_pixels"]}, r"plan\.also is \['fd_pixels', 'fd_pixels'\]"),
    ({"also": "fd_pixels"}, r"plan\.also is 'fd_pixels'"),
    ({"also": ["kid"]}, r"plan\.also.* 'kid'"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_key_and_value(options: dict[str, Any], told: str) -> None:
    refused(told, **options)


# --- folders ---------------------------------------------------------------------------------------


def test_folders_are_meant_from_where_the_user_stands(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "faces").mkdir()
    assert written(data="faces", root="sets") == written(
        data=str(tmp_path / "faces"), root=str(tmp_path / "sets")
    )
    assert written(data="./faces/../faces").data == str(tmp_path / "faces")
    assert written(root="~/sets").root == str(tmp_path / "home" / "sets")
    assert written(data="nowhere").data == "nowhere"  # as it was written, for the sentence that refuses it


@pytest.mark.parametrize("name", SOURCES)
def test_a_data_set_goes_before_a_folder_of_its_name(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    assert written(data=name).data == name
    assert written(data=f"./{name}").data == str(tmp_path / name)


# --- what stands in tables -------------------------------------------------------------------------


def test_sites_are_those_of_the_network_at_the_size() -> None:
    small = {"blocks": 2, "width": 4}
    assert sites(plan(size=8, network=small)) == {"h0": (16, 2, 2), "h1": (8, 4, 4), "code": (4, 8, 8)}
    residual = plan(size=8, network=small | {"kind": "sngan"})
    assert sites(residual) == {"h0": (4, 4, 4), "h1": (4, 8, 8), "code": (4, 8, 8)}


def test_how_the_objective_is_measured_is_said_in_words(tmp_path: Path) -> None:
    assert measured(plan()) == (
        "Fréchet distance on the 2048 pooled features of Inception with the weights of the original FID, "
        "10,000 pictures of the generator against all of cifar10 at 32×32"
    )
    (tmp_path / "faces").mkdir()
    told = measured(
        plan(data=str(tmp_path / "faces"), objective="fd_pixels", average=0.9, samples=150, size=64)
    )
    assert told.endswith(
        "the principal components of the pixels, 150 pictures of the averaged generator against all of "
        "faces at 64×64"
    )


@pytest.mark.parametrize(("objective", "frechet", "kernel"), [
    (frechet, frechet, kernel) for frechet, kernel in FEATURES.values()
])  # fmt: skip
def test_beside_the_objective_stand_other_distances_or_its_kernel_distance(
    objective: str, frechet: str, kernel: str
) -> None:
    assert companions(plan(objective=objective)) == (kernel,)
    others = [one for one in get_args(Distance) if one != objective]
    assert companions(plan(objective=objective, also=others)) == (*others, kernel)
    assert written(objective=objective, also=others).distances() == (frechet, *others)


def test_an_average_that_a_search_overrides_is_the_one_that_is_named() -> None:
    searched = make_plan(GAN, {"average": 0.0}, extras={"average": 0.5}, evaluate_at=(5,))
    assert "pictures of the averaged generator" in measured(searched)


def test_no_torch_is_needed_to_read_them() -> None:
    program = (
        "import sys; from trainers.tasks import find_task, make_plan; "
        "make_plan(find_task('gan'), {'network': {'kind': 'sngan'}}, evaluate_at=(5,)); "
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False"]
