"""Runs pooled into configurations: what differs only in its seeds is one, and what differs is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from prefrl_cli.core.metric import Metric
from prefrl_cli.report.metrics import Table
from prefrl_cli.report.runs import Run
from prefrl_cli.run.directory import as_class
from prefrl_cli.run.earlier.results import metric_of
from prefrl_cli.stats.aggregates import mean

# These change no result: which seeds, where the files go, how fast.
_NOT_RESULTS = (
    *(
        "seed",
        "num_seeds",
        "output_dir",
        "output",
        "quiet",
        "charts",
        "threads",
        "workers",
        "device",
        "resume",
        "allow_targets",
        "preferences.save",
    ),
    "logger",
)
_NOT_RESULT_GROUPS = ("checkpoint.", "logger.")
_CHOICE, _TARGET = ".choice", "._target_"
_MOST_DIFFERENCES = 2  # that are told of two runs of one seed


class Curve(NamedTuple):
    """A metric as training goes: `steps` `[N]` and `values` `[N, R]`, NaN for no value."""

    steps: np.ndarray
    values: np.ndarray


@dataclass
class Configuration:
    """The runs of one configuration.

    Attributes:
        name: its number on the page, such as `1`.
        experiment: of all its runs.
        options: those that change results.
        runs: finished ones first read first.
        seeds: of finished runs, and of those in which every seed failed, each once; R of them.
        scores: metric -> `[R]` final values.
        metrics: what each metric is, of training and of an evaluation.
        failed: those of the seeds that failed while they trained.
        unfinished: seeds of runs that did not finish and that no finished run has.
        repeated: what was left out because its seeds were there already, a line each.
        differing: how many of these have other results than the same seeds had before.
    """

    name: str
    experiment: str
    options: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    unfinished: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    differing: int = 0
    _taken: list[tuple[Run, list[int]]] = field(default_factory=list)

    def pool(self) -> None:
        """Put the seeds side by side whose end is known; a seed that failed is one, alone or among others.

        Of a seed that is there twice the run counts that was started first.
        """
        known = [run for run in self.runs if run.status == "finished" or (run.status == "failed" and run.failed)]
        for run in sorted(known, key=lambda run: (run.status != "finished", run.started)):
            places = [place for place, seed in enumerate(run.seeds) if seed not in self.seeds]
            if len(places) < len(run.seeds):
                again = [seed for seed in run.seeds if seed in self.seeds]
                differs = self._differences(run)
                self.differing += bool(differs)
                told = f"; the results differ: {differs}" if differs else ""
                self.repeated.append(
                    f"{seed_text(again)} of {run.path}: an earlier run has them, so these are left out{told}"
                )
            self.seeds += [run.seeds[place] for place in places]
            self._taken.append((run, places))
            self.failed += [run.seeds[place] for place in places if run.seeds[place] in run.failed]
        for run, _ in reversed(self._taken):  # the first one's word counts
            self.metrics |= run.metrics
        names = list(dict.fromkeys(name for run, _ in self._taken for name in run.scores))
        for name in names:
            nothing = metric_of(name, self.metrics)
            parts = [run.scores.get(name, _nothing(run, nothing))[places] for run, places in self._taken]
            self.scores[name] = np.concatenate(parts)
        started = {seed for run in self.runs if run.status != "finished" for seed in run.seeds}
        self.unfinished = sorted(started - set(self.seeds))

    def _differences(self, run: Run) -> str:
        """Where a run has not the results that runs before it have of the same seeds: the first few, in words."""
        found = []
        for first, places in self._taken:
            shared = [(place, run.seeds.index(seed)) for place in places if (seed := first.seeds[place]) in run.seeds]
            ours, theirs = map(list, zip(*shared, strict=True)) if shared else ([], [])
            for name in {**first.scores, **run.scores} if shared else ():
                none = np.full(len(run.seeds) + len(first.seeds), np.nan)
                one, other = first.scores.get(name, none)[ours], run.scores.get(name, none)[theirs]
                wrong = np.flatnonzero(~((one == other) | (np.isnan(one) & np.isnan(other))))
                if len(wrong):
                    at = wrong[0]
                    more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
                    seed = first.seeds[ours[at]]
                    found.append(
                        f"{name} of seed {seed}{more}: {one[at]:.6g}, here {other[at]:.6g}, first in {first.path}"
                    )
            if shared and not found:
                tables = ((first.table, run.table), (first.evaluations, run.evaluations))
                found += [
                    f"{said}, though not in the end, first in {first.path}"
                    for before, now in tables
                    if before is not None and now is not None
                    for said in _parted(before, now, ours, theirs)
                ]
        more = f"; and {len(found) - _MOST_DIFFERENCES} more" if len(found) > _MOST_DIFFERENCES else ""
        return "; ".join(found[:_MOST_DIFFERENCES]) + more

    def _tables(self, evaluations: bool) -> list[tuple[Table, list[int]]]:
        found = [(run.evaluations if evaluations else run.table, places) for run, places in self._taken]
        return [(table, places) for table, places in found if table is not None and places]

    def curve_names(self, *, evaluations: bool = False) -> list[str]:
        """The metrics of training, or of evaluations, that have curves."""
        return list(dict.fromkeys(name for table, _ in self._tables(evaluations) for name in table.columns))

    def curve(self, name: str, *, evaluations: bool = False) -> Curve | None:
        """A metric over all seeds, at the steps where one has a value and that all the runs share."""
        tables = self._tables(evaluations)
        if not tables or any(name not in table.columns for table, _ in tables):
            return None
        steps = tables[0][0].steps
        for table, _ in tables[1:]:
            steps = np.intersect1d(steps, table.steps)
        if not len(steps):
            return None
        parts = [table.columns[name][np.searchsorted(table.steps, steps)][:, places] for table, places in tables]
        values = np.concatenate(parts, 1)
        there = ~np.isnan(values).all(1)
        return Curve(steps[there], values[there]) if there.any() else None

    @property
    def axis(self) -> str | None:
        """The metric that curves are drawn over, where it has one; else they are drawn over steps."""
        names = self.curve_names()
        return next((name for name in names if metric_of(name, self.metrics).role == "axis"), None)

    def along(self, axis: str | None, steps: np.ndarray) -> np.ndarray:
        """Steps `[N]` as places on an axis, the mean over the seeds; none leaves them as they are."""
        curve = None if axis is None else self.curve(axis)
        if curve is None:
            return steps
        return np.asarray(np.interp(steps, np.append(0.0, curve.steps), np.append(0.0, mean(curve.values))))


def _nothing(run: Run, metric: Metric) -> np.ndarray:
    """A metric that a run has not: of one in which every seed failed, success is known all the same."""
    empty = np.full(len(run.seeds), np.nan)
    return metric.counted(empty, np.full(len(run.seeds), run.status == "failed"))


def _parted(first: Table, second: Table, ours: list[int], theirs: list[int]) -> list[str]:
    """The metrics of which the same seeds have other values in two runs, and from which step on."""
    steps, mine, its = np.intersect1d(first.steps, second.steps, return_indices=True)
    found = []
    for name in (name for name in first.columns if name in second.columns):
        one, other = first.columns[name][mine][:, ours], second.columns[name][its][:, theirs]
        wrong = np.flatnonzero(~((one == other) | (np.isnan(one) & np.isnan(other))).all(1))
        if len(wrong):
            found.append(f"{name} from step {steps[wrong[0]]:.0f} on")
    return found


def configurations(runs: Sequence[Run]) -> list[Configuration]:
    """The runs pooled, in the order in which they were found; unreadable and missing ones are in none."""
    found: dict[tuple[Any, ...], Configuration] = {}
    for run in runs:
        if not run.options or run.status == "unreadable":
            continue
        options = {name: value for name, value in run.options.items() if _of_results(name)}
        # Changed on the way it is neither what it was nor what it became: it is pooled with its like.
        changes = [f"{name} {change}" for name, change in run.changes if _of_results(name) and name != "steps"]
        if changes:
            options["changed on the way"] = "; ".join(changes)[:400]
        key = tuple(sorted(as_class(name, value) for name, value in options.items()))
        if key not in found:
            found[key] = Configuration(str(len(found) + 1), run.experiment, options)
        found[key].runs.append(run)
    for configuration in found.values():
        configuration.pool()
    return list(found.values())


def _of_results(name: str) -> bool:
    """Whether an option may change results."""
    return name not in _NOT_RESULTS and not name.startswith(_NOT_RESULT_GROUPS)


def varying(several: Sequence[Configuration]) -> dict[str, list[str]]:
    """The options in which configurations differ.

    An option that follows from its group's choice, such as a weight that only one of two shapings has, is left out.

    Returns:
        Option -> a text a configuration, `-` where it has none.
    """
    names = list(dict.fromkeys(name for configuration in several for name in configuration.options))
    found = {}
    for name in names:
        values = [_text(name, configuration.options) for configuration in several]
        if len(set(values)) < 2:
            continue
        group = name.partition(".")[0]
        chosen = [_chosen(group, configuration.options) for configuration in several]
        follows = len(set(zip(chosen, values, strict=True))) == len(set(chosen))
        own = name in (f"{group}{_CHOICE}", f"{group}{_TARGET}")
        if not own and len(set(chosen)) > 1 and follows:
            continue
        found[group if own else name] = chosen if own else values
    return found


def _chosen(group: str, options: dict[str, Any]) -> str:
    """The choice of a group, or the name of the class that was typed."""
    return str(options.get(group + _CHOICE) or str(options.get(group + _TARGET, "-")).rpartition(".")[2])


def _text(name: str, options: dict[str, Any]) -> str:
    value = options.get(name, "-")
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def code_differences(runs: Sequence[Run]) -> tuple[list[str], list[dict[str, str]]]:
    """Which code and versions each run had, where they differ.

    Returns:
        For each run a letter, empty for an unreadable one; and for each letter what differs (`commit`, a package's
        name), the most frequent first. One letter alone means that all runs had the same.
    """
    records = [tuple(sorted(run.environment.items())) for run in runs if run.environment]
    order = [record for record, _ in Counter(records).most_common()]
    names = sorted({name for record in order for name, _ in record})
    differing = [name for name in names if len({dict(record).get(name) for record in order}) > 1]
    letters = {record: _letter(place) for place, record in enumerate(order)}
    marks = [letters[tuple(sorted(run.environment.items()))] if run.environment else "" for run in runs]
    return marks, [{name: dict(record).get(name, "-") for name in differing} for record in order]


def _letter(place: int) -> str:
    return _letter(place // 26 - 1) + chr(ord("A") + place % 26) if place > 25 else chr(ord("A") + place)


def seed_text(seeds: Sequence[int]) -> str:
    """`seed 3`, `seeds 0 to 7` or `seeds 0, 2, 5`."""
    ordered = sorted(seeds)
    if len(ordered) == 1:
        return f"seed {ordered[0]}"
    if ordered and ordered == list(range(ordered[0], ordered[0] + len(ordered))):
        return f"seeds {ordered[0]} to {ordered[-1]}"
    return f"seeds {', '.join(map(str, ordered[:12]))}{' and more' if len(ordered) > 12 else ''}"
