"""Between Hydra's sweeper and its launcher: which jobs are still to be done, and what became of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unittest.mock import patch

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from prefrl_cli.config import messages
from prefrl_cli.config.build import as_line, build, check_objective, prepare_loggers
from prefrl_cli.config.messages import cause
from prefrl_cli.config.options import check, signature
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.run.workers.number import available
from prefrl_cli.sweep import hparams_search
from prefrl_cli.sweep.hparams_search import NO_OBJECTIVE, Compose, check_search, is_search
from prefrl_cli.sweep.processes import DIED, Processes
from prefrl_cli.sweep.progress import job_words, tell
from prefrl_cli.sweep.results import Job, Jobs, Standing

_ELSEWHERE = "the launcher lost sight of it; it may still be waiting or running there: type the command again later"


class SweepLauncher(Launcher):
    """Launches, through another launcher, the jobs that are not finished.

    Args:
        inner: the launcher that was chosen.
        sweep: the jobs.
        compose: from what Hydra composed of a job to its configuration.
        loader: Hydra's, which composes a job.
        config: of the whole sweep.
        alone: whether a job with a wrong option leaves the others, as in a search, whose trials are not known before.
    """

    def __init__(
        self, inner: Launcher, sweep: Jobs, compose: Compose, loader: Any, config: DictConfig, *, alone: bool
    ) -> None:
        self._inner, self._sweep, self._compose, self._loader, self._config = inner, sweep, compose, loader, config
        self._alone = alone
        self._prepared: set[str] = set()
        self._told: set[str] = set()

    def setup(self, **_: Any) -> None:
        """Nothing: `inner` is set up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch; a job's value is what a search goes by, none for a job that did not end.

        Args:
            job_overrides: a list a job.
            initial_job_idx: the number of the first.

        Raises:
            ConfigError: for a wrong option, where no job begins because of it; a sweep that had that job before
                goes on without it.
        """
        jobs, objectives, to_do, refused = list[Job](), [], {}, dict[str, list[Job]]()
        for overrides in job_overrides:
            config = self._loader.load_sweep_config(self._config, list(overrides))
            job = self._sweep.job(list(config.hydra.overrides.task))
            jobs.append(job)
            objectives.append(config.get("objective"))
            if self._sweep.standing(job).status == "finished" or job.name in to_do:
                continue
            if (problem := self._problem(job, config)) is None:
                to_do[job.name] = (job, overrides)
            else:
                refused.setdefault(problem, []).append(job)
        if not self._alone and any(job.name not in self._sweep.jobs for alike in refused.values() for job in alike):
            raise _wrong(refused, len(job_overrides))
        self._sweep.add(*jobs)
        self._sweep.expected = max(self._sweep.expected, len({job.name for job in jobs}))
        for problem, alike in refused.items():
            self._refuse(problem, *alike)
        for job, _ in to_do.values():
            self._prepare(job)
        for batch in self._batches(list(to_do.values())):
            self._run(batch, initial_job_idx)
        return [self._return(job, name) for job, name in zip(jobs, objectives, strict=True)]

    def _refuse(self, reason: str, *jobs: Job) -> None:
        """Tell what is wrong, once for all jobs with which it is."""
        self._sweep.refused = True
        for job in jobs:
            job.reason, job.told = reason, True
        tell(f"{job_words([job.name for job in jobs])}: {reason}")

    def _warn(self, warning: str) -> None:
        """Tell a tracker's failure, once for all jobs."""
        if (what := warning.partition(" (")[0]) not in self._told:
            self._told.add(what)
            tell(warning)

    def _prepare(self, job: Job) -> None:
        """Make the trackers' stores, each once, and tell which variables of the environment they follow."""
        assert job.config is not None
        loggers = repr(job.config.options.get("logger"))
        if loggers not in self._prepared:
            told = prepare_loggers(job.config, job.overrides)
            if told and not job.config.run.quiet:
                tell(as_line(told))
            self._prepared.add(loggers)

    def _problem(self, job: Job, config: DictConfig) -> str | None:
        """What is wrong with a job's options, found before any job begins; another machine may have its device."""
        try:
            job.config = self._compose(config)
            made = job.config.with_run(device="cpu")
            if is_search(self._config) and made.run.objective is None:
                return f"{NO_OBJECTIVE}; type objective=NAME"
            build(made)
            check_objective(made)
        except ConfigError as problem:
            return str(problem)
        return None

    def _batches(self, jobs: list[Any]) -> Iterator[list[Any]]:
        """All at once; as many as there are processors where a launcher would start every job together."""
        at_once = OmegaConf.select(self._config, "hydra.sweeper.max_batch_size") or len(jobs)
        if type(self._inner).__name__ == "LocalLauncher":
            at_once = min(at_once, available())
        for first in range(0, len(jobs), max(1, at_once)):
            yield jobs[first : first + at_once]

    def _run(self, jobs: list[Any], number: int) -> None:
        """Launch jobs; where one takes its worker and with it the others down, those are launched again."""
        if not jobs:
            return
        try:
            returns = self._inner.launch([list(overrides) for _, overrides in jobs], number)
        except Exception as problem:  # of the launcher: the jobs themselves never raise
            self._lost(jobs, number, problem)
            return
        for (job, _), done in zip(jobs, returns, strict=True):
            code, reason = done.return_value
            job.reason = reason if code else None
            if code == 2:
                self._refuse(reason or DIED, job)
            elif not code and reason:
                self._warn(reason)

    def _lost(self, jobs: list[Any], number: int, problem: Exception) -> None:
        states = [self._sweep.standing(job).status for job, _ in jobs]
        left = [(one, status) for one, status in zip(jobs, states, strict=True) if status not in ("finished", "failed")]
        began = [one for one, status in left if status == "running"]
        if type(problem).__name__ not in ("TerminatedWorkerError", "BrokenProcessPool"):
            chosen = self._config.hydra.runtime.choices["hydra/launcher"]
            for (job, _), _status in left:
                job.reason = (
                    f"{_ELSEWHERE} ({cause(problem)})"
                    if began
                    else f"hydra/launcher={chosen}: cannot start the jobs ({cause(problem)})"
                )
        elif len(jobs) == 1:
            jobs[0][0].reason = DIED
        else:
            alone = began or [one for one, _ in left]  # to find the one that dies
            for one in alone:
                self._run([one], number)
            self._run([one for one, _ in left if one not in alone], number)

    def _return(self, job: Job, objective: str | None) -> JobReturn:
        done = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
        done.return_value = None
        standing = self._sweep.standing(job)
        if objective is not None and standing.status == "finished":
            done.return_value = standing.metrics.get(objective)
            if standing.failed and (declared := standing.declared.get(objective)) and declared.failed is None:
                done.return_value = math.nan  # the mean over the other seeds would praise options that fail
            if done.return_value is None:
                reason = f"objective={objective}: it has no value at the end; choose one of {_known(standing)}"
                self._refuse(reason, job)
        return done


def _wrong(refused: Mapping[str, Sequence[Job]], number: int) -> ConfigError:
    """The error for jobs with wrong options; all but what ends it is told here."""
    wrong = sum(map(len, refused.values()))
    if wrong == number and len(refused) == 1:
        return ConfigError(next(iter(refused)))
    error = ConfigError(f"{wrong} of {number} jobs cannot run; none was begun, nothing was written")
    for problem, alike in refused.items():
        error.add_note(line := f"{job_words([job.name for job in alike])}: {problem}")  # for who calls from Python
        tell(line)
    return error


def _known(standing: Standing) -> str:
    return ", ".join(name for name, value in standing.metrics.items() if value is not None)


_OURS = f"{Processes.__module__}.{Processes.__qualname__}"


def check_launcher(config: DictConfig) -> None:
    """Refuse a launcher whose package is not installed, and an option of ours that it cannot take.

    Raises:
        ConfigError: with the command that installs it, or what to type.
    """
    target = str(config.hydra.launcher.get("_target_"))
    if target == _OURS:
        _ours(config)
    elif not target.startswith("hydra._internal.") and not messages.found(target):
        raise messages.not_installed(f"hydra/launcher={config.hydra.runtime.choices['hydra/launcher']}", target)


def _ours(config: DictConfig) -> Processes:
    """Our own launcher with the options that were typed."""
    options: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    given = {name: value for name, value in options.items() if name != "_target_"}
    return Processes(**check("hydra.launcher", signature(Processes), given))


class _Rows(Sweeper):
    """Gives jobs, each with overrides of its own, to the launcher.

    Args:
        rows: the overrides of each.
    """

    def __init__(self, rows: Sequence[Sequence[str]]) -> None:
        self._rows = rows

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take the launcher that was chosen."""
        self._launcher = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        """Run them all."""
        return self._launcher.launch(self._rows, 0)


@contextlib.contextmanager
def launching(sweep: Jobs, compose: Compose, rows: Sequence[Sequence[str]] | None = None) -> Iterator[None]:
    """Within it, Hydra's sweepers get a `SweepLauncher` around the launcher that was chosen.

    Args:
        sweep: whose jobs are run.
        compose: see `SweepLauncher`.
        rows: the overrides of each job, where no sweeper is to make them of what was typed.

    Raises:
        ConfigError: when the launcher's package is not installed.
    """
    original, original_sweeper = Plugins.instantiate_launcher, Plugins.instantiate_sweeper

    def with_search(self: Plugins, **given: Any) -> Sweeper:
        if rows is not None:
            listed = _Rows(rows)
            listed.setup(**given)
            return listed
        check_search(given["config"], compose)
        sweeper = original_sweeper(self, **given)
        if hasattr(sweeper, "max_batch_size"):  # every job is looked at before the first begins
            sweeper.max_batch_size = None
        search: Any = getattr(sweeper, "sweeper", None)
        if type(search).__name__ == "OptunaSweeperImpl":
            hparams_search.few_words()
            if not search.storage and not search.study_name:
                # Without a place to keep it, a search that is typed again would begin again.
                search.storage, search.study_name = f"sqlite:///{sweep.path.absolute()}/study.db", "search"
            if search.storage and search.study_name:
                sweep.expected = search.n_trials
                hparams_search.go_on_searching(search)
        return sweeper

    def ours(self: Plugins, hydra_context: Any, task_function: TaskFunction, config: DictConfig) -> Launcher:
        check_launcher(config)
        if config.hydra.launcher.get("_target_") == _OURS:
            inner: Launcher = _ours(config)
            inner.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        else:
            inner = original(self, hydra_context, task_function, config)
        alone = rows is not None or is_search(config)
        return SweepLauncher(inner, sweep, compose, hydra_context.config_loader, config, alone=alone)

    # On the class: Hydra sends the one instance to other processes.
    with (
        patch.object(Plugins, "instantiate_launcher", ours),
        patch.object(Plugins, "instantiate_sweeper", with_search),
    ):
        yield
