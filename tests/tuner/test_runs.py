"""One MLflow run: what is sent to it once, in batches, and names that MLflow takes."""

import doctest

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as Found

from tuner import runs
from tuner.runs import Run, experiment_of, safe, whole


@pytest.fixture
def client(store: str) -> MlflowClient:
    return MlflowClient(store)


@pytest.fixture
def found(client: MlflowClient, store: str) -> Found:
    return client.create_run(experiment_of(client, "mine:TASK", store))


def test_what_was_delivered_is_known_to_who_looks_it_up_again(client: MlflowClient, found: Found) -> None:
    run = Run(client, found)
    assert run.is_new and run.lacks(2, {"state": "COMPLETE"}) and not run.has("a.json")
    run.put("a.json", "{}")
    run.evaluations = 2
    run.send({"state": "COMPLETE"}, [("score", 1.0, 5, 30), ("score", 2.0, 6, 90)], {"seed": "0"})
    again = Run(client, client.get_run(run.id))
    assert not again.is_new and again.evaluations == 2 and again.has("a.json")
    assert not again.lacks(2, {"state": "COMPLETE"})
    assert again.lacks(3, {"state": "COMPLETE"}) and again.lacks(2, {"state": "PRUNED"})


def test_more_than_a_batch_takes_arrives_whole(client: MlflowClient, found: Found) -> None:
    run = Run(client, found)
    points = [("score", float(step), 5, step) for step in range(1700)]
    run.send({}, points, {f"p{i}": str(i) for i in range(250)})
    assert len(client.get_metric_history(run.id, "score")) == 1700
    assert len(client.get_run(run.id).data.params) == 250


def test_a_tag_longer_than_mlflow_takes_arrives_whole(client: MlflowClient, found: Found) -> None:
    run, long = Run(client, found), "".join(chr(65 + i % 26) for i in range(17_000))
    run.send({"settings": long, "state": "COMPLETE", "empty": ""})
    tags = client.get_run(run.id).data.tags
    assert whole(tags, "settings") == long
    assert (whole(tags, "state"), whole(tags, "empty"), whole(tags, "reason")) == ("COMPLETE", "", None)


def test_a_text_that_has_changed_is_sent_again(client: MlflowClient, found: Found) -> None:
    run = Run(client, found)
    for text in ("one", "two"):
        run.put("a.txt", text)
    with open(client.download_artifacts(run.id, "a.txt"), encoding="utf-8") as file:
        assert file.read() == "two"


def test_an_experiment_is_made_once_and_restored(client: MlflowClient, store: str) -> None:
    first = experiment_of(client, "mine:TASK", store)
    client.delete_experiment(first)
    assert experiment_of(client, "mine:TASK", store) == first
    assert client.get_experiment(first).lifecycle_stage == "active"


def test_names_that_mlflow_takes(client: MlflowClient, found: Found) -> None:
    for name in ("layers[2].keep", "/a/", "..", "ß μ", "x" * 300, "a\nb"):
        client.log_metric(found.info.run_id, safe(name), 1.0)
    assert len(client.get_run(found.info.run_id).data.metrics) == 6
    assert doctest.testmod(runs).failed == 0


@pytest.mark.parametrize(
    "name", ["../up0.keep", "a//b.keep", "a/./b", "..", "a/../b.k", "/etc/x", "a/", "layers/up0.keep"]
)
def test_mlflow_takes_the_name_of_every_site(name: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    _validate_metric_name(safe(name))
    assert safe(safe(name)) == safe(name)
