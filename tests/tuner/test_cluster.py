"""Studies on a running cluster: several real raylets, each as good as a machine without this checkout."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import walking
import yaml
from raylets import Raylets
from tracked import Server, free_port, runs

from trainers.settings import Mistake
from tuner.cluster import check, cluster
from tuner.record import Record
from tuner.rows import Row
from tuner.study import open_study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def raylets() -> Iterator[Raylets]:
    with Raylets() as started:
        started.add("w1")
        yield started


class Driver:
    """A process that drives a study from a user's own folder, which holds their task and their spec."""

    def __init__(self, folder: Path, raylets: Raylets, spec: dict[str, Any], server: Server | None) -> None:
        folder.mkdir(parents=True)
        shutil.copy(walking.__file__, folder / "walking.py")
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
        self.folder, self.name = folder, spec["name"]
        command = [sys.executable, "-m", "tuner", "search", "spec.yaml"]
        command += ["--tracking", server.url] if server else []
        self._process = subprocess.Popen(
            [*command, "--address", raylets.address],
            cwd=folder,
            env=os.environ | raylets.environment | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def rows(self) -> list[Row]:
        """The trials in the record as it is now; none before it is there."""
        url = f"sqlite:///{self.folder}/studies/{self.name}/study.db"
        there = Path(url.partition("///")[2]).exists() and Record.exists(url, self.name)
        return Record(url, self.name).rows() if there else []

    def until(self, holds: Callable[[list[Row]], bool]) -> None:
        """Return once the record holds that."""
        while not holds(self.rows()):
            assert self._process.poll() is None, self.end()
            time.sleep(0.2)  # the record is what is waited for, not a time

    def end(self) -> str:
        """What the process has printed until its end."""
        said, _ = self._process.communicate()
        return said

    @property
    def status(self) -> int | None:
        return self._process.returncode


def spec(name: str, **plan: Any) -> dict[str, Any]:
    budget = {"trials": 4, "steps": 9, "grace": 3, "baseline_seeds": 1}
    retries = 1 if plan.get("dies") else 0
    return {"name": name, "task": "walking:TASK", "plan": plan, "budget": budget, "retries": retries}


def undisturbed(driver: Driver, row: Row) -> float:
    """What the same training gives in one go in this process."""
    study = open_study(driver.name, root=driver.folder / "studies")
    plan = study.spec.plan_with(row.settings, row.extras)
    free = plan.options.model_copy(update={"gate": "", "dies": False})
    return list(walking.train(plan.model_copy(update={"options": free}), seed=row.seed))[-1].metrics["score"]


def names(row: Row) -> list[str]:
    return [node.partition(" ")[0] for node in row.nodes]


HOLDS = """
import json, logging, ray
from ray.util import placement_group_table
ray.init(address={address!r}, log_to_driver=False, logging_level=logging.ERROR)
groups = [one for one in placement_group_table().values() if one["state"] != "REMOVED"]
actors = [one for one in ray._private.state.actors().values() if one["State"] != "DEAD"]
nodes = sorted(node["NodeName"] for node in ray.nodes() if node["Alive"])
print(json.dumps([nodes, groups, actors, ray.util.list_named_actors(all_namespaces=True)]))
"""


def holds(raylets: Raylets) -> Any:
    """The living nodes of a cluster, and what anybody has there: groups, actors, names."""
    said = subprocess.run(
        [sys.executable, "-c", HOLDS.format(address=raylets.address)],
        env=os.environ | raylets.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return json.loads(said.splitlines()[-1])


@pytest.mark.slow
def test_the_nodes_know_nothing_of_this_program(raylets: Raylets) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(raylets.python), "-c", "import ray, torch; import tuner"]
    done = subprocess.run(command, cwd=raylets.place("w1"), env=environment, capture_output=True, text=True)
    assert "No module named 'tuner'" in done.stderr


@pytest.mark.slow
def test_a_study_runs_where_only_its_modules_are_sent_and_leaves_nothing(
    raylets: Raylets, tmp_path: Path
) -> None:
    """With a bare generator that dies once: the record says that it began again."""
    driver = Driver(tmp_path / "plain", raylets, spec("plain", keeps=False, dies=True), None)
    said = driver.end()
    assert driver.status == 0, said
    rows = driver.rows()
    assert len(rows) == 5 and {row.state for row in rows} <= {"COMPLETE", "PRUNED"}
    assert {(*names(row),) for row in rows} == {("w1",)}
    assert [row.restarts for row in rows if row.role == "baseline"] == [1]
    assert "trials were restarted from the beginning" in said or "trial was restarted from the beg" in said
    for row in rows:
        if row.state == "COMPLETE":
            assert row.value == undisturbed(driver, row)
    assert holds(raylets)[1:] == [[], [], []]


@pytest.mark.slow
def test_a_node_with_another_version_is_named_before_anything_is_written(
    raylets: Raylets, tmp_path: Path
) -> None:
    other = tmp_path / "other" / "torch-9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    raylets.add("wrong", environment={"PYTHONPATH": str(other.parent)})
    driver = Driver(tmp_path / "plain", raylets, spec("plain"), None)
    said = driver.end()
    raylets.kill("wrong")
    assert driver.status == 2 and "node wrong (" in said and "has torch 9.9 and not" in said, said
    assert not (driver.folder / "studies" / "plain").exists()


@pytest.mark.slow  # two minutes on a busy machine: nine processes of Ray, two drivers, a server
def test_a_lost_node_costs_a_step_and_a_new_one_gets_work(
    raylets: Raylets, server: Server, tmp_path: Path
) -> None:
    raylets.add("w2")
    gate = tmp_path / "gate"
    gate.touch()
    with gate.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        first = Driver(tmp_path / "first", raylets, spec("first", gate=str(gate)), server)
        first.until(lambda rows: {name for row in rows for name in names(row)} == {"w1", "w2"})
        second = Driver(tmp_path / "second", raylets, spec("second"), server)
        raylets.kill("w2")
        raylets.add("w3")
    said = first.end(), second.end()
    assert (first.status, second.status) == (0, 0), said
    for driver in (first, second):
        rows = driver.rows()
        assert len(rows) == 5 and {row.state for row in rows} <= {"COMPLETE", "PRUNED"}, said
        assert {name for row in rows for name in names(row)} <= {"w1", "w2", "w3"}
        assert {row.restarts for row in rows} == {0}
        for row in rows:
            if row.state == "COMPLETE":
                assert row.value == undisturbed(driver, row)
        found = runs(server.url, f"tags.study = '{driver.name}'")
        assert sorted(found) == sorted([row.label for row in rows] + ["study"])
        assert {row.label: ", ".join(row.nodes) for row in rows} == {
            label: run.data.tags["nodes"] for label, run in found.items() if label != "study"
        }
        print(open_study(driver.name, root=driver.folder / "studies").trials().to_string())
    assert "w3" in {name for driver in (first, second) for row in driver.rows() for name in names(row)}
    moved = [names(row) for row in first.rows() if "w2" in names(row)]
    assert any(len(nodes) == 2 for nodes in moved), moved
    assert holds(raylets) == [["head", "w1", "w3"], [], [], []]


@pytest.mark.parametrize(
    "address", ["here", "10.0.0.4", "10.0.0.4:", "10.0.0.4:99999", "http://10.0.0.4:6379"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(Mistake, match=f"^the address is '{address}', but it must be auto or HOST:PORT"):
        check(address)


def test_a_port_where_nothing_listens_is_refused() -> None:
    with pytest.raises(Mistake, match=r"^no Ray runs at 127\.0\.0\.1:\d+ \(Connection refused\): start one"):
        check(f"127.0.0.1:{free_port()}")


def test_a_port_where_something_else_listens_is_refused() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        with pytest.raises(Mistake, match=r"^no Ray cluster answers at \S+, where something else"):
            check(f"127.0.0.1:{other.getsockname()[1]}")


def test_a_ray_that_does_not_start_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = "from tuner.cluster import cluster\nwith cluster(None): print('started')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"RAY_TMPDIR": str(tmp_path / "file"), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = "RuntimeError: Ray does not start on this machine ([Errno 20] Not a directory: "
    assert done.returncode == 1 and told in done.stderr, done.stderr


@pytest.mark.slow
def test_a_sigterm_while_ray_starts_is_heard_and_aborts_nothing() -> None:
    """Ray's native handler would set an alarm of three seconds, which a Ray that ends slowly outlasts."""
    code = """
import signal, ray
from tuner.cluster import cluster
start = ray.init
ray.init = lambda **told: (start(**told), signal.raise_signal(signal.SIGTERM))
try:
    with cluster(None):
        print("started")
except KeyboardInterrupt:
    print("heard", signal.alarm(0))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "heard 0\n", done.stderr


def test_rays_client_is_refused_with_the_reason() -> None:
    with (
        pytest.raises(Mistake, match="a study is driven from a node of its cluster"),
        cluster("ray://head:10001"),
    ):
        pass


LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
FROM_ZERO = {
    **{key: [] for key in (*LISTS, "head_start_ray_commands", "worker_start_ray_commands")},
    "file_mounts": {},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
    "docker": {},
    "cluster_name": "fake",
    "max_workers": 2,
    "upscaling_speed": 100.0,
    "idle_timeout_minutes": 10,
    "provider": {
        "type": "fake_multinode",
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    },
    "auth": {"ssh_user": "ubuntu"},
    "head_node_type": "ray.head.default",
    "available_node_types": {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2},
    },
}


@pytest.mark.slow
def test_an_autoscaler_starts_workers_from_none(tmp_path: Path) -> None:
    with Raylets(FROM_ZERO) as raylets:
        large = spec("large") | {"resources": {"cpu": 3}}
        refused = Driver(tmp_path / "large", raylets, large, None)
        said = refused.end()
        assert refused.status == 2 and "asks for 3 CPUs and 0 GPUs and the largest node has 1 and 0" in said
        unshared = Driver(tmp_path / "unshared", raylets, spec("unshared"), None)
        said = unshared.end()
        assert unshared.status == 2 and "no node that could hold a trial is there yet to try" in said
        small = spec("small") | {"storage": str(tmp_path / "trials")}
        driver = Driver(tmp_path / "small", raylets, small, None)
        said = driver.end()
        assert driver.status == 0, said
        assert {row.state for row in driver.rows()} <= {"COMPLETE", "PRUNED"}
        nodes, *ours = holds(raylets)
        assert len(nodes) == 3 and ours == [[], [], []]  # both workers were asked for at once
