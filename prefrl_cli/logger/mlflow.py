"""Runs in MLflow."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from prefrl_cli.core.option_types import Given
from prefrl_cli.files.lock import alone
from prefrl_cli.files.read import UnreadableError, read
from prefrl_cli.files.write import write_whole

_MLFLOW_BATCH = 1000  # the most that MLflow takes at once

_MLFLOW_PARAMETERS = 100

_IDENTITY = "tracked_as"


class MLflow:
    """A run in an MLflow store.

    Args:
        directory: of the run; a resumed one goes on in the same run of the store.
        experiment: its name.
        settings: every option with its value.
        store: where MLflow keeps its runs: `sqlite:///PATH`, or a server's address.
        per_seed: whether each seed has a curve.
    """

    extra: ClassVar[str] = "mlflow"
    needs: ClassVar[Sequence[str]] = ("mlflow", "sqlalchemy", "alembic")
    variables: ClassVar[Mapping[str, str]] = {"store": "MLFLOW_TRACKING_URI", "experiment": "MLFLOW_EXPERIMENT_NAME"}

    def __init__(
        self,
        directory: Given[Path],
        experiment: Given[str],
        settings: Given[Mapping[str, Any]],
        store: str = "sqlite:///outputs/mlflow.db",
        per_seed: bool = True,
    ) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self.per_seed, self._metric = per_seed, Metric
        _calm_mlflow()
        identity = tracker_id(directory)
        with _alone(store) as folder:
            self._client = MlflowClient(tracking_uri=store)
            known = self._client.get_experiment_by_name(experiment)
            place = (folder / "mlflow_artifacts").as_uri() if folder else None
            number = known.experiment_id if known else self._client.create_experiment(experiment, place)
        before = self._client.search_runs([number], f"tags.`prefrl.identity` = '{identity}'", max_results=1)
        if before:
            self._run = before[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        tags = {"prefrl.directory": str(directory.resolve()), "prefrl.identity": identity}
        self._run = self._client.create_run(number, run_name=directory.name, tags=tags).info.run_id
        parameters = [Param(key, str(value)[:6000]) for key, value in flat(settings).items()]
        for first in range(0, len(parameters), _MLFLOW_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + _MLFLOW_PARAMETERS])

    @staticmethod
    def prepare(store: str = "sqlite:///outputs/mlflow.db", **_: Any) -> None:
        """Make the store's tables before the jobs of a sweep need them all at once."""
        from mlflow.tracking import MlflowClient

        _calm_mlflow()
        with _alone(store):
            MlflowClient(tracking_uri=store).search_experiments(max_results=1)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        # The step as time of day: a step that a resumed run repeats replaces itself instead of being there twice.
        points = [self._metric(name, value, step, step) for name, value in metrics.items()]
        for first in range(0, len(points), _MLFLOW_BATCH):
            self._client.log_batch(self._run, metrics=points[first : first + _MLFLOW_BATCH])

    def close(self) -> None:
        """Mark the run as ended; how it ended stands in `status.json`."""
        self._client.set_terminated(self._run)


def _calm_mlflow() -> None:
    """Few words, and little patience with a server that does not answer: training waits for it, by default minutes."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells every table that it makes
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds


def tracker_id(directory: Path) -> str:
    """What trackers know a run by: it stays when the run is resumed or moved; a copy and a new run have another.

    A folder is a copy when the one where the identity was made is still there, and still has it.
    """
    here = directory.resolve()
    identity, place = _recorded(here)
    if identity is None or (place not in (None, here) and _recorded(place)[0] == identity):
        identity, place = secrets.token_hex(8), None
    if place != here:
        write_whole(here / _IDENTITY, identity.encode() + b"\n" + os.fsencode(here), sync=False)
    return identity


def _recorded(directory: Path) -> tuple[str | None, Path | None]:
    """The identity of a run and the folder where it was last used, as far as its record says."""
    with contextlib.suppress(UnreadableError, OSError, ValueError):  # a path too long, or with a zero byte
        identity, _, place = read(directory, _IDENTITY, 5000).partition(b"\n")
        if re.fullmatch(rb"[0-9a-f]{16}", identity):
            return identity.decode(), Path(os.fsdecode(place)) if place else None
    return None, None


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested options as `group.option`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        else:
            found[f"{before}{name}"] = value
    return found


@contextlib.contextmanager
def _alone(store: str) -> Iterator[Path | None]:
    """The folder of a sqlite store, held by one process at a time: several that make the tables at once would crash."""
    path = store.removeprefix("sqlite:///")
    if path == store:
        yield None
        return
    if Path(path).is_symlink():
        raise ValueError(
            f"{path} is a link, which would be written through; type store=sqlite:///PATH of what it leads to"
        )
    file = Path(path).resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    with alone(file.parent / f".{file.name}.lock"):
        yield file.parent
