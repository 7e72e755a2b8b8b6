"""Kill a run that a person teaches at random moments, go on, and look for what is lost, doubled or asked again.

`python benchmarks/kill_a_labelling.py` kills 100 times; `--kills 12 --seed 1` another number at other moments. A
scripted person asks and answers over HTTP, as the label page does, and remembers every answer that was acknowledged;
one in ten is taken back. Each life of a run is a forked child of this process. At its end `prefrl-reproduce` repeats
each run without the person, and its metrics must be the same.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import prefrl_cli.algorithm.oprl  # noqa: F401  imported here once, for all children
from prefrl_cli.cli.reproduce import reproduce
from prefrl_cli.cli.train import label_page
from prefrl_cli.config.compose import composed
from prefrl_cli.label_page.address import ADDRESS_FILE, kept_address
from prefrl_cli.preference.answers.events import events, opened
from prefrl_cli.preference.database import ANSWERS
from prefrl_cli.run.directory import STATUS, read_status
from prefrl_cli.run.lifecycle import resume_run, run_job

RUN = [
    "experiment=oprl_maze", "teacher=human", "teacher.open=false", "criterion=progress", "env.size=4",
    "env.horizon=16", "policy.hidden=16", "reward_model.hidden=16", "queries.questions=4", "reward_update.updates=2",
    "checkpoint.every=3", "steps=10", "threads=1", "quiet=true", "charts=false",
]  # fmt: skip
_STANDING = """SELECT question FROM answers WHERE answer != 'undo' AND id NOT IN
(SELECT undoes FROM answers WHERE undoes IS NOT NULL)"""


def start(overrides: list[str], folder: Path) -> int:
    """Begin a run or go on with it in a child; its process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        config = composed([*overrides, f"output_dir={folder}"])
        began = (folder / STATUS).exists() and (folder / "config.yaml").exists()
        run = resume_run(folder, config, overrides, page=label_page) if began else None
        code = int((run or run_job(config, overrides, page=label_page)) != "finished")
    except BaseException as problem:
        print(f"child: {type(problem).__name__}: {problem}", file=sys.stderr)
    finally:
        os._exit(code)


class ScriptedPerson(threading.Thread):
    """Asks and answers over HTTP until it is told to stop, whether a run is there or not.

    Args:
        folder: of the run.
        seed: of its choices and pauses.

    Attributes:
        acknowledged: answers by nonce: question, answer, and whether it was taken back.
        again: questions that came although they were answered.
        refused: answers that came too late, and whatever else was not accepted.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(daemon=True)
        self._folder, self._random, self._ends = folder, random.Random(seed), threading.Event()
        self.acknowledged: dict[str, list[Any]] = {}
        self.again: list[int] = []
        self.refused: list[str] = []

    def run(self) -> None:
        """Ask, answer, now and then undo; what gets no reply is sent again, with the same nonce."""
        while not self._ends.wait(self._random.random() * 0.02):
            question = self._call("GET", "/api/question")
            if question is None:
                continue
            number = question["question"]
            if number in [one for one, _, undone in self.acknowledged.values() if not undone]:
                self.again.append(number)
            nonce, answer = secrets.token_hex(8), self._random.choice(("left", "right", "equal", "cannot_tell"))
            given = {"question": number, "answer": answer, "nonce": nonce, "seconds": 0.1}
            if self._until_answered("/api/answer", given):
                self.acknowledged[nonce] = [number, answer, False]
                if self._random.random() < 0.1 and self._until_answered("/api/undo", {"nonce": secrets.token_hex(8)}):
                    self.acknowledged[nonce][2] = True

    def stop(self) -> None:
        """End it, and wait for that."""
        self._ends.set()
        self.join()

    def _until_answered(self, path: str, given: dict[str, Any]) -> bool:
        while not self._ends.is_set():
            if self._call("POST", path, given) is not None:
                return True
            time.sleep(0.01)
        return False

    def _call(self, method: str, path: str, given: dict[str, Any] | None = None) -> dict[str, Any] | None:
        """The reply; none where there is no question, or nobody to reply."""
        address = kept_address(self._folder / ADDRESS_FILE)
        if address is None:
            return None
        url = f"http://127.0.0.1:{address.port}{path}?token={address.token}"
        request = urllib.request.Request(url, None if given is None else json.dumps(given).encode(), method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=5) as reply:
                text = reply.read()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as problem:
            if problem.code == 503:  # the run is about to end; the same is sent again to the next one
                return None
            self.refused.append(f"{problem.code} {path}")
            return {} if method == "POST" else None
        except (OSError, ValueError, http.client.HTTPException):
            return None


def wrong(folder: Path, person: ScriptedPerson) -> list[str]:
    """What the database has otherwise than the person remembers it, in words."""
    with opened(folder / ANSWERS) as database:
        kept = {nonce: number for nonce, number in database.rows("SELECT nonce, question FROM answers")}
        events_ = [one for one in events(database) if one.kind not in ("undo", "done")]
        stand = [row[0] for row in database.rows(_STANDING)]
    sent = person.acknowledged
    lost = [nonce for nonce, (number, _, _) in sent.items() if kept.get(nonce) != number]
    found = [f"{len(lost)} answers are lost"] if lost else []
    doubled = len(stand) - len(set(stand))
    found += [f"{doubled} answers are doubled"] if doubled else []
    found += [f"{len(events_) - len(sent)} answers too many"] if len(events_) > len(sent) + 1 else []
    undone = sum(one.undone for one in events_) - sum(undone for _, _, undone in sent.values())
    found += [f"{undone} answers were taken back by themselves"] if undone else []
    return found + ([f"{len(person.again)} questions came again"] if person.again else []) + person.refused


def labelled(folder: Path, chosen: random.Random, kills: int) -> tuple[list[str], int]:
    """One run, killed so many times at most and then left alone: what is wrong, and how often it was killed."""
    person, killed = ScriptedPerson(folder, chosen.getrandbits(32)), 0
    person.start()
    for _ in range(kills):
        child = start(RUN, folder)
        time.sleep(chosen.random() * 2.5)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            break
        killed += 1
    if read_status(folder).get("status") != "finished":
        _, status = os.waitpid(start(RUN, folder), 0)
        if status:
            person.stop()
            return [f"ended with {status}"], killed
    person.stop()
    found = wrong(folder, person)
    again = folder.with_name(f"{folder.name}_again")
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        same = reproduce([str(folder), f"output_dir={again}", "quiet=true"]) == 0
    if not same or (folder / "metrics.csv").read_bytes() != (again / "metrics.csv").read_bytes():
        found.append("prefrl-reproduce differs")
    return found, killed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    options = parser.parse_args()
    chosen, kills, runs, bad = random.Random(options.seed), 0, 0, 0
    wanted = 2 if options.quick else options.kills
    with tempfile.TemporaryDirectory() as place:
        while kills < wanted:
            found, killed = labelled(Path(place, f"run_{runs}"), chosen, min(chosen.randint(2, 6), wanted - kills))
            runs, kills, bad = runs + 1, kills + killed, bad + bool(found)
            print(f"run {runs}, killed {killed} times: {'; '.join(found) or 'as it should be'}; {kills} kills so far")
    print(f"{kills} kills over {runs} runs: {bad} runs with something wrong")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
