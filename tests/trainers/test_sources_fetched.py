"""Data sets that are fetched: from a server that the test starts, and where there is none."""

import fcntl
import gzip
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from data_files import (
    COLOUR,
    IMAGES,
    LABELS,
    is_what_was_written,
    md5,
    pack_cifar10,
    write_cifar10,
    write_idx,
)
from torchvision.datasets import CIFAR10, MNIST, FashionMNIST

from trainers.datasets import load


class Handler(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        super().do_GET()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """A server of this machine's own that offers tmp_path/served; `asked` has the paths of all GETs."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "served").mkdir()
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "served"))
    ) as started:
        started.asked = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield started
        started.shutdown()
        thread.join()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/"


def offer_mnist(server: ThreadingHTTPServer, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "t10k"):
        write_idx(served, IMAGES, LABELS, split=split)
    monkeypatch.setattr(MNIST, "mirrors", [address(server)])
    monkeypatch.setattr(MNIST, "resources", [(path.name, md5(path)) for path in sorted(served.iterdir())])


def test_idx_files_are_fetched_once_even_by_two_at_a_time(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_mnist(server, tmp_path / "served", monkeypatch)
    assert is_what_was_written(load("mnist", root=str(tmp_path / "alone"), download=True, size=28))
    alone = sorted(server.asked)
    server.asked.clear()
    root = str(tmp_path / "new" / "root")
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: load("mnist", root=root, download=True, size=28), range(2)))
    assert all(is_what_was_written(dataset) for dataset in both)
    assert sorted(server.asked) == alone
    assert is_what_was_written(load("mnist", root=root, size=28))
    assert is_what_was_written(load("mnist", root=root, download=True, size=28))
    assert sorted(server.asked) == alone


FETCH = """
import sys
from torchvision.datasets import MNIST
from trainers.datasets import load
MNIST.mirrors, MNIST.resources = [sys.argv[1]], eval(sys.argv[2])
print(flush=True)
sys.stdin.readline()
print(len(load("mnist", root=sys.argv[3], download=True, size=28)))
"""


def test_two_processes_fetch_idx_files_once(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_mnist(server, tmp_path / "served", monkeypatch)
    load("mnist", root=str(tmp_path / "alone"), download=True, size=28)
    alone = sorted(server.asked)
    server.asked.clear()
    command = [sys.executable, "-c", FETCH, address(server), repr(MNIST.resources), str(tmp_path / "root")]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for process in both:
        assert process.stdout is not None and process.stdout.readline() == "\n"
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0] and len(set(said)) == 1
    assert sorted(server.asked) == alone


def test_a_fetch_that_is_under_way_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision writes under the final names, so whole files may be half ones that another is writing."""
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw, IMAGES, LABELS)
    half = raw / "train-labels-idx1-ubyte.gz"
    half.write_bytes(half.read_bytes()[:20])
    locked = fcntl.flock

    def another_ends_meanwhile(lock: Any, how: int) -> None:
        write_idx(raw, IMAGES, LABELS)
        locked(lock, how)

    monkeypatch.setattr(fcntl, "flock", another_ends_meanwhile)
    monkeypatch.setattr(MNIST, "mirrors", [])
    assert is_what_was_written(load("mnist", root=str(tmp_path), download=True, size=28))


@pytest.mark.parametrize("damaged", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
@pytest.mark.parametrize("packed", [True, False])
def test_damaged_idx_files_are_fetched_again(
    damaged: str, packed: bool, server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_mnist(server, tmp_path / "served", monkeypatch)
    fetch = partial(load, "mnist", root=str(tmp_path), download=True, size=28)
    assert is_what_was_written(fetch())
    server.asked.clear()
    raw = tmp_path / "MNIST" / "raw"
    if not packed:  # nothing but what torchvision unpacked, whose checksums it never looks at
        for path in raw.glob("*.gz"):
            path.unlink()
    path = raw / (damaged + (".gz" if packed else ""))
    path.write_bytes(path.read_bytes()[:-9])
    assert is_what_was_written(fetch())
    assert f"/{damaged}.gz" in server.asked
    assert is_what_was_written(load("mnist", root=str(tmp_path), size=28))


def test_damaged_files_in_root_itself_are_left_and_no_longer_looked_at(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_mnist(server, tmp_path / "served", monkeypatch)
    write_idx(tmp_path, IMAGES, LABELS)
    mine = tmp_path / "train-images-idx3-ubyte.gz"
    mine.write_bytes(gzip.compress(b"no idx file"))
    for download in (True, False):
        assert is_what_was_written(load("mnist", root=str(tmp_path), download=download, size=28))
    assert gzip.decompress(mine.read_bytes()) == b"no idx file"


def test_a_folder_of_others_that_may_only_be_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_idx(tmp_path, IMAGES, LABELS)
    before = set(tmp_path.iterdir())
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # chmod does not keep root out
    assert is_what_was_written(load("mnist", root=str(tmp_path), download=True, size=28))
    assert set(tmp_path.iterdir()) == before


def test_a_fetched_file_with_another_checksum_is_refused(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_mnist(server, tmp_path / "served", monkeypatch)
    write_idx(tmp_path / "served", 255 - IMAGES, LABELS)
    with pytest.raises(
        RuntimeError, match=f"mnist could not be fetched into '{tmp_path}' .*corrupted"
    ) as caught:
        load("mnist", root=str(tmp_path), download=True, size=28)
    assert "\n" not in str(caught.value)


def test_cifar10_is_fetched_and_a_damaged_one_fetched_again(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_cifar10(tmp_path / "made", COLOUR, LABELS.tolist(), monkeypatch)
    pack_cifar10(folder, tmp_path / "served" / CIFAR10.filename, monkeypatch)
    monkeypatch.setattr(CIFAR10, "url", address(server) + CIFAR10.filename)
    fetch = partial(load, "cifar10", root=str(tmp_path / "root"), download=True, size=32)
    assert is_what_was_written(fetch(), COLOUR)
    asked = list(server.asked)
    (tmp_path / "root" / CIFAR10.base_folder / "data_batch_2").write_bytes(b"damaged")
    assert is_what_was_written(fetch(), COLOUR)
    assert server.asked == asked  # the second time the archive still lay there


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist", "cifar10"])
def test_without_a_network_one_sentence_says_so(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never listening: every connection is refused
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        for source in (MNIST, FashionMNIST):
            monkeypatch.setattr(source, "mirrors", [nowhere])
        monkeypatch.setattr(CIFAR10, "url", nowhere)
        told = (
            f"{data} could not be fetched into '{tmp_path}' .*refused.*: try again where there is a network"
        )
        with pytest.raises(RuntimeError, match=told) as caught:
            load(data, root=str(tmp_path), download=True, size=28)
    assert "\n" not in str(caught.value)


def test_a_root_that_cannot_be_made_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match=r"mnist could not be fetched into .*file.*exists"):
        load("mnist", root=str(tmp_path / "file"), download=True, size=28)
