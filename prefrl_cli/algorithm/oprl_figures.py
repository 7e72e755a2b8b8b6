"""The charts of OPRL, as plain data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.algorithm.reliability_figure import reliability_figure
from prefrl_cli.charts.figures import Array, Curves, Figure, History, Line, Panel
from prefrl_cli.core.environment import FiniteEnvironment

_SMOOTHED_EPISODES = 20  # as the tutorial's charts


def figures(
    history: History,
    *,
    held_out: tuple[Array, Array, Array] | None,
    living: NDArray[np.bool_],
    episodes: int,
    goal_reward: float,
    seeds: list[int],
    env: FiniteEnvironment,
    process_reward: Array,
    policy: Array,
    visited: NDArray[np.integer],
    lengths: NDArray[np.integer],
    last: NDArray[np.integer],
) -> dict[str, Figure]:
    """Charts of OPRL.

    Args:
        history: training metrics `[N, R]`, a row an update, and `evaluation/<name>` `[N + 1, R]`, the first row before
            training; NaN where there is no value.
        held_out: chances, labels and weights `[R, K]` of pairs to predict, see `reliability_figure`; none before the
            first evaluation.
        living: the seeds that have not failed, `[R]`.
        episodes: played by each seed an update.
        goal_reward: the largest return.
        seeds: the R seeds, for titles.
        env: draws what was learned in it.
        process_reward: `[R, S]`, learned.
        policy: `[R, S, A]`, chance of each action.
        visited: `[R, T]`, the state before each step of a greedy episode; past its end it is not read.
        lengths: `[R]`, steps of that episode.
        last: `[R]`, the state in which it ended.

    Returns:
        Charts by file name: `training`, `label_accuracy` and `reliability` where they were measured, and the
        environment's own pictures of the seed in the middle by success of all that have not failed.
    """
    chosen = median_seed(history, living)
    states = np.append(visited[chosen, : lengths[chosen]], last[chosen])
    title = f"Seed {seeds[chosen]}{_rank(living)}"
    charts: dict[str, Figure] = {"training": _training(history, episodes, goal_reward)}
    accuracy = history.get("evaluation/label_accuracy")
    if accuracy is not None and not np.isnan(accuracy).all():
        charts["label_accuracy"] = _label_accuracy(accuracy, episodes)
    if held_out is not None:
        charts |= reliability_figure(*held_out)
    return charts | dict(env.figures(title, states, process_reward[chosen], policy[chosen]))


def median_seed(history: History, living: NDArray[np.bool_]) -> int:
    """The living replica whose success over all episodes is the median; of two the lower, of equals the first."""
    success = history.get("success", np.zeros((0, len(living))))
    share = np.where(np.isnan(success), 0.0, success).sum(0)
    order = np.argsort(np.where(living, share, np.inf), kind="stable")  # those that failed come last
    return int(order[(int(living.sum()) - 1) // 2])


def _rank(living: NDArray[np.bool_]) -> str:
    number = int(living.sum())
    if number < 2:
        return ""
    return f", the median of {number} by success" + (" that did not fail" if number < len(living) else "")


def _training(history: History, episodes: int, goal_reward: float) -> Curves:
    window = max(1, -(-_SMOOTHED_EPISODES // episodes))
    panels = []
    for name, title, y_label, y_range in (
        ("return", "Return", "reward of an episode", (-0.03 * goal_reward, 1.05 * goal_reward)),
        ("success", "Success rate", "share of episodes", (-0.03, 1.05)),
        ("reward_loss", "Reward model", "cross-entropy loss (nats)", None),
        ("policy_loss", "Policy", "loss", None),
    ):
        values = history.get(name, np.full_like(history["return"], np.nan))
        line = Line(episodes * np.arange(1, len(values) + 1), values, style="smooth", window=window)
        panels.append(Panel(title, "episode", y_label, (line,), y_range, x_range=(0.0, float(line.x[-1]))))
    shown = f"mean over {window * episodes} episodes"
    note = f"Solid: {shown}; faint: every {'episode' if episodes == 1 else f'{episodes} episodes'}."
    return Curves("OPRL training", tuple(panels), note if window > 1 else f"Each point: {shown}.")


def _label_accuracy(accuracy: Array, episodes: int) -> Curves:
    played = episodes * np.arange(len(accuracy))
    chance = Line(played[[0, -1]], np.full((2, 1), 0.5), "chance", "dashed")
    line = Line(played, accuracy, "reward model")
    panel = Panel("", "episode", "share of held-out pairs predicted", (line, chance), (-0.03, 1.05))
    return Curves("Preferences that the reward model predicts", (panel,))
