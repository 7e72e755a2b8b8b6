"""What a person did, as a run's database has it: read back, taken up, forgotten and copied."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from prefrl_cli.core.option_types import Failed
from prefrl_cli.files.read import UnreadableError, read
from prefrl_cli.files.write import write_whole
from prefrl_cli.preference.database import AnswerDatabase, Kind
from prefrl_cli.stats.agreement import LATELY

_MOST = 1 << 32  # bytes of a database
_TAKE_UP = "INSERT INTO seen SELECT id, ? FROM answers WHERE id > ? AND id <= ?"
_EXPIRE = "UPDATE questions SET expired = ? WHERE answer IS NULL AND expired IS NULL AND since <= ?"
_AGAIN = """INSERT INTO questions (seed, number, asked_step, since, hash, first_side, first_clip, second_clip, parts,
created, again, repeats) SELECT seed, number, ?, ?, hash, CASE first_side WHEN 'left' THEN 'right' ELSE 'left' END,
first_clip, second_clip, parts, ?, 0, id FROM questions WHERE again = 1
AND answer IN (SELECT answer FROM seen WHERE step = ?) ON CONFLICT DO NOTHING
"""
_ASKED_TWICE = "WHERE q.repeats IS NOT NULL OR q.id IN (SELECT repeats FROM questions WHERE repeats IS NOT NULL)"


class Event(NamedTuple):
    """What a person did, in a run's terms.

    Attributes:
        id: counts up from 1.
        kind: an answer by its side on the screen, `undo`, or `done`.
        seed, number: of the question; -1 for `done`.
        label: the probability that the first of the pair is preferred; 0.5 where the kind says no side.
        strong: whether the answer was given as a strong one.
        repeats: whether the question was one that is asked again.
        rater: who.
        seconds: the time that it took; none where it is not known.
        given: when, in seconds since 1970.
        step: the update that took it up; none so far.
        undone: whether it was taken back, by whatever came later.
        guess: the chance that the first is preferred, as the model had it before the answer; none where it said none.
    """

    id: int
    kind: Kind
    seed: int
    number: int
    label: float
    strong: bool
    repeats: bool
    rater: str
    seconds: float | None
    given: float
    step: int | None
    undone: bool
    guess: float | None


_EVENTS = """SELECT a.id, a.answer, ifnull(q.seed, -1), ifnull(q.number, -1), q.first_side, a.strong,
q.repeats IS NOT NULL, a.rater, a.seconds, a.given, s.step, u.id IS NOT NULL, g.chance FROM answers a
LEFT JOIN questions q ON q.id = a.question LEFT JOIN seen s ON s.answer = a.id LEFT JOIN answers u ON u.undoes = a.id
LEFT JOIN guesses g ON g.question = q.id"""
_GUESSED = """SELECT (a.answer = q.first_side) = (g.chance > 0.5) FROM answers a
JOIN questions q ON q.id = a.question AND q.answer = a.id JOIN guesses g ON g.question = q.id
WHERE a.answer IN ('left', 'right') AND g.chance != 0.5 ORDER BY a.id DESC LIMIT ?"""


def events(database: AnswerDatabase, which: str = "", *values: Any) -> list[Event]:
    """What a person did, in order: all of it, or what a condition of SQL says."""
    return [
        Event(id_, kind, seed, number, label_of(kind, side), *rest)
        for id_, kind, seed, number, side, *rest in database.rows(f"{_EVENTS} {which} ORDER BY a.id", *values)
    ]


def lately_guessed(database: AnswerDatabase, most: int = LATELY) -> float | None:
    """The share of the newest answers that say a side whose side the model had guessed; none before the first."""
    found = [row[0] for row in database.rows(_GUESSED, most)]
    return sum(found) / len(found) if found else None


def label_of(kind: str, first_side: str) -> float:
    """The probability that the first is preferred; 0.5 where the kind of an answer says no side."""
    return float(kind == first_side) if kind in ("left", "right") else 0.5


@contextlib.contextmanager
def opened(path: Path, make: bool = True) -> Iterator[AnswerDatabase]:
    """A database of questions and answers, until the end of the block; `make` says whether an empty one becomes one.

    Raises:
        Failed: where it is one of something else.
        sqlite3.Error: where it cannot be read or written.
    """
    try:
        database = AnswerDatabase(path, make)
    except ValueError as problem:
        raise Failed(f"{path}: {problem}") from None
    with contextlib.closing(database):
        yield database


def forget_from(database: AnswerDatabase, step: int) -> int:
    """Let no update from this one on have happened; what was answered since stays, as answers to nobody's questions.

    Returns:
        How many answers that are.
    """
    late = "FROM questions WHERE asked_step >= ? AND number >= 0"
    with database.commit():
        count = database.rows(f"SELECT count(*) {late} AND answer IS NOT NULL", step)[0][0]
        database.execute("UPDATE questions SET number = -id, expired = ? WHERE asked_step >= ?", step, step)
        database.execute("DELETE FROM seen WHERE step >= ?", step)
        database.set("reached", step - 1)
    return int(count)


def copy_answers(path: Path, to: Path) -> None:
    """Copy a database as it is now; nothing beside the original is written, and nothing in it is executed.

    Raises:
        UnreadableError: where it is no plain file, is another database, or was written while it was copied.
    """
    for end in ("", "-wal"):
        if not end or (path.parent / f"{path.name}{end}").exists():
            write_whole(to.parent / f"{to.name}{end}", read(path.parent, f"{path.name}{end}", _MOST))
    try:
        with opened(to, make=False) as database:  # without its log, what was torn off may leave an empty file
            sound = database.rows("PRAGMA quick_check") == [("ok",)] and type(database.fact("reached", -1)) is int
    except (Failed, sqlite3.Error, ValueError):
        sound = False
    if not sound:
        raise UnreadableError(f"{path} is damaged, or is being written, or holds something else than answers")


def take_up(database: AnswerDatabase, step: int, oldest: int, expire: int | None) -> None:
    """Note that an update takes up what came since the last one; questions that are too old wait no more.

    Args:
        database: of the run.
        step: the update.
        oldest: the number of the oldest question that still waits in the run.
        expire: updates after which a question is not asked any more; none keeps it.
    """
    newest = database.rows("SELECT ifnull(max(id), 0) FROM answers")[0][0]
    before = database.rows("SELECT ifnull(max(answer), 0) FROM seen")[0][0]
    with database.commit(durable=newest > before):  # that nothing came may be forgotten by a power cut
        database.execute(_TAKE_UP, step, before, newest)
        if expire is not None:
            database.execute(_EXPIRE, step, step - expire)
        database.execute(f"{_EXPIRE} AND number < ?", step, step, oldest)
        database.execute(_AGAIN, step, step, time.time(), step)
        database.set("reached", step)


def repeats(database: AnswerDatabase, until: int | None = None) -> dict[int, tuple[int, int]]:
    """Questions that the same rater was asked twice, and preferred one of the two both times.

    Args:
        database: of a run.
        until: the update whose knowledge counts; none is all that was ever done.

    Returns:
        For each seed that has some: how many, and how many of them got the same answer.
    """
    stands: dict[tuple[int, int, bool], Event] = {}
    for event in events(database, _ASKED_TWICE):
        if until is not None and (event.step is None or event.step > until):
            continue
        stands.pop((event.seed, event.number, event.repeats), None)
        if event.kind in ("left", "right"):
            stands[event.seed, event.number, event.repeats] = event
    found: dict[int, tuple[int, int]] = {}
    for (seed, number, repeated), again in stands.items():
        first = stands.get((seed, number, False))
        if repeated and first is not None and first.rater == again.rater:
            count, same = found.get(seed, (0, 0))
            found[seed] = count + 1, same + (first.label == again.label)
    return found
