"""The Python API: train, load and look at runs, and build parts for a loop of one's own; see `docs/api.md`."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefrl_cli.config.group import make
from prefrl_cli.config.options import Option, check_value
from prefrl_cli.core.option_types import ConfigError, Failed, Items, Seed, show
from prefrl_cli.files.lock import ASKING, TRAINING, in_turn
from prefrl_cli.files.read import short
from prefrl_cli.files.texts import as_overrides, plain, shown, typed_path
from prefrl_cli.report.notebook import RecordedRun
from prefrl_cli.report.runs import STATUSES, read_run
from prefrl_cli.report.runs import Run as Record
from prefrl_cli.report.runs import load as read_runs
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.provenance import stored_config

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from prefrl_cli.env.learned import Episodes, LearnedPolicy, LearnedReward
    from prefrl_cli.run.earlier.learned import Learned

__all__ = ["ConfigError", "LoadedRun", "RunFailed", "load", "make", "resume", "runs", "train", "train_sweep"]

_OF_OTHERS = (AttributeError, IndexError, KeyError, RuntimeError, StopIteration, TypeError, ValueError)


class RunFailed(Failed):
    """A run that ended before its last step; the message is one line.

    Attributes:
        path: the run's folder; `load(path)` reads what there is.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


@in_turn(TRAINING)
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
    from prefrl_cli.run.lifecycle import run_job

    typed = _typed(overrides, options)
    with apart():
        config = compose(Typed.of([*_own(config_dir), *typed]))
    folders: list[Path] = []
    return _ended(run_job(config, typed, claimed=folders.append), folders[0], config.run.allow_targets)


@in_turn(TRAINING)
def resume(path: str | os.PathLike[str], overrides: Sequence[str] = (), /, **options: Any) -> LoadedRun:
    """Go on with a run that was stopped, as `prefrl-train resume=` does; with larger `steps`, with a finished one.

    Args:
        path: of the run; with `output_dir="new"` the run stays, and one of its own begins in that folder where the
            newest checkpoint stands, or the one that is named, `RUN_DIR/checkpoints/step_000050.pt`.
        overrides: options that are to differ from now on, as for `train`.
        **options: the same by name.

    Returns:
        The run, read back from its folder.

    Raises:
        ConfigError: for a folder that holds no run that can go on, and for a wrong option; nothing is changed then.
        RunFailed: as `train`.
        KeyboardInterrupt: as `train`.
    """
    from prefrl_cli.config.overrides import Typed
    from prefrl_cli.run.earlier.going_on import going_on
    from prefrl_cli.run.lifecycle import go_on

    found = going_on(Typed.of([f"resume={os.fspath(path)}", *_typed(overrides, options)]))
    return _ended(go_on(found), found.new or found.folder, found.config.run.allow_targets)


@in_turn(TRAINING)
def train_sweep(
    overrides: Sequence[str] = (),
    /,
    *,
    jobs: int | None = None,
    config_dir: str | os.PathLike[str] | None = None,
    **options: Any,
) -> list[LoadedRun]:
    """Train a run for each combination of values, as `prefrl-train -m` does; called again, it goes on.

    Args:
        overrides: as for `train`, with several values such as `"seed=0,1"`; `hydra/launcher=` and the like may be
            among them.
        jobs: so many at once, each in a process; none runs one after another in this one.
        config_dir: as for `train`.
        **options: the same by name; a list holds the values of an option.

    Returns:
        The runs, those that failed among them; a job that left none is a warning.

    Raises:
        ConfigError: for a wrong option of any job, before one begins; its notes name each.
        KeyboardInterrupt: on Ctrl-C, once the runs that were training have written a checkpoint.
    """
    from prefrl_cli.config.compose import one_line_errors
    from prefrl_cli.config.hydra_compat import apart
    from prefrl_cli.config.overrides import Typed
    from prefrl_cli.sweep.start import run, sweep_of

    how = [] if jobs is None else ["hydra/launcher=processes", f"hydra.launcher.jobs={jobs}"]
    typed = Typed.of(["-m", *_own(config_dir), *_typed(overrides, options, several=True), *how])
    with apart(), one_line_errors(typed):
        found = sweep_of(typed)
        run(typed, found)
    made = []
    allowed = re.findall(r"[\w.]+", typed.value("allow_targets") or "")
    for name, why in [(job.name, job.reason) for job in found.jobs.values()]:
        if read_status(found.path / name):
            made.append(load(found.path / name, allow_targets=allowed))
        elif not found.path.exists():
            raise ConfigError(str(why))
        else:
            warnings.warn(f"{shown(name)}: left no run ({shown(why)})", stacklevel=2)
    return made


def _own(config_dir: str | os.PathLike[str] | None) -> list[str]:
    return [] if config_dir is None else [f"--config-dir={typed_path(os.fspath(config_dir)).absolute()}"]


def _typed(overrides: Sequence[str], options: Mapping[str, Any], *, several: bool = False) -> list[str]:
    """What would be typed; refuses what only the command takes."""
    from prefrl_cli.config.messages import check_in_python

    texts = [overrides] if isinstance(overrides, str) else list(overrides)
    texts += [text for name, value in options.items() for text in as_overrides(name, value, several=several)]
    for text in texts:
        check_in_python(text, several=several)
    return texts


def _ended(status: str, folder: Path, allow_targets: Sequence[str]) -> LoadedRun:
    if status != "finished":
        raise RunFailed(folder, str(read_status(folder).get("reason")))
    return load(folder, allow_targets=allow_targets)


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


class LoadedRun(RecordedRun):
    """A run as it stood when it was loaded: what it recorded, and what it has learned."""

    def __init__(self, record: Record, allow_targets: Sequence[str] = ()) -> None:
        super().__init__(record)
        self._allow_targets = list(allow_targets)

    @cached_property
    @in_turn(ASKING)
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
        columns = {} if found is None else {**found[0].tensors(), "there": found[1]}
        return {name: values.cpu().numpy() for name, values in columns.items()}

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

    @in_turn(ASKING)
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
        episodes = check_value("episodes", Option(Items, 10, True), plain(episodes))
        drawn = check_value("random_seed", Option(Seed | None, None, True), plain(random_seed))
        streams = algorithm.streams if drawn is None else make("streams/philox", seeds=[drawn] * len(self.seeds))
        return play(algorithm, policy, episodes, streams, greedy=greedy)

    @cached_property
    def _learned(self) -> Learned:
        from prefrl_cli.run.earlier.learned import learned

        stored = {**stored_config(self.path), "allow_targets": self._allow_targets, "device": "cpu"}
        return learned(self.path, stored, stored)

    def _seed(self, seed: int | None) -> int:
        failed = self._learned.failed
        living = [one for one in self.seeds if one not in failed]
        chosen = living[0] if seed is None and living else plain(seed)
        if chosen in failed:
            raise ConfigError(f"seed={chosen}: failed in training; choose one of {show(living)}")
        if chosen not in self.seeds:
            raise ConfigError(f"seed={show(chosen)}: the run has no such seed; choose one of {show(living)}")
        return int(chosen)
