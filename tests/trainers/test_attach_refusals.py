"""What `attach` and its handle refuse, and where they warn."""

import warnings
from pathlib import Path

import pytest
import torch
from small_generator import Block, Generator, pictures
from torch import nn

from trainers.settings import L0, L1, L0Inf, Mistake, Regularizer, SettingsFile, write
from trainers.sparsity import attach

# --- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("", ""), ("", "code"), ("code", ""), ("code", "code")])
def test_attaching_twice_is_refused_also_through_a_part(first: str, second: str) -> None:
    network = Generator()

    def part(name: str) -> tuple[nn.Module, str]:
        return network.get_submodule(name), "0" if name == "code" else "code.0"

    module, site = part(first)
    attached = attach(module, {site: L1(1)})
    module, site = part(second)
    with pytest.raises(Mistake, match=r"carries regularizers already.*detach\(\)"):
        attach(module, {site: L0(0.5)})
    attached.detach()
    attach(module, {site: L0(0.5)})


def test_a_module_shared_by_two_networks_or_sites_is_refused_twice() -> None:
    shared = Block(3, 3)
    one, other = nn.Sequential(shared, nn.Conv2d(3, 3, 1)), nn.Sequential(nn.Conv2d(3, 3, 1), shared)
    attach(one, {"0": L1(1)})
    with pytest.raises(Mistake, match=r"already .at its module '1'"):
        attach(other, {"1": L1(1)})
    twice = nn.Sequential(block := Block(3, 3), block)
    for settings, names in (
        ({"0": L1(1), "1": L1(1)}, None),
        ({"a": L1(1), "b": L0(0.5)}, {"a": "0", "b": "0"}),
    ):
        with pytest.raises(Mistake, match="are one module"):
            attach(twice, settings, names)
    assert not twice[0]._forward_hooks  # what is refused leaves nothing behind


def test_a_site_without_a_module_lists_the_modules() -> None:
    network = Generator()
    for settings, names, target in (
        ({"up9": L1(1)}, None, "up9"),
        ({"code": L1(1)}, {"code": "head.0"}, "head.0"),
    ):
        with pytest.raises(Mistake, match=f"the module {target!r}, which the network lacks") as mistake:
            attach(network, settings, names)
        assert all(name in str(mistake.value) for name, _ in network.named_modules())
    with pytest.raises(Mistake, match="'up9'"):
        attach(network, {}, observe=["up9"])
    with pytest.raises(Mistake, match=r"'code' is 0\.5; use one of l1, l0"):
        attach(network, {"code": 0.5})  # type: ignore[dict-item]
    with pytest.raises(Mistake, match=r"settings are .*, but they have to map sites to regularizers"):
        attach(network, [("code", L1(1))])  # type: ignore[arg-type]
    with pytest.raises(Mistake, match=r"the network is a dict, but it has to be a torch\.nn\.Module"):
        attach({}, {})  # type: ignore[arg-type]
    assert not any(module._forward_hooks for module in network.modules())


def test_an_output_that_is_no_activation_is_refused_with_a_way_out() -> None:
    for output, told in (
        ({"h": torch.ones(2, 3)}, "dict"),
        ((), "tuple"),
        ((None, torch.ones(2, 3)), "NoneType"),
    ):
        network = nn.Sequential(nn.Identity())
        attach(network, {"h": L1(1)}, names={"h": "0"})
        with pytest.raises(Mistake, match=rf"at the site 'h' returns a {told}, .*name the module within it"):
            network(output)
    for output in (
        torch.ones(3),
        torch.ones(2, 3, dtype=torch.int64),
        torch.ones(2, 3, dtype=torch.complex64),
    ):
        network = nn.Sequential(nn.Identity())
        attach(network, {"0": L0(0.5)})
        with pytest.raises(Mistake, match=r"returns torch\.\w+ of shape"):
            network(output)


def test_reading_before_a_pass_and_a_site_that_took_no_part_are_errors() -> None:
    network = Generator(times=0)
    attached = attach(network, {"middle": L1(1)})
    for read in (attached.penalty, attached.sparsity):
        with pytest.raises(RuntimeError, match="no forward pass has run"):
            read()
    failing = network.first.register_forward_pre_hook(lambda module, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError), warnings.catch_warnings():
        warnings.simplefilter("error")  # a pass that failed says nothing of the sites
        network(pictures())
    failing.remove()
    with pytest.warns(UserWarning, match="site 'middle' took no part in a forward pass: the network left"):
        network(pictures())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(pictures())
    assert attached.penalty() == 0
    with pytest.raises(RuntimeError, match="'middle' had no part in the last forward pass"):
        attached.sparsity()


def test_numbers_out_of_another_shape_warn_once_and_are_used(tmp_path: Path) -> None:
    sites: dict[str, Regularizer] = {"first": L0(0.25), "middle": L0Inf(2), "code": L1(1)}
    write(tmp_path / "s.json", SettingsFile(sites=sites, of={"first": 8 * 36, "middle": 16, "code": 5}))
    network = Generator()
    attached = attach(network, tmp_path / "s.json")
    with pytest.warns(UserWarning) as caught:
        network(pictures())
    assert [str(warning.message)[:62] for warning in caught] == [
        "at 'middle' the settings have L0Inf(k=2) out of 16, and here i"
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(pictures())
    assert attached.sparsity()["middle"]["density"] == 2 / 8
