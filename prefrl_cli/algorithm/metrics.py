"""What the numbers of our algorithms are, declared without torch for those who read the records of earlier versions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from prefrl_cli.core.metric import Metric, by_name, from_declaration

EVALUATION = "evaluation/"  # before the name of an evaluation's metric, where it stands beside those of training

_PREFERENCES = Metric(
    "preference_accuracy",
    "share of held-out pairs",
    "higher",
    label="preferences predicted",
    low=0.0,
    high=1.0,
    note="Share of pairs kept out of training, of which the criterion or a file says which is better, that the reward"
    " model gets right.",
)

OPRL_METRICS = (
    Metric("episodes", "episodes", low=0.0, role="axis", note="Played so far, without those of greedy_episode_every."),
    Metric("env_steps", "steps", label="environment steps", low=0.0, role="cost", note="Of these episodes."),
    Metric("return", "reward of an episode", "higher"),
    Metric("success", "share of episodes", "higher", headline=True, low=0.0, high=1.0, failed=0.0),
    Metric("steps", "steps", "lower", low=0.0),
    Metric("reward_loss", "nats", "lower"),
    Metric("labels_used", "labels", label="labels used", low=0.0, role="cost"),
    Metric(
        "success_mean",
        "share of episodes",
        "higher",
        headline=True,
        label="success over all episodes",
        low=0.0,
        high=1.0,
        failed=0.0,
    ),
    Metric(
        "success_last",
        "share of episodes",
        "higher",
        label="success over the last tenth",
        low=0.0,
        high=1.0,
        failed=0.0,
    ),
    Metric(
        "solved",
        "share of seeds",
        "higher",
        low=0.0,
        high=1.0,
        failed=0.0,
        binary=True,
        role="verdict",
        note="Solved: success of at least 0.9 over the last tenth of the episodes. The environment says what one is.",
    ),
    Metric("greedy_success", "share of seeds", "higher", low=0.0, high=1.0, failed=0.0, binary=True),
    Metric("greedy_steps", "steps", "lower", low=0.0),
    _PREFERENCES,
    Metric(
        "calibration_error",
        "probability",
        "lower",
        low=0.0,
        high=1.0,
        note="Not 0 for a model that knows every probability either; charts/reliability.png says how near it can come.",
    ),
    Metric(  # without a direction: it ranks explicit rewards, and nobody must rank an implicit one by it
        "epic_distance",
        label="EPIC distance",
        low=0.0,
        high=1.0,
        note="Compare explicit rewards only: on 8 x 8 exact advantages score 0.66 to 0.70, random rewards 0.71.",
    ),
    Metric("distance_correlation", "rank correlation", "higher", low=-1.0, high=1.0),
)

REWARD_METRICS = (
    Metric(**{**_PREFERENCES.declaration(), "name": _PREFERENCES.name, "headline": True}),
    Metric("answer_error", "distance from a + b", "lower", low=0.0),
    Metric("evaluation_mse", "squared distance from a + b", "lower", low=0.0),
    Metric("reward_error", "distance from the true reward", "lower", low=0.0),
    Metric("loss", "loss of a batch", "lower"),
    Metric("theta_1", note="First weight of the linear reward."),
    Metric("theta_2", note="Second weight of the linear reward."),
)

FILE_METRICS = (
    REWARD_METRICS[0],
    *(
        metric
        for metric in OPRL_METRICS
        if metric.name in ("calibration_error", "epic_distance", "distance_correlation")
    ),
    Metric("held_out_loss", "nats", "lower", low=0.0, note="Bradley and Terry's, of answers kept out of training."),
    Metric(
        "return_correlation",
        "rank correlation",
        "higher",
        low=-1.0,
        high=1.0,
        note="Between learned and true returns of segments kept out of training.",
    ),
    Metric("reward_correlation", "rank correlation", "higher", low=-1.0, high=1.0, note="Learned and true reward."),
    Metric("loss", "nats", "lower"),
)


def oprl_metrics(horizon: int, return_range: tuple[float, float] | None) -> tuple[Metric, ...]:
    """What OPRL measures.

    Args:
        horizon: the most steps of an episode.
        return_range: the least and the greatest return of an episode, where returns tell more than success does: the
            mean return of the last tenth of the updates comes first then. None where they do not.
    """
    counts = ("steps", "greedy_steps")
    known = tuple(replace(one, high=float(horizon)) if one.name in counts else one for one in OPRL_METRICS)
    if return_range is None:
        return known
    low, high = (value if math.isfinite(value) else None for value in return_range)

    def metric(name: str, label: str, **more: Any) -> Metric:
        return Metric(name, "reward of an episode", "higher", label=label, low=low, high=high, failed=low, **more)

    returns = (
        metric("return_last", "return over the last tenth", headline=True),
        metric("return_mean", "return over all episodes"),
        metric("return", "return"),
        metric("greedy_return", "return of a greedy episode"),
        Metric("reward_correlation", "rank correlation", "higher", low=-1.0, high=1.0, note="Learned and true reward."),
    )
    others = (replace(one, headline=False) for one in known if one.name != "return")
    return (*returns, *others)


_NEW_NAMES = {"label_accuracy": "preference_accuracy"}  # one quantity had two names
_OF_OLD_RUNS = by_name((*OPRL_METRICS, *REWARD_METRICS))


def axis_of_old_runs(options: Mapping[str, Any]) -> tuple[str, int] | None:
    """What curves of a run are drawn over whose record does not hold it: its name, and how much of it a step is.

    Args:
        options: dotted name -> value.
    """
    number = options.get("algorithm.episodes")
    return ("episodes", number) if type(number) is int and number > 0 else None


def current_name(name: str) -> str:
    """The name that a metric of an earlier version's record has now."""
    return _NEW_NAMES.get(name, name)


def in_order(names: Iterable[str]) -> list[str]:
    """Names of an earlier version's record in the order of their declaration, the headline first."""
    places = {name: place for place, name in enumerate(_OF_OLD_RUNS)}
    return sorted(names, key=lambda name: places.get(name, len(places)))


def recorded(name: str, given: Mapping[str, Any]) -> Metric:
    """The metric of that name in a record: as it is declared there or, in an earlier version's, as it was meant.

    Args:
        name: as it is now, see `current_name`.
        given: what the record says of it; see `from_declaration`.
    """
    return from_declaration(name, given, None if "direction" in given else _OF_OLD_RUNS.get(name))
