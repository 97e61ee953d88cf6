"""One MLflow run and what it has already: its evaluations, pictures, tags and files.

That stands in its tag `delivered`, which is written last. So a copy that was cut off is repeated from
there, by this process or another, and a run that is complete costs nothing.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import count, takewhile, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tuner import tracking as names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Found

T = TypeVar("T")
Point = tuple[str, float, int, int]  # name, value, unix milliseconds, training step

_LONGEST_TAG = 8000  # MLflow cuts what is longer, and JSON that was cut is none; see `whole`
_METRICS, _PARAMETERS = 800, 100  # a batch; MLflow takes 1000 things in all, 100 of them parameters


class Run:
    """An MLflow run to which things are sent once.

    `evaluations` and `pictures` count what it has of its trial; the caller raises them as it sends more, and
    says by `is_whole` whether all files were there to be sent.
    After any error the run has to be looked up again, because what came through is not known.
    """

    def __init__(self, client: "MlflowClient", found: "Found") -> None:
        self.id: str = found.info.run_id
        self.status: str = found.info.status
        self._client = client
        self._delivered = found.data.tags.get(names.DELIVERED, "{}")
        has = json.loads(self._delivered)
        self.evaluations: int = has.get("evaluations", 0)
        self.pictures: int = has.get("pictures", 0)
        self.is_whole: bool = has.get("whole", True)
        self._files: dict[str, str] = has.get("files", {})

    @property
    def is_new(self) -> bool:
        """Whether nothing has been delivered to it yet."""
        return self._delivered == "{}"

    def lacks(self, evaluations: int, tags: Mapping[str, str]) -> bool:
        """Whether it does not have so many evaluations and these tags already."""
        has = json.loads(self._delivered)
        same = (has.get("evaluations"), has.get("tags")) == (evaluations, _checksum(_joined(tags)))
        return not same or not has.get("whole", True)

    def put(self, name: str, text: str) -> None:
        """Send a text as the artifact `name`, unless it is there with this content."""
        if self._files.get(name) != _checksum(text):
            self._client.log_text(self.id, text, name)
            self._files[name] = _checksum(text)

    def put_file(self, path: Path, folder: str | None = None) -> None:
        """Send a file as an artifact, below `folder` if it is one of many that the caller counts."""
        self._client.log_artifact(self.id, str(path), folder)
        if folder is None:
            self._files[path.name] = "sent"

    def has(self, name: str) -> bool:
        """Whether the artifact `name` has been sent."""
        return name in self._files

    def end(self, status: str, moment: int | None = None) -> None:
        """Set MLflow's status; `moment` (unix milliseconds) is the end, None leaves the run open."""
        if self.status == status:
            return
        if moment is None:
            self._client.update_run(self.id, status=status)
        else:
            self._client.set_terminated(self.id, status, moment)
        self.status = status

    def send(
        self,
        tags: Mapping[str, str],
        points: Sequence[Point] = (),
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        """Send all that in as few batches as MLflow's limits allow, the tag `delivered` in the last."""
        from mlflow.entities import Metric, Param, RunTag

        has = {
            "evaluations": self.evaluations,
            "pictures": self.pictures,
            "tags": _checksum(_joined(tags)),
            "files": self._files,
            **({} if self.is_whole else {"whole": False}),
        }
        delivered = json.dumps(has, sort_keys=True)
        if delivered == self._delivered:
            return
        metrics = _cut([Metric(*point) for point in points], _METRICS)
        params = _cut([Param(key, value) for key, value in (parameters or {}).items()], _PARAMETERS)
        for some, others in zip_longest(metrics[:-1], params[:-1]):
            self._client.log_batch(self.id, metrics=some or (), params=others or ())
        told = [RunTag(key, piece) for name, value in tags.items() for key, piece in _pieces(name, value)]
        told.append(RunTag(names.DELIVERED, delivered))
        self._client.log_batch(self.id, metrics=metrics[-1], params=params[-1], tags=told)
        self._delivered = delivered


def the_one(client: "MlflowClient", found: Sequence["Found"]) -> "Found":
    """The one run, of those that MLflow has for one trial or one study; the others are marked as deleted.

    A request that was carried out, but whose answer was lost or that arrived late, leaves a second one. Kept
    is the one that `chosen` names, so that everybody keeps the same.
    """
    kept = chosen(found)
    for other in found:
        if other is not kept:
            client.delete_run(other.info.run_id)
    return kept


def chosen(found: Sequence["Found"]) -> "Found":
    """Of several runs of one thing the one to which most was delivered, then the earlier, then by its id."""

    def order(run: "Found") -> tuple[bool, int, int, str]:
        delivered = run.data.tags.get(names.DELIVERED, "{}")
        evaluations = json.loads(delivered).get("evaluations", 0)
        return delivered == "{}", -evaluations, run.info.start_time, run.info.run_id

    return min(found, key=order)


def experiment_of(client: "MlflowClient", task: str, tracking: str) -> str:
    """The experiment of a task, made where it is not there; with SQLite its artifacts lie beside the file."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(task)
    if found is None:
        place = None
        if tracking.startswith("sqlite"):
            file = Path(names.sqlite_file(tracking)).resolve()
            place = (file.parent / "mlartifacts" / re.sub(r"\W", "_", task)).as_uri()
        try:
            return client.create_experiment(task, artifact_location=place)
        except (
            MlflowException
        ):  # another study was faster, or it is something that the next line raises again
            found = client.get_experiment_by_name(task)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def safe(name: str) -> str:
    """A metric's or parameter's name as MLflow takes it: other characters become `_`.

    >>> safe("up0.keep"), safe("layers[2].keep")
    ('up0.keep', 'layers_2_.keep')
    """
    plain = "".join(one if one.isalnum() or one in "_-. /:" else "_" for one in name)
    # As in a path: not `..` nor `//`.
    plain = "/".join(part if part.strip(".") else "_" for part in plain.split("/"))
    return plain.strip("/. ")[:250] or "_"


def whole(tags: Mapping[str, str], name: str) -> str | None:
    """A tag that `Run.send` wrote, however long; None where there is none.

    >>> whole({"settings": "{", "settings.1": "}"}, "settings")
    '{}'
    """
    pieces = takewhile(tags.__contains__, (name if i == 0 else f"{name}.{i}" for i in count()))
    return "".join(tags[piece] for piece in pieces) if name in tags else None


def _pieces(name: str, value: str) -> list[tuple[str, str]]:
    """A tag and its continuations."""
    cut = _cut(value, _LONGEST_TAG)
    return [(name if i == 0 else f"{name}.{i}", str(piece)) for i, piece in enumerate(cut)]


def _cut(things: Sequence[T], size: int) -> list[Sequence[T]]:
    """Pieces of at most `size`, at least one."""
    return [things[start : start + size] for start in range(0, max(1, len(things)), size)]


def _joined(tags: Mapping[str, str]) -> str:
    return json.dumps(dict(tags), sort_keys=True)


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
