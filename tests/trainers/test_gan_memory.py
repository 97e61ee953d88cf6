"""An evaluation that runs out of memory is made again with half the pictures at once, and counts the same."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from trainings import small_gan

from trainers.gan import GanTraining
from trainers.memory import exhausted
from trainers.scores import Score

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
