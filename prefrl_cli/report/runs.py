"""Run directories as data: found at any depth, read without trusting them, and never written to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from prefrl_cli.core.metric import Metric
from prefrl_cli.files.lock import LOCK, is_held
from prefrl_cli.files.read import UnreadableError, read_json
from prefrl_cli.report.metrics import Table, read_metrics
from prefrl_cli.run.directory import TABLE, recorded_options
from prefrl_cli.run.earlier.results import axis_of_old_runs, declared, last_row, listed, metric_of
from prefrl_cli.run.provenance import changed_on_the_way

_MARKS = ("status.json", "config.yaml", "metrics.csv", "summary.json")
_SET_ASIDE = ".failed"  # where a sweep keeps failed tries of jobs that it ran again
_MOST_SEEDS = 100_000
_OPTION_DIFFERS = "config differs: "
STATUSES = ("finished", "running", "failed", "interrupted")


@dataclass
class Run:
    """One run directory.

    Attributes:
        path: the folder.
        status: one of `STATUSES`, `missing` for a sweep's job without a run, `linked` for a link that is not followed,
            or `unreadable`. A run that calls itself running though no process holds its lock is interrupted.
        reason: why it is not finished, in a line.
        step: updates done; of a run that calls itself running, the last that its table holds.
        experiment: its name.
        options: dotted name -> value of the resolved configuration.
        seeds: R of them.
        failed: seeds that failed while they trained, each with its reason; of a failed run all of them, or none where
            it failed otherwise.
        ends: of seeds that have failed, the step from which on they have no row.
        scores: final evaluation, metric -> `[R]`, NaN where a seed has no value, a failed seed being without success;
            of finished runs only.
        metrics: what each of its metrics is, of training and of an evaluation.
        table: what `metrics.csv` holds, of finished runs only.
        evaluations: what `evaluation.csv` holds, likewise.
        changes: the options that were changed on the way, `(name, "0.1 -> 0.2 at step 50")` each.
        environment: commit and versions, name -> text, and what of these and of the options changed on the way.
        seconds: of training.
        answers: what its summary says of a person's answers, unchecked; empty where no person taught.
        started: when, in UTC; nothing where its record does not say.
    """

    path: Path
    status: str
    reason: str = ""
    step: int = 0
    experiment: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    table: Table | None = None
    evaluations: Table | None = None
    changes: list[tuple[str, str]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None
    answers: dict[str, Any] = field(default_factory=dict)
    started: str = ""

    def metric(self, name: str) -> Metric:
        """What a metric is, as the run says, or as it was meant by a version whose record does not say it."""
        return metric_of(name, self.metrics)


def load(paths: Iterable[Path]) -> list[Run]:
    """Every run at or below the paths, each once, and every job of a sweep that has no run.

    What cannot be read comes back too, as `unreadable` with the reason, and so does a link to a folder elsewhere.
    """
    tops = list(paths)
    found: dict[str, dict[Path, Path]] = {"run": {}, "sweep": {}, "link": {}}  # by what they really are
    for top in tops:
        for folder, kind in _walk(top):
            found[kind].setdefault(folder.resolve(), folder)
    # Shown in a terminal only, and when it takes more than a second.
    bar = tqdm(found["run"].values(), desc="reading", unit="run", delay=1, leave=False, disable=None)
    runs = [read_run(folder) for folder in bar]
    for sweep in found["sweep"].values():
        runs += missing_jobs(sweep)
    inside = [top.resolve() for top in tops]
    for real, link in found["link"].items():
        if not any(real.is_relative_to(top) for top in inside):  # else it is found by its own name
            runs.append(Run(link, "linked", "a link out of the folder is not followed; type its own path beside it"))
    return runs


def _walk(top: Path) -> Iterator[tuple[Path, str]]:
    """Runs, sweeps and links to folders, in the order of their names; links are not followed."""
    unlisted: list[OSError] = []
    for folder, inside, files in os.walk(top, onerror=unlisted.append):
        inside.sort()
        if TABLE in files:
            yield Path(folder), "sweep"
        if any(name in files or name in inside for name in _MARKS):
            if TABLE not in files:
                inside.clear()
            yield Path(folder), "run"
        for name in inside:
            if os.path.islink(path := os.path.join(folder, name)):
                yield Path(path), "link"
    for problem in unlisted:  # a folder that may not be opened might hold a run
        yield Path(problem.filename), "run"


def read_run(folder: Path) -> Run:
    """A run directory; `unreadable` with the reason where it cannot be used."""
    run = Run(folder, "unreadable")
    try:
        _read(run)
    except UnreadableError as problem:
        run.status, run.reason = "unreadable", str(problem)
    except Exception as problem:  # promised: a folder made by someone else never ends the report
        run.status, run.reason = "unreadable", f"{type(problem).__name__}: {' '.join(str(problem).split())[:200]}"
    return run


def _read(run: Run) -> None:
    status = read_json(run.path, "status.json")
    if status.get("status") not in STATUSES:
        raise UnreadableError("status.json: no status")
    options = recorded_options(run.path)
    run.experiment = str(options.get("experiment") or "")
    if not run.experiment:
        raise UnreadableError("config.yaml names no experiment")
    run.options = options
    run.seeds = _configured_seeds(options)
    run.environment = _environment(run.path)
    started = str(status.get("started"))
    run.started = started if re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}Z", started) else ""
    run.changes = _changes(run.path)
    run.step = status["step"] if isinstance(status.get("step"), int) else 0
    run.reason = " ".join(str(status.get("reason") or "").split())[:400]
    run.ends = _failed_seeds(run, status)
    if status["status"] == "finished":
        _read_results(run, run.ends)
    run.status = status["status"]
    if run.status == "running":
        run.step = max(run.step, last_row(run.path))  # its record is written when it begins and when it ends
        held = is_held(run.path / LOCK)
        run.reason = "still running" if held else "still running, or killed"
        if held is False:
            run.status, run.reason = "interrupted", "was killed: it calls itself running and no process holds its lock"
    if run.path.parent.name == _SET_ASIDE:
        run.reason = f"an earlier try: {run.reason}"


def _configured_seeds(options: dict[str, Any]) -> list[int]:
    first, number = options.get("seed"), options.get("num_seeds")
    if not isinstance(first, int) or not isinstance(number, int) or not 0 < number <= _MOST_SEEDS:
        raise UnreadableError("config.yaml: no seed and num_seeds")
    return list(range(first, first + number))


def _failed_seeds(run: Run, status: dict[str, Any]) -> dict[int, int]:
    """The steps at which seeds failed; their reasons become the run's."""
    ends = {}
    found = status.get("failed_seeds")
    for name, one in found.items() if isinstance(found, dict) else ():
        step, seed = (
            one.get("step") if isinstance(one, dict) else None,
            next((s for s in run.seeds if str(s) == name), None),
        )
        if type(step) is not int or seed is None:
            raise UnreadableError("status.json: failed_seeds are not seeds of config.yaml, each with a step")
        ends[seed] = step + bool(one.get("evaluated"))  # that step itself was sound
        run.failed[seed] = f"step {step}: {' '.join(str(one.get('reason')).split())[:200]}"
    if status["status"] != "finished" and len(ends) < len(run.seeds):
        run.failed = {}  # what the others come to is not known
    return ends


def _read_results(run: Run, ends: dict[int, int]) -> None:
    summary = read_json(run.path, "summary.json")
    metrics = declared(summary.get("metrics"))
    if summary.get("seeds") != run.seeds or not isinstance(summary.get("metrics"), dict):
        raise UnreadableError("summary.json: its seeds are not those of config.yaml")
    if len(metrics) < len(summary["metrics"]):
        raise UnreadableError("summary.json: a metric has not a value a seed, or two have one name")
    failed = np.array([seed in ends for seed in run.seeds], dtype=bool)
    trained = {name: metric for name, (metric, _) in declared(summary.get("training_metrics")).items()}
    run.metrics = trained | {name: metric for name, (metric, _) in metrics.items()}
    for name, (metric, values) in metrics.items():
        per_seed = values.get("per_seed")
        if not isinstance(per_seed, list) or len(per_seed) != len(run.seeds):
            raise UnreadableError(f"summary.json: {name} has not a value a seed")
        if not all(value is None or isinstance(value, int | float) for value in per_seed):
            raise UnreadableError(f"summary.json: {name} holds what is not a number")
        scores = np.array([np.nan if value is None else value for value in per_seed], np.float64)
        run.scores[name] = metric.counted(scores, failed)
    run.seconds = summary["train_seconds"] if isinstance(summary.get("train_seconds"), int | float) else None
    run.answers = summary["answers"] if isinstance(summary.get("answers"), dict) else {}
    run.table, run.evaluations = read_metrics(run.path, run.seeds, run.metrics, ends)
    _add_axis(run.table, run.options, len(run.seeds))
    names = (*run.table.columns, *run.evaluations.columns)
    run.metrics |= {name: metric_of(name, run.metrics) for name in names}


def _add_axis(table: Table, options: dict[str, Any], seeds: int) -> None:
    """Put in what curves are drawn over where a run, or its beginning, is of a version that did not write it."""
    axis = axis_of_old_runs(options)
    if axis is None:
        return
    name, number = axis
    empty = np.full((len(table.steps), seeds), np.nan)
    found = table.columns.get(name, empty)
    table.columns[name] = np.where(np.isnan(found), table.steps[:, None] * number, found)


def _environment(folder: Path) -> dict[str, str]:
    """Commit and versions; a record that cannot be read is a difference too."""
    try:
        content = read_json(folder, "environment.json")
    except UnreadableError as problem:
        return {"record": str(problem)}
    git = content.get("git")
    found = {"commit": "none"}
    if isinstance(git, dict):
        found["commit"] = str(git.get("commit"))[:12] + ("+changes" if git.get("dirty") else "")
    found["python"] = str(content.get("python"))[:40]
    packages = content.get("packages")
    if isinstance(packages, dict):
        found |= {str(name)[:40]: str(version)[:40] for name, version in list(packages.items())[:200]}
    # It is neither what it was before nor what it was afterwards.
    if changes := dict.fromkeys(line for _, line in changed_on_the_way(content)):
        found["changed on the way"] = "; ".join(changes)[:400]
    return found


def _changes(folder: Path) -> list[tuple[str, str]]:
    """The options that a run was given anew when it was resumed or branched from another one."""
    try:
        content = read_json(folder, "environment.json")
    except UnreadableError:
        return []
    found = []
    for step, line in changed_on_the_way(content):
        name, _, change = line.removeprefix(_OPTION_DIFFERS).partition(" ")
        if line.startswith(_OPTION_DIFFERS):
            found.append((name, f"{change} at step {step if type(step) is int else '?'}"))
    return found[:50]


def missing_jobs(sweep: Path) -> list[Run]:
    """The jobs that a sweep's `sweep.csv` lists, a row each with its folder's name, and that left no run."""
    try:
        jobs, wrong = listed(sweep)
    except UnreadableError as problem:
        return [Run(sweep / TABLE, "unreadable", str(problem))]
    missing = [Run(sweep / TABLE, "missing", line) for line in wrong]  # what it names is not looked at
    for name, row in jobs.items():
        path = sweep / name
        said = " ".join(f"{row.get('status', '')} {row.get('reason', '')}".split())
        try:
            there = any((path / mark).exists() for mark in _MARKS)
        except OSError as problem:  # a folder that may not be opened
            there, said = False, f"{said} ({problem.strerror})"
        if not there:
            missing.append(Run(path, "missing", f"no run; {TABLE} says: {said[:400]}"))
    return missing
