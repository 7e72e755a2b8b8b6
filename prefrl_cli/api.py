"""The Python API: train, load and look at runs, and build parts for a loop of one's own; see `docs/api.md`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config.group import make
from prefrl_cli.core.option_types import ConfigError, Failed, as_typed, show
from prefrl_cli.files.read import UnreadableError, flat, read_json, short
from prefrl_cli.files.texts import shown, typed_path
from prefrl_cli.report import notebook
from prefrl_cli.report.metrics import joined, read_metrics
from prefrl_cli.report.runs import STATUSES, read_run
from prefrl_cli.report.runs import Run as Record
from prefrl_cli.report.runs import load as read_runs
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.provenance import stored_config

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prefrl_cli.env.learned import Episodes, LearnedPolicy, LearnedReward
    from prefrl_cli.report.notebook import Metrics
    from prefrl_cli.run.outputs import Learned

__all__ = ["ConfigError", "LoadedRun", "RunFailed", "load", "make", "runs", "train"]

_OF_OTHERS = (AttributeError, IndexError, KeyError, RuntimeError, StopIteration, TypeError, ValueError)


class RunFailed(Failed):
    """A run that ended before its last step; the message is one line.

    Attributes:
        path: the run's folder; `load(path)` reads what there is.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


def train(
    overrides: Sequence[str] = (), /, *, config_dir: str | os.PathLike[str] | None = None, **options: Any
) -> LoadedRun:
    """Train a run to its end, as `prefrl-train` does, in this process.

    Args:
        overrides: as they are typed after `prefrl-train`, such as `["experiment=oprl_maze", "num_seeds=4"]`.
        config_dir: a folder of one's own with `experiment/mine.yaml` and the like.
        **options: the same by name: `experiment="oprl_maze"`, `env={"size": 12}` or `**{"optimizer.lr": 1e-3}`;
            they win over `overrides`.

    Returns:
        The run, read back from its folder.

    Raises:
        ConfigError: for a wrong option; nothing is written then.
        RunFailed: when the run failed.
        KeyboardInterrupt: on Ctrl-C or a stopped kernel, once a checkpoint is written; the message names the run.
    """
    from prefrl_cli.config.compose import compose
    from prefrl_cli.config.hydra_compat import apart
    from prefrl_cli.config.overrides import Typed
    from prefrl_cli.files.texts import as_overrides
    from prefrl_cli.run.lifecycle import run_job

    typed = [overrides] if isinstance(overrides, str) else list(overrides)
    typed += [text for name, value in options.items() for text in as_overrides(name, value)]
    for text in typed:
        _check(text)
    own = [] if config_dir is None else [f"--config-dir={typed_path(os.fspath(config_dir)).absolute()}"]
    with apart():
        config = compose(Typed.of([*own, *typed]))
    folders: list[Path] = []
    status = run_job(config, typed, claimed=folders.append)
    if status != "finished":
        raise RunFailed(folders[0], str(read_status(folders[0]).get("reason")))
    return load(folders[0], allow_targets=config.run.allow_targets)


def load(path: str | os.PathLike[str], allow_targets: Sequence[str] = ()) -> LoadedRun:
    """Read a run, of anyone: nothing in it is run, and nothing is written.

    Args:
        path: the folder that `prefrl-train` named; the run may be going on still.
        allow_targets: packages of one's own that the run was trained with, such as `["my_package"]`; asking it for a
            policy or a reward model runs their code.

    Raises:
        ConfigError: for a folder that holds no run, or one that cannot be read.
    """
    folder = typed_path(os.fspath(path))
    record = read_run(folder)
    if record.status not in STATUSES:
        raise ConfigError(f"{shown(folder)}: cannot be read as a run ({shown(record.reason)})")
    return LoadedRun(record, allow_targets)


def runs(folder: str | os.PathLike[str], allow_targets: Sequence[str] = ()) -> Iterator[LoadedRun]:
    """Every run in a folder, at any depth, in the order of names; what cannot be read is a warning.

    Args:
        folder: such as `outputs` or that of a sweep.
        allow_targets: as for `load`.

    Raises:
        ConfigError: for a folder that is not there.
    """
    top = typed_path(os.fspath(folder))
    if not top.is_dir():
        raise ConfigError(f"{shown(top)}: is no folder; type one that holds runs, such as outputs")
    for record in read_runs([top]):
        if record.status in STATUSES:
            yield LoadedRun(record, allow_targets)
        else:
            warnings.warn(f"{shown(record.path)}: left out ({shown(record.reason)})", stacklevel=2)


class LoadedRun:
    """A run as it stood when it was loaded.

    Attributes:
        path: its folder.
        status: `finished`, `running`, `interrupted` or `failed`.
        reason: why it is not finished, in a line.
        step: updates done.
        experiment: its name.
        seeds: R of them.
        failed_seeds: those that have failed.
    """

    def __init__(self, record: Record, allow_targets: Sequence[str] = ()) -> None:
        self.path, self.status, self.reason, self.step = record.path, record.status, record.reason, record.step
        self.experiment, self.seeds, self.failed_seeds = record.experiment, record.seeds, sorted(record.ends)
        self._ends, self._allow_targets = record.ends, list(allow_targets)

    @cached_property
    def options(self) -> dict[str, Any]:
        """Every option by its dotted name, such as `optimizer.lr`, as it was recorded."""
        config = self._read(stored_config)
        flat(config, "config.yaml")  # refuses what is larger than any of ours
        return dict(_flat(config))

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics by name, `[N, R]`; those of evaluations are `evaluation/NAME`, or `.evaluation["NAME"]`.

        From the step on at which a seed failed its success is 0 and its other metrics are NaN.
        """
        table = joined(*self._read(lambda folder: read_metrics(folder, self.seeds, None, self._ends, every_step=True)))
        return notebook.Metrics(table.steps, self.seeds, table.columns)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds: each metric before and after, with intervals; empty before the run is finished."""
        return self._read(lambda folder: read_json(folder, "summary.json")) if self.status == "finished" else {}

    @property
    def charts(self) -> dict[str, Path]:
        """The charts, PNG files, by their names."""
        return notebook.charts(self.path)

    @cached_property
    def preferences(self) -> dict[str, NDArray[Any]]:
        """The questions that the newest checkpoint keeps answers to, the oldest first; what is past `there` is nothing.

        `states`, `actions` `[R, N, 2, T]` and `lengths` `[R, N, 2]` of both; `label` `[R, N]`, the probability that the
        first is preferred (0.5 for a tie), and its `weight`; the updates at which it was `asked` and `answered`, -1
        where that was not noted; and `there` `[R, N]`, whether a seed has so many.

        Raises:
            ConfigError: for an experiment that keeps none.
        """
        algorithm: Any = self._learned.algorithm
        if not hasattr(algorithm, "preferences"):
            raise ConfigError(f"{shown(self.path)}: {self.experiment} keeps no preferences")
        try:
            algorithm.restore(self._learned.state)
            found = algorithm.preferences.all()
        except _OF_OTHERS as problem:
            raise ConfigError(f"{shown(self.path)}: its preferences cannot be read ({short(problem)})") from None
        if found is None:
            return {}
        return {name: values.cpu().numpy() for name, values in {**found[0].tensors(), "there": found[1]}.items()}

    def policy(self, seed: int | None = None) -> LearnedPolicy:
        """What a seed's policy does: `policy(states)` gives actions.

        Args:
            seed: of training; none is the first that has not failed.

        Raises:
            ConfigError: for a seed that the run has not, or that has failed, and a run without a checkpoint.
        """
        from prefrl_cli.env.learned import LearnedPolicy

        return LearnedPolicy(self._learned.algorithm, self._seed(seed))

    def reward_model(self, seed: int | None = None) -> LearnedReward:
        """What a seed has learned to reward: `reward_model(states, actions)` gives rewards; see `policy`."""
        from prefrl_cli.env.learned import LearnedReward

        return LearnedReward(self._learned.algorithm, self._seed(seed))

    def rollout(
        self, seed: int | None = None, episodes: int = 10, *, greedy: bool = False, random_seed: int | None = None
    ) -> Episodes:
        """Play episodes in the run's environment, as `prefrl-evaluate` does; nothing is trained.

        Args:
            seed: of training, as for `policy`.
            episodes: how many, E.
            greedy: whether the most probable action is always taken; else actions are drawn.
            random_seed: of the random numbers; none takes those of the run's own evaluation.

        Returns:
            States, actions and rewards, `[E, T]` each.
        """
        from prefrl_cli.env.learned import play

        algorithm, policy = self._learned.algorithm, self.policy(seed)
        if not isinstance(episodes, int) or not 1 <= episodes <= 10**6:
            raise ConfigError(f"episodes={show(episodes)}: must be a whole number between 1 and 1000000")
        streams = algorithm.streams
        if random_seed is not None:
            streams = make("streams/philox", seeds=[random_seed] * len(self.seeds))
        return play(algorithm, policy, episodes, streams, greedy=greedy)

    @cached_property
    def _learned(self) -> Learned:
        from prefrl_cli.run.outputs import learned

        stored = {**stored_config(self.path), "allow_targets": self._allow_targets, "device": "cpu"}
        return learned(self.path, stored, stored)

    def _seed(self, seed: int | None) -> int:
        failed = self._learned.failed
        living = [one for one in self.seeds if one not in failed]
        chosen = living[0] if seed is None and living else seed
        if chosen in failed:
            raise ConfigError(f"seed={chosen}: failed in training; choose one of {show(living)}")
        if chosen not in self.seeds:
            raise ConfigError(f"seed={show(chosen)}: the run has no such seed; choose one of {show(living)}")
        return int(chosen)

    def _read(self, reader: Callable[[Path], Any]) -> Any:
        try:
            return reader(self.path)
        except UnreadableError as problem:
            raise ConfigError(f"{shown(self.path)}: {shown(problem)}") from None

    def __repr__(self) -> str:
        """The run in a line."""
        number = f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"
        return f"<run of {shown(self.experiment)}: {number}, {self.status} at step {self.step}, {shown(self.path)}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: results with intervals, and charts."""
        try:
            summary = self.summary
        except ConfigError:
            summary = {}
        status = f"{self.status} at step {self.step}"
        return notebook.card(self.path, self.experiment, status, self.reason, self.seeds, self.failed_seeds, summary)


def _check(text: Any) -> None:
    """Refuse what only the command takes: flags, sweeps, Hydra's own options, runs that go on."""
    from prefrl_cli.config.overrides import option

    if not isinstance(text, str) or not option(text).isprintable():
        raise ConfigError(f"{show(text)}: options are typed NAME=VALUE, such as 'env.size=12'")
    name = option(text)
    if text.startswith("-"):
        cure = "for many runs type prefrl-train -m in a terminal, then runs(FOLDER) here"
        raise ConfigError(f"{show(text)}: is a flag of the command; {cure}")
    if re.match(r"hydra([./@]|$)", name):
        raise ConfigError(f"{show(text)}: Hydra's own options are for the command; leave it out")
    if name == "resume":
        raise ConfigError(f"{show(text)}: to go on with a run type prefrl-train {as_typed(text)} in a terminal")


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
