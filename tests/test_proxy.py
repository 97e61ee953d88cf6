"""The proxy of the tests does to a request what its modes say, and nothing to the others."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from proxy import Mode, Proxy


class Counting(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    carried_out: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.carried_out.append(body)
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def behind() -> Iterator[tuple[Proxy, list[str]]]:
    """A proxy, and what the server behind it has carried out."""
    done: list[str] = []
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Handler", (Counting,), {"carried_out": done})
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    proxy = Proxy(server.server_port)
    yield proxy, done
    proxy.close()
    server.shutdown()
    server.server_close()


def ask(proxy: Proxy, body: str, timeout: float = 0.3) -> tuple[int, str] | str:
    """Status and text of an answer, or the name of what came instead."""
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=timeout)
    try:
        client.request("POST", "/x", body)
        answer = client.getresponse()
        return answer.status, answer.read().decode()
    except OSError as error:
        return type(error).__name__
    finally:
        client.close()


@pytest.mark.parametrize(
    ("mode", "answer", "carried_out"),
    [
        ("pass", (201, "a"), True),
        ("refuse", "ConnectionResetError", False),
        ("stall", "TimeoutError", False),
        ("swallow", "TimeoutError", True),
        ("error", (500, "broken by the test"), False),
        ("error after", (500, "broken by the test"), True),
        ("cut after", "ConnectionResetError", True),
    ],
)
def test_a_mode(
    behind: tuple[Proxy, list[str]], mode: Mode, answer: tuple[int, str] | str, carried_out: bool
) -> None:
    proxy, done = behind
    with proxy.during(mode):
        assert ask(proxy, "a") == answer
        assert done == ["a"] * carried_out
    assert ask(proxy, "b", timeout=60) == (201, "b")


def test_a_late_request_is_carried_out_when_the_mode_changes(behind: tuple[Proxy, list[str]]) -> None:
    proxy, done = behind
    with proxy.during("late"):
        assert ask(proxy, "late") == "TimeoutError"
        assert done == []
    for _ in range(1000):  # its thread has been let go, and goes when it likes
        if ask(proxy, "next", timeout=60) and "late" in done:
            break
    assert "late" in done


def test_a_slow_request_is_carried_out_in_the_end(behind: tuple[Proxy, list[str]]) -> None:
    proxy, _ = behind
    proxy.delay = 0.05
    with proxy.during("slow"):
        assert ask(proxy, "a", timeout=60) == (201, "a")


def test_a_plan_treats_one_request(behind: tuple[Proxy, list[str]]) -> None:
    proxy, done = behind
    proxy.plan({2: "error"})
    assert [ask(proxy, one, timeout=60) for one in "abc"] == [
        (201, "a"), (500, "broken by the test"), (201, "c"),
    ]  # fmt: skip
    assert (proxy.requests, done) == (3, ["a", "c"])
    proxy.plan()
    assert proxy.requests == 0
