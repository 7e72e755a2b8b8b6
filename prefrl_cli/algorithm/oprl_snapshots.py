"""What the charts of OPRL show of the time before now: the learned reward and some questions, at a few updates."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.charts.figures import Question
from prefrl_cli.core.environment import FiniteEnvironment
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.preference.questions import Model, margins

_QUESTIONS = 1  # kept at each of these updates


class RewardModel(Model, Protocol):
    """A reward model of an environment whose states are numbered."""

    def reward_table(self) -> Tensor:
        """The reward of each action in each state, `[R, S, A]`, or `[R, S, 1]` where the action does not matter."""


class Snapshots:
    """Rewards and questions at the updates 1, 2, 4, 8, ..., or the first after each at which there are some.

    When one is taken depends on what was taken before and on nothing else: a run that is stopped and resumed, or
    extended, has those of a run that never stopped. Tensors are kept, and nothing random is drawn.

    Args:
        env: gives the numbers of states and actions.
        replicas: R.
        steps: T, most steps of a path that is asked about.
    """

    def __init__(self, env: FiniteEnvironment, replicas: int, steps: int) -> None:
        self._replicas, self._states, many = replicas, env.num_states, (replicas, _QUESTIONS)
        self._fields = {
            "states": Field((*many, 2, steps), torch.int64, env.num_states),
            "actions": Field((*many, 2, steps), torch.int64, env.num_actions),
            "lengths": Field((*many, 2), torch.int64, steps + 1),
            "label": Field(many),
            "chance": Field(many),
        }
        self._rewards: dict[str, Tensor] = {}  # update -> [R, S, A]
        self._questions: dict[str, dict[str, Tensor]] = {}  # update -> [R, K, ...] each
        self._goal_steps = torch.zeros(replicas, 0)

    @torch.no_grad()
    def add_questions(self, update: int, answered: Store, reward_model: RewardModel) -> None:
        """Keep the newest questions, and how likely the model thinks each answer before it learns from it.

        Args:
            update: counted from 1.
            answered: the questions that are kept for learning.
            reward_model: before it learns from them.
        """
        count = answered.count
        if not _due(update, self._questions) or not len(count):
            return
        newest = count[:, None] - 1 - torch.arange(_QUESTIONS, device=count.device)
        kept = {name: value for name, value in answered.get(newest.clamp(min=0)).items() if name in self._fields}
        chance = logsigmoid(margins(reward_model, kept)).exp().mean(1)  # of the members
        self._questions[str(update)] = {**kept, "chance": torch.where(newest >= 0, chance, torch.nan)}

    @torch.no_grad()
    def add(self, update: int, new: Trajectories, reward_model: RewardModel) -> None:
        """Note how long an update's episodes took that reached the goal, and keep the learned reward as it is then."""
        reached = new.returns > 0
        steps = torch.where(reached, new.lengths, 0).sum(1) / reached.sum(1)  # NaN where none did
        self._goal_steps = torch.cat([self._goal_steps, steps[:, None]], 1)
        if _due(update, self._rewards):
            self._rewards[str(update)] = reward_model.reward_table()

    @torch.no_grad()
    def rewards(self, seed: int, update: int, reward_model: RewardModel) -> dict[int, NDArray[np.floating]]:
        """Update -> the table of rewards of one replica, `[S, A]`; the last is that of now, after this `update`."""
        tables = {int(taken): table for taken, table in self._rewards.items()} | {update: reward_model.reward_table()}
        return {taken: table[seed].cpu().numpy() for taken, table in tables.items()}

    def questions(self, seed: int) -> tuple[Question, ...]:
        """What one replica was asked, in order."""
        several = []
        for update, kept in self._questions.items():
            columns = {name: value[seed].cpu().numpy() for name, value in kept.items()}
            for place in np.flatnonzero(~np.isnan(columns["chance"])):  # NaN: there was no such question
                item = {name: values[place] for name, values in columns.items()}
                several.append(Question(**(item | {"update": int(update)})))
        return tuple(several)

    def goal_steps(self, updates: int) -> NDArray[np.floating]:
        """Mean steps of an update's successful episodes, `[updates, R]`; NaN where none was, or it was not noted."""
        steps = np.full((updates, self._replicas), np.nan)
        noted = self._goal_steps.shape[1]
        steps[max(0, updates - noted) :] = self._goal_steps.T.cpu().numpy()[-updates:] if updates else steps
        return steps

    def state(self) -> dict[str, Any]:
        """All of it."""
        return {"rewards": dict(self._rewards), "questions": dict(self._questions), "goal_steps": self._goal_steps}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`, or from nothing, which older checkpoints hold; ValueError where it does not fit."""
        if not state:
            return
        expected = {
            "rewards": dict.fromkeys(state["rewards"], Field((self._replicas, self._states, None))),
            "questions": dict.fromkeys(state["questions"], self._fields),
            "goal_steps": Field((self._replicas, None)),
        }
        check_state(expected, state, "snapshots")
        self._rewards, self._questions = dict(state["rewards"]), dict(state["questions"])
        self._goal_steps = state["goal_steps"]


def _due(update: int, taken: dict[str, Any]) -> bool:
    return not taken or update >= 2 * int(next(reversed(taken)))
