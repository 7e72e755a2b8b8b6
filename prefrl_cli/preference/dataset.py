"""The preference data set: questions that are pending until they are answered, and the answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from prefrl_cli.core.environment import Environment, is_finite
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.core.trajectories import action_field, state_field
from prefrl_cli.files.preferences.record import Record
from prefrl_cli.preference.questions import Preferences, Questions


class Answers(NamedTuple):
    """Answers to some of the pending questions.

    Attributes:
        number: of the question, `[R, K]`; -1 where there is no answer.
        label: the probability that the first is preferred, `[R, K]`.
        weight: how much it counts, `[R, K]`; 0 says "I cannot tell", and costs nothing.
        again: the label that the same question got when it was asked a second time, which teaches and costs nothing,
            `[R, K]`; NaN where it was not.
    """

    number: Tensor
    label: Tensor
    weight: Tensor
    again: Tensor | None = None


class Pending(NamedTuple):
    """The questions that nobody has answered yet, the oldest first.

    Attributes:
        questions: `[R, N, 2, T]`.
        number: of each, `[N]`, the same for all seeds.
        asked: the update at which it was asked, `[N]`.
        open: whether a seed still waits for the answer, `[R, N]`.
        step: the update that is now.
    """

    questions: Questions
    number: Tensor
    asked: Tensor
    open: Tensor
    step: int


@dataclass
class _Batch:
    """Questions that were asked together: the first one's number, when, and which are open, `[R, Q]`."""

    questions: Questions
    first: int
    asked: int
    open: Tensor


class PreferenceDataset:
    """What was asked and answered so far.

    A question is pending until it is answered, at once, later or never. The newest `capacity` of them wait; an older
    one is dropped, and an answer to it is too late. The same holds for answers. Answers are counted here and nowhere
    else: an answer of weight 0 costs nothing, and one beyond the budget is not kept.

    Args:
        env: gives the numbers of states and actions.
        streams: give the seeds and the device.
        steps: T, the most steps of each of a pair.
        capacity: answers kept, and questions that wait.
        budget: answers in all for each seed; none is without end.
        record: whether every question is kept for a file.
        reopens: whether answered questions stay with those that wait, so that an answer can be taken back and given
            anew; one to a question that was dropped can only be taken back.

    Attributes:
        used: answers so far, `[R]`.
        repeats: questions whose answer was kept and that were answered twice with a preference: how many, and how many
            of them got the same one, `[R, 2]`.
        asked: questions so far; a seed whose budget is spent counts on, whatever the seeds beside it do.
        num_actions: of an environment whose states are numbered.
        record: every question so far; none where they are not kept.
        steps: as given.
        budget: as given.
    """

    def __init__(
        self,
        env: Environment,
        streams: Streams,
        steps: int,
        capacity: int,
        budget: int | None = None,
        record: bool = False,
        reopens: bool = False,
    ) -> None:
        self.num_actions = env.num_actions if is_finite(env) else None
        self._capacity, self.budget, self._reopens = capacity, budget, reopens
        self.steps, self._shape = steps, (len(streams.seeds), 2, steps)
        pair = {
            "states": state_field(env, (2, steps)),
            "actions": action_field(env, (2, steps)),
            "lengths": Field((2,), torch.int64, steps + 1),
        }
        whole = Field((), torch.int64)
        value = Field((), torch.float32)
        answer = {"label": value, "weight": value, "number": whole, "asked": whole, "answered": whole}
        played = {
            "rewards": Field((2, steps), torch.float32),
            "last": state_field(env, (2,)),
        }
        self._question_fields = pair | played
        self._answered = Store(capacity, len(streams.seeds), pair | answer)
        self._pending: list[_Batch] = []
        self.used = torch.zeros(len(streams.seeds), dtype=torch.int64, device=streams.device)
        self.repeats = torch.zeros(len(streams.seeds), 2, dtype=torch.int64, device=streams.device)
        self.asked = 0
        self.record = Record(streams.seeds, self._question_fields, streams.device) if record else None

    @property
    def count(self) -> Tensor:
        """Answers kept, `[R]`; empty before the first."""
        return self._answered.count

    @property
    def spent(self) -> bool:
        """Whether no seed may use another label."""
        return self.budget is not None and bool((self.used >= self.budget).all())

    def ask(self, questions: Questions, step: int) -> None:
        """Questions `[R, Q, 2, T]` that wait for an answer from this update on."""
        shape = questions.lengths.shape[:2]
        everywhere = torch.ones(shape, dtype=torch.bool, device=questions.lengths.device)
        self._pending.append(_Batch(questions, self.asked, step, everywhere))
        if self.record is not None:
            wanted = torch.ones_like(self.used, dtype=torch.bool) if self.budget is None else self.used < self.budget
            self.record.ask(questions.tensors(), self.asked, step, wanted)
        self.asked += shape[1]
        while sum(batch.open.shape[1] for batch in self._pending) > self._capacity and len(self._pending) > 1:
            del self._pending[0]

    def pass_over(self, count: int) -> None:
        """So many questions are not asked, since no seed may; their numbers are used up."""
        self.asked += count

    def pending(self, step: int) -> Pending | None:
        """The questions that wait at this update; none where there are none."""
        if not self._pending:
            return None
        device = self.used.device
        number = [torch.arange(batch.first, batch.first + batch.open.shape[1]) for batch in self._pending]
        asked = [torch.full((batch.open.shape[1],), batch.asked) for batch in self._pending]
        return Pending(
            Questions.join([batch.questions for batch in self._pending]),
            torch.cat(number).to(device),
            torch.cat(asked).to(device),
            torch.cat([batch.open for batch in self._pending], 1),
            step,
        )

    def answer(self, answers: Answers | None, step: int) -> None:
        """Keep the answers to pending questions, in the order of their numbers, as far as the budget goes.

        Args:
            answers: to some of them; none is none. What is not pending any more is left out.
            step: the update at which they came.
        """
        if answers is None:
            return
        for batch in self._pending:
            size = batch.open.shape[1]
            # One place more, at the end, for what is not in this batch.
            place = answers.number - batch.first
            place = torch.where((place >= 0) & (place < size), place, size)
            empty = torch.zeros(len(place), size + 1, device=place.device)
            label, weight = (
                empty.scatter(1, place, values.float())[:, :size] for values in (answers.label, answers.weight)
            )
            given = torch.zeros_like(empty, dtype=torch.bool).scatter(1, place, True)[:, :size] & batch.open
            batch.open = batch.open & ~given
            kept = self._keep(batch, given & (weight > 0), label, weight, step)
            if answers.again is not None:
                again = torch.full_like(empty, torch.nan).scatter(1, place, answers.again.float())[:, :size]
                twice = kept & (label != 0.5) & (again != 0.5) & ~again.isnan()
                self.repeats = self.repeats + torch.stack([twice.sum(1), (twice & (label == again)).sum(1)], 1)
            if self.record is not None:
                self.record.answer(batch.first, kept | (given & (weight <= 0)), label, weight, step)
        self._pending = [batch for batch in self._pending if self._reopens or bool(batch.open.any())]

    def take_back(self, numbers: Tensor) -> None:
        """The answers to these questions teach and cost nothing more, and the questions that are still here wait again.

        Args:
            numbers: of the questions, `[R, N]`; -1 where there is none.
        """
        for batch in self._pending:
            number = torch.arange(batch.first, batch.first + batch.open.shape[1], device=numbers.device)
            again = (numbers[:, None, :] == number[:, None]).any(-1)
            batch.open = batch.open | again
            if self.record is not None:
                nothing = torch.full_like(again, torch.nan, dtype=torch.float32)
                self.record.answer(batch.first, again, nothing, torch.zeros_like(nothing), -1)
        if not len(self.count):
            return
        (number, there), (label, _), (weight, _) = map(self._answered.column, ("number", "label", "weight"))
        gone = there & (numbers[:, None, :] == number[..., None]).any(-1)
        self.used = self.used - (gone & (weight > 0)).sum(1)
        label.masked_fill_(gone, 0.5)  # the columns are the store's own
        weight.masked_fill_(gone, 0.0)

    def _keep(self, batch: _Batch, given: Tensor, label: Tensor, weight: Tensor, step: int) -> Tensor:
        """Keep what the budget allows; which that was, `[R, Q]`."""
        if self.budget is not None:
            given = given & (given.cumsum(1) <= (self.budget - self.used)[:, None])
        number = torch.arange(batch.first, batch.first + given.shape[1], device=given.device).expand(len(given), -1)
        kept = Preferences(
            states=batch.questions.states,
            actions=batch.questions.actions,
            lengths=batch.questions.lengths,
            label=label,
            weight=weight,
            number=number,
            asked=torch.full_like(number, batch.asked),
            answered=torch.full_like(number, step),
        )
        self._answered.add(kept.tensors(), given)
        self.used = self.used + given.sum(1)
        return given

    def get(self, indices: Tensor) -> Preferences:
        """The answers `[R, K]` at indices counted from the oldest that is kept."""
        return Preferences(**self._answered.get(indices))

    def all(self) -> tuple[Preferences, Tensor] | None:
        """Every answer kept `[R, N]`, the oldest first, and whether a seed has it `[R, N]`; none before the first."""
        count = self.count
        if not len(count):
            return None
        indices = torch.arange(int(count.max()), device=count.device)
        mask = indices < count[:, None]
        return self.get(torch.where(mask, indices, 0)), mask

    def has_spent(self) -> Tensor | None:
        """Whether a seed may use no other label, `[R]`; none where every seed may."""
        spent = None if self.budget is None else self.used >= self.budget
        return spent if spent is not None and bool(spent.any()) else None

    def has_strict_preference(self) -> Tensor:
        """Whether some answer kept prefers one of the two, `[R]`: ties alone teach no direction."""
        if not len(self.count):
            return torch.zeros_like(self.used, dtype=torch.bool)
        labels, mask = self._answered.column("label")
        return ((labels != 0.5) & mask).any(1)

    def state(self) -> dict[str, Any]:
        """Everything that changes: the answers, the questions that wait, and the counts."""
        pending = [
            {"first": batch.first, "asked": batch.asked, "open": batch.open, **batch.questions.tensors()}
            for batch in self._pending
        ]
        state = {"asked": self.asked, "used": self.used, "answered": self._answered.state(), "pending": pending}
        state["repeats"] = self.repeats
        return state if self.record is None else {**state, "record": self.record.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other sizes."""
        replicas = self._shape[0]
        parts = dict.fromkeys(["answered", "pending"] + ["record"] * (self.record is not None), object)
        state = {"repeats": torch.zeros_like(self.repeats), **state}  # older checkpoints have none
        check_state({"asked": int, "used": self.used, "repeats": self.repeats, **parts}, state, "preferences")
        fields = {
            name: field._replace(shape=(replicas, None, *field.shape)) for name, field in self._question_fields.items()
        }
        batch = {"first": int, "asked": int, "open": Field((replicas, None), torch.bool), **fields}
        check_state([batch] * len(state["pending"]), state["pending"], "pending")
        self._answered.restore(state["answered"])
        if self.record is not None:
            self.record.restore(state["record"])
        self.asked, self.used, self.repeats = state["asked"], state["used"], state["repeats"]
        self._pending = [
            _Batch(Questions(**{name: one[name] for name in fields}), one["first"], one["asked"], one["open"])
            for one in state["pending"]
        ]
