"""What a person answered in one run, given to another one as answers."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from prefrl_cli.core.option_types import Given, OptionError, Positive
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.saved_state import check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.files.read import UnreadableError, short
from prefrl_cli.preference.answers.events import copy_answers, label_of, opened, repeats
from prefrl_cli.preference.database import ANSWERS
from prefrl_cli.preference.dataset import Answers, Pending, PreferenceDataset
from prefrl_cli.preference.questions import Part, Questions, arrays, fingerprint, parts


class _Answered(NamedTuple):
    """An answer that stands: of which question, what it was, and at which update it was taken up."""

    hash: str
    label: float
    weight: float
    step: int
    first: Part
    second: Part


_STANDING = """SELECT q.hash, q.parts, q.first_side, a.answer, a.strong, ifnull(s.step, q.asked_step) FROM questions q
JOIN answers a ON a.id = q.answer LEFT JOIN seen s ON s.answer = a.id WHERE q.repeats IS NULL ORDER BY a.id"""


class Recorded:
    """Answers what a person answered before, in this run or another one: what is the same gets the same answer.

    A question is the same where the same happened in both of its pair, whichever is the first; each seed takes an
    answer once, and not before the update that took it up. Since another seed or another learner plays other episodes,
    the questions that were answered are asked as well, at that update.

    Args:
        env: whose questions they must be.
        streams: gives the seeds.
        file: a run's `answers.sqlite`, or the run.
        bring: whether the questions that were answered are asked as well.
        strength: how much a strong preference counts; any other answer counts 1.

    Attributes:
        repeats: of the questions that a person was asked twice, how many and how many got the same answer, `[R, 2]`:
            of all seeds that were recorded together, since it is the person's habit.
        repeat: whether there are any.

    Raises:
        OptionError: for a file that cannot be read, or is of another environment.
    """

    def __init__(
        self,
        env: Given[Any],
        streams: Given[Streams],
        file: str | None = None,
        bring: bool = True,
        strength: Positive = 2.0,
    ) -> None:
        if file is None:
            raise OptionError("file", None, "a run whose questions were answered is needed", "RUN_DIR")
        self._about, self._env, self._bring, self._strange = fingerprint(env), env, bring, 0
        twice = [0, 0]
        self._answers = list(self._read(file, strength, twice))
        if not self._answers:
            raise OptionError("file", file, "holds no answer to a question of this environment")
        self._places: dict[str, list[int]] = {}
        for place, one in enumerate(self._answers):
            for way in (one.hash, ":".join(reversed(one.hash.split(":")))):
                self._places.setdefault(way, []).append(place)
        self._next = 0
        self._used = torch.zeros(len(streams.seeds), len(self._answers), dtype=torch.bool)
        self._unanswered = torch.zeros(len(streams.seeds), dtype=torch.int64)
        self.repeats, self.repeat = torch.tensor([twice] * len(streams.seeds)), twice[0] > 0

    def _read(self, file: str, strength: float, twice: list[int]) -> Iterator[_Answered]:
        """The answers of a file; how many questions were asked twice and answered alike is added to `twice`."""
        path = Path(file) / ANSWERS if Path(file).is_dir() else Path(file)
        try:
            with tempfile.TemporaryDirectory() as kept:
                copy_answers(path, Path(kept, ANSWERS))
                with opened(Path(kept, ANSWERS)) as database:
                    rows = database.rows(_STANDING)
                    for place, number in enumerate(map(sum, zip(*repeats(database).values(), strict=True))):
                        twice[place] = number
            for hash_, parts_, side, kind, strong, step in rows:
                both = tuple(Part.of(self._env, **part) for part in json.loads(parts_))
                if len(both) == 2 and ":".join(part.hash(self._about) for part in both) == hash_:
                    weight = 0.0 if kind == "cannot_tell" else strength if strong else 1.0
                    yield _Answered(hash_, label_of(kind, side), weight, step, *both)
                else:
                    self._strange += 1
        except (UnreadableError, OSError, sqlite3.Error, TypeError, ValueError) as problem:
            raise OptionError("file", file, f"cannot be read ({short(problem)})", "RUN_DIR") from None

    def ask(self, preferences: PreferenceDataset, step: int) -> None:
        """Ask the questions whose answers were taken up at this update, as far as they are no longer than others are.

        Args:
            preferences: of the run, in which they then wait.
            step: the update.
        """
        width = preferences.steps
        if chosen := self._brought(width, step):
            padded = [[part.padded(width) for part in (one.first, one.second)] for one in chosen]
            both = {name: np.stack([[part[name] for part in pair] for pair in padded]) for name in padded[0][0]}
            tensors = {name: torch.from_numpy(values).to(preferences.used.device) for name, values in both.items()}
            wide = {name: one.expand(len(self._used), *one.shape) for name, one in tensors.items()}
            preferences.ask(Questions(**wide), step)

    def _brought(self, width: int, step: int) -> list[_Answered]:
        """The answers whose questions are asked at an update, where others have so many steps."""
        found = [one for one in self._answers if self._bring and one.step == step]
        return [one for one in found if max(len(one.first.actions), len(one.second.actions)) <= width]

    def answer(self, pending: Pending, recent: Store, streams: Streams) -> Answers | None:
        """Answer what is the same as something that was answered, once for each seed; what was brought comes first.

        Args:
            pending: the questions.
            recent: not needed.
            streams: not needed.
        """
        new = (pending.number >= self._next).nonzero()[:, 0].tolist()
        self._next = int(pending.number[-1]) + 1
        own = len(new) - len(self._brought(pending.questions.actions.shape[3], pending.step))
        new = new[own:] + new[:own]  # a seed's own question may be the same as one that was brought
        number = torch.full((len(self._used), len(new)), -1)
        label, weight = torch.full(number.shape, 0.5), torch.zeros(number.shape)
        questions = arrays(pending.questions)
        for row in range(len(number)):
            for place, which in enumerate(new):
                first, second = (part.hash(self._about) for part in parts(questions, row, which))
                same = self._places.get(f"{first}:{second}", [])
                left = [one for one in same if not self._used[row, one] and self._answers[one].step <= pending.step]
                if not left:
                    self._unanswered[row] += not same
                    continue
                self._used[row, left[0]], one = True, self._answers[left[0]]
                number[row, place] = pending.number[which]
                label[row, place] = one.label if one.hash.startswith(first) else 1 - one.label
                weight[row, place] = one.weight
        if not new or self._bring and bool((number < 0).all()):  # as while a person has not answered yet
            return None
        device = pending.number.device
        return Answers(number.to(device), label.to(device), weight.to(device))

    def told(self) -> str:
        """How many answers were of use, in one line."""
        used, unanswered = _range(self._used.sum(1).tolist()), _range(self._unanswered.tolist())
        strange = f"; {self._strange} answers are of another environment" if self._strange else ""
        return (
            f"teacher=recorded: {used} of {len(self._answers)} recorded answers were given to each seed,"
            f" and {unanswered} questions had none{strange}"
        )

    def summary(self) -> dict[str, Any]:
        """What of the recorded answers was of use, for the summary of the run."""
        return {
            "recorded": len(self._answers),
            "of_other_environments": self._strange,
            "given": self._used.sum(1).tolist(),
            "questions_without": self._unanswered.tolist(),
        }

    def state(self) -> dict[str, Any]:
        """Everything that changes: how far the questions were looked at, and which answers each seed has had."""
        return {"next": self._next, "used": self._used, "unanswered": self._unanswered}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is of other answers."""
        check_state({"next": int, "used": self._used, "unanswered": self._unanswered}, state, "teacher")
        self._next, self._used, self._unanswered = state["next"], state["used"].cpu(), state["unanswered"].cpu()


def _range(counts: list[int]) -> str:
    """A number, or the smallest and the largest of different ones."""
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
