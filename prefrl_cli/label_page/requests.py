"""What a page asks and tells: checked here, answered from the database of questions and answers."""

from __future__ import annotations

import json
import math
import re
import secrets
import sqlite3
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from prefrl_cli.preference.database import AnswerDatabase, Question

ANSWERS = ("left", "right", "equal", "cannot_tell")
LEASE = 120.0  # seconds for which a question is one page's; asking again begins them anew
_NAME = re.compile(r"[\w .-]{1,40}")
_NONCE = re.compile(r"[\w-]{1,64}", re.ASCII)
_LONGEST = 1e6  # seconds before an answer


class Refused(Exception):
    """A request that is not answered.

    Args:
        status: of the reply.
        reason: one sentence, shown on the page.
    """

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


Reply = dict[str, Any] | None  # none: there is nothing to say


def reply(database: AnswerDatabase, method: str, path: str, query: Mapping[str, str], body: bytes) -> Reply:
    """Do what a request of somebody with the token asks for.

    Args:
        database: of questions and answers.
        method: of the request.
        path: of it.
        query: what stands behind the `?`.
        body: JSON, of a `POST`.

    Raises:
        Refused: for what is malformed, comes too late, or cannot be kept.
    """
    if path not in _ROUTES:
        raise Refused(HTTPStatus.NOT_FOUND, "There is no such page.")
    allowed, route = _ROUTES[path]
    if method != allowed:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, f"This address answers {allowed} only.")
    given: Mapping[str, Any] = query if method == "GET" else {**query, **_object(body)}
    try:
        return route(database, given)
    except sqlite3.Error as problem:
        if getattr(problem, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise Refused(HTTPStatus.INSUFFICIENT_STORAGE, "The disk is full: nothing can be saved.") from None
        raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, f"The answers cannot be reached ({problem}).") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise Refused(HTTPStatus.BAD_REQUEST, "The body is no JSON object.")
    return value


def _rater(given: Mapping[str, Any]) -> str:
    """Who asks, by a name and the page that is open: two pages of one person get different questions."""
    rater, page = given.get("rater", "person"), given.get("page", "")
    if not (isinstance(rater, str) and _NAME.fullmatch(rater)):
        raise Refused(HTTPStatus.BAD_REQUEST, "rater: a name of up to 40 letters, digits, blanks and ._- is needed.")
    if not (isinstance(page, str) and (not page or _NONCE.fullmatch(page))):
        raise Refused(HTTPStatus.BAD_REQUEST, "page: up to 64 letters, digits, _ and - are allowed.")
    return f"{rater}@{page}" if page else rater


def _nonce(given: Mapping[str, Any]) -> str:
    """What tells the same request, sent twice, from two."""
    nonce = given.get("nonce", secrets.token_hex(16))
    if not (isinstance(nonce, str) and _NONCE.fullmatch(nonce)):
        raise Refused(HTTPStatus.BAD_REQUEST, "nonce: up to 64 letters, digits, _ and - are allowed.")
    return nonce


def _question(database: AnswerDatabase, given: Mapping[str, Any]) -> Reply:
    return _next(database, _rater(given))


def _next(database: AnswerDatabase, rater: str) -> Reply:
    found = database.next_question(rater, LEASE)
    return None if found is None else _shown(found)


def _shown(question: Question) -> dict[str, Any]:
    """What the page is told of a question: no more than its films, since a person is to judge by them alone."""
    return {"question": question.id, "left": question.left, "right": question.right}


def _answer(database: AnswerDatabase, given: Mapping[str, Any]) -> Reply:
    question, answer, rater = given.get("question"), given.get("answer"), _rater(given)
    strong, wants_next = given.get("strong", False), given.get("next", False)
    if type(question) is not int or not 0 <= question < 2**63:
        raise Refused(HTTPStatus.BAD_REQUEST, "question: the number of a question is needed.")
    if answer not in ANSWERS:
        raise Refused(HTTPStatus.BAD_REQUEST, f"answer: one of {', '.join(ANSWERS)} is needed.")
    if type(strong) is not bool or (strong and answer not in ("left", "right")):
        raise Refused(HTTPStatus.BAD_REQUEST, "strong: true or false, and true for left and right only.")
    if type(wants_next) is not bool:
        raise Refused(HTTPStatus.BAD_REQUEST, "next: true or false, whether the next question is wanted too.")
    seconds = given.get("seconds")
    if seconds is not None:
        good = type(seconds) in (int, float) and 0 <= seconds <= _LONGEST and math.isfinite(seconds)
        if not good:
            raise Refused(HTTPStatus.BAD_REQUEST, "seconds: a number of at least 0 is needed.")
        seconds = float(seconds)
    if not database.answer(question, answer, rater, seconds, _nonce(given), strong):
        raise Refused(HTTPStatus.CONFLICT, "This question waits no more: it was answered elsewhere, or is too old.")
    kept = {"question": question, "answer": answer, **_guess(database, question)}
    return {**kept, "next": _next(database, rater)} if wants_next else kept


def _guess(database: AnswerDatabase, question: int) -> dict[str, Any]:
    """The model's chance that the left one is better, as `guess`: of what is answered, where a person asked for it."""
    guess = "SELECT first_side, chance FROM questions JOIN guesses ON question = id WHERE id = ? AND answer IS NOT NULL"
    found = database.rows(guess, question) if database.fact("guess") is True else []
    return {"guess": found[0][1] if found[0][0] == "left" else 1 - found[0][1]} if found else {}


def _undo(database: AnswerDatabase, given: Mapping[str, Any]) -> Reply:
    found = database.undo(_rater(given), _nonce(given), LEASE)
    if found is None:
        raise Refused(HTTPStatus.CONFLICT, "There is no answer to take back.")
    return _shown(found)


def _progress(database: AnswerDatabase, _: Mapping[str, Any]) -> Reply:
    return database.progress()


def _done(database: AnswerDatabase, given: Mapping[str, Any]) -> Reply:
    database.say_done(_rater(given), _nonce(given))
    return {"done": True}


_ROUTES: dict[str, tuple[str, Callable[[AnswerDatabase, Mapping[str, Any]], Reply]]] = {
    "/api/question": ("GET", _question),
    "/api/progress": ("GET", _progress),
    "/api/answer": ("POST", _answer),
    "/api/undo": ("POST", _undo),
    "/api/done": ("POST", _done),
}
