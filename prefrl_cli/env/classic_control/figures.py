"""What was learned of classic control, as figures for the charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from prefrl_cli.core.environment import Discrete
from prefrl_cli.core.figures import Array, Figure, Film, Films, Learned, MapPanel, Maps, Question

if TYPE_CHECKING:
    from prefrl_cli.env.classic_control.control import Control

_SIDE = 61  # places along each side of a map
_QUESTIONS = 3  # of training that are shown


def control_figures(task: Control, learned: Learned) -> dict[str, Figure]:
    """Pictures of what one seed learned.

    Args:
        task: where.
        learned: with states as they are observed.

    Returns:
        Charts by file name: `episode`, `reward_map` where a reward of states was learned, and `questions` where some
        were asked; none of a seed whose numbers are no longer finite.
    """
    seed = learned.seed[:1].upper() + learned.seed[1:]
    if not np.isfinite(learned.states).all():
        return {}
    charts: dict[str, Figure] = {"episode": Films(seed, (Film("", task.frames(_without_rest(learned.states))),))}
    if learned.reward_of is not None:
        figure = _reward_map(task, learned, seed)
        if np.isfinite(figure.panels[0].values).all():
            charts["reward_map"] = figure
    if learned.questions:
        shown = np.linspace(0, len(learned.questions) - 1, _QUESTIONS).round().astype(int)
        films = [film for number in np.unique(shown) for film in _pair(task, learned.questions[number])]
        note = (
            "Framed: what the teacher prefers; both where they tie. Model: the chance that it gave before the answer."
        )
        charts["questions"] = Films(f"Which is better? {seed}", tuple(films), columns=2, note=note)
    return charts


def _without_rest(states: Array) -> Array:
    """Observed states without those at the end that repeat one state, but for the first."""
    moving = np.flatnonzero((states[1:] != states[:-1]).any(1))
    return states[: int(moving[-1]) + 2] if len(moving) else states[:1]


def _pair(task: Control, question: Question) -> tuple[Film, Film]:
    """Both parts of a question."""
    films = []
    for side, (chance, label) in enumerate(
        ((question.chance, question.label), (1 - question.chance, 1 - question.label))
    ):
        frames = task.frames(question.states[side, : int(question.lengths[side])])
        films.append(Film(f"Update {question.update}, model: {100 * chance:.0f} %", frames, framed=label >= 0.5))
    return films[0], films[1]


def _reward_map(task: Control, learned: Learned, seed: str) -> Maps:
    """Learned and true reward over the task's plane, all other numbers of the state being zero."""
    assert learned.reward_of is not None
    plane = task.plane
    x, y = (_middles(*limits) for limits in (plane.x_range, plane.y_range))
    states = np.zeros((_SIDE * _SIDE, len(task.start)))
    states[:, plane.x], states[:, plane.y] = np.tile(x, _SIDE), np.repeat(y, _SIDE)
    seen, space = task.observe(states), task.action_space
    if isinstance(space, Discrete):
        actions = [np.full(len(states), number) for number in range(space.n)]
        words = "the mean over the actions"
    else:
        actions, words = [np.zeros((len(states), *space.shape), dtype=np.float32)], "without a push"
    rewards = [np.mean([learned.reward_of(seen, action) for action in actions], 0)]
    rewards.append(np.mean([task.step(states, action)[1] for action in actions], 0))
    titles = ("Learned reward", "True reward")
    path = task.unobserve(learned.states)[:, [plane.x, plane.y]]
    jumps = np.flatnonzero((np.abs(np.diff(path, axis=0)) > np.ptp([plane.x_range, plane.y_range], 1) / 2).any(1)) + 1
    return Maps(
        title=f"The reward learned from {learned.labels:,} labels. {seed}",
        panels=tuple(
            MapPanel(title, reward.reshape(_SIDE, _SIDE), "reward of a step")
            for title, reward in zip(titles, rewards, strict=True)
        ),
        x_label=plane.x_label,
        y_label=plane.y_label,
        x_range=plane.x_range,
        y_range=plane.y_range,
        path=np.insert(path, jumps, np.nan, axis=0),  # an angle that goes on from pi at -pi
        note=f"Reward: {words}{plane.rest}; a learned one has no unit, and only its differences count."
        " Line: the greedy episode, from the white dot to the full one.",
    )


def _middles(first: float, last: float) -> Array:
    """The middles of equal parts of a range."""
    return first + (last - first) * (np.arange(_SIDE) + 0.5) / _SIDE
