"""How good the answers of the runs are that people taught, as their summaries have it: read without trusting them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from prefrl_cli.report.runs import Run
from prefrl_cli.stats.summary import NOTHING, Estimate

_MOST_RATERS = 100  # that a run names


class Rater(NamedTuple):
    """What one person did in a run.

    Attributes:
        run: the run.
        name: of the person.
        answers: how many stand.
        left: the share of left among left and right.
        equal, cannot_tell: shares of all answers.
        seconds: of an answer, the median; NaN where it is not known.
        drift: the median of the second half over that of the first; the same.
    """

    run: Run
    name: str
    answers: int
    left: Estimate
    equal: Estimate
    cannot_tell: Estimate
    seconds: float
    drift: float


class Agreement(NamedTuple):
    """How often answers of a run agree, each time with the number of answers that were compared.

    Attributes:
        run: the run.
        undone: answers that were taken back.
        own, asked_twice: of one person who was asked the same again.
        error_rate: the chance of a wrong answer that this comes to.
        others, asked_both: of two people.
        kappa: their agreement beyond chance; NaN where that is not defined.
        model, guessed: of the model, before it had learned from the answer.
    """

    run: Run
    undone: int
    own: Estimate
    asked_twice: int
    error_rate: float
    others: Estimate
    asked_both: int
    kappa: float
    model: Estimate
    guessed: int


def raters(runs: Iterable[Run]) -> list[Rater]:
    """Everybody who answered in a run."""
    found = []
    for run in runs:
        for name, one in list(_mapping(run.answers.get("raters")).items())[:_MOST_RATERS]:
            habits = _mapping(one)
            left, equal, cannot_tell = (_share(habits, kind) for kind in ("left", "equal", "cannot_tell"))
            seconds, drift = _number(habits.get("seconds")), _number(habits.get("drift"))
            found.append(Rater(run, str(name), _count(habits.get("answers")), left, equal, cannot_tell, seconds, drift))
    return found


def agreements(runs: Iterable[Run]) -> list[Agreement]:
    """What is known of the answers of each run that somebody answered in."""
    found = []
    for run in runs:
        if _mapping(run.answers.get("raters")):
            names = ("self_agreement", "between_raters", "model")
            own, others, model = (_mapping(run.answers.get(name)) for name in names)
            shares = [_share(run.answers, name) for name in names]
            numbers = [_count(one.get("number")) for one in (own, others, model)]
            found.append(
                Agreement(
                    run=run,
                    undone=_count(run.answers.get("undone")),
                    own=shares[0],
                    asked_twice=numbers[0],
                    error_rate=_number(own.get("error_rate")),
                    others=shares[1],
                    asked_both=numbers[1],
                    kappa=_number(others.get("kappa")),
                    model=shares[2],
                    guessed=numbers[2],
                )
            )
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: Any) -> float:
    return float(value) if type(value) in (int, float) and abs(value) < 1e12 else math.nan


def _count(value: Any) -> int:
    return value if type(value) is int and 0 <= value < 10**12 else 0


def _share(of: Mapping[str, Any], name: str) -> Estimate:
    """A share with its interval; nothing where these are no numbers in order."""
    given = _mapping(of.get(name))
    ends = given.get("ci95")
    if not isinstance(ends, list) or len(ends) != 2:
        return NOTHING
    found = Estimate(*map(_number, (given.get("value"), *ends)))
    return found if 0 <= found.low <= found.value <= found.high <= 1 else NOTHING
