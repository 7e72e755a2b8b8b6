"""Whether a question, an answer and a resumed run stay quick where a database holds many answers.

`python benchmarks/many_answers.py` fills one with 20,000 answers of an 8 x 8 maze, one in ten asked twice, asks and
answers over HTTP as a page does, and takes a run up beside it: each also with an empty one; `--answers 1000` for fewer.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from direct import configured

from prefrl_cli.env.maze import Maze
from prefrl_cli.label_page.address import ADDRESS_FILE
from prefrl_cli.label_page.server import serve
from prefrl_cli.preference.database import ANSWERS, AnswerDatabase, Asked

WAITING = 60
FILLED = (  # all but the newest questions are answered, one in ten twice
    "INSERT INTO questions (seed, number, asked_step, since, hash, first_side, first_clip, second_clip, parts, created,"
    " again, repeats) SELECT seed, number, 0, 0, hash, 'right', first_clip, second_clip, parts, 0, 0, id FROM questions"
    " WHERE number % 10 = 0 AND number < ?",
    "INSERT INTO answers (id, question, answer, strong, rater, seconds, given)"
    " SELECT id, id, CASE number % 2 WHEN 0 THEN 'left' ELSE 'right' END, 0, 'person', 2.0, id FROM questions"
    " WHERE number < ?",
    "UPDATE questions SET answer = id, costs = repeats IS NULL WHERE number < ?",
    "INSERT INTO seen SELECT id, -id FROM answers WHERE ? > 0",
)


def fill(path: Path, count: int) -> None:
    """Make a database of so many answers, and some questions that wait."""
    maze, path_of = Maze(8), torch.arange(60) % 8
    clips, part = (maze.clip(path_of), maze.clip(path_of)), {"states": path_of.tolist(), "actions": [0] * 59}
    parts = [part | {"rewards": [0.0] * 59}] * 2
    asked = [Asked(0, n, f"{n}:{n}", "left", clips, parts=parts, guess=0.75) for n in range(count + WAITING)]
    with contextlib.closing(AnswerDatabase(path)) as database:
        database.ask(asked, 0)
        with database.commit():
            for statement in FILLED:
                database.execute(statement, count)
        database.note(guess=True, seeds=1, budget=None)


def talk(path: Path) -> list[float]:
    """Milliseconds of each question, and of each answer that brings the next one."""
    took = []
    with contextlib.closing(AnswerDatabase(path)) as database:
        server = serve(database, path.parent / ADDRESS_FILE)
        token, question = server.address.token, None
        for _ in range(WAITING - 1):
            method, target = ("GET", "question") if question is None else ("POST", "answer")
            body = None if question is None else json.dumps({"question": question, "answer": "left", "next": True})
            began = time.perf_counter()
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.address.port)) as connection:
                connection.request(method, f"/api/{target}?token={token}", body)
                told = json.loads(connection.getresponse().read())
            took.append(1e3 * (time.perf_counter() - began))
            question = (told if question is None else told["next"])["question"]
        server.close()
    return took


def resumed(path: Path) -> float:
    """Seconds until a run that a person teaches stands beside its database, has made a step and summed it up."""
    small = ["env.size=4", "env.horizon=8", "policy.hidden=4", "reward_model.hidden=4", "algorithm.episodes=2"]
    run = configured("oprl_maze", "criterion=progress", "teacher=human", "teacher.repeat=0.1", "seed=1", *small)
    with contextlib.closing(AnswerDatabase(path)) as database:
        database.note(reached=-1)
    began = time.perf_counter()
    with run.teacher.attached(path, None):
        run.update()
        run.teacher.report(1, {})
        run.teacher.status()
        run.teacher.summary()
    return time.perf_counter() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true", help="the smallest of everything")
    typed = parser.parse_args()
    count = 100 if typed.quick else typed.answers
    with tempfile.TemporaryDirectory() as temporary:
        empty, full = Path(temporary, "empty", ANSWERS), Path(temporary, "full", ANSWERS)
        for path, number in ((empty, 0), (full, count)):
            path.parent.mkdir()
            fill(path, number)
        resumed(empty)  # what is imported and built for the first time is not counted
        seconds = {path: [resumed(path) for _ in range(3)] for path in (empty, full)}
        print(f"{count} answers, {full.stat().st_size / 1e6:.0f} MB")
        print(
            f"taken up: {statistics.median(seconds[empty]):.2f} s empty, {statistics.median(seconds[full]):.2f} s full"
        )
        for name, path in (("empty", empty), ("full", full)):
            took = sorted(talk(path))
            last = took[int(0.95 * len(took))]
            print(f"question or answer, {name}: median {took[len(took) // 2]:.0f} ms, 95th percentile {last:.0f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
