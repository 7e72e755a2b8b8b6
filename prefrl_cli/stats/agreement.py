"""How reliable a person's answers are: agreement with oneself and with others, habits, and the time that they take."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from prefrl_cli.stats.intervals import share_interval

LATELY = 20  # answers by which it is told how it stands now


class Answer(Protocol):
    """What a rater did; see `prefrl_cli.preference.answers.events.Event`."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def number(self) -> int: ...  # noqa: D102
    @property
    def label(self) -> float: ...  # noqa: D102
    @property
    def repeats(self) -> bool: ...  # noqa: D102
    @property
    def rater(self) -> str: ...  # noqa: D102
    @property
    def seconds(self) -> float | None: ...  # noqa: D102
    @property
    def undone(self) -> bool: ...  # noqa: D102
    @property
    def guess(self) -> float | None: ...  # noqa: D102


def share(successes: int, number: int) -> dict[str, Any]:
    """A share with its 95 % interval: `value`, `ci95` (see `share_interval`) and `number`; None where that is 0."""
    if not number:
        return {"value": None, "ci95": [None, None], "number": 0}
    return {"value": successes / number, "ci95": list(share_interval(successes, number)), "number": number}


def agreement(pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """How often two answers to the same question, labels each, are the same; see `share`."""
    return share(sum(first == second for first, second in pairs), len(pairs))


def kappa(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Agreement beyond what chance would give (Cohen 1960): 1 is perfect, 0 is chance; None where that is not defined.

    Args:
        pairs: what two raters answered to each of some questions.
    """
    if not pairs:
        return None
    seen = sum(first == second for first, second in pairs) / len(pairs)
    mine, theirs = (Counter(answers) for answers in zip(*pairs, strict=True))
    chance = sum(mine[answer] * theirs[answer] for answer in mine) / len(pairs) ** 2
    return None if chance == 1 else (seen - chance) / (1 - chance)


def error_rate(agreement: float | None) -> float | None:
    """The chance e of a flipped answer of a rater who agrees with himself so often.

    Two answers agree when both are right or both are flipped: (1 - e)^2 + e^2. Where they agree less often than coins
    do, e is 0.5; errors that repeat themselves, such as a wrong idea of the task, cannot be seen so.
    """
    return None if agreement is None else 0.5 * (1 - math.sqrt(max(0.0, 2 * agreement - 1)))


def drift(seconds: Sequence[float]) -> float | None:
    """How the time of an answer changed: the median of the second half over that of the first; None below ten."""
    if len(seconds) < 10:
        return None
    first, second = (float(np.median(part)) for part in np.array_split(np.asarray(seconds), 2))
    return second / first if first > 0 else None


def habits(kinds: Sequence[str], seconds: Sequence[float | None]) -> Mapping[str, Any]:
    """What a rater does, whatever the questions are.

    Args:
        kinds: `left`, `right`, `equal` or `cannot_tell`, in order.
        seconds: that each took, where that is known.

    Returns:
        `answers`, their number; `left`, the share of left among left and right, which is half of one who has no
        favourite side; `equal` and `cannot_tell`, their shares of all; `seconds`, the median; `drift`, see there.
    """
    count, known = Counter(kinds), [one for one in seconds if one is not None]
    return {
        "answers": len(kinds),
        "left": share(count["left"], count["left"] + count["right"]),
        "equal": share(count["equal"], len(kinds)),
        "cannot_tell": share(count["cannot_tell"], len(kinds)),
        "seconds": float(np.median(known)) if known else None,
        "drift": drift(known),
    }


def guessed(answers: Sequence[Answer]) -> dict[str, Any]:
    """How often a model had guessed the side that an answer says, before it learned from that answer.

    Each guess is older than the answer, so that no answer has to be held out of training. Answers that say no side, and
    guesses of one half, do not count.

    Args:
        answers: in order.

    Returns:
        A `share`, and `last`, that of the newest ones.
    """
    told = [one for one in answers if one.label != 0.5 and one.guess is not None and one.guess != 0.5]
    right = [((one.guess or 0.0) > 0.5) == (one.label > 0.5) for one in told]
    last = right[-LATELY:]
    return {**share(sum(right), len(right)), "last": share(sum(last), len(last))}


def reliability(done: Sequence[Answer]) -> dict[str, Any]:
    """How good the answers are that stand, of each rater and together.

    Args:
        done: all that was done, in order; an undo, and that this is all, are no answers.

    Returns:
        `answers` that stand and `undone`, those that were taken back; `raters`, the habits of each by name;
        `self_agreement` with its `error_rate`, where the same rater was asked twice; `between_raters`, agreement and
        kappa where two were asked; `model`, how often it had guessed an answer, see `guessed`.
    """
    given = [one for one in done if one.kind not in ("undo", "done")]
    stand = [one for one in given if not one.undone]
    told = [one for one in stand if one.kind != "cannot_tell"]
    first = {(one.seed, one.number): one for one in told if not one.repeats}
    pairs = [(first[one.seed, one.number], one) for one in told if one.repeats and (one.seed, one.number) in first]
    own = agreement([(one.label, again.label) for one, again in pairs if one.rater == again.rater])
    others = [(one.label, again.label) for one, again in pairs if one.rater != again.rater]
    raters = dict.fromkeys(one.rater for one in stand)
    return {
        "answers": len(stand),
        "undone": len(given) - len(stand),
        "raters": {
            name: habits(*zip(*[(one.kind, one.seconds) for one in stand if one.rater == name], strict=True))
            for name in raters
        },
        "self_agreement": {**own, "error_rate": error_rate(own["value"])},
        "between_raters": {**agreement(others), "kappa": kappa(others)},
        "model": guessed([one for one in told if not one.repeats]),
    }
