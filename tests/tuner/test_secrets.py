"""No password and no token is shown or written: texts, refusals, and what a real study leaves."""

import contextlib
import doctest
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Shell
from leaking import ADDRESSES, SECRETS

from trainers.settings import Mistake
from tuner import secrets, tracking
from tuner.folder import settled
from tuner.secrets import holds_password, refuse_password, without_password
from tuner.spec import load_spec
from tuner.study import open_study

SPEC: dict[str, Any] = {
    "name": "study",
    "task": "leaking:TASK",
    "budget": {"trials": 1, "steps": 9, "grace": 3, "baseline_seeds": 2},
    "retries": 0,
    "resources": {"concurrent": 1},
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_password_is_told_without_it_and_never_kept(address: str) -> None:
    assert holds_password(address)
    for text in (address, f"'{address}' is away", f"({address}), and {address}: no", repr([address])):
        assert "SECRET" not in without_password(text)
        assert without_password(without_password(text)) == without_password(text)
    for key in ("tracking", "database", "storage"):
        with pytest.raises(
            Mistake, match=f"{key} is .* with a password in it, .*: leave the password out"
        ) as told:
            refuse_password(key, address)
        assert "SECRET" not in str(told.value)
        with pytest.raises(Mistake, match="with a password in it"):
            load_spec({"name": "x", key: address})


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:5000", "https://host/a:b@c?x=1", "sqlite:////home/me@work/a:b@c.db", "s3://bucket/a@b",
        "postgresql://me@host:5432/x?sslmode=require&passfile=/x", "/mnt/a@b:c", "memory://x", "databricks",
        "file:///mnt/me:you@x", "local://a", "gs://bucket/max_tokens=5",
    ],
)  # fmt: skip
def test_an_address_without_one_is_kept(address: str) -> None:
    assert not holds_password(address)
    refuse_password("tracking", address)


def test_what_the_environment_holds_is_left_out_whole_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert without_password("Bearer SECRET-token, key SECRET/of+aws;") == "Bearer …, key …;"
    monkeypatch.setenv("A_TOKEN_FILE", "/run/a-file")
    monkeypatch.setenv("SHORT_PASSWORD", "dip")
    monkeypatch.setenv("EMPTY_TOKEN", "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "/SECRET+begins/like/a/path")
    assert without_password("key /SECRET+begins/like/a/path") == "key …"
    for header in (
        "Authorization: Bearer SECRET",
        "{'authorization': 'Basic SECRET'}",
        '"api_key": "SECRET 1"',
    ):
        assert "SECRET" not in without_password(header) and "…" in without_password(header)
    for name in ("LONG_TOKEN", "DB_PASS", "KEY_PASSPHRASE", "GITHUB_PAT"):
        with monkeypatch.context() as environment:
            environment.setenv(name, "SECRET-token-and-more")
            assert without_password("SECRET-token-and-more") == "…"
    lines = (
        "-----BEGIN PRIVATE KEY-----",
        "SECRETMIIEvgIBADANBgkq",
        "SECRETAbCdEf0123456789",
        "-----END-----",
    )
    key = "\n".join(lines)
    monkeypatch.setenv("SIGNING_PRIVATE_KEY", key)
    for told in (key, key.replace("\n", "\r\n"), repr(key), *lines[1:3]):
        assert "SECRET" not in without_password(told) and "…" in without_password(told)
    assert without_password("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"
    for text in ("see /run/a-file of dip", "me", 'step 3: {"tokens": 5, "max_tokens": 3}'):
        assert without_password(text) == text


def test_the_address_of_the_environment_is_refused_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Mistake, match=r"tracking is 'http://127.0.0.1:9' with a password in it") as told:
        settled(load_spec(SPEC), tmp_path / "study", ADDRESSES[0])
    assert "SECRET" not in str(told.value) and list(tmp_path.iterdir()) == []


def test_the_examples_of_the_docstrings_run() -> None:
    assert doctest.testmod(secrets).failed == 0


# the program


def searched(folder: Path) -> list[str]:
    """The files below a folder in which a secret stands."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and b"SECRET" in path.read_bytes()]


@pytest.mark.slow
def test_a_study_whose_trainings_tell_them_all_keeps_none(tmp_path: Path, shell: Shell) -> None:
    """In a process and with a Ray of its own; what it prints, and all that it leaves below ROOT."""
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(SPEC))
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "--debug", "search", "study.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "no answer from http://127.0.0.1:9 and" in done.stdout, done
    assert "SECRET" not in done.stdout + done.stderr
    assert searched(tmp_path) == []
    rows = open_study("study", root=tmp_path / "studies").record.rows()
    reasons = {row.label: str(row.reason).partition(":")[0] for row in rows}
    assert reasons == {"0": "OSError", "baseline:0": "None", "baseline:1": "ValueError"}
    log = shell.fine("logs", "study", "0")
    assert log.count("127.0.0.1:9 and") >= 5  # printed twice, logged, warned, raised
    for words in (("best", "study"), ("list",), ("sync", "study"), ("logs", "study", "baseline:0")):
        assert "SECRET" not in shell.fine(*words)


class Refuses(BaseHTTPRequestHandler):
    """Answers as a server that does not like the password, and says which one that was."""

    def do_POST(self) -> None:
        body = f"wrong: {self.headers['Authorization']} {SECRETS['MLFLOW_TRACKING_PASSWORD']}".encode()
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def refusing() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Refuses)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_failure_tells_one_not_even_with_debug(
    shell: Shell, refusing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_ANSWER", 2.0)
    monkeypatch.setattr("tuner.study._ray", lambda *_: contextlib.nullcontext())
    for name, changes in {
        "plain": {},
        "tracked": {"tracking": ADDRESSES[0]},
        "databased": {"database": ADDRESSES[1]},
        "stored": {"storage": ADDRESSES[2]},
        "signed": {"storage": ADDRESSES[3]},
        "away": {"database": "postgresql://me@127.0.0.1:9/x"},
        "listed": {"tracking": [ADDRESSES[0]]},
    }.items():
        (shell.folder / f"{name}.yaml").write_text(yaml.safe_dump(SPEC | changes))
    for words, status in {
        ("search", "plain.yaml", "--tracking", ADDRESSES[0]): 2,
        ("search", "plain.yaml", "--tracking", f"http://{refusing}"): 1,
        ("search", "plain.yaml", "--tracking", "http://127.0.0.1:9"): 1,
        ("search", "plain.yaml", "--set", f"tracking={ADDRESSES[0]}"): 2,
        ("search", "plain.yaml", "--set", f"x.{ADDRESSES[0]}=1"): 2,
        ("search", "tracked.yaml"): 2,
        ("search", "databased.yaml"): 2,
        ("search", "stored.yaml"): 2,
        ("search", "signed.yaml"): 2,
        ("search", "away.yaml"): 1,
        ("search", "listed.yaml"): 2,
        ("search", ADDRESSES[0]): 2,
        ("best", "study", "--tracking", ADDRESSES[0]): 1,
        ("best", "study", "--tracking", f"http://me:SECRET-typed@{refusing}"): 1,
        ("best", "study", "--tracking", ADDRESSES[1]): 1,
        ("best", ADDRESSES[0]): 2,
        ("resume", ADDRESSES[1]): 2,
        ("layers", ADDRESSES[0]): 2,
        ("train", "--settings", ADDRESSES[0]): 2,
        ("export", "study", "-o", ADDRESSES[0]): 2,
    }.items():
        for before in ((), ("--debug",)):
            got, out, err = shell.run(*before, *words)
            assert got == status, (words, got, err)
            assert "SECRET" not in out + err, (words, err)
            assert before or (out == "" and len(err.splitlines()) == 1), (words, out, err)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESSES[0])
    assert "with a password in it" in shell.mistake("search", "plain.yaml")
    assert searched(shell.folder / "studies") == [] and not (shell.folder / "studies").exists()
