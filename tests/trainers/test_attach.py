"""Regularizers on networks: what a handle reads, and what stays as it was."""

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from kinds import EXAMPLES, cost, passed_on
from small_generator import Generator, Watch, pictures, same, steps
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, stack_module_state, vmap

from trainers.settings import L0, L1, REGULARIZERS, L0Inf, Mistake, SettingsFile, write
from trainers.sparsity import attach, measure

# --- what it does ----------------------------------------------------------------------------------


def test_the_penalty_in_closed_form_over_sites_and_uses() -> None:
    network = Generator(times=3)
    watch = Watch(network, "first.act", "middle", "code.0")
    attached = attach(network, {"first.act": L1(0.5), "middle": L1(2), "code.0": L1(0)})
    network(pictures())
    seen = watch.seen
    assert [len(outputs) for outputs in seen.values()] == [1, 3, 1]
    expected = 0.5 * L1(1).cost(seen["first.act"][0]) + 2 * sum(L1(1).cost(h) for h in seen["middle"])
    torch.testing.assert_close(attached.penalty(), expected)
    measured = [measure(h, h)["mean_abs"] for h in seen["middle"]]
    assert attached.sparsity()["middle"]["mean_abs"] == pytest.approx(sum(measured) / 3)
    network(pictures(1))  # the last pass alone counts
    expected = 0.5 * L1(1).cost(seen["first.act"][1]) + 2 * sum(L1(1).cost(h) for h in seen["middle"][3:])
    torch.testing.assert_close(attached.penalty(), expected)


def test_the_gradient_of_the_penalty_is_that_of_the_formula() -> None:
    plain, penalised = Generator(), Generator()
    attached = attach(penalised, {"code": L1(3)})
    penalised(pictures())
    attached.penalty().backward()
    h = plain.code(plain.middle(plain.first(pictures())))
    (3 * h.abs().mean()).backward()
    for ours, theirs in zip(penalised.code.parameters(), plain.code.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_penalty_acts_in_training_mode_alone_and_a_projection_always() -> None:
    network = Generator()
    attached = attach(network, {"first": L1(1), "code": L0Inf(2)})
    for training in (True, False, True):
        network.train(training)
        with torch.no_grad():
            network(pictures())
            assert (attached.penalty() > 0) == training
        assert attached.sparsity()["code"]["density"] == 2 / 8
    network.train(False)
    network.first.train()  # the network's own mode decides
    network(pictures())
    assert attached.penalty() == 0


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_the_next_layer_sees_what_the_formula_gives(kind: str) -> None:
    network = Generator()
    watch = Watch(network, "middle")
    received: list[Tensor] = []
    network.code.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0].detach()))
    attached = attach(network, {"middle": EXAMPLES[kind]})
    network(pictures())
    (h,) = watch.seen["middle"]
    expected = passed_on(EXAMPLES[kind], h)
    assert torch.equal(received[0], expected)
    assert attached.sparsity() == {"middle": measure(h, expected)}


@pytest.mark.parametrize("settings", [{}, SettingsFile(sites={})])
def test_empty_settings_give_the_same_bits_and_add_nothing(settings: Any) -> None:
    reference, network, observed = Generator(), Generator(), Generator()
    hooks = [dict(vars(module)) for module in network.modules()]
    attached = attach(network, settings)
    assert [dict(vars(module)) for module in network.modules()] == hooks
    watching = attach(observed, settings, observe=["middle", "code"])
    expected = steps(reference)
    assert same(steps(network, attached), expected) and same(steps(observed, watching), expected)
    assert attached.penalty() == 0 and attached.sparsity() == {}
    assert list(watching.sparsity()) == ["middle", "code"]


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_detach_restores_and_the_state_dict_stays_as_it_was(kind: str) -> None:
    network, reference = Generator(), Generator()
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()]
    attached = attach(network, {"code": EXAMPLES[kind]})
    assert list(network.state_dict()) == list(reference.state_dict())
    network.load_state_dict(reference.state_dict())
    network(pictures())
    attached.detach()
    attached.detach()
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in network.modules()] == hooks
    network.load_state_dict(reference.state_dict())
    assert same(steps(network, attached), steps(reference))
    assert attached.penalty() == 0 and attached.sparsity() == {}
    attach(network, {"code": EXAMPLES[kind]}).detach()


def test_nothing_waits_for_the_device_and_the_zero_lies_on_it() -> None:
    for device in ("cpu", "cuda"):  # a fake GPU needs none
        with FakeTensorMode():
            network = nn.Sequential(*(nn.Conv2d(3, 3, 1, device=device) for _ in range(4)))
            picture = torch.rand(1, 3, 4, 4, device=device)
            attached = attach(network, {"0": L1(1), "1": L0(0.5), "2": L0Inf(1)}, observe=["3"])
            loss = network(picture).mean() + attached.penalty()
            if device == "cpu":
                loss.backward()
            network.eval()
            network(picture)
            assert attached.penalty().device.type == device


def test_members_under_vmap_are_penalised_and_projected_each_by_itself() -> None:
    settings = {"first": L1(0.5), "middle": L0(0.3), "code": L0Inf(2)}
    networks = [Generator(seed=seed) for seed in range(3)]
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):  # running statistics are written in place
                module.running_mean = module.running_var = module.num_batches_tracked = None
    parameters, buffers = stack_module_state(networks)
    base = copy.deepcopy(networks[0])
    attached = attach(base, settings)

    batch = pictures()

    def loss(weights: dict[str, Tensor], state: dict[str, Tensor]) -> Tensor:
        return functional_call(base, (weights, state), (batch,)).square().mean() + attached.penalty()

    together = vmap(grad(loss))(parameters, buffers)
    for index, network in enumerate(networks):
        alone = attach(network, settings)
        (network(pictures()).square().mean() + alone.penalty()).backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(together[name][index], parameter.grad, rtol=1e-4, atol=1e-6)


def test_a_compiled_step_computes_the_same() -> None:
    network = Generator()
    attached = attach(network, {"first": L1(0.5), "middle": L0(0.3), "code": L0Inf(2)})

    def loss(x: Tensor) -> Tensor:
        return network(x).square().mean() + attached.penalty()

    expected = loss(pictures())
    sparsity = attached.sparsity()
    assert torch.equal(torch.compile(loss, backend="eager", fullgraph=True)(pictures()), expected)
    assert attached.sparsity() == sparsity


@pytest.mark.gpu
def test_a_captured_step_computes_what_the_cpu_computes() -> None:
    settings = {"first": L1(0.5), "middle": L0(0.3), "code": L0Inf(2)}
    networks = [Generator().eval().double(), Generator().eval().double().cuda()]
    (on_cpu, handle), (on_gpu, captured) = [
        (network.train(), attach(network, settings)) for network in networks
    ]
    static = pictures().double().cuda()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            (on_gpu(static).square().mean() + captured.penalty()).backward()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    on_gpu.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = on_gpu(static).square().mean() + captured.penalty()
        loss.backward()
    static.copy_(pictures(1))
    graph.replay()
    torch.testing.assert_close(loss.cpu(), on_cpu(pictures(1).double()).square().mean() + handle.penalty())
    assert captured.sparsity()["code"] == pytest.approx(handle.sparsity()["code"])


# --- where it stands -------------------------------------------------------------------------------


def test_names_map_sites_to_modules_and_a_file_is_read(tmp_path: Path) -> None:
    network = Generator()
    write(tmp_path / "s.json", SettingsFile(sites={"up1": L0Inf(3), "code": L1(1)}))
    for path in (tmp_path / "s.json", str(tmp_path / "s.json")):
        attached = attach(network, path, names={"up1": "middle.act", "unused": "nowhere"}, observe=["first"])
        network(pictures())
        assert list(attached.sparsity()) == ["up1", "code", "first"]
        assert attached.sparsity()["up1"]["density"] == 3 / 8
        attached.detach()


def test_the_network_itself_and_its_parts_can_be_sites() -> None:
    network = Generator()
    attached = attach(network, {"picture": L0(0.1)}, names={"picture": ""})
    assert network(pictures()).count_nonzero() == 2 * round(0.1 * 108)
    assert attached.sparsity()["picture"]["removed_energy"] > 0
    part = attach(Generator().code, {"0": L1(1)})
    assert part.penalty  # a part of a network is a network


def test_a_part_called_by_itself_is_a_pass_of_its_own() -> None:
    network = Generator()
    attached = attach(network, {"first": L1(1), "middle": L1(1)})
    for seed in range(3):
        h = network.first(pictures(seed))
        network.middle(h)
    torch.testing.assert_close(attached.sparsity()["first"]["mean_abs"], L1(1).cost(h).item())
    torch.testing.assert_close(attached.penalty(), L1(1).cost(h) + L1(1).cost(network.middle(h)))
    failing = network.head.register_forward_pre_hook(lambda module, inputs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        network(pictures())
    failing.remove()
    h = network.first(pictures(1))  # a pass that failed is over
    assert attached.sparsity()["first"]["mean_abs"] == pytest.approx(L1(1).cost(h).item())


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_later_layers_that_work_in_place_change_nothing(kind: str) -> None:
    def build(inplace: bool) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace), nn.Conv2d(8, 3, 3))

    networks = [build(False), build(True)]
    handles = [attach(network, {"norm": EXAMPLES[kind]}, names={"norm": "1"}) for network in networks]
    assert same(*(steps(network, handle) for network, handle in zip(networks, handles, strict=True)))
    assert handles[0].sparsity() == handles[1].sparsity()


def test_an_activation_that_was_overwritten_is_an_error_and_no_wrong_number() -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2d(3, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.convolution(x).relu_()

    for regularizer in EXAMPLES.values():
        network = Overwrites()
        attached = attach(network, {"convolution": regularizer})
        network(pictures())
        with pytest.raises(RuntimeError, match="wrote over the activation at 'convolution' in place"):
            attached.sparsity()
        if isinstance(regularizer, L1):
            with pytest.raises(RuntimeError, match="in place"):
                attached.penalty()
    with torch.inference_mode():  # whose tensors have no versions
        network(pictures())


@pytest.mark.parametrize("kind", REGULARIZERS)
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_a_copied_network_computes_what_its_original_computes(kind: str, how: str) -> None:
    network = Generator(times=2)
    attached = attach(network, {"middle": EXAMPLES[kind]}, observe=["code"])
    network(pictures()).mean().backward()  # so graphs hang on the original
    if how == "deepcopy":
        twin = copy.deepcopy(network)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(network))
    else:
        buffer = io.BytesIO()
        torch.save(network, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    before = attached.sparsity()
    assert torch.equal(twin.eval()(pictures(1)), copy.deepcopy(twin)(pictures(1)))
    assert attached.sparsity() == before  # the twin's passes are its own
    assert torch.equal(network.eval()(pictures(1)), twin(pictures(1)))
    with pytest.raises(Mistake, match="carries regularizers already"):
        attach(twin, {"code": L0(0.5)})


def test_a_network_copied_with_its_handle_can_be_read_and_detached() -> None:
    network = Generator()
    attached = attach(network, {"middle": L1(1), "code": L0Inf(2)})
    network(pictures())
    twin, handle = copy.deepcopy((network, attached))
    start = copy.deepcopy(network.state_dict())
    twin(pictures())
    assert torch.equal(handle.penalty(), attached.penalty()) and handle.sparsity() == attached.sparsity()
    handle.detach()
    reference = Generator()
    reference.load_state_dict(start)
    twin.load_state_dict(start)
    assert same(steps(twin), steps(reference))
    network(pictures())
    assert attached.sparsity()["code"]["density"] == 2 / 8


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_a_ramp_turns_the_regularizers_up(kind: str) -> None:
    ramp = torch.zeros(())
    plain, ramped, full = Generator(), Generator(), Generator()
    watch = Watch(ramped, "middle")
    attached = attach(ramped, {"middle": EXAMPLES[kind]}, ramp=ramp)
    whole = attach(full, {"middle": EXAMPLES[kind]})
    assert torch.equal(ramped(pictures()), plain(pictures())) and attached.penalty() == 0
    ramp.fill_(0.25)
    received: list[Tensor] = []
    ramped.code.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0].detach()))
    copied, handle = copy.deepcopy((ramped, attached))
    assert torch.equal(ramped(pictures()), copied(pictures()))
    h = watch.seen["middle"][-1]
    torch.testing.assert_close(received[0], 0.75 * h + 0.25 * passed_on(EXAMPLES[kind], h))
    torch.testing.assert_close(attached.penalty(), 0.25 * cost(EXAMPLES[kind], h))
    torch.testing.assert_close(handle.penalty(), attached.penalty())
    ramp.fill_(1)
    assert torch.equal(ramped(pictures()), full(pictures()))
    assert torch.equal(attached.penalty(), whole.penalty())
    assert attached.sparsity() == whole.sparsity()
