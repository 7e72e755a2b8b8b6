"""A scripted person who watches the films and answers over HTTP, beside a program that judges the same questions.

`python benchmarks/person_over_http.py` trains a 16 x 16 maze on 32 seeds, from 100 answers of which one in ten is
wrong, and again from 50 answers; `--answers 50 --wrong 0` one of them. The person sees nothing but what the label page
shows, two trails of 20 steps. The better one reaches the goal, and sooner; of two that do not, it comes nearer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from hostile_requests import Run

from prefrl_cli.stats.intervals import mean_interval, share_interval

MAZE = ["experiment=few_answers", "evaluation.every=0", "charts=false", "threads=1", "workers=1"]
SMALL = ["env.size=4", "env.horizon=12", "steps=6", "queries.segment=5", "reward_update.batch=4"]


def distances(film: dict[str, Any]) -> list[int]:
    """Steps to the goal from every cell of a film's maze."""
    size, walls = film["size"], set(film["walls"])
    found, waiting = {film["goal"]: 0}, deque([film["goal"]])
    while waiting:
        cell = waiting.popleft()
        row, column = divmod(cell, size)
        for other, inside in (
            (cell - size, row > 0), (cell + size, row + 1 < size), (cell - 1, column > 0), (cell + 1, column + 1 < size)
        ):  # fmt: skip
            if inside and other not in walls and other not in found:
                found[other] = found[cell] + 1
                waiting.append(other)
    return [found.get(cell, size * size) for cell in range(size * size)]


def worth(film: dict[str, Any], to_goal: list[int]) -> float:
    """How good a trail is, in steps: the sooner at the goal, else the more of the way there."""
    first, last = (to_goal[film["path"][place]] for place in (0, -1))
    return float(first - last) if last else 1e6 - len(film["path"])


def taught_over_http(folder: Path, options: list[str], wrong: float, seed: int) -> int:
    """Train and answer the questions until there are no more; how many answers were given."""
    dice, given, to_goal = random.Random(seed), 0, None
    run = Run(folder, options)
    while run.process.poll() is None:
        try:
            status, text = run.ask("GET", "/api/question")
            if status != 200:
                time.sleep(0.005)
                continue
            question = json.loads(text)
            left, right = question["left"], question["right"]
            to_goal = to_goal or distances(left)
            better = worth(left, to_goal) - worth(right, to_goal)
            answer = "cannot_tell" if better == 0 else "left" if (better > 0) != (dice.random() < wrong) else "right"
            body = json.dumps({"question": question["question"], "answer": answer}).encode()
            given += run.ask("POST", "/api/answer", body)[0] == 200
        except (OSError, http.client.HTTPException):  # the run is about to end
            time.sleep(0.02)
    if run.process.returncode:
        raise SystemExit(Path(run.said.name).read_text())
    run.said.close()
    return given


def told(folder: Path, who: str) -> None:
    """A line of what came out."""
    metrics = json.loads((folder / "summary.json").read_text())["metrics"]
    solved = np.array([one or 0.0 for one in metrics["solved"]["per_seed"]])
    success = np.array([one or 0.0 for one in metrics["success_mean"]["per_seed"]])
    low, high = share_interval(round(solved.sum()), len(solved))
    from_, to = mean_interval(success, (0.0, 1.0))
    print(f"  {who:<16}solved {solved.sum():.0f} of {len(solved)} [{low:.2f}, {high:.2f}]", end="")
    print(f"  success {success.mean():.3f} [{from_:.3f}, {to:.3f}]  labels {metrics['labels_used']['mean']:.1f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, help="of each seed; nothing means 100 with mistakes, then 50 without")
    parser.add_argument("--questions", type=int, default=10, help="after each batch of ten episodes")
    parser.add_argument("--wrong", type=float, default=0.0, help="the share of answers that are wrong")
    parser.add_argument("--first", type=int, default=30000, help="seed")
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="for every run")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    given = parser.parse_args()
    wanted = [(given.answers, given.questions, given.wrong)] if given.answers else [(100, 10, 0.1), (50, 10, 0.0)]
    options = [*MAZE, f"seed={given.first}", *given.option]
    if given.quick:
        wanted, given.seeds, options = [(4, 2, 0.0)], 2, [*options, *SMALL]
    for answers, questions, wrong in wanted:
        print(f"{answers} answers, {questions} questions a batch, {wrong:.0%} wrong", flush=True)
        asked = [f"num_seeds={given.seeds}", f"queries.budget={answers}", f"queries.questions={questions}"]
        program = ["teacher=mistake", f"teacher.mistake={wrong}"] if wrong else ["teacher=oracle"]
        person = ["teacher.questions=null", "teacher.pace=0.001"]
        with tempfile.TemporaryDirectory() as place:
            count = taught_over_http(Path(place, "person"), [*options, *asked, *person], wrong, given.first)
            told(Path(place, "person"), "over HTTP")
            start = [sys.executable, "-m", "prefrl_cli", "train", *options, *asked, *program]
            subprocess.run([*start, "quiet=true", f"output_dir={place}/program"], check=True)
            told(Path(place, "program"), "in the program")
        print(f"  {count} answers were given over HTTP", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
