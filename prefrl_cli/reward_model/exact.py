"""What a judge of progress knows, told to the learner: the environment's own distance to the goal, to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

from prefrl_cli.core.environment import Environment, is_finite
from prefrl_cli.core.layers.networks import look_up
from prefrl_cli.core.option_types import Given, OptionError
from prefrl_cli.core.streams import Streams
from prefrl_cli.reward_model.constant import Unmoved


class TruePotential(Unmoved):
    """Minus the shortest steps from a state to the goal, as a share of the most that there are; no answer moves it.

    It is what an explicit reward fitted to endless labels of progress could come to at best, so `shaping=potential`
    with it is what labels are measured against.

    Args:
        env: tells the distance of its states to the goal.
        streams: give the seeds and the device.

    Raises:
        OptionError: where states are not numbered, or no distance is told.
    """

    rewards_actions = False
    needs_answers = False  # it is right before the first one
    choice = "true_potential"

    def __init__(self, env: Given[Environment], streams: Given[Streams]) -> None:
        told = env.diagnostics(torch.arange(env.num_states)) if is_finite(env) else {}
        if not is_finite(env) or "distance" not in told:
            raise OptionError("reward_model", self.choice, "the environment tells no distance to a goal", "state")
        replicas, device = len(streams.seeds), streams.device
        distance = told["distance"].float().to(device)
        following = torch.from_numpy(env.transitions).to(device)
        self._table = self._rewards(distance, following).expand(replicas, -1, -1)  # [R, S, 1] or [R, S, A]
        super().__init__(replicas, device)

    def _rewards(self, distance: Tensor, following: Tensor) -> Tensor:
        """Of each state `[S, 1]`, given all distances `[S]` and what follows each action `[S, A]`."""
        return -(distance / distance.max())[:, None]

    def __call__(self, states: Tensor) -> Tensor:
        """Rewards `[R, ...]` of states `[R, ...]`; where actions have rewards, of the best one."""
        rewards = look_up(self._table.amax(-1, keepdim=True), states).squeeze(-1)
        return self.moved_by_nothing(rewards)

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of steps."""
        return self(states)

    def reward_table(self) -> Tensor:
        """The reward of every state, `[R, S, 1]`, or of every action in it, `[R, S, A]`."""
        return self._table


class TrueStepAdvantage(TruePotential):
    """How much worse than the best an action is, in steps: 0 nearer to the goal, -1 where it stays, -2 farther away.

    It is Q* - V* where every step costs 1, and its sum orders episodes as `criterion=progress` does: what an implicit
    reward fitted to endless labels of progress could come to at best.
    """

    rewards_actions = True
    choice = "true_step_advantage"

    def _rewards(self, distance: Tensor, following: Tensor) -> Tensor:
        return distance[:, None] - distance[following] - 1

    def step_rewards(self, states: Tensor, actions: Tensor) -> Tensor:
        """Rewards `[R, ...]` of taking `actions` `[R, ...]` in `states` `[R, ...]`."""
        rewards = look_up(self._table.flatten(1)[..., None], states * self._table.shape[-1] + actions).squeeze(-1)
        return self.moved_by_nothing(rewards)
