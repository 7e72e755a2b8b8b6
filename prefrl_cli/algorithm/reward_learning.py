"""Learn the reward of the addition task: from the reward itself, or from preferences between two answers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.algorithm.figures import reward_figures
from prefrl_cli.algorithm.metrics import REWARD_METRICS
from prefrl_cli.core.figures import Figure, History
from prefrl_cli.core.layers.exactness import Trained, trained
from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import Given, Items, Positive
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.env.addition import Addition
from prefrl_cli.policy.action_search import Ascent, GridSearch
from prefrl_cli.preference.criterion import Closest, judge
from prefrl_cli.preference.loss import bradley_terry
from prefrl_cli.preference.queries import NearGreedy, WholeRange
from prefrl_cli.reward_model.addition import LinearReward, RewardNet
from prefrl_cli.reward_model.quality import Predictions
from prefrl_cli.reward_model.reliability_figure import reliability_figure

_EXAMPLES = 7
_LEARNED = ("curve", "predicted", "greedy")  # of a snapshot: what the model says
_SAME = ("states", "actions")  # of a snapshot: where, the same for every seed and at any time


class _RewardLearning:
    """What the two ways of learning share: the step, the evaluation and the state.

    A subclass says what the loss of `states` is: `_loss(states, step)`, the mean or the sum, `[R]`.

    Args:
        batch: states of a step.
        initial_states: states of the evaluation before training.
        final_states: states of every later evaluation.
        mse_divisor: the squared error of the answers is divided by it; the notebook divides by 5.

    Attributes:
        examples: the first few items of the last evaluation, a column `[R, K]` a name.
    """

    _loss_label = ""
    _seen = "labels"

    def __init__(
        self,
        *,
        env: Given[Addition],
        streams: Given[Streams],
        reward_model: Given[LinearReward | RewardNet],
        policy: Given[Ascent | GridSearch],
        queries: Given[NearGreedy | WholeRange],
        criterion: Given[Closest],
        optimizer: Given[Optimizer],
        steps: Given[int],
        batch: Items = 10,
        initial_states: Items = 300,
        final_states: Items = 300,
        mse_divisor: Positive = 1.0,
    ) -> None:
        self.env, self.streams, self.reward_model, self.policy = env, streams, reward_model, policy
        self._queries, self._criterion, self._optimizer, self._batch = queries, criterion, optimizer, batch
        self.optimizers, self.metrics = (optimizer,), REWARD_METRICS
        self._initial_states, self._final_states, self._mse_divisor = initial_states, final_states, mse_divisor
        self.steps, self.step = steps, 0
        self._before: dict[str, Tensor] = {}
        self._held_out: Predictions | None = None
        self.examples: dict[str, Tensor] = {}

    def update(self) -> dict[str, Tensor]:
        """One step on new states; the metrics of it, `[R]` each."""
        states = self.env.draw_states(self.streams, "states", self._batch)
        loss = self._loss(states, self.step)
        self._optimizer.step(loss)
        self.step += 1
        return {"loss": loss.detach(), **self.reward_model.metrics()}

    def _loss(self, states: Tensor, step: int | None) -> Tensor:
        raise NotImplementedError

    def _compare(self, states: Tensor, step: int | None) -> tuple[Tensor, Tensor, Predictions]:
        """Two actions for each of states `[R, B, 2]`, `[R, B]` each, and what the model and the criterion say."""
        first, second = self._queries(self.env, self._answer, states, self.streams, step)
        answers = self.env.answer(states)
        label, weight = judge(self._criterion(answers, first), self._criterion(answers, second), self._criterion.ties)
        logits = self.reward_model(states, first) - self.reward_model(states, second)
        return first, second, Predictions(logits, label, weight)

    def _answer(self, states: Tensor) -> Tensor:
        return self.policy(self.reward_model, states)

    @torch.no_grad()
    def evaluate(self) -> dict[str, Tensor]:
        """What the model knows now, `[R]` each, on states that are the same at every evaluation of a size.

        `loss` is the training's on those states; `evaluation_mse` the squared distance of the greedy answer from the
        right one, divided by the notebook's divisor; `answer_error` the distance itself; `preference_accuracy` the
        share of the teacher's answers that the model predicts; `reward_error` the mean absolute distance from the
        true reward over all states and whole-numbered actions, after the best line through it where the model learns
        from preferences (they say nothing of a reward's unit).
        """
        self.streams.restart("evaluation")
        size = self._initial_states if self.step == 0 else self._final_states
        states = self.env.draw_states(self.streams, "evaluation/states", size)
        metrics, examples, self._held_out = self._test(states)
        self.examples = {name: values[:, :_EXAMPLES] for name, values in examples.items()}
        answers, greedy = self.env.answer(states), self._answer(states)
        metrics["evaluation_mse"] = (answers - greedy).square().mean(1) / self._mse_divisor
        metrics["answer_error"] = (answers - greedy).abs().mean(1)
        true, predicted = self._whole_range()
        metrics["reward_error"] = (predicted - true).abs().mean(1)
        for name in ("loss", "evaluation_mse", "answer_error", "reward_error"):  # overflowed: infinitely far away
            metrics[name] = metrics[name].nan_to_num(torch.inf, torch.inf, -torch.inf)
        if self.step == 0:
            self._before = self._snapshot()
        return {**metrics, **self.reward_model.metrics()}

    def _test(self, states: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Predictions]:
        """On states `[R, B, 2]`: `loss` and `preference_accuracy`, the examples' columns `[R, B]`, and the answers."""
        raise NotImplementedError

    def _whole_range(self) -> tuple[Tensor, Tensor]:
        """True and predicted rewards `[R, N]` of every state and whole-numbered action."""
        states = self.env.all_states(len(self.streams.seeds), self.streams.device)
        actions = torch.arange(self.env.actions, device=self.streams.device, dtype=states.dtype)
        wholes: list[Tensor] = []  # written in place: parts that are joined later leave gaps in memory
        done = 0
        for some in states.split(max(1, 4096 // len(actions)), dim=1):
            pairs = some[:, :, None].expand(-1, -1, len(actions), -1).flatten(1, 2)
            tried = actions.expand(*some.shape[:2], -1).flatten(1)
            parts = self.env.reward(pairs, tried), self.reward_model(pairs, tried)
            wholes = wholes or [part.new_empty(len(part), states.shape[1] * len(actions)) for part in parts]
            for whole, part in zip(wholes, parts, strict=True):
                whole[:, done : done + part.shape[1]] = part
            done += tried.shape[1]
        true, predicted = wholes
        return true, self._in_true_unit(predicted, true)

    def _in_true_unit(self, predicted: Tensor, true: Tensor) -> Tensor:
        return predicted

    def _snapshot(self) -> dict[str, Tensor]:
        """What the charts show of the model now: predictions, answers and the reward along the action."""
        largest = self.env.numbers - 1
        chosen = torch.tensor([[0, 1], [1, 2], [2, 3], [3, 3]], device=self.streams.device) * largest // 3
        states = chosen.double().expand(len(self.streams.seeds), -1, -1)  # [R, 4, 2]
        actions = torch.linspace(0, self.env.actions - 1, 201, dtype=torch.float64, device=self.streams.device)
        pairs = states[:, :, None].expand(-1, -1, len(actions), -1).flatten(1, 2)
        curve = self.reward_model(pairs, actions.repeat(4).expand(len(states), -1)).unflatten(1, (4, -1))
        true, predicted = self._whole_range()
        every = max(1, true.shape[1] // 300) | 1
        everywhere = self.env.all_states(len(self.streams.seeds), self.streams.device)
        some = everywhere[:, :: max(1, everywhere.shape[1] // 100)]
        return {
            "states": chosen,
            "actions": actions,
            "curve": curve,
            "true": true[:, ::every].contiguous(),  # a view would keep the whole range in memory
            "predicted": predicted[:, ::every].contiguous(),
            "answers": self.env.answer(some),
            "greedy": self._answer(some),
        }

    def figures(self, history: History, living: NDArray[np.bool_]) -> dict[str, Figure]:
        """The charts of this experiment, by file name; see `Algorithm.figures`."""
        with torch.no_grad():
            now = self._snapshot()
        before, after = (
            {name: value.cpu().numpy() for name, value in some.items()} for some in (self._before or now, now)
        )
        for name in _LEARNED:
            after[name] = np.where(living.reshape(-1, *[1] * (after[name].ndim - 1)), after[name], np.nan)
        x_label = f"steps of {self._batch} {self._seen} each"
        return reward_figures(history, before, after, self._loss_label, x_label)

    def networks(self) -> dict[str, Trained]:
        """What is trained, for the check that no seed depends on those beside it."""
        rows = (self._batch, self._initial_states, self._final_states)
        return trained(reward_model=(self.reward_model, self._optimizer, rows))

    def play(self, episodes: int) -> dict[str, Tensor]:
        """Nothing: an answer is one step, and `evaluate` draws fresh states."""
        return {}

    def adopt(self, state: dict[str, Any]) -> None:
        """Take the reward model from a `state()`."""
        self.step = state["step"]
        self._optimizer.restore(state["reward_model"])

    def state(self) -> dict[str, Any]:
        """Everything that changes while training."""
        return {
            "step": self.step,
            "reward_model": self._optimizer.state(),
            "before": {name: value for name, value in self._before.items() if name not in _SAME},
            "held_out": {} if self._held_out is None else self._held_out._asdict(),
            "streams": self.streams.state(),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes."""
        state = {"held_out": {}, **state}  # earlier versions kept none
        now = self._snapshot() if state["before"] else {}
        state["before"] = {name: value for name, value in state["before"].items() if name not in _SAME}
        before = {name: value for name, value in now.items() if name not in _SAME}
        pairs = Field((len(self.streams.seeds), None), torch.float32)
        held_out = dict.fromkeys(Predictions._fields, pairs) if state["held_out"] else {}
        if held_out:
            some = self.env.all_states(len(self.streams.seeds), self.streams.device)[:, :1]
            held_out["margins"] = pairs._replace(dtype=self.reward_model(some, self.env.answer(some)).dtype)
        expected = {"step": int, "reward_model": object, "before": before, "held_out": held_out, "streams": object}
        check_state(expected, state)
        self.step, self._before = state["step"], now | state["before"]
        self._held_out = Predictions(**state["held_out"]) if held_out else None
        self._optimizer.restore(state["reward_model"])
        self.streams.restore(state["streams"])


class RewardRegression(_RewardLearning):
    """Fit the reward model to the known reward by squared error, summed over a batch (the notebook's second part)."""

    _loss_label = "sum of squared errors of a batch"
    _seen = "rewards"

    def _loss(self, states: Tensor, step: int | None) -> Tensor:
        actions = self.env.draw_actions(self.streams, "actions", states.shape[1])
        target = self.env.reward(states, actions).float()
        return (target - self.reward_model(states, actions)).square().sum(1)

    def _test(self, states: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Predictions]:
        actions = self.env.draw_actions(self.streams, "evaluation/actions", states.shape[1])
        true, predicted = self.env.reward(states, actions).float(), self.reward_model(states, actions)
        distance = (self.env.answer(states) - actions).abs()
        _, _, answers = self._compare(states, None)
        metrics = {"loss": (true - predicted).square().sum(1), "preference_accuracy": answers.accuracy()}
        return metrics, {"distance": distance, "predicted reward": predicted, "actual reward": true}, answers


class RewardFromPreferences(_RewardLearning):
    """Fit the reward model to preferences between two actions (Christiano et al. 2017, eq. 1).

    Args:
        reduction: whether a batch's log-likelihood is averaged or summed.
        swapped: do what the notebook's first part does instead: ascend the cross-entropy with the labels exchanged.
            Its gradient is the same for a model that knows nothing, but the objective has no bound.
        **parts: as every reward learning has.
    """

    def __init__(self, *, reduction: Literal["mean", "sum"] = "mean", swapped: bool = False, **parts: Any) -> None:
        super().__init__(**parts)
        self._reduction, self._swapped = reduction, swapped
        self._loss_label = f"{reduction} cross-entropy of a batch (nats)"

    def _loss(self, states: Tensor, step: int | None) -> Tensor:
        _, _, answers = self._compare(states, step)
        return self._objective(*answers)

    def _objective(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        if self._swapped:
            loss = -bradley_terry(logits, 1 - labels, weights)
        else:
            loss = bradley_terry(logits, labels, weights)
        return loss * weights.sum(1) if self._reduction == "sum" else loss

    def _test(self, states: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], Predictions]:
        first, second, answers = self._compare(states, None)
        metrics = {"loss": self._objective(*answers), "preference_accuracy": answers.accuracy()}
        examples = {
            "answer": self.env.answer(states),
            "first action": first,
            "second action": second,
            "preferred": answers.labels,
            "predicted": logsigmoid(answers.margins).exp(),  # sigmoid() rounds a tensor's last few elements otherwise
        }
        return metrics, examples, answers

    def figures(self, history: History, living: NDArray[np.bool_]) -> dict[str, Figure]:
        """The charts of this experiment, by file name; held-out pairs are those of the last evaluation."""
        charts = super().figures(history, living)
        if self._held_out is None:
            return charts
        chances, labels, weights = self._held_out.arrays()
        return charts | reliability_figure(chances, labels, weights * living[:, None])

    def _in_true_unit(self, predicted: Tensor, true: Tensor) -> Tensor:
        centred = predicted - predicted.mean(1, keepdim=True)
        around = true - true.mean(1, keepdim=True)
        slope = (centred * around).sum(1, keepdim=True) / centred.square().sum(1, keepdim=True).clamp(min=1e-12)
        return true.mean(1, keepdim=True) + slope * centred
