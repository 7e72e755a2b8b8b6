"""The charts of the addition experiments, as plain data."""

from __future__ import annotations

import numpy as np

from prefrl_cli.core.figures import Array, Curves, Figure, History, Line, Panel

_NOTE = "Training loss: mean over 20 steps."


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
        "training": Curves("Reward learning while training", tuple(_training(history, loss_label, x_label)), _NOTE),
        "predictions": Curves("Before and after training", _predictions(before, after)),
        "reward_curves": Curves("Learned reward along the action", _reward_curves(before, after)),
    }


def _training(history: History, loss_label: str, x_label: str) -> list[Panel]:
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
