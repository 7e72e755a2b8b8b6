"""Questions and a person's answers on the disk: where a run and its label page meet.

`answers.sqlite` lies in the run's directory. What a person does is a log that is only added to: an answer, an undo or
"I am done" is a row of `answers`, and `seen` says which update of training took it up. Each commit is on the disk
before it is acknowledged, and what comes later is there only if all that came before is (SQLite's write-ahead log).
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prefrl_cli.files.sqlite_file import SqliteFile

ANSWERS = "answers.sqlite"
Kind = Literal["left", "right", "equal", "cannot_tell", "undo", "done"]
Side = Literal["left", "right"]

_TABLES = (
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """CREATE TABLE questions (id INTEGER PRIMARY KEY, seed INTEGER NOT NULL, number INTEGER NOT NULL,
    asked_step INTEGER NOT NULL, since INTEGER NOT NULL, hash TEXT NOT NULL, first_side TEXT NOT NULL,
    first_clip TEXT NOT NULL, second_clip TEXT NOT NULL, parts TEXT NOT NULL, created REAL NOT NULL,
    again INTEGER NOT NULL, repeats INTEGER REFERENCES questions, lease_until REAL NOT NULL DEFAULT 0, leased_by TEXT,
    expired INTEGER, answer INTEGER, costs INTEGER NOT NULL DEFAULT 0) STRICT""",
    """CREATE TABLE answers (id INTEGER PRIMARY KEY AUTOINCREMENT, question INTEGER REFERENCES questions,
    answer TEXT NOT NULL, strong INTEGER NOT NULL, rater TEXT NOT NULL, seconds REAL, given REAL NOT NULL,
    nonce TEXT UNIQUE, undoes INTEGER UNIQUE REFERENCES answers) STRICT""",
    "CREATE TABLE seen (answer INTEGER PRIMARY KEY REFERENCES answers, step INTEGER NOT NULL) STRICT",
    "CREATE TABLE reports (step INTEGER PRIMARY KEY, content TEXT NOT NULL) STRICT",
    "CREATE UNIQUE INDEX asked ON questions (seed, number, ifnull(repeats, 0))",
    "CREATE INDEX waiting ON questions (asked_step) WHERE answer IS NULL AND expired IS NULL",
    "CREATE INDEX answered ON questions (seed, costs, repeats) WHERE answer IS NOT NULL",
    "CREATE INDEX seen_at ON seen (step)",
)
_LATER = ("CREATE TABLE guesses (question INTEGER PRIMARY KEY REFERENCES questions, chance REAL NOT NULL) STRICT",)
_WAITS = "answer IS NULL AND expired IS NULL"
# Of each seed: what counts against its budget, answered or in other hands now.
_TAKEN = f"""SELECT seed, count(*) FROM questions WHERE answer IS NOT NULL AND costs = 1 OR {_WAITS}
AND repeats IS NULL AND lease_until >= ? AND leased_by != ? GROUP BY seed"""
_MOST_POINTS = 200  # of a curve


class Question(NamedTuple):
    """What the page shows.

    Attributes:
        id: of the question.
        left, right: the clips, as `env.clip` made them, see `Asked`.
    """

    id: int
    left: dict[str, Any]
    right: dict[str, Any]


class Asked(NamedTuple):
    """A question of a run.

    Attributes:
        seed: that asks.
        number: of the question among the seed's, from 0.
        hash: of what happened in both.
        first_side: where the first of the pair is shown.
        clips: of the first and of the second: `{"kind": "maze", "size": n, "walls": [cell, ...], "goal": cell,
            "path": [cell, ...]}` with cells numbered row by row, `{"kind": "shapes", "frames": [[shape, ...], ...]}`
            in a unit square, or `{"kind": "images", "frames": [PNG in base64, ...]}`.
        again: whether it is asked once more, with the sides changed, some time after it was answered.
        parts: what happened in the first and in the second, `states` `[T + 1, ...]`, `actions` and `rewards` each.
        guess: the model's chance that the first is preferred, when it was asked; none where no model was.
    """

    seed: int
    number: int
    hash: str
    first_side: Side
    clips: tuple[Mapping[str, Any], Mapping[str, Any]]
    again: bool = False
    parts: Sequence[Mapping[str, Any]] = ()
    guess: float | None = None


class AnswerDatabase(SqliteFile):
    """The file; the page's methods are `next_question`, `answer`, `undo`, `progress` and `say_done`.

    A rater's name may go on behind an `@`, as `person@tab2`: a lease is of the whole name, an answer of what stands
    before. Where a method raises, nothing of it is kept. See `SqliteFile` for the errors.
    """

    def __init__(self, path: Path, make: bool = True) -> None:
        super().__init__(path, _TABLES, make, _LATER)

    def next_question(self, rater: str, lease_seconds: float) -> Question | None:
        """A question for a rater: the one that was given out last and is not answered, else one that nobody has.

        Those of the newest update come first, and there those of all seeds in turn.

        Args:
            rater: whose question it is until the lease ends.
            lease_seconds: for which nobody else gets it.

        Returns:
            None where none waits, where the budget is spent and where a person said that this is all.
        """
        now = time.time()
        with self.commit(durable=False):  # a lease may be forgotten
            if self.done:
                return None
            budget = self.fact("budget")
            taken = [] if budget is None else self.rows(_TAKEN, now, rater)
            full = [seed for seed, count in taken if count >= budget]
            found = self.rows(
                f"SELECT id FROM questions WHERE {_WAITS} AND (lease_until < ? OR leased_by = ?) AND"
                f" (repeats IS NOT NULL OR seed NOT IN ({_marks(full)})) ORDER BY"
                " (leased_by IS ? AND lease_until >= ?) DESC, asked_step DESC, number, seed LIMIT 1",
                *(now, rater, *full, rater, now),
            )
            return self._lease(found[0][0], rater, now + lease_seconds) if found else None

    def _lease(self, question: int, rater: str, until: float) -> Question:
        self.execute("UPDATE questions SET leased_by = ?, lease_until = ? WHERE id = ?", rater, until, question)
        side, *clips = self.rows("SELECT first_side, first_clip, second_clip FROM questions WHERE id = ?", question)[0]
        first, second = map(json.loads, clips)
        return Question(question, *((first, second) if side == "left" else (second, first)))

    def answer(
        self, question: int, answer: str, rater: str, seconds: float | None, nonce: str, strong: bool = False
    ) -> bool:
        """Keep an answer; it is on the disk when this returns.

        Args:
            question: its id.
            answer: `left`, `right`, `equal` or `cannot_tell`.
            rater: who answers.
            seconds: that it took, where that is known.
            nonce: the answer's own; the same one again is the same answer, sent twice.
            strong: whether the preference is a strong one.

        Returns:
            Whether it counts: not where there is no such question, it was answered before, or waits no more.
        """
        with self.commit():
            if self.rows("SELECT 1 FROM answers WHERE nonce = ?", nonce):
                return True
            found = self.rows(f"SELECT repeats FROM questions WHERE id = ? AND {_WAITS}", question)
            if not found:
                return False
            given = self._log(question, answer, rater, seconds=seconds, nonce=nonce, strong=strong)
            costs = answer != "cannot_tell" and found[0][0] is None
            self.execute("UPDATE questions SET answer = ?, costs = ? WHERE id = ?", given, costs, question)
            return True

    def undo(self, rater: str, nonce: str | None = None, lease_seconds: float = 120.0) -> Question | None:
        """Take back the newest answer of a rater that stands; the question waits again, and is the rater's next.

        Args:
            rater: who.
            nonce: of this undo; the same one again takes nothing more back.
            lease_seconds: for which nobody else gets the question.

        Returns:
            The question; none where no answer stands.
        """
        with self.commit():
            again = self.rows("SELECT question FROM answers WHERE nonce = ?", nonce)
            stands = "SELECT id, question FROM answers a WHERE rater = ? AND question IS NOT NULL AND answer != 'undo'"
            stands += " AND NOT EXISTS (SELECT 1 FROM answers u WHERE u.undoes = a.id) ORDER BY id DESC LIMIT 1"
            found = [] if again else self.rows(stands, _name(rater))
            if not again and not found:
                return None
            for undone, question in found:
                self._log(question, "undo", rater, nonce=nonce, undoes=undone)
                since = self.fact("reached", -1) + 1
                clear = "UPDATE questions SET answer = NULL, costs = 0, expired = NULL, since = ? WHERE id = ?"
                self.execute(clear, since, question)
            return self._lease((again or found)[0][-1], rater, time.time() + lease_seconds)

    @property
    def done(self) -> bool:
        """Whether a person said that this is all."""
        return bool(self.fact("done", False))

    def say_done(self, rater: str = "person", nonce: str | None = None) -> None:
        """This is all: no question is given out any more, and training finishes alone."""
        with self.commit():
            if not self.done:
                self._log(None, "done", rater, nonce=nonce)
                self.set("done", True)

    def progress(self) -> dict[str, Any]:
        """How far it is.

        Returns:
            `answered` and `waiting` questions, `budget` (of answers, all seeds together; None is without end), `left`
            of it, `a_minute` (answers, lately), `done`, and what the run told: `curve`, a list of what it reported at
            some updates, each with its `step`, and each fact by its name, such as `film`, the newest clip.
        """
        with self._lock:
            answered, waiting, used = self.counts()
            facts = {name: json.loads(value) for name, value in self.rows("SELECT name, value FROM facts")}
            seeds, budget = facts.pop("seeds", 1), facts.pop("budget", None)
            budget = budget and budget * seeds
            reported = self.rows("SELECT step, content FROM reports ORDER BY step")
            kept = reported[:: -1 - len(reported) // _MOST_POINTS][::-1]  # the last one always
            return {
                **facts,
                "answered": answered,
                "waiting": waiting,
                "budget": budget,
                "left": None if budget is None else max(0, budget - used),
                "a_minute": self.pace(),
                "done": self.done,
                "curve": [{"step": step, **json.loads(content)} for step, content in kept],
            }

    def pace(self) -> float:
        """Answers a minute, over the last ten; 0 where they were given more than two minutes ago."""
        times = [row[0] for row in self.rows("SELECT given FROM answers ORDER BY id DESC LIMIT 10")]
        now = time.time()
        return 0.0 if len(times) < 2 or now - times[0] > 120 else 60 * len(times) / max(1.0, now - times[-1])

    def ask(self, questions: Sequence[Asked], step: int) -> list[int]:
        """Let questions wait from an update on; those that are there already stay as they are.

        Returns:
            The places among them of those that were there and are about something else than they were.
        """
        other = []
        with self.commit():
            for place, one in enumerate(questions):
                there = "SELECT hash FROM questions WHERE seed = ? AND number = ? AND repeats IS NULL"
                if found := self.rows(there, one.seed, one.number):
                    other += [place] if found[0][0] != one.hash else []
                    continue
                row = {**one._asdict(), "asked_step": step, "since": step, "created": time.time()}
                row["first_clip"], row["second_clip"], row["parts"] = map(_compact, (*row.pop("clips"), one.parts))
                guess = row.pop("guess")
                self.execute(f"INSERT INTO questions ({', '.join(row)}) VALUES ({_marks(row)})", *row.values())
                if guess is not None:
                    self.execute("INSERT INTO guesses VALUES (last_insert_rowid(), ?)", guess)
        return other

    def counts(self) -> tuple[int, int, int]:
        """Questions that are answered, that wait and may be answered, and that cost: each counts once."""
        budget, each = self.fact("budget"), "AND repeats IS NULL GROUP BY seed"
        given = f"SELECT seed, count(*), sum(costs) FROM questions WHERE answer IS NOT NULL {each}"
        answered = {seed: (count, costs) for seed, count, costs in self.rows(given)}
        full = [seed for seed, (_, costs) in answered.items() if budget is not None and costs >= budget]
        waiting = self.rows(f"SELECT seed, count(*) FROM questions WHERE {_WAITS} {each}")
        open_ = sum(count for seed, count in waiting if seed not in full)
        return sum(count for count, _ in answered.values()), open_, sum(costs for _, costs in answered.values())

    def report(self, step: int, content: Mapping[str, Any]) -> None:
        """Tell the page what a run has reached at an update; a power cut may forget it."""
        with self.commit(durable=False):
            self.execute("INSERT OR REPLACE INTO reports VALUES (?, ?)", step, _compact(content))

    def note(self, **facts: Any) -> None:
        """Keep facts by their names."""
        with self.commit(durable=False):
            for name, value in facts.items():
                self.set(name, value)

    def set(self, name: str, value: Any) -> None:
        """Keep a fact, within a `commit`."""
        self.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, _compact(value))

    def fact(self, name: str, default: Any = None) -> Any:
        """A fact that was kept."""
        found = self.rows("SELECT value FROM facts WHERE name = ?", name)
        return json.loads(found[0][0]) if found else default

    def end_leases(self) -> None:
        """Whoever had a question may not be there any more."""
        with self.commit():
            self.execute("UPDATE questions SET lease_until = 0 WHERE lease_until > 0")

    def _log(self, question: int | None, kind: str, rater: str, **more: Any) -> int:
        """Add a row to what a person did; its id."""
        row = {"question": question, "answer": kind, "rater": _name(rater), "strong": 0, "given": time.time(), **more}
        self.execute(f"INSERT INTO answers ({', '.join(row)}) VALUES ({_marks(row)})", *row.values())
        return int(self.rows("SELECT last_insert_rowid()")[0][0])


def _name(rater: str) -> str:
    return rater.partition("@")[0]


def _marks(values: Collection[Any]) -> str:
    return ", ".join("?" * len(values))


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
