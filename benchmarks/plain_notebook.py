"""The notebook's three procedures as plain loops: one state at a time, torch's autograd for every ascent step.

They are slow on purpose, share no arithmetic with prefrl, and print the notebook's figures: `python
benchmarks/plain_notebook.py`. Speed is measured against them (`speed.py`) and the tests hold prefrl against them.
The draws are NumPy's legacy generator and torch's, one stream each, in the notebook's order.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.random import RandomState
from torch import Tensor, nn

EVALUATION_SEED = 42
Table = dict[str, list[float]]


@dataclass
class Outcome:
    """One procedure on one seed.

    Attributes:
        before: columns of the evaluation before training.
        after: the same after it.
        score_before: the evaluation's figure (mean squared error, summed squared error or accuracy).
        score_after: the same after training.
        parameters: what was learned, in the order of the layers.
        losses: what each epoch's step goes down, before it.
    """

    before: Table
    after: Table
    score_before: float
    score_after: float
    parameters: list[Tensor]
    losses: list[float] = field(default_factory=list)


def linear_reward(state: Tensor, action: Tensor, theta: Tensor) -> Tensor:
    """theta_1 times closeness plus theta_2 times the side on which the action lies, for one state."""
    difference = state[0] + state[1] - action
    closeness = 1 + 0.1 * difference if difference <= 0 else 1 - 0.1 * difference
    return theta[0] * closeness + theta[1] / (1 + torch.exp(-difference))


def linear_greedy(state: Tensor, theta: Tensor) -> Tensor:
    """50 ascent steps of 0.1 from 10."""
    action = torch.tensor(10.0, requires_grad=True)
    for _ in range(50):
        (gradient,) = torch.autograd.grad(linear_reward(state, action, theta), action)
        action = (action + 0.1 * gradient).detach().requires_grad_()
    return action.detach()


def addition_linear(seed: int = 60, epochs: int = 10, objective: Literal["printed", "right"] = "right") -> Outcome:
    """The first part.

    Args:
        seed: of the training draws.
        epochs: steps on theta.
        objective: `right` ascends the log-likelihood; `printed`, what the notebook ran, ascends the cross-entropy of
            the swapped labels, which agrees at first and has no maximum.
    """
    theta = torch.zeros(2, requires_grad=True)

    def evaluate() -> tuple[Table, float]:
        states = torch.tensor(RandomState(EVALUATION_SEED).uniform(0, 10, (7, 2)).astype(int))
        actions = torch.stack([linear_greedy(state, theta.detach()) for state in states])
        error = float(torch.mean((states.sum(1) - actions) ** 2) / 5)
        return {"answer": states.sum(1).tolist(), "action": actions.tolist()}, error

    before, error_before = evaluate()
    draws, losses = RandomState(seed), []
    for epoch in range(epochs):
        width = math.exp(-(epoch - 300) / 500)
        states = torch.tensor(draws.uniform(0, 10, (20, 2)).astype(int))
        greedy = torch.stack([linear_greedy(state, theta.detach()) for state in states])
        others = greedy + torch.tensor(draws.uniform(-width, width, 20))
        right, printed = torch.zeros(()), torch.zeros(())
        for state, first, second in zip(states, greedy, others, strict=True):
            answer = state.sum()
            label = float(torch.abs(answer - first) < torch.abs(answer - second))
            chance = torch.sigmoid(linear_reward(state, first, theta) - linear_reward(state, second, theta))
            right = right + label * torch.log(chance) + (1 - label) * torch.log(1 - chance)
            printed = printed - label * torch.log(1 - chance) - (1 - label) * torch.log(chance)
        ascended = right if objective == "right" else printed
        (gradient,) = torch.autograd.grad(ascended, theta)
        theta = (theta + 0.15 * gradient).detach().requires_grad_()
        losses.append(-ascended.item())
    after, error_after = evaluate()
    return Outcome(before, after, error_before, error_after, [theta.detach()], losses)


class PlainNet(nn.Module):
    """3-6-6-1 with leaky ReLU, drawn from a Gaussian of variance 0.1, layer by layer, weight before bias."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(3, 6), nn.LeakyReLU(), nn.Linear(6, 6), nn.LeakyReLU(), nn.Linear(6, 1)
        )  # fmt: skip
        for parameter in self.parameters():
            parameter.data = torch.normal(0.0, math.sqrt(0.1), parameter.shape, generator=generator)

    def forward(self, inputs: Tensor) -> Tensor:
        """Rewards `[B]` of rows (a, b, action)."""
        return self.net(inputs).flatten()

    def greedy(self, state: Tensor) -> Tensor:
        """100 ascent steps of 0.02 from 20; the gradient is never cleared, so that it accumulates."""
        row = torch.tensor([float(state[0]), float(state[1]), 20.0], requires_grad=True)
        for _ in range(100):
            self(row).backward()
            with torch.no_grad():
                row += 0.02 * torch.tensor([0.0, 0.0, row.grad[2]])
            self.zero_grad()
        return row[2].detach()


def target_reward(state: Tensor, action: Tensor) -> float:
    """3 less 0.15 for each unit of distance from the right answer."""
    return 3 - 0.15 * abs(float(state[0] + state[1] - action))


def rewardnet_mse(seed: int = 81, epochs: int = 300) -> Outcome:
    """The second part: the network fitted to the true reward of 10 random questions an epoch.

    Args:
        seed: of the weights and of the training draws.
        epochs: steps of Adam.
    """
    net = PlainNet(torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)

    def questions(draws: RandomState, count: int) -> tuple[Tensor, Tensor, Tensor]:
        states = torch.tensor(draws.uniform(0, 20, (count, 2)).astype(int)).float()
        actions = torch.tensor(draws.uniform(0, 40, count).astype(int)).float()
        return states, actions, torch.tensor([target_reward(s, a) for s, a in zip(states, actions, strict=True)])

    def evaluate() -> tuple[Table, float]:
        states, actions, target = questions(RandomState(EVALUATION_SEED), 5)
        with torch.no_grad():
            predicted = net(torch.column_stack((states, actions)))
        distance = torch.abs(states.sum(1) - actions)
        table = {"distance": distance.tolist(), "predicted": predicted.tolist(), "actual": target.tolist()}
        return table, float(nn.functional.mse_loss(predicted, target, reduction="sum"))

    before, loss_before = evaluate()
    draws, losses = RandomState(seed), []
    for _ in range(epochs):
        states, actions, target = questions(draws, 10)
        loss = nn.functional.mse_loss(net(torch.column_stack((states, actions))), target, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after, loss_after = evaluate()
    return Outcome(before, after, loss_before, loss_after, [p.detach() for p in net.parameters()], losses)


def rewardnet_prefs(
    seed: int = 81, epochs: int = 600, questions_before: int = 120, questions_after: int = 300
) -> Outcome:
    """The third part: the network fitted to preferences between its greedy action and one near it.

    Args:
        seed: of the weights and alternatives (torch) and of the training states (NumPy).
        epochs: steps of Adam.
        questions_before: of the evaluation before training.
        questions_after: of the evaluation after it.
    """
    generator = torch.Generator().manual_seed(seed)
    net = PlainNet(generator)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

    def ask(draws: RandomState, count: int, width: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states = torch.tensor(draws.uniform(0, 20, (count, 2)).astype(int)).float()
        greedy = torch.stack([net.greedy(state) for state in states])
        others = greedy + torch.empty(count).uniform_(-width, width, generator=generator)
        answers = states.sum(1)
        labels = (torch.abs(answers - greedy) <= torch.abs(answers - others)).float()
        return states, greedy, others, labels

    def margins(states: Tensor, greedy: Tensor, others: Tensor) -> Tensor:
        return net(torch.column_stack((states, greedy))) - net(torch.column_stack((states, others)))

    def evaluate(count: int) -> tuple[Table, float]:
        states, greedy, others, labels = ask(RandomState(EVALUATION_SEED), count, 2.0)
        with torch.no_grad():
            estimated = torch.sigmoid(margins(states, greedy, others))
        right = sum(abs(float(label) - float(p)) <= 0.5 for label, p in zip(labels, estimated, strict=True))
        columns = (states.sum(1), greedy, others, labels, estimated)
        names = ("answer", "greedy", "alternative", "preference", "estimate")
        return {name: column.tolist() for name, column in zip(names, columns, strict=True)}, right / count

    before, accuracy_before = evaluate(questions_before)
    draws, losses = RandomState(seed), []
    for epoch in range(epochs):
        states, greedy, others, labels = ask(draws, 10, float(np.exp(-(epoch - 200) / 100)) + 0.2)
        loss = nn.functional.binary_cross_entropy_with_logits(margins(states, greedy, others), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after, accuracy_after = evaluate(questions_after)
    return Outcome(before, after, accuracy_before, accuracy_after, [p.detach() for p in net.parameters()], losses)


def show(title: str, outcome: Outcome) -> None:
    """Print an outcome: both tables' first rows, both figures."""
    print(f"{title}: {outcome.score_before:.6f} -> {outcome.score_after:.6f}")
    for table in (outcome.before, outcome.after):
        for name, column in table.items():
            print(f"  {name:>12}", *(f"{value:8.2f}" for value in column[:7]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the notebook's figures, in about a minute")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    quick = parser.parse_args().quick
    fewer = {"epochs": 2} if quick else {}
    asked = {"questions_before": 3, "questions_after": 3} if quick else {}
    torch.set_num_threads(1)
    for chosen in ("printed", "right"):
        result = addition_linear(objective=chosen, **fewer)
        show(f"addition_linear, {chosen} objective", result)
        print("  theta", *(f"{value:.4f}" for value in result.parameters[0]))
    show("rewardnet_mse", rewardnet_mse(**fewer))
    show("rewardnet_prefs", rewardnet_prefs(**fewer, **asked))
