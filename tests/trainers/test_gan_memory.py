"""An evaluation that runs out of memory is made again with half the pictures at once, and counts the same."""

import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from trainings import small_dip, small_gan

from trainers.dip import DipTraining
from trainers.gan import GanTraining
from trainers.memory import exhausted
from trainers.scores import Score, halve
from trainers.settings import L1, L0Inf
from trainers.sparsity import measure

TOLD = "CUDA out of memory. Tried to allocate 2.00 GiB"


class Narrow:
    """A real extractor on a device that has room for so many pictures at once."""

    def __init__(self, extractor: object, room: int, error: Callable[[str], Exception]) -> None:
        self._extractor, self._room, self._error = extractor, room, error
        self.calls: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._extractor, name)

    def __call__(self, images: Tensor) -> Tensor:
        self.calls.append(len(images))
        if len(images) > self._room:
            raise self._error(TOLD)
        features: Tensor = self._extractor(images)  # type: ignore[operator]
        return features


def trained(room: int, error: Callable[[str], Exception] = RuntimeError) -> tuple[GanTraining, Narrow]:
    """A GAN after three steps whose pictures are scored where `room` fit."""
    training = GanTraining(small_gan(options={"samples": 1000}), seed=3)
    for _ in range(3):
        training.step()
    (score, *_) = training.scores
    narrow = Narrow(score.extractor, room, error)
    training.scores = [Score(narrow, score.reference)]  # type: ignore[arg-type]
    return training, narrow


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError, MemoryError])
def test_half_the_pictures_give_the_same_numbers(
    error: Callable[[str], Exception], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, _ = trained(room=10**9)
    part = whole.most
    metrics, pictures = whole.evaluate()
    assert capsys.readouterr().out == ""
    training, narrow = trained(room=part // 2, error=error)
    for _ in range(2):  # the second time it begins with what fits
        halved, drawn = training.evaluate()
        assert halved == pytest.approx(metrics, rel=1e-5, abs=1e-6)
        assert (drawn["samples"] == pictures["samples"]).all()
    assert [count for count in narrow.calls if count > part // 2] == [part]
    assert capsys.readouterr().out == (
        f"the evaluation ran out of memory ({TOLD}): again with {part // 2} pictures at once\n"
    )


def test_so_does_half_of_what_sparsity_is_measured_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training, _ = trained(room=10**9)
    expected, _ = training.evaluate()
    most, asked = training.most, list[int]()

    def narrow(before: Tensor, after: Tensor) -> dict[str, float]:
        asked.append(len(after))
        if len(after) > most // 2:
            raise torch.OutOfMemoryError(TOLD)
        return measure(before, after)

    monkeypatch.setattr("trainers.sparsity.measure", narrow)
    metrics, _ = training.evaluate()
    assert (asked[0], asked[-1]) == (most, most // 2)
    assert metrics["code.density"] == pytest.approx(expected["code.density"], rel=0.05)
    assert {name: metrics[name] for name in metrics if "." not in name} == pytest.approx(
        {name: expected[name] for name in expected if "." not in name}, rel=1e-5
    )
    assert f"again with {most // 2} pictures at once" in capsys.readouterr().out


def test_the_second_time_it_is_a_fault() -> None:
    training, narrow = trained(room=1)
    with pytest.raises(RuntimeError, match="out of memory"):
        training.evaluate()
    assert narrow.calls == [training.most, training.most // 2]


def test_another_error_is_not_tried_again() -> None:
    training, narrow = trained(room=1, error=ValueError)
    with pytest.raises(ValueError):
        training.evaluate()
    assert len(narrow.calls) == 1


def test_the_activations_of_what_was_scored_go_at_once() -> None:
    """Not when Python next looks for cycles: a GPU's memory does not make it look."""
    training = GanTraining(small_gan(settings={"h0": L0Inf(k=2), "code": L1(0.1)}), seed=3)
    training.step()
    gc.collect()
    gc.disable()
    try:
        training.evaluate()
        shapes = [tuple(one.shape) for one in gc.get_objects() if type(one) is Tensor]
    finally:
        gc.enable()
    count = training.options.samples
    assert [shape for shape in shapes if len(shape) == 4 and shape[0] == count] == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError("[Errno 12] Cannot allocate memory"),
        MemoryError(),
    ],
)
def test_words_of_exhausted_memory(error: Exception) -> None:
    assert exhausted(error)
    assert not exhausted(ValueError(str(error)))


# --- on a GPU: the device's own exhaustion ---------------------------------------------------------


@pytest.fixture
def room() -> Iterator[Callable[[int], None]]:
    """Lets torch take no more than so many bytes of the GPU; all of it again afterwards."""
    total = torch.cuda.get_device_properties(0).total_memory
    yield lambda most: torch.cuda.set_per_process_memory_fraction(most / total)
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.gpu
def test_a_gpu_with_room_for_half_the_pictures_gives_the_same_numbers(
    room: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    plan = small_gan(
        options={"samples": 1000, "size": 32, "network": {"width": 32, "blocks": 2, "latent": 8}}
    )
    whole, half = (GanTraining(plan, seed=3, device="cuda") for _ in range(2))
    for training in (whole, half):
        training.step()
    half.load_state_dict(whole.state_dict())
    half.parts = {of: part // 2 for of, part in half.parts.items()}
    halve(half.scores)
    reserved = []
    for training in (half, whole):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        expected, _ = training.evaluate()
        reserved.append(torch.cuda.max_memory_reserved())
    assert capsys.readouterr().out == ""
    torch.cuda.empty_cache()
    assert reserved[0] < reserved[1]
    room(sum(reserved) // 2)
    metrics, _ = whole.evaluate()
    said = capsys.readouterr().out
    assert said.startswith("the evaluation ran out of memory (CUDA out of memory.")
    assert said.endswith(f": again with {whole.most // 2} pictures at once\n")
    assert metrics.keys() == expected.keys()
    for name, value in metrics.items():  # sparsity is that of the pictures at once
        assert value == pytest.approx(expected[name], rel=0.02 if "." in name else 1e-3), name


@pytest.mark.gpu
def test_a_gpu_without_room_for_a_training_is_told_from_another_fault(room: Callable[[int], None]) -> None:
    DipTraining(small_dip(), seed=0, device="cuda").step()
    torch.cuda.empty_cache()
    room(torch.cuda.memory_reserved() + 2**24)
    with pytest.raises(RuntimeError) as raised:
        # Far more than earlier tests may have left reserved: what a graph was captured into is kept.
        large = small_dip(options={"size": 512, "network": {"width": 128, "scales": 2, "input_channels": 8}})
        DipTraining(large, seed=0, device="cuda").step()
    assert exhausted(raised.value)
