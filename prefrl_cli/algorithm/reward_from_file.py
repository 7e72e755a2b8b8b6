"""Fit a reward model to a file of preferences that never changes: nobody plays, and nobody is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.algorithm import oprl_evaluation
from prefrl_cli.algorithm.metrics import FILE_METRICS
from prefrl_cli.algorithm.oprl_parts import check_measurable
from prefrl_cli.core.environment import Box, Environment, is_finite
from prefrl_cli.core.figures import Curves, Figure, History, Line, Panel
from prefrl_cli.core.layers.exactness import Trained, trained
from prefrl_cli.core.optimizer import Optimizer
from prefrl_cli.core.option_types import Fraction, Given, Items, Limits, OptionError
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.preference.answers.frozen import FrozenAnswers
from prefrl_cli.preference.loss import Davidson, RaoKupper, SkipTies, SoftTies, bradley_terry
from prefrl_cli.reward_model.constant import ConstantReward
from prefrl_cli.reward_model.explicit import ProcessReward
from prefrl_cli.reward_model.implicit import ImplicitReward
from prefrl_cli.reward_model.quality import Predictions, spearman
from prefrl_cli.reward_model.reliability_figure import reliability_figure

_STEPS_AT_ONCE = 1 << 14  # of one seed, so that what is in memory does not grow with the file
_EXAMPLES = 7


class RewardFromFile:
    """A reward model for R seeds; each draws its own split, initial parameters and batches.

    Args:
        batch: answers of a step, each drawn independently.
        held_out: share of the answers that is kept out of training, and tested on.
        answers: learned from, drawn by each seed among those that are not held out; none takes them all.
        discount: of the potentials that count as no difference in `epic_distance`.

    Raises:
        OptionError: where the file's questions are not about this environment, or too few have an answer.
        ConfigError: where the file cannot be read.
    """

    def __init__(
        self,
        *,
        env: Given[Environment],
        streams: Given[Streams],
        reward_model: Given[ProcessReward | ImplicitReward | ConstantReward],
        optimizer: Given[Optimizer],
        steps: Given[int],
        batch: Items = 64,
        held_out: Annotated[float, Limits(0, 0.9)] = 0.2,
        answers: Items | None = None,
        discount: Fraction = 0.98,
        loss: Given[SoftTies | SkipTies | RaoKupper | Davidson | None] = None,
        preferences_file: Given[str | None] = None,
        env_options: Given[Mapping[str, Any] | None] = None,
    ) -> None:
        self.env, self.streams, self.reward_model, self.steps, self.step = env, streams, reward_model, steps, 0
        self.optimizers, self.metrics = (optimizer,), FILE_METRICS
        check_measurable(loss, None)  # a file holds each question once
        self._optimizer, self._loss, self._batch, self._discount = optimizer, loss or SoftTies(), batch, discount
        self._data = data = FrozenAnswers(preferences_file, env, env_options or {}, streams.device)
        order = streams.uniform("split", len(data)).argsort(dim=1, stable=True)
        number = round(held_out * len(data))
        self._tested, self._trained = order[:, :number], order[:, number:]
        if not self._trained.shape[1]:
            raise OptionError("preferences.file", data.path, f"has {len(data)} answers", {"algorithm.held_out": 0.0})
        if answers is not None and answers > self._trained.shape[1]:
            reason = "are more than the file has beside those held out"
            raise OptionError("answers", answers, reason, self._trained.shape[1])
        self._trained = self._trained[:, :answers]
        self._held_out: Predictions | None = None
        self.examples: dict[str, Tensor] = {}

    def update(self) -> dict[str, Tensor]:
        """One step on a batch of answers; its loss `[R]`, the mean over members."""
        drawn = self.streams.uniform("reward_batch", self._batch) * self._trained.shape[1]
        pairs, label, weight = self._data.pairs(self._trained.gather(1, drawn.floor().long()))
        each = self._loss(pairs.return_differences(self.reward_model), label[:, None], weight[:, None])  # [R, M]
        self._optimizer.step(each.sum(1))
        self.step += 1
        return {"loss": each.detach().mean(1)}

    @torch.no_grad()
    def evaluate(self) -> dict[str, Tensor]:
        """What the model knows, `[R]` each: of the answers held out, and of the environment's own reward.

        `held_out_loss` is Bradley and Terry's; `return_correlation` is Spearman's, between learned and true returns of
        the segments of these questions, where the file has the true rewards.
        """
        if not self._tested.shape[1]:
            return self._quality()
        found = [self._predicted(rows) for rows in self._tested.split(self._at_once(), dim=1)]
        scores, label, weight = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        margins = scores[..., 0] - scores[..., 1]
        strict = torch.where(label == 0.5, 0.0, weight)
        self._held_out = Predictions(margins, label, strict)
        some = {"preferred": label, "weight": weight, "predicted": logsigmoid(margins.double()).exp()}
        self.examples = {name: values[:, :_EXAMPLES] for name, values in some.items()}
        return {
            **oprl_evaluation.predicted_answers(self._held_out),
            "held_out_loss": bradley_terry(margins, label, weight),
            **self._returns(scores),
            **self._quality(),
        }

    def _at_once(self) -> int:
        return max(1, _STEPS_AT_ONCE // (2 * self._data.width))

    def _predicted(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The model's returns of both segments `[R, B, 2]`, labels and weights."""
        pairs, label, weight = self._data.pairs(rows)
        rewards = self.reward_model.step_rewards(pairs.states, pairs.actions)
        there = torch.arange(rewards.shape[-1], device=rewards.device) < pairs.lengths[..., None]
        return (rewards * there).sum(-1), label, weight

    def _returns(self, scores: Tensor) -> dict[str, Tensor]:
        true = self._data.returns
        if bool(true.isnan().any()):
            return {}
        found = spearman(scores.flatten(1).cpu().numpy(), true[self._tested].flatten(1).cpu().numpy())
        return {"return_correlation": torch.from_numpy(found).float().to(scores.device)}

    def _quality(self) -> dict[str, Tensor]:
        """How near the rewards are to the true ones; of vectors, over the steps of some of the held-out segments."""
        some = self._tested[:, : self._at_once()] if self._tested.shape[1] else self._trained[:, :1]
        fresh = self._data.segments(some)
        if not is_finite(self.env) and bool(fresh.rewards.isnan().any()):
            return {}
        return oprl_evaluation.reward_quality(self.env, self.reward_model, fresh, self._discount)

    def figures(self, history: History, living: NDArray[np.bool_]) -> dict[str, Figure]:
        """Loss and predictions while training, and the reliability of the predictions; see `Algorithm.figures`."""
        steps = np.arange(1, len(history["loss"]) + 1)
        x_label = f"steps of {self._batch} answers each"
        panels = [Panel("Training loss", x_label, "loss (nats)", (Line(steps, history["loss"], style="smooth"),))]
        for metric in self.metrics:
            values = history.get(f"evaluation/{metric.name}")
            if values is not None and metric.low is not None and metric.high is not None:
                limits = (metric.low - 0.02, metric.high + 0.02)
                line = (Line(np.arange(len(values)), values),)
                title = metric.words[0].upper() + metric.words[1:]
                panels.append(Panel(title, x_label, metric.unit, line, limits))
        charts: dict[str, Figure] = {"training": Curves("Reward learned from a file", tuple(panels))}
        if self._held_out is None:
            return charts
        chances, labels, weights = self._held_out.arrays()
        return charts | reliability_figure(chances, labels, weights * living[:, None])

    def networks(self) -> dict[str, Trained]:
        """What is trained, for the check that no seed depends on those beside it."""
        rows = () if not isinstance(self.env.observation_space, Box) else (2 * self._batch * self._data.width,)
        return trained(reward_model=(self.reward_model, self._optimizer, rows))

    def play(self, episodes: int) -> dict[str, Tensor]:
        """Nothing: there is no policy."""
        return {}

    def adopt(self, state: dict[str, Any]) -> None:
        """Take the reward model from a `state()`."""
        self.step = state["step"]
        self._optimizer.restore(state["reward_model"])
        self.reward_model.restore(state["reference"])

    def state(self) -> dict[str, Any]:
        """Everything that changes while training, and what the file held."""
        return {
            "step": self.step,
            "content": self._data.content,
            "reward_model": self._optimizer.state(),
            "reference": self.reward_model.state(),
            "held_out": {} if self._held_out is None else self._held_out._asdict(),
            "streams": self.streams.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes, or of a file that held something else."""
        pairs = Field((len(self.streams.seeds), self._tested.shape[1]), torch.float32)
        held_out = dict.fromkeys(Predictions._fields, pairs) if state["held_out"] else {}
        kinds = {"step": int, "content": str, "held_out": held_out}
        check_state(dict.fromkeys(self.state(), object) | kinds, state)
        if state["content"] != self._data.content:
            raise ValueError("preferences.file holds other questions or answers than it did")
        self.step = state["step"]
        self._held_out = Predictions(**state["held_out"]) if held_out else None
        self._optimizer.restore(state["reward_model"])
        self.reward_model.restore(state["reference"])
        self.streams.restore(state["streams"])
