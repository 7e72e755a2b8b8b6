"""The charts of the experiments, as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.algorithm.metrics import OPRL_METRICS
from prefrl_cli.core.figures import Array, Curves, Figure, History, Line, Panel, moving_mean
from prefrl_cli.core.metric import Metric, by_name
from prefrl_cli.reward_model.reliability_figure import reliability_figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prefrl_cli.reward_model.quality import Predictions

_SUCCESS = by_name(OPRL_METRICS)["success"]
_SMOOTHED_EPISODES = 20  # as the tutorial's charts
_LOSS_NOTE = "Training loss: mean over 20 steps."


def oprl_figures(
    history: History,
    living: NDArray[np.bool_],
    goal_steps: Array,
    held_out: Predictions | None,
    episodes: int,
    result: Metric = _SUCCESS,
) -> dict[str, Figure]:
    """Charts of OPRL over all seeds.

    Args:
        history: training metrics `[N, R]`, a row an update, and `evaluation/<name>` `[N + 1, R]`, the first row before
            training; NaN where there is no value.
        living: the seeds that have not failed, `[R]`.
        goal_steps: mean steps of the successful episodes of an update, `[N, R]`; NaN where none was.
        held_out: what the model said at the last evaluation; none before the first.
        episodes: played by each seed an update.
        result: what counts, see `outcome`.

    Returns:
        Charts by file name: `training`, and `reliability` where it was measured.
    """
    charts: dict[str, Figure] = {"training": _training(history, goal_steps, episodes, result)}
    if held_out is not None:
        chances, labels, weights = held_out.arrays()
        charts |= reliability_figure(chances, labels, weights * living[:, None])
    return charts


def outcome(metrics: Sequence[Metric]) -> Metric:
    """What of each update is drawn as the result: the return where it is a headline, else the success."""
    known = by_name(metrics)
    return known["return" if "return_last" in known else "success"]


def median_seed(history: History, living: NDArray[np.bool_], result: Metric = _SUCCESS) -> int:
    """The living replica of median result over all episodes (of two the lower); the lowest index wins a tie."""
    success = history.get(result.name, np.zeros((0, len(living))))
    share = np.where(np.isnan(success), 0.0, success).sum(0)
    order = np.argsort(np.where(living, share, np.inf), kind="stable")  # those that failed come last
    return int(order[(int(living.sum()) - 1) // 2])


def seed_words(seed: int, living: NDArray[np.bool_], result: Metric = _SUCCESS) -> str:
    """Which seed is shown, and why this one."""
    number = int(living.sum())
    if number < 2:
        return f"seed {seed}"
    return f"seed {seed}, the median of {number} by {result.words}" + (
        " that did not fail" if number < len(living) else ""
    )


def _training(history: History, goal_steps: Array, episodes: int, result: Metric) -> Curves:
    window = max(1, -(-_SMOOTHED_EPISODES // episodes))
    success, of_success = history[result.name], result.name == "success"
    none = np.full_like(success, np.nan)
    played, axis = episodes * np.arange(len(success) + 1.0), "episodes"
    limits: tuple[float, float] | None = (-0.03, 1.05)
    title, unit = "Success", "share that reach the goal"
    if not of_success:
        played[1:] = np.maximum.accumulate(np.nan_to_num(np.fmax.reduce(history["env_steps"], 1)))
        axis = "environment steps"
        title, unit, limits = "Return", result.unit, None
    whole, share = (0.0, float(played[-1])), (-0.03, 1.05)

    def smooth(values: Array) -> tuple[Line]:
        return (Line(played[1:], values, style="smooth", window=window),)

    def evaluated(name: str) -> Array:
        return history.get(f"evaluation/{name}", np.full((len(played), success.shape[1]), np.nan))

    chance = Line(played[[0, -1]], np.full((2, 1), 0.5), "chance", "dashed")
    by_labels = _by_labels(moving_mean(success, window), history.get("labels_used", np.zeros_like(success)))
    scale: Literal["linear", "log"] = "log" if of_success else "linear"
    steps = np.where(np.isnan(success), np.nan, goal_steps)  # nothing of a seed that failed
    third = Panel("Way to the goal", axis, "steps, where reached", smooth(steps), x_range=whole)
    if not of_success:
        agreed = (Line(played, evaluated("reward_correlation")),)
        third = Panel("Learned and true reward", axis, "rank correlation", agreed, (-1.03, 1.03), x_range=whole)
    predicted = (Line(played, evaluated("preference_accuracy")), chance)
    panels = (
        Panel(title, axis, unit, smooth(success), limits, x_range=whole),
        Panel(f"{title} by labels used", "labels", unit, (by_labels,), limits, x_scale=scale),
        third,
        Panel("Reward model", axis, "loss (nats)", smooth(history.get("reward_loss", none)), x_range=whole),
        Panel("Preferences predicted", axis, "share of held-out pairs", predicted, share, x_range=whole),
    )
    others = "the preferences" if of_success else "what is evaluated"
    note = f"Means over {window * episodes} episodes, except for {others}."
    return Curves("Policy and reward model while training", panels, note, rows=(2, 3))


def _by_labels(success: Array, labels: Array) -> Line:
    """Success `[N, R]` when so many labels were used: of each seed, at its last update with no more than that."""
    most = float(np.nanmax(labels, initial=0.0))
    grid = np.unique(np.geomspace(1, most, 300).round()) if most >= 1 else np.ones(1)
    lines = np.full((len(grid), success.shape[1]), np.nan)
    for seed, (used, reached) in enumerate(zip(labels.T, success.T, strict=True)):
        there = ~np.isnan(reached)
        row = np.searchsorted(used[there], grid, side="right") - 1
        if most >= 1 and there.any():
            lines[row >= 0, seed] = reached[there][row[row >= 0]]
    return Line(grid, lines)


def reward_figures(
    history: History, before: dict[str, Array], after: dict[str, Array], loss_label: str, x_label: str
) -> dict[str, Figure]:
    """Charts of reward learning.

    Args:
        history: metric name -> `[N, R]`, a row a step; `evaluation/<name>` where a step was evaluated.
        before: what the model said before training: `states` [4, 2], `actions` [G], `curve` [R, 4, G], `true` and
            `predicted` [R, N], `answers` and `greedy` [R, M].
        after: the same after training.
        loss_label: what the training loss is, with its unit.
        x_label: what a step is.

    Returns:
        Charts by file name: `training`, `predictions`, `reward_curves`.
    """
    return {
        "training": Curves(
            "Reward learning while training", tuple(_reward_training(history, loss_label, x_label)), _LOSS_NOTE
        ),
        "predictions": Curves("Before and after training", _predictions(before, after)),
        "reward_curves": Curves("Learned reward along the action", _reward_curves(before, after)),
    }


def _reward_training(history: History, loss_label: str, x_label: str) -> list[Panel]:
    steps = np.arange(1, len(history["loss"]) + 1)
    panels = [Panel("Training loss", x_label, loss_label, (Line(steps, history["loss"], style="smooth"),))]
    if "theta_1" in history:
        lines = tuple(Line(steps, history[name], label) for name, label in (("theta_1", "θ₁"), ("theta_2", "θ₂")))
        panels.append(Panel("Weights of the linear reward", x_label, "weight", lines))
    for name, title, y_label, y_range in (
        ("preference_accuracy", "Preferences predicted", "share of held-out pairs", (0.0, 1.02)),
        ("answer_error", "Greedy answer", "mean distance from a + b", None),
        ("reward_error", "Reward", "mean distance from the true reward", None),
    ):
        values = history.get(f"evaluation/{name}")
        if values is not None:
            panels.append(Panel(title, x_label, y_label, (Line(np.arange(len(values)), values),), y_range))
    return panels


def _predictions(before: dict[str, Array], after: dict[str, Array]) -> tuple[Panel, ...]:
    reward = [Line(some["true"].T, some["predicted"].T, label, "points") for some, label in _named(before, after)]
    answer = [Line(some["answers"].T, some["greedy"].T, label, "points") for some, label in _named(before, after)]
    return (
        Panel("Predicted against true reward", "true reward", "predicted reward", (*reward, _diagonal(after["true"]))),
        Panel(
            "Greedy action against answer",
            "right answer a + b",
            "greedy action",
            (*answer, _diagonal(after["answers"])),
        ),
    )


def _named(before: dict[str, Array], after: dict[str, Array]) -> tuple[tuple[dict[str, Array], str], ...]:
    return (before, "before training"), (after, "after training")


def _diagonal(values: Array) -> Line:
    ends = np.array([values.min(), values.max()])
    return Line(ends, ends[:, None], "equal", "dashed")


def _reward_curves(before: dict[str, Array], after: dict[str, Array]) -> tuple[Panel, ...]:
    panels = []
    for number, (first, second) in enumerate(after["states"].astype(int)):
        lines = tuple(Line(some["actions"], some["curve"][:, number].T, label) for some, label in _named(before, after))
        panels.append(
            Panel(
                f"{first} + {second}",
                "action",
                "learned reward",
                lines,
                marks=(float(first + second),),
                mark_label="right answer",
            )
        )
    return tuple(panels)
