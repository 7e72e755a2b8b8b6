"""`--check`: what would run, how much memory and about how long; everything is built, and nothing is written."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from prefrl_cli.config import trust
from prefrl_cli.config.build import build, memory_needed
from prefrl_cli.config.compose import call_hydra, configuration, hydra_main
from prefrl_cli.config.memory import available as free_memory
from prefrl_cli.config.memory import in_words
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed, option
from prefrl_cli.core.option_types import ConfigError, show
from prefrl_cli.files.standard_streams import answer
from prefrl_cli.files.texts import quoted
from prefrl_cli.run.directory import in_the_way
from prefrl_cli.run.progress import clock
from prefrl_cli.run.training import ready
from prefrl_cli.run.workers.number import available, number_of_workers
from prefrl_cli.sweep.hparams_search import check_search, is_search
from prefrl_cli.sweep.launcher import check_launcher
from prefrl_cli.sweep.progress import job_words, tell
from prefrl_cli.sweep.record import job_name

_STEPS = 3  # that are timed; the first also takes what torch does once
_ENOUGH = 20.0  # seconds for the timing of all jobs; those after it are built only


def check(typed: Typed) -> int:
    """Say what would run.

    Args:
        typed: as for a run, or with `-m` for a sweep.

    Returns:
        0, or 2 where some jobs of a sweep have a wrong option.

    Raises:
        ConfigError: for a wrong option of a single run, or of every job.
    """
    return _sweep(typed) if typed.flags.multirun else call_hydra(typed, lambda config, _: _run(config))


def _run(config: Configuration) -> int:
    run = config.run
    place = Path(run.output_dir or f"outputs/{run.experiment}/<time>")
    if run.output_dir is not None and place.exists() and (wrong := in_the_way(place)) is not None:
        raise ConfigError(wrong)
    step, whole = _timed(config)
    parts = " ".join(f"{group}={choice}" for group, choice in config.choices.items())
    for name, text in (
        ("experiment", run.experiment),
        ("parts", parts),
        ("seeds", _seeds(config)),
        ("steps", f"{run.steps}, a checkpoint every {run.checkpoint.every or run.steps}"),
        ("folder", place),
        ("memory", f"about {in_words(memory_needed(config))} of the {in_words(free_memory())} that are free"),
        ("time", f"about {clock(whole)}, {step:.2g} s a step, as {_STEPS} steps took here; charts not counted"),
    ):
        answer(f"{name:<12}{text}")
    answer("check: it can run; nothing was written")
    return 0


def _seeds(config: Configuration) -> str:
    seeds = config.run.seeds
    named = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds, {seeds[0]} to {seeds[-1]}"
    number = number_of_workers(config.run)
    return named if number == 1 else f"{named}, in {number} workers"


def _timed(config: Configuration) -> tuple[float, float]:
    """Seconds of a step and of the whole run, told from its first steps; of several workers the largest share's."""
    algorithm, _ = ready(config)
    number = number_of_workers(config.run)
    if number > 1:
        algorithm = build(config.with_run(num_seeds=-(-config.run.num_seeds // number), workers=1))
    began = time.perf_counter()
    algorithm.evaluate()
    evaluation = time.perf_counter() - began
    steps = []
    for _ in range(min(_STEPS, config.run.steps)):
        before = time.perf_counter()
        algorithm.update()
        steps.append(time.perf_counter() - before)
    turns = max(1.0, number / available())  # of workers that share a processor
    step = turns * min(steps)  # what else runs here makes one longer, never shorter
    every = config.run.evaluation.every
    evaluations = 2 + (config.run.steps // every if every else 0)
    return step, step * config.run.steps + turns * evaluation * evaluations


class _Enough(Exception):
    """The first trials of a search stand for all."""


class _Checking(Launcher):
    """A launcher that says what each job would be.

    Args:
        config: of the sweep.
        loader: Hydra's.
        typed: by the person.
    """

    def __init__(self, config: DictConfig, loader: Any, typed: Typed) -> None:
        self._config, self._loader, self._typed = config, loader, typed
        self._several = any(option(text) == "experiment" and "," in text for text in typed.overrides)
        self._times: dict[str, float] = {}
        self._spent = self.seconds = 0.0
        self.jobs = 0
        self.refused: dict[str, list[str]] = {}

    def setup(self, **_: Any) -> None:
        """Nothing: nothing is launched."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Say what each job would be.

        Args:
            job_overrides: a list a job.
            initial_job_idx: the number of the first.
        """
        for overrides in job_overrides:
            config = self._loader.load_sweep_config(self._config, list(overrides))
            name = job_name(list(config.hydra.overrides.task), with_experiment=self._several)
            self.jobs += 1
            try:
                trust.check_allowed(config, self._typed)
                answer(f"job {name}: {self._line(configuration(config))}")
            except (ConfigError, OmegaConfBaseException) as problem:
                self.refused.setdefault(str(problem), []).append(name)
        if is_search(self._config):
            raise _Enough
        done = [JobReturn(overrides=overrides, status=JobStatus.COMPLETED) for overrides in job_overrides]
        for one in done:
            one.return_value = None
        return done

    def _line(self, config: Configuration) -> str:
        alike = repr({**config.options, "seed": None, "output_dir": None})
        if alike not in self._times and self._spent < _ENOUGH:
            began = time.perf_counter()
            self._times[alike] = _timed(config)[1]
            self._spent += time.perf_counter() - began
        elif alike not in self._times:
            ready(config)
        self.seconds += self._times.get(alike, 0.0)
        lasts = f"about {clock(self._times[alike])}" if alike in self._times else "time not measured"
        return f"{_seeds(config)}, {config.run.steps} steps, about {in_words(memory_needed(config))}, {lasts}"


def _sweep(typed: Typed) -> int:
    made: list[_Checking] = []

    def launcher(self: Plugins, hydra_context: Any, task_function: Any, config: DictConfig) -> Launcher:
        check_launcher(config)
        check_search(config, configuration)
        made.append(_Checking(config, hydra_context.config_loader, typed))
        return made[-1]

    with (
        tempfile.TemporaryDirectory() as elsewhere,  # Hydra's sweeper writes a file of its own
        patch.object(Plugins, "instantiate_launcher", launcher),
        _without_more_trials(),
    ):
        hydra_main(
            typed.with_overrides([*typed.overrides, f"hydra.sweep.dir={quoted(elsewhere)}"]), lambda config: None
        )
    (checking,) = made
    search = " of the first trials" if is_search(checking._config) else ""
    for problem, names in checking.refused.items():
        if len(names) == checking.jobs:
            raise ConfigError(problem)
        tell(f"{job_words(names)}: {problem}")
    if checking.refused:
        number = sum(map(len, checking.refused.values()))
        tell(f"check: {number} of {checking.jobs} jobs{search} cannot run; nothing was written")
        return 2
    place = typed.value("output_dir") or f"outputs/{show(typed.value('experiment') or '')}/sweeps/<time>"
    answer(
        f"check: {checking.jobs} jobs{search} can run, about {clock(checking.seconds)} one after another,"
        f" in {place}; nothing was written"
    )
    return 0


@contextlib.contextmanager
def _without_more_trials() -> Iterator[None]:
    with contextlib.suppress(_Enough):
        yield
