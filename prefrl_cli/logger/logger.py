"""What follows a run beside `metrics.csv`: every step's metrics, of each seed and their median, where a person watches.

A tracker is a convenience. One that fails, or does not answer for a minute, is told once and left out; it cannot print,
ask or end the run.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np

from prefrl_cli.files.standard_streams import hushed

_PATIENCE = 60.0  # seconds

LEFT_OUT = "failed and is left out from here on"


class Tracker(Protocol):
    """What follows a run.

    Attributes:
        extra: the extra of our package that brings what the tracker needs, as in `pip install 'prefrl[extra]'`.
        needs: the modules that must be there.
        per_seed: whether it is given each seed's values, or only the median.
    """

    extra: ClassVar[str]
    needs: ClassVar[Sequence[str]]
    per_seed: bool

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the metrics of a step that have a value, named `<metric>/median` and `<metric>/seed_<seed>`."""

    def close(self) -> None:
        """Write out what is still kept."""


class Trackers:
    """The trackers of a run, made when the first step is logged, or by `open`.

    Args:
        seeds: R seeds.
        makers: a name and what makes the tracker.
        warn: told once for each tracker that fails, in one line.
    """

    def __init__(
        self,
        seeds: Sequence[int] = (),
        makers: Mapping[str, Callable[[], Tracker]] | None = None,
        warn: Callable[[str], None] = print,
    ) -> None:
        self._seeds, self._warn = seeds, warn
        self._makers = dict(makers or {})
        self._open: dict[str, Tracker] = {}
        self._workers: dict[str, _Worker] = {}

    def open(self) -> None:
        """Make those that are not made yet, which may take seconds."""
        for name in list(self._makers):
            with self._contained(name):
                self._open[name] = self._call(name, self._makers.pop(name))

    def log(
        self, step: int, metrics: Mapping[str, np.ndarray], counted: Mapping[str, np.ndarray] | None = None
    ) -> None:
        """Pass on the metrics of a step, `[R]` each; medians are of `counted`, where failed seeds count."""
        self.open()
        for name, tracker in list(self._open.items()):
            with self._contained(name):
                points = dict(_points(metrics, counted or metrics, self._seeds if tracker.per_seed else ()))
                self._call(name, partial(tracker.log, step, points))

    def __enter__(self) -> Trackers:
        """The trackers themselves."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close every tracker."""
        for name, tracker in list(self._open.items()):
            with self._contained(name):
                self._call(name, tracker.close)
        self._open.clear()

    def _call(self, name: str, what: Callable[[], Any]) -> Any:
        """What a tracker answers, in a thread of its own; nothing that it says or asks reaches a person."""
        worker = self._workers.setdefault(name, _Worker())
        with hushed():
            return worker.call(what)

    @contextlib.contextmanager
    def _contained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as problem:  # whatever it raises: its makers' code, a network, a full disk
            self._open.pop(name, None)
            reason = " ".join(f"{type(problem).__name__}: {problem}".split())[:200]
            self._warn(f"logger={name} {LEFT_OUT} ({reason}); metrics.csv has everything")


class _Worker:
    """A thread in which one tracker does everything, so that one that hangs can be left behind."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def call(self, what: Callable[[], Any]) -> Any:
        """What it returns or raises; TimeoutError when that takes too long."""
        self._asked.put(what)
        try:
            result, problem = self._answers.get(timeout=_PATIENCE)
        except queue.Empty:
            raise TimeoutError(f"no answer for {_PATIENCE:g} s") from None
        if problem is not None:
            raise problem
        return result

    def _work(self) -> None:
        while True:
            what = self._asked.get()
            try:
                self._answers.put((what(), None))
            except BaseException as problem:
                self._answers.put((None, problem))


def _points(
    metrics: Mapping[str, np.ndarray], counted: Mapping[str, np.ndarray], seeds: Sequence[int]
) -> Iterator[tuple[str, float]]:
    """Each metric's median over the seeds that have a value, and the value of each of `seeds` that has one."""
    for name, values in metrics.items():
        present = counted[name][~np.isnan(counted[name])]
        if len(present):
            yield f"{name}/median", float(np.median(present))
        for seed, value in zip(seeds, values, strict=False):
            if value == value:
                yield f"{name}/seed_{seed}", float(value)
