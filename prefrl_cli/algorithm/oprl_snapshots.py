"""What the charts of OPRL show of the time before now: the learned reward and some questions, at a few updates."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.environment import Environment, is_finite
from prefrl_cli.core.figures import Question
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.core.trajectories import Trajectories, action_field, state_field
from prefrl_cli.preference.dataset import PreferenceDataset
from prefrl_cli.preference.questions import Model


class RewardModel(Model, Protocol):
    """A reward model of an environment whose states are numbered."""

    def reward_table(self) -> Tensor:
        """The reward of each action in each state, `[R, S, A]`, or `[R, S, 1]` where the action does not matter."""


class Snapshots:
    """The rewards after the updates 1, 2, 4, 8, ..., and the first answered question of each seed from each of them on.

    Rewards are kept where states are numbered.

    Nothing depends on how many updates there will be, nor on other seeds: a run that is stopped and resumed, or
    extended, has the snapshots of a run that never stopped. Nothing random is drawn.

    Args:
        env: gives the spaces of states and actions.
        replicas: R.
        steps: T, most steps of a path that is asked about.
    """

    def __init__(self, env: Environment, replicas: int, steps: int) -> None:
        self._env, self._replicas, self._tables = env, replicas, is_finite(env)
        self._fields = {
            "update": Field((replicas,), torch.int64),
            "states": state_field(env, (replicas, 2, steps)),
            "actions": action_field(env, (replicas, 2, steps)),
            "lengths": Field((replicas, 2), torch.int64, steps + 1),
            "label": Field((replicas,), torch.float32),
            "chance": Field((replicas,), torch.float32),  # NaN where there is no question yet
        }
        self._rewards: dict[str, Tensor] = {}  # update -> [R, S, A]
        self._questions: dict[str, dict[str, Tensor]] = {}  # power of two -> [R, ...] each
        self._goal_steps = torch.zeros(replicas, 0)

    @torch.no_grad()
    def add_question(self, update: int, answered: PreferenceDataset, reward_model: RewardModel) -> None:
        """Keep a seed's newest question where it was answered at this update and is the first since the last 2 ** k.

        Args:
            update: counted from 1.
            answered: the answers that are kept.
            reward_model: before it learns from them.
        """
        power = str(1 << update.bit_length() - 1)
        if power not in self._questions:
            self._questions[power] = self._no_question()
        kept = self._questions[power]
        if not len(answered.count):
            return
        newest = answered.get((answered.count - 1).clamp(min=0)[:, None])
        answered_now = (answered.count > 0) & (newest.answered[:, 0] == update - 1)
        new = answered_now & kept["chance"].isnan()
        if bool(new.any()):
            chance = logsigmoid(newest.return_differences(reward_model)).exp().mean(1)[:, 0]  # of the members
            found = {name: value[:, 0] for name, value in newest.tensors().items()} | {"chance": chance}
            found["update"] = torch.full_like(kept["update"], update)
            for name, value in kept.items():
                kept[name] = torch.where(new.view(-1, *[1] * (value.ndim - 1)), found[name], value)

    def _no_question(self) -> dict[str, Tensor]:
        return {
            name: torch.full(
                [size or 0 for size in field.shape], torch.nan if name == "chance" else 0, dtype=field.dtype
            )
            for name, field in self._fields.items()
        }

    @torch.no_grad()
    def add(self, update: int, new: Trajectories, reward_model: RewardModel) -> None:
        """Note how long an update's episodes took that reached the goal, and keep the learned reward as it is then."""
        reached = self._env.success(new) > 0  # not where it has no value
        steps = torch.where(reached, new.lengths, 0).sum(1) / reached.sum(1)  # NaN where none did
        self._goal_steps = torch.cat([self._goal_steps, steps[:, None]], 1)
        if self._tables and _due(update, self._rewards):
            self._rewards[str(update)] = reward_model.reward_table()

    @torch.no_grad()
    def rewards(self, seed: int, update: int, reward_model: RewardModel) -> dict[int, NDArray[np.floating]]:
        """Update -> the table of rewards of one replica, `[S, A]`; the last is that of now, after this `update`."""
        tables = {int(taken): table for taken, table in self._rewards.items()}
        tables |= {update: reward_model.reward_table()} if self._tables else {}
        return {taken: table[seed].cpu().numpy() for taken, table in tables.items()}

    def questions(self, seed: int) -> tuple[Question, ...]:
        """What one replica was asked, in order."""
        several = [
            {name: value[seed].cpu().numpy() for name, value in kept.items()} for kept in self._questions.values()
        ]
        return tuple(
            Question(**(item | {name: item[name].item() for name in ("update", "label", "chance")}))
            for item in several
            if not np.isnan(item["chance"])
        )

    def goal_steps(self, updates: int) -> NDArray[np.floating]:
        """Mean steps of an update's successful episodes, `[updates, R]`; NaN where none was, or it was not noted."""
        steps = np.full((updates, self._replicas), np.nan)
        noted = self._goal_steps.shape[1]
        steps[max(0, updates - noted) :] = self._goal_steps.T.cpu().numpy()[-updates:] if updates else steps
        return steps

    def state(self) -> dict[str, Any]:
        """All of it."""
        return {
            "rewards": dict(self._rewards),
            "questions": {power: dict(kept) for power, kept in self._questions.items()},
            "goal_steps": self._goal_steps,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any], updates: int, reward_model: RewardModel) -> None:
        """Go on from a `state()`, or from nothing, which older checkpoints hold.

        Args:
            state: what was saved.
            updates: how many were done by then.
            reward_model: whose rewards are kept.

        Raises:
            ValueError: where it does not fit.
        """
        if not state:
            return
        check_state({"rewards": object, "questions": object, "goal_steps": object}, state, "snapshots")
        check_state(Field((self._replicas, None), self._goal_steps.dtype), state["goal_steps"], "snapshots.goal_steps")
        taken = dict[str, Tensor]()
        for update in range(updates - state["goal_steps"].shape[1] + 1, updates + 1):  # all since the first was noted
            if self._tables and _due(update, taken):
                taken[str(update)] = reward_model.reward_table()
        questions = dict.fromkeys(state["questions"], self._fields)
        check_state({"rewards": taken, "questions": questions, "goal_steps": object}, state, "snapshots")
        self._rewards = {update: state["rewards"][update] for update in taken}
        self._questions = {power: dict(kept) for power, kept in state["questions"].items()}
        self._goal_steps = state["goal_steps"]


def _due(update: int, taken: dict[str, Any]) -> bool:
    return not taken or update >= 2 * int(next(reversed(taken)))
