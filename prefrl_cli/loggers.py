"""Trackers beside `metrics.csv`: TensorBoard, MLflow and Weights & Biases, each an extra of our package."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from prefrl_cli.options import show
from prefrl_cli.own_files import alone, make_folder, write_whole
from prefrl_cli.safe_files import UnreadableError, read

_MLFLOW_BATCH = 1000  # the most that MLflow takes at once
_MLFLOW_PARAMETERS = 100
_IDENTITY = "tracked_as"


class TensorBoard:
    """Event files in `tensorboard/` of the run directory.

    Args:
        directory: of the run.
        settings: every option with its value, shown under HPARAMS; none shows none.
        per_seed: whether each seed has a curve.
    """

    extra: ClassVar[str] = "tensorboard"
    needs: ClassVar[Sequence[str]] = ("tensorboard",)

    def __init__(self, directory: Path, settings: Mapping[str, Any] | None = None, per_seed: bool = True) -> None:
        self.per_seed, self._settings = per_seed, settings
        self._folder = directory / "tensorboard"
        self._writer: Any = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            make_folder(self._folder)
            # A resumed run begins at its checkpoint: what an earlier process wrote past it is not shown.
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
            if self._settings is not None:
                self._show_settings(self._settings, metrics)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write out what is still kept."""
        if self._writer is not None:
            self._writer.close()

    def _show_settings(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Write the options as HPARAMS beside the curves: `SummaryWriter.add_hparams` would begin a run of its own."""
        from torch.utils.tensorboard.summary import hparams

        plain = {
            name: value if type(value) in (bool, int, float, str) else show(value)
            for name, value in _flat(settings).items()
        }
        columns = {name: 0.0 for name in metrics if name.endswith("/median")}
        for summary in hparams(plain, columns):
            self._writer._get_file_writer().add_summary(summary)


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
        directory: Path,
        experiment: str,
        settings: Mapping[str, Any],
        store: str = "sqlite:///outputs/mlflow.db",
        per_seed: bool = True,
    ) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.tracking import MlflowClient

        self.per_seed, self._metric = per_seed, Metric
        _calm_mlflow()
        identity = _identity(directory)
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
        parameters = [Param(key, str(value)[:6000]) for key, value in _flat(settings).items()]
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


class WandB:
    """A Weights & Biases run, kept in `wandb/` of the run directory.

    Args:
        directory: of the run; a resumed one goes on in the same W&B run. Offline each start has a folder of its
            own, with the same id.
        experiment: its name, the group of the run.
        settings: every option with its value.
        mode: `offline` keeps it here until `wandb sync`; `online` sends it, for which wandb must be logged in;
            `disabled` does neither.
        project: the project's name.
        folder: where wandb keeps its files; none is the run directory.
        per_seed: whether each seed has a curve.
    """

    extra: ClassVar[str] = "wandb"
    needs: ClassVar[Sequence[str]] = ("wandb",)
    variables: ClassVar[Mapping[str, str]] = {
        "mode": "WANDB_MODE",
        "project": "WANDB_PROJECT",
        "folder": "WANDB_DIR",
        "experiment": "WANDB_RUN_GROUP",
    }

    def __init__(
        self,
        directory: Path,
        experiment: str,
        settings: Mapping[str, Any],
        mode: Literal["offline", "online", "disabled"] = "offline",
        project: str = "prefrl",
        folder: str | None = None,
        per_seed: bool = True,
    ) -> None:
        import wandb

        make_folder(directory / "wandb")
        self.per_seed = per_seed
        self._run = wandb.init(
            project=project,
            group=experiment,
            name=directory.name,
            id=_identity(directory),
            resume="allow",
            dir=folder or str(directory),
            config=dict(settings),
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each curve."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Write out what is still kept."""
        self._run.finish()


def _calm_mlflow() -> None:
    """Few words, and little patience with a server that does not answer: training waits for it, by default minutes."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells every table that it makes
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")  # seconds


def _identity(directory: Path) -> str:
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


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested options as `group.option`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
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
