"""OPRL in the maze as a plain loop: one seed, one network call a step, one pair at a time.

It is slow on purpose. Speed is measured against it (`speed.py`), and the tests hold prefrl's batched code against it:
fed with the same random numbers it plays the same episodes and computes the same losses
(`tests/test_against_plain_loops.py`). It shares no arithmetic with prefrl.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

HORIZON = 60
TRAJECTORIES, PREFERENCES = 200, 500  # kept
STEPS = [(-1, 0), (0, 1), (1, 0), (0, -1)]  # row and column of up, right, down, left


class PlainMaze:
    """The grid, one position at a time; what is seen is a one-hot vector."""

    def __init__(self, size: int = 8) -> None:
        self.size = size
        self.wall = {(row, size // 2) for row in range(1, size - 2)}
        self.reset()

    def reset(self) -> np.ndarray:
        """Back to the top left; the first observation `[size * size]`."""
        self.here, self.clock = (0, 0), 0
        return self.see()

    def see(self) -> np.ndarray:
        """The cell as a one-hot vector `[size * size]`."""
        vector = np.zeros(self.size * self.size)
        vector[self.here[0] * self.size + self.here[1]] = 1
        return vector

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        """Observation, reward and whether the episode is over."""
        row, column = self.here[0] + STEPS[action][0], self.here[1] + STEPS[action][1]
        inside = min(row, column) >= 0 and max(row, column) < self.size
        if inside and (row, column) not in self.wall:
            self.here = (row, column)
        self.clock += 1
        arrived = self.here == (self.size - 1, self.size - 1)
        return self.see(), 10.0 if arrived else 0.0, arrived or self.clock >= HORIZON


class PlainReward(nn.Module):
    """Process reward of a state, between -1 and 1."""

    def __init__(self, inputs: int, hidden: int = 128) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(),
            nn.Linear(hidden, 1), nn.Tanh(),
        )  # fmt: skip

    def forward(self, observations: Tensor) -> Tensor:
        """Rewards `[T]` of observations `[T, inputs]`."""
        return self.net(observations).squeeze(-1)


class PlainPolicy(nn.Module):
    """Two hidden layers, a head for the logits and one for the value."""

    def __init__(self, inputs: int, actions: int = 4, hidden: int = 128) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.actor = nn.Linear(hidden, actions)
        self.critic = nn.Linear(hidden, 1)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[T, actions]` and values `[T]`."""
        hidden = self.trunk(observations)
        return self.actor(hidden), self.critic(hidden).squeeze(-1)


class Draws(Protocol):
    """Every random decision of the loop."""

    def begin_episode(self) -> None:
        """An episode starts."""

    def action(self, probabilities: Callable[[], Tensor], epsilon: float) -> int:
        """An action of the policy, or with chance epsilon any; `probabilities()` calls the network."""

    def pair(self, count: int) -> tuple[int, int]:
        """Two different numbers below `count`."""

    def subset(self, count: int, size: int) -> list[int]:
        """`size` different numbers below `count`."""

    def place(self, count: int) -> int:
        """A number below `count`."""


class GlobalDraws:
    """The generators that a script would use: Python's `random` and torch's global one."""

    def __init__(self, seed: int) -> None:
        random.seed(seed)
        torch.manual_seed(seed)

    def begin_episode(self) -> None:
        """Nothing to prepare."""

    def action(self, probabilities: Callable[[], Tensor], epsilon: float) -> int:
        """Epsilon-greedy: the network is only asked where it decides."""
        if random.random() < epsilon:
            return random.randrange(4)
        return int(torch.multinomial(probabilities(), 1))

    def pair(self, count: int) -> tuple[int, int]:
        """Two different numbers below `count`."""
        first, second = random.sample(range(count), 2)
        return first, second

    def subset(self, count: int, size: int) -> list[int]:
        """`size` different numbers below `count`."""
        return random.sample(range(count), size)

    def place(self, count: int) -> int:
        """A number below `count`."""
        return random.randrange(count)


class GivenDraws:
    """Decisions made from uniform numbers that come from outside, in the order in which prefrl uses them.

    Args:
        uniform: from a purpose and a count to that many numbers in [0, 1).
    """

    def __init__(self, uniform: Callable[[str, int], Sequence[float]]) -> None:
        self._uniform = uniform
        self._episode: deque[float] = deque()

    def begin_episode(self) -> None:
        """An episode uses up one number for each step of the horizon, however short it is."""
        self._episode = deque(self._uniform("policy", HORIZON))

    def action(self, probabilities: Callable[[], Tensor], epsilon: float) -> int:
        """The mixture of policy and uniform actions, inverted with one number."""
        number, below = self._episode.popleft(), np.float32(0)
        mixed = epsilon / 4 + (1 - epsilon) * probabilities()
        for action, probability in enumerate(mixed[:-1].numpy()):
            below += probability
            if number < below:
                return action
        return len(mixed) - 1

    def pair(self, count: int) -> tuple[int, int]:
        """Two different numbers below `count`: the second skips the first."""
        first, second = self._uniform("queries", 2)
        left = [number for number in range(count) if number != int(first * count)]
        return int(first * count), left[int(second * (count - 1))]

    def subset(self, count: int, size: int) -> list[int]:
        """The places that drew the smallest numbers; one is drawn for each place there may ever be."""
        drawn = self._uniform("reward_batch", PREFERENCES)
        return sorted(range(count), key=lambda place: drawn[place])[:size]

    def place(self, count: int) -> int:
        """A number below `count`."""
        return int(self._uniform("replay", 1)[0] * count)


@dataclass
class Record:
    """What happened, item by item, in order; updates that did not take place leave nothing."""

    returns: list[float] = field(default_factory=list)
    actions: list[list[int]] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    reward_losses: list[float] = field(default_factory=list)
    policy_losses: list[float] = field(default_factory=list)


class PlainLoop:
    """The tutorial's agent and its training loop.

    Args:
        draws: every random decision.
        size: cells of one side of the maze.
        shaping: weight of the process reward in the policy's reward.
        render_every: an extra episode without exploration every so many.
    """

    def __init__(self, draws: Draws, size: int = 8, shaping: float = 0.1, render_every: int = 250) -> None:
        self.draws, self.size, self.shaping, self.render_every = draws, size, shaping, render_every
        self.policy, self.reward = PlainPolicy(size * size), PlainReward(size * size)
        self.policy_optimizer = torch.optim.Adam(self.policy.parameters(), lr=3e-4)
        self.reward_optimizer = torch.optim.Adam(self.reward.parameters(), lr=3e-4)
        self.trajectories: deque[dict[str, Any]] = deque(maxlen=TRAJECTORIES)
        self.preferences: deque[tuple[dict[str, Any], dict[str, Any], float]] = deque(maxlen=PREFERENCES)
        self.record = Record()
        self.episode = 0

    def train(self, episodes: int) -> Record:
        """Go on for so many episodes."""
        for number in range(self.episode, self.episode + episodes):
            played = self.play(max(0.05, 0.5 - number / 1000))
            self.record.returns.append(played["return"])
            if number > 10 and number % 2 == 0:
                self.ask()
            if number > 20 and number % 2 == 0 and len(self.preferences) >= 32:
                self.record.reward_losses.append(sum(self.fit_reward() for _ in range(3)) / 3)
            if number > 10:
                self.record.policy_losses.append(sum(self.improve_policy() for _ in range(2)) / 2)
            if number > 0 and number % self.render_every == 0:
                self.play(0.0)
        self.episode += episodes
        return self.record

    def play(self, epsilon: float) -> dict[str, Any]:
        """One episode, which is kept."""
        maze = PlainMaze(self.size)
        seen, done = maze.reset(), False
        observations, actions, rewards = [], [], []
        self.draws.begin_episode()
        while not done:
            action = self.draws.action(lambda now=seen: self.probabilities(now), epsilon)
            observations.append(seen)
            actions.append(action)
            seen, reward, done = maze.step(action)
            rewards.append(reward)
        trajectory = {
            "observations": torch.tensor(np.array(observations), dtype=torch.float32),
            "actions": torch.tensor(actions),
            "rewards": rewards,
            "return": sum(rewards),
        }
        self.trajectories.append(trajectory)
        self.record.actions.append(actions)
        return trajectory

    @torch.no_grad()
    def probabilities(self, observation: np.ndarray) -> Tensor:
        """Chances `[4]` of the actions for one observation."""
        logits, _ = self.policy(torch.tensor(observation, dtype=torch.float32).unsqueeze(0))
        return F.softmax(logits, dim=-1).squeeze(0)

    def ask(self) -> None:
        """A preference over two kept trajectories; a tie goes to the second."""
        one, other = (self.trajectories[place] for place in self.draws.pair(len(self.trajectories)))
        self.preferences.append((one, other, 1.0 if one["return"] > other["return"] else 0.0))
        self.record.labels.append(self.preferences[-1][2])

    def fit_reward(self) -> float:
        """One step on 32 preferences, each with two passes through the model; the loss before it."""
        loss = torch.zeros(())
        for place in self.draws.subset(len(self.preferences), 32):
            one, other, label = self.preferences[place]
            margin = self.reward(one["observations"]).sum() - self.reward(other["observations"]).sum()
            # From the logit: adding 1e-8 to the probability, as the tutorial does, flattens a margin beyond 18.
            loss = loss - label * F.logsigmoid(margin) - (1 - label) * F.logsigmoid(-margin)
        loss = loss / 32
        self._step(self.reward_optimizer, self.reward, loss)
        return loss.item()

    def improve_policy(self) -> float:
        """One policy-gradient step on a random kept trajectory; the loss before it."""
        one = self.trajectories[self.draws.place(len(self.trajectories))]
        with torch.no_grad():
            process = self.reward(one["observations"])
        total, returns = 0.0, []
        shaped = torch.tensor(one["rewards"]) + self.shaping * process
        for reward in reversed(shaped.tolist()):
            total = reward + 0.98 * total
            returns.insert(0, total)
        target = torch.tensor(returns)
        target = (target - target.mean()) / (target.std() + 1e-8)
        logits, values = self.policy(one["observations"])
        logs = F.log_softmax(logits, dim=-1)
        taken = logs.gather(1, one["actions"].unsqueeze(1)).squeeze(1)
        gradient_loss = -(taken * (target - values.detach())).mean()
        entropy = -(F.softmax(logits, dim=-1) * logs).sum(-1).mean()
        loss = gradient_loss + 0.5 * F.mse_loss(values, target) - 0.01 * entropy
        self._step(self.policy_optimizer, self.policy, loss)
        return loss.item()

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, model: nn.Module, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


@torch.no_grad()
def load_layers(layers: Sequence[nn.Module], values: Sequence[Tensor]) -> None:
    """Copy parameters, in order, into layers; a matrix `[in, out]` is turned round for `nn.Linear`."""
    targets = [parameter for layer in layers for parameter in layer.parameters()]
    if len(targets) != len(values):
        raise ValueError(f"{len(values)} values for {len(targets)} parameters")
    for target, value in zip(targets, values, strict=True):
        target.copy_(value.reshape(target.shape[::-1]).T if target.dim() == 2 else value.reshape(target.shape))


def one_seed(seed: int, episodes: int = 500) -> float:
    """Train with the global generators; the success rate of the last 50 episodes."""
    returns = PlainLoop(GlobalDraws(seed)).train(episodes).returns[-50:]
    return math.fsum(value > 5 for value in returns) / len(returns)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the tutorial's success at seed 42")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    episodes = 10 if parser.parse_args().quick else 500
    torch.set_num_threads(1)
    print(f"success over the last 50 of {episodes} episodes, seed 42: {one_seed(42, episodes):.2f}")
