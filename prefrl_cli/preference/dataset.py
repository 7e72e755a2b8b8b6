"""Asking: which pairs of what was played the teacher is asked about, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.environment import FiniteEnvironment
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.saved_state import Field
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.preference.queries import Disagreement, Entropy, KCenter, UniformTrajectories, segments
from prefrl_cli.preference.questions import Model, Pairs, margins
from prefrl_cli.preference.teacher import Teacher


class Questions:
    """What was asked and answered so far.

    Args:
        env: gives the distances that a teacher may look at.
        streams: random numbers.
        teacher: who answers.
        queries: what is asked.
        keep: answers kept, the newest.

    Attributes:
        answered: the questions kept, with their `label`.
        used: answers so far, `[R]`.
        asked: questions so far; a seed without budget counts on, whatever the seeds beside it do.
    """

    def __init__(
        self,
        env: FiniteEnvironment,
        streams: Streams,
        teacher: Teacher,
        queries: UniformTrajectories | Disagreement | Entropy | KCenter,
        keep: int,
    ) -> None:
        self._env, self._streams, self._teacher, self._queries = env, streams, teacher, queries
        self._distance = torch.from_numpy(env.distance).to(streams.device)
        steps = queries.segment or env.horizon
        fields = {
            "states": Field((2, steps), torch.int64, env.num_states),
            "actions": Field((2, steps), torch.int64, env.num_actions),
            "lengths": Field((2,), torch.int64, steps + 1),
            "label": Field(()),
        }
        self.answered = Store(keep, len(streams.seeds), fields)
        self.used = torch.zeros(len(streams.seeds), dtype=torch.int64, device=streams.device)
        self.asked = 0

    @staticmethod
    def read(state: Mapping[str, Any], replicas: int) -> dict[str, Tensor]:
        """The questions and answers in the state of a whole algorithm, as a checkpoint has it.

        Args:
            state: the algorithm's.
            replicas: R.

        Returns:
            `states`, `actions` `[R, N, 2, T]`, `lengths` `[R, N, 2]` and `label` `[R, N]`, 1 where the first is
            preferred, 0 where the second is, 0.5 for a tie; the oldest first; and `there` `[R, N]`, whether a seed
            has so many.

        Raises:
            KeyError, ValueError: for a state without preferences.
        """
        kept = state["preferences"]
        rows = next(iter(kept["items"].values())).shape[0] if kept["items"] else replicas
        store = Store(rows // replicas, replicas)
        store.restore(kept)
        if not len(store.count):
            return {}
        places = torch.arange(int(store.count.max()), device=store.count.device)
        there = places < store.count[:, None]
        return {**store.get(torch.where(there, places, 0)), "there": there}

    def score(self, trajectories: Trajectories) -> Tensor:
        """What the teacher goes by, `[R, B]`."""
        return self._teacher.score(trajectories.rewards, self._distance[trajectories.last])

    def informed(self) -> Tensor:
        """Whether some answer kept prefers one of the two, `[R]`: ties alone teach no direction."""
        if not len(self.answered.count):
            return torch.zeros_like(self.used, dtype=torch.bool)
        labels, exists = self.answered.column("label")
        return ((labels != 0.5) & exists).any(1)

    def ask(self, kept: Store, reward_model: Model) -> None:
        """Ask about pairs of kept trajectories, within the budget; what the teacher does not skip is kept."""
        self.asked += self._queries.questions
        if self._queries.spent(self.used):
            return
        both = self._candidates(kept)
        if self._queries.candidates > 1:
            chances = self._chances(both, reward_model)
            chosen = self._queries.choose(chances, self._steps(both), self._asked_before())  # [R, Q]
            rows = torch.arange(len(chosen), device=chosen.device)[:, None]
            both = {name: value[rows, chosen] for name, value in both.items()}
        label, weight = self._teacher.answer(self._streams, both["score"], *self._impressions(both, kept))
        answered = self._queries.within(weight > 0, self.used)
        question = {name: both[name] for name in ("states", "actions", "lengths")}
        self.answered.add({**question, "label": label}, answered)
        self.used += answered.sum(1)

    def _candidates(self, kept: Store) -> Pairs:
        pairs = self._queries(self._streams, kept.count)  # [R, C, 2]
        found = kept.get(pairs.flatten(1))
        if self._queries.segment is not None:
            whole = Trajectories.of(found)
            part = segments(whole, *self._queries.cut(self._streams, whole.lengths), self._queries.segment)
            score = self.score(part)
            found = {**part.fields(), "score": self._own(score, score, part.states)}
        return {name: value.unflatten(1, (-1, 2)) for name, value in found.items()}

    def _own(self, values: Tensor, scores: Tensor, states: Tensor) -> Tensor:
        """Values `[...]` of trajectories, less the progress that a failed segment was only cut late enough to have.

        The reward model sums over the steps of a segment: an answer that goes by where it began is noise to it.
        """
        if self._queries.segment is None or self._teacher.criterion == "return":
            return values
        before = self._distance[self._env.start] - self._distance[states[..., 0]]
        return torch.where(scores > 0, values, values - before)

    @torch.no_grad()
    def _chances(self, both: Pairs, reward_model: Model) -> Tensor:
        """Each member's chance that the first is preferred, `[R, M, C]`."""
        return logsigmoid(margins(reward_model, both)).exp()

    def _steps(self, both: Pairs) -> Tensor:
        """Questions as numbers `[R, C, 2 T]`: the steps of the first, then of the second, -1 past their ends."""
        steps = both["states"] * self._env.num_actions + both["actions"]
        past = torch.arange(steps.shape[-1], device=steps.device) >= both["lengths"][..., None]
        return torch.where(past, -1, steps).flatten(2)

    def _asked_before(self) -> tuple[Tensor, Tensor] | None:
        """The questions kept as numbers `[R, N, 2 T]`, where the queries stay away from them, and how many `[R]`."""
        count = self.answered.count
        if not self._queries.centres or not len(count):
            return None
        places = torch.arange(int(count.max()), device=count.device)
        there = places < count[:, None]
        return self._steps(self.answered.get(torch.where(there, places, 0))), count

    def _impressions(self, both: Pairs, kept: Store) -> tuple[Tensor, Tensor]:
        """What the teacher thinks of trajectories `[R, Q, 2]`, and what is typical of those kept `[R]`."""
        teacher, impressions, typical = self._teacher, both["score"], torch.zeros(len(both["score"]))
        if teacher.gamma < 1:
            last, visited = self._distance[both["last"]], self._distance[both["states"]]
            impressions = teacher.impression(both["rewards"], last, visited, both["lengths"])
            impressions = self._own(impressions, both["score"], both["states"])
        if teacher.skip or teacher.equal:
            count = kept.count
            places = torch.arange(kept.capacity, device=count.device).expand(len(count), -1)
            share = (self._queries.segment or self._env.horizon) / self._env.horizon
            typical = teacher.typical(kept.get(places)["score"], places < count[:, None], share)
        return impressions, typical.to(impressions.device)
