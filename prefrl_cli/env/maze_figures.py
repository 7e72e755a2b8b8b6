"""What was learned in a maze, as figures for the charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.core.figures import Array, Figure, Learned, MazeAnimation, MazePanel, Mazes, Question

if TYPE_CHECKING:
    from prefrl_cli.env.maze import Maze

_MOMENTS = 4  # of training that are shown
_REWARD = "learned reward {}\n(log-odds of being preferred)"


def maze_figures(maze: Maze, learned: Learned) -> dict[str, Figure]:
    """The maze with what one seed learned in it.

    Args:
        maze: where.
        learned: in the maze's states and actions.

    Returns:
        Charts by file name: `maze`, `episode`, `reward_over_time`, and `questions` where some were asked.
    """
    size, path = maze.size, _cells(maze, learned.states)
    where: dict[str, Any] = {
        "walls": maze.walls,
        "start": divmod(maze.start, size),
        "goal": divmod(maze.goal, size),
    }
    rewards = {update: _over_cells(maze, table) for update, table in learned.rewards.items()}
    by_action = next(iter(rewards.values())).shape[-1] > 1
    label = _REWARD.format("of a move" if by_action else "of being in a cell")
    now = next(reversed(rewards))
    policy = learned.policy.reshape(size, size, -1)
    charts: dict[str, Figure] = {
        "maze": Mazes(
            title=f"What was learned in a maze of {size} × {size} cells",
            panels=(
                MazePanel("The policy", _went(maze, path), path, policy),
                MazePanel("The reward model", _means(by_action), rewards=rewards[now]),
            ),
            columns=2,
            reward_label=label,
            words=_solved(learned),
            note=(
                f"The reward model learned from {learned.labels:,} answers to: which of these two paths is better?",
                "S: start. G: goal. Dark: walls. Line: the greedy path. Arrows: moves, the darker the likelier.",
            ),
            **where,
        ),
        "episode": MazeAnimation(title=_capital(learned.seed), path=path, **where),
    }
    shown = list(rewards)[-_MOMENTS:]
    charts["reward_over_time"] = Mazes(
        title="The learned reward over time",
        panels=tuple(
            MazePanel(f"After update {update}", _range(rewards[update]), rewards=rewards[update]) for update in shown
        ),
        columns=len(shown),
        reward_label=label,
        words=f"{_capital(learned.seed)}.",
        note=(f"{_capital(_means(by_action))}. The colours mean the same in all pictures.",),
        **where,
    )
    if learned.questions:
        charts["questions"] = _questions(maze, learned, where)
    return charts


def _questions(maze: Maze, learned: Learned, where: dict[str, Any]) -> Mazes:
    last = len(learned.questions) - 1
    shown = np.unique(np.linspace(0, last, _MOMENTS).round().astype(int))
    panels = [panel for number in shown for panel in _pair(maze, learned.questions[number])]
    return Mazes(
        title="Which of two paths is better? Questions, answers, and what the model expected",
        panels=tuple(panels),
        columns=4 if len(panels) > 2 else 2,
        words=f"{_capital(learned.seed)}.",
        grouped=2,
        note=(
            "Framed: the path that the teacher prefers; both where they tie.",
            "Model: how likely it was to the reward model, before it learned the answer, that this path is preferred.",
        ),
        **where,
    )


def _pair(maze: Maze, question: Question) -> tuple[MazePanel, MazePanel]:
    """Both paths of a question."""
    panels = []
    for side, (chance, label) in enumerate(
        ((question.chance, question.label), (1 - question.chance, 1 - question.label))
    ):
        length = int(question.lengths[side])
        states, actions = question.states[side, :length], question.actions[side, :length]
        path = _cells(maze, np.append(states, maze.transitions[states[-1], actions[-1]]))
        answer = "preferred" if label > 0.5 else "a tie" if label == 0.5 else "not preferred"
        reached = path[-1].tolist() == list(divmod(maze.goal, maze.size))
        words = f"model: {100 * chance:.0f} %; {length} steps, {'to the goal' if reached else 'no goal'}"
        title = f"Update {question.update}, path {'AB'[side]}: {answer}"
        panels.append(MazePanel(title, words, path, framed=label >= 0.5))
    return panels[0], panels[1]


def _cells(maze: Maze, states: NDArray[np.integer]) -> NDArray[np.integer]:
    """Rows and columns `[K, 2]` of states."""
    return np.stack(np.divmod(states, maze.size), 1)


def _over_cells(maze: Maze, table: Array) -> Array:
    """Rewards `[S, A]` as `[n, n, A]`, NaN on walls and on the goal, which is never left: nothing is learned there."""
    rewards = table.reshape(maze.size, maze.size, -1).astype(np.float64)
    rewards[maze.walls] = np.nan
    rewards[divmod(maze.goal, maze.size)] = np.nan
    return rewards


def _went(maze: Maze, path: NDArray[np.integer]) -> str:
    steps, shortest = len(path) - 1, int(maze.distance[maze.start])
    if path[-1].tolist() != list(divmod(maze.goal, maze.size)):
        return f"greedy path: goal not reached in {steps} steps"
    compared = "no path is shorter" if steps == shortest else f"the shortest has {shortest}"
    return f"greedy path: {steps} steps to the goal; {compared}"


def _means(by_action: bool) -> str:
    if by_action:
        return "each triangle: the reward of the move that way, the darker the better"
    return "each cell: the reward of being in it, the darker the better"


def _range(rewards: Array) -> str:
    """From where to where the rewards go, or that nothing was learned."""
    there = rewards[np.isfinite(rewards)]
    if not len(there) or np.ptp(there) < 1e-6:
        return "the same for all: nothing learned yet"
    return f"from {there.min():.2g} to {there.max():.2g}".replace("-", "−")


def _solved(learned: Learned) -> str:
    number = len(learned.success)
    if not number:
        return f"{_capital(learned.seed)}."
    last = learned.success[-max(1, number // 10) :]
    return (
        f"{_capital(learned.seed)}: {100 * learned.success.mean():.0f} % of its {number:,} episodes reached the goal,"
        f" {100 * last.mean():.0f} % of the last {len(last)}."
    )


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
