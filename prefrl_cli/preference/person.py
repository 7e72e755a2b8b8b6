"""A person answers, when there is time: questions go to the run's database, and answers come back from there."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefrl_cli.core.option_types import CountOrZero, Failed, Fraction, Given, Items, Limits, Positive
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.saved_state import check_state
from prefrl_cli.core.streams import Streams
from prefrl_cli.preference.answers.events import Event, events, forget_from, lately_guessed, opened, repeats, take_up
from prefrl_cli.preference.answers.films import Films
from prefrl_cli.preference.database import ANSWERS, AnswerDatabase, Asked
from prefrl_cli.preference.dataset import Answers, Pending
from prefrl_cli.preference.questions import Model, Part, arrays, fingerprint, parts
from prefrl_cli.stats.agreement import LATELY, reliability

# What is reported beside the metrics, as the page shows them.
_WORDS = f"share of the last {LATELY} answers that the model had guessed before it saw them"
GUESSED = {"name": "guessed", "words": _WORDS, "unit": ""}
_TOLD, _SHARE = 0.5, 0.05  # seconds from one film of the agent to the next, and the share of the time for it


class Person:
    """Asks a person, through the database that the label page reads and writes.

    An answer counts from the update on that takes it up, and that update is part of the record: a run that is resumed
    or repeated takes the same answers up at the same updates. An answer that is taken back leaves the data set then,
    and its question waits again.

    Args:
        env: what is asked about, see `Films`.
        streams: gives the seeds.
        open: whether a browser is opened.
        host: that the page listens on; only a loopback host keeps other machines out.
        port: that it listens on; 0 takes any that is free.
        questions: of an update's questions at most so many are put to the person; none is all.
        wait_for: the policy is not improved before there were so many answers, to each seed's questions on average.
        pace: most updates an answer, so that training does not run ahead of the person; it never waits where nothing
            can be answered. None does not wait.
        expire: updates after which a question is not asked any more; none keeps it.
        repeat: share of the questions that are asked once more, with the sides changed, to see how reliable the
            answers are; what they are answered then teaches nothing.
        strength: how much a strong preference counts; any other answer counts 1.
        guess: whether the page says, after an answer, how likely the model had found it.
        reward_model: guesses each answer when its question is asked.

    Attributes:
        ready: whether the policy may be improved.
        films: of what is asked.
        repeats: of the questions that were asked twice, how many and how many got the same answer, `[R, 2]`.
        undone: the questions `[R, N]` whose earlier answers were taken back by this update, -1 where there is none.
    """

    takes_back = True

    def __init__(
        self,
        env: Given[Any],
        streams: Given[Streams],
        open: bool = True,
        host: str = "127.0.0.1",
        port: Annotated[int, Limits(0, 65535)] = 0,
        questions: Items | None = 10,
        wait_for: CountOrZero = 0,
        pace: Positive | None = 0.1,
        expire: Items | None = 10,
        repeat: Fraction = 0.0,
        strength: Positive = 2.0,
        guess: bool = False,
        reward_model: Given[Model | None] = None,
    ) -> None:
        self.open, self.host, self.port, self.wait_for = open, host, port, wait_for
        self.films, self._seeds, self._about = Films(env), streams.seeds, fingerprint(env)
        self._questions, self._pace, self._expire = questions, pace, expire
        self.repeat, self._strength, self._guess, self._model = repeat, strength, guess, reward_model
        self._database: AnswerDatabase | None = None
        self._tell: Callable[[str], None] = lambda _: None
        self._pause: Callable[[], None] | None = None
        self.undone: Tensor | None = None
        self.repeats = torch.zeros(len(self._seeds), 2, dtype=torch.int64)
        self._next, self._newest, self._answered = 0, 0, 0
        self._done, self.ready, self._told = False, wait_for == 0, float("-inf")

    @contextlib.contextmanager
    def attached(
        self,
        path: Path,
        budget: int | None,
        tell: Callable[[str], None] = lambda _: None,
        pause: Callable[[], None] | None = None,
    ) -> Iterator[AnswerDatabase]:
        """Within it, answers come from a database, which may hold what was answered before.

        Args:
            path: the file.
            budget: answers to each seed's questions; none is without end.
            tell: given a line where training goes otherwise than when the answers were given.
            pause: called again and again while training waits for the person; without it, it never waits.

        Raises:
            Failed: where it cannot be used, or does not hold what the run has seen.
        """
        try:
            with opened(path) as database:
                if database.rows("SELECT ifnull(max(answer), 0) FROM seen")[0][0] < self._newest:
                    raise Failed(f"{path} holds fewer answers than the run has seen; put the run's own back")
                database.note(budget=budget, seeds=len(self._seeds), guess=self._guess)
                database.end_leases()
                self._database, self._tell, self._pause = database, tell, pause
                yield database
        except sqlite3.Error as problem:
            raise Failed(f"{path} cannot be read or written ({problem})") from None
        finally:
            self._database = self._pause = None

    def answer(self, pending: Pending, recent: Store, streams: Streams) -> Answers | None:
        """Put what is new to the person, wait where that is wanted, and take up what was answered meanwhile.

        Args:
            pending: the questions.
            recent: the trajectories kept; the newest is shown as the agent's latest film.
            streams: the purpose `teacher` says on which side the first of a pair is shown.
        """
        if self._database is None:  # a run that is only built, to see what it would do
            return None
        database, step = self._database, pending.step
        self._put(database, pending, streams, recent)
        reached = database.fact("reached", -1)
        if step > reached:
            self._show(database, recent)
            while self._pause is not None and self._is_ahead(database, step):
                self._pause()
            take_up(database, step, int(pending.number[0]), self._expire)
        found = events(database, "WHERE s.step = ?", step)
        self.undone = None
        if found and self.repeat:
            twice = repeats(database, step)
            self.repeats = torch.tensor([twice.get(seed, (0, 0)) for seed in self._seeds])
        return self._answers(found, pending) if found else None

    def _put(self, database: AnswerDatabase, pending: Pending, streams: Streams, recent: Store) -> None:
        """Let the newest questions wait for the person."""
        places = (pending.number >= self._next).nonzero()[: self._questions, 0]
        self._next = int(pending.number[-1]) + 1
        if self._done or not len(places):
            return
        questions, guesses = arrays(pending.questions), self._guesses(pending, places)
        coins = streams.uniform("teacher", len(places), 2).tolist()
        asked = [
            self._asked(row, int(pending.number[place]), parts(questions, row, place), side, again, guess, recent)
            for row, of_seed in enumerate(coins)
            for place, (side, again), guess in zip(places.tolist(), of_seed, guesses[row], strict=True)
        ]
        if database.ask(asked, pending.step):
            count = forget_from(database, pending.step)
            database.ask(asked, pending.step)
            self._tell(
                f"step {pending.step}: the questions are no longer those that were asked before; {count} answers since"
                f" then stay in {ANSWERS}, and this run does not learn from them"
            )

    @torch.no_grad()
    def _guesses(self, pending: Pending, places: Tensor) -> list[list[float | None]]:
        """The model's chances that the first is preferred, of the questions at these places, a list a seed."""
        if self._model is None:
            return [[None] * len(places)] * len(self._seeds)
        questions = pending.questions.take(places.expand(len(self._seeds), -1))
        margins = questions.return_differences(self._model).double()  # [R, M, Q]
        return logsigmoid(margins).exp().mean(1).tolist()

    def _asked(
        self,
        row: int,
        number: int,
        both: tuple[Part, Part],
        side: float,
        again: float,
        guess: float | None,
        kept: Store,
    ) -> Asked:
        first, second = (self.films.of_part(part, row, kept) for part in both)
        return Asked(
            self._seeds[row],
            number,
            ":".join(part.hash(self._about) for part in both),
            "left" if side < 0.5 else "right",
            (first, second),
            again < self.repeat,
            [{name: values.tolist() for name, values in part._asdict().items()} for part in both],
            guess,
        )

    def _is_ahead(self, database: AnswerDatabase, step: int) -> bool:
        """Whether training has to wait for the person."""
        answered, waiting, _ = database.counts()
        wanted = 0.0 if self.ready else self.wait_for
        if self._pace is not None:
            wanted = max(wanted, (step + 1) / self._pace)
        return waiting > 0 and answered < wanted * len(self._seeds) and not database.done

    def _answers(self, found: list[Event], pending: Pending) -> Answers:
        """What these events come to, in the order in which they happened."""
        given: list[dict[int, Event]] = [{} for _ in self._seeds]
        undone: list[set[int]] = [set() for _ in self._seeds]
        for event in found:
            if event.kind == "done":
                self._done = True
            elif not event.repeats and event.number >= 0:
                row = self._seeds.index(event.seed)
                if event.kind == "undo":
                    given[row].pop(event.number, None)
                    undone[row].add(event.number)
                else:
                    given[row][event.number] = event
                self._answered += -1 if event.kind == "undo" else 1
        self._newest = found[-1].id
        self.ready = self.ready or self._done or self._answered >= self.wait_for * len(self._seeds)
        device = pending.number.device
        number = _padded([[event.number for event in row.values()] for row in given], -1, device)
        label = _padded([[event.label for event in row.values()] for row in given], 0.5, device)
        weight = _padded([[self._weight(event) for event in row.values()] for row in given], 0.0, device)
        self.undone = _padded([sorted(row) for row in undone], -1, device).long()
        return Answers(number.long(), label, weight)

    def _weight(self, event: Event) -> float:
        if event.kind == "cannot_tell":
            return 0.0
        return self._strength if event.strong else 1.0

    def _show(self, database: AnswerDatabase, recent: Store) -> None:
        """Show what the agent does now, and take no more than a small share of the time for it."""
        began = time.monotonic()
        if began < self._told:
            return
        database.note(film=self.films.of_newest(recent))
        self._told = time.monotonic() + max(_TOLD, (time.monotonic() - began) / _SHARE)

    def report(self, step: int, values: Mapping[str, float]) -> None:
        """Tell the page what was reached at an update."""
        if self._database is not None:
            share = lately_guessed(self._database)
            self._database.report(step, {**values, **({} if share is None else {GUESSED["name"]: share})})

    def status(self) -> str:
        """How it stands, in a few words; nothing where nobody is asked."""
        if self._database is None:
            return ""
        answered, waiting, _ = self._database.counts()
        return f"{answered} answers, {waiting} questions waiting, {self._database.pace():.0f} answers a minute"

    def summary(self) -> dict[str, Any]:
        """How good the answers are, for the summary of the run and for the page; empty where nobody was asked."""
        if self._database is None:
            return {}
        found = reliability(events(self._database))
        self._database.note(reliability=found)
        return found

    def state(self) -> dict[str, Any]:
        """Everything that changes: questions put, the newest event seen, the answers that stand, and what follows."""
        return {
            "next": self._next,
            "newest": self._newest,
            "answered": self._answered,
            "done": self._done,
            "ready": self.ready,
            "repeats": self.repeats,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state()`; ValueError where it is none."""
        state = {"repeats": torch.zeros_like(self.repeats), **state}  # older checkpoints have none
        whole = {"next": int, "newest": int, "answered": int, "done": bool, "ready": bool, "repeats": self.repeats}
        check_state(whole, state, "teacher")
        self._next, self._newest, self._answered = state["next"], state["newest"], state["answered"]
        self._done, self.ready, self.repeats = state["done"], state["ready"], state["repeats"].cpu()


def _padded(rows: Sequence[Sequence[float]], empty: float, device: torch.device) -> Tensor:
    """Rows of different lengths side by side, `[R, K]`."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[empty] * (width - len(row))] for row in rows], device=device).view(len(rows), width)
