"""Malformed, forged, slow and many requests at the label page of a run that trains: it goes on, and nobody comes in.

`python benchmarks/hostile_requests.py` starts a run that a person teaches, sends 2,000 of them on the loopback
interface and opens 1,000 connections at once; `--cases 300 --connections 200 --seed 1` other ones. What has not the
right token, `Host` and `Origin` may not be answered with a 2xx, nor what is malformed, and nothing with a 500; a good
request must be answered all the while, the run must train on, and its database must hold the good answers and no other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RUN = [
    "experiment=oprl_maze", "teacher.pace=null", "num_seeds=1", "threads=1", "steps=1000000", "queries.budget=null",
]  # fmt: skip
START = "import sys; from prefrl_cli.cli.train import main; sys.exit(main())"
PATHS = ["/", "/page.js", "/api/question", "/api/answer", "/api/undo", "/api/progress", "/api/done"]
WORDS = [
    "left",
    "right",
    "equal",
    "cannot_tell",
    "LEFT",
    "",
    None,
    1,
    1.5,
    True,
    [],
    {},
    "x" * 5000,
    "\ud800",
    -1,
    1e999,
]
BAD_WORDS = ["LEFT", "", None, 1, [], {}, "x" * 5000, "undo", "done"]


class Case(NamedTuple):
    """What is sent.

    Attributes:
        kind: in a word.
        data: the bytes.
        slow: seconds from one piece to the next; 0 sends all at once.
    """

    kind: str
    data: bytes
    slow: float = 0.0


class Target(NamedTuple):
    """Where the page is."""

    port: int
    token: str


def request(method: str, path: str, host: str, body: bytes = b"", **heads: str) -> bytes:
    """The bytes of one request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{k.replace('_', '-')}: {v}" for k, v in heads.items())]
    lines += [f"Content-Length: {len(body)}"] if method == "POST" else []
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogatepass") + body


def near(dice: random.Random, token: str) -> str:
    """A token that is not the right one, often nearly."""
    place = dice.randrange(len(token))
    other = dice.choice([c for c in "0123456789abcdef" if c != token[place]])
    return dice.choice([
        token[:place] + other + token[place + 1 :], token[:-1], token + "0", token[::-1] + "1", "", "0" * 32, "*",
        "%00" + token, token + "%00", token.replace(token[0], "%zz", 1), "../" + token, "' OR 1=1 --", "ä" * 32,
        token.upper() + "A", "%ff%fe",
    ])  # fmt: skip


def text(dice: random.Random, most: int = 60) -> str:
    """Any letters."""
    return "".join(
        chr(dice.choice([dice.randrange(33, 127), dice.randrange(33, 0x2FF)])) for _ in range(dice.randrange(most))
    )


def stranger(dice: random.Random, at: Target) -> Case:
    """Somebody without the token, or on another page."""
    host, path = f"127.0.0.1:{at.port}", dice.choice(PATHS)
    method = "POST" if dice.random() < 0.4 else "GET"
    right = f"{path}?token={at.token}"
    body = json.dumps({"question": dice.randrange(20), "answer": "left"}).encode()
    kind = dice.choice(
        ["no token", "wrong token", "token elsewhere", "host", "origin", "site", "two tokens", "two hosts"]
    )
    if kind == "no token":
        data = request(method, path + dice.choice(["", "?", "?x=1", "?token"]), host, body)
    elif kind == "wrong token":
        data = request(method, f"{path}?token={near(dice, at.token)}", host, body)
    elif kind == "token elsewhere":
        said = json.dumps({"question": 1, "answer": "left", "token": at.token}).encode()
        data = request(method, path, host, said, Cookie=f"token={at.token}", Authorization=f"Bearer {at.token}")
    elif kind == "host":
        other = dice.choice(
            ["evil.example", "127.0.0.1.evil.example", "", "0.0.0.0", "127.0.0.2", text(dice), "localhost.", "[::2]"]
        )
        data = request(method, right, other, body)
    elif kind == "origin":
        other = dice.choice(
            ["http://evil.example", "null", f"https://{host}", f"http://{host}.evil", "http://127.0.0.1:1", text(dice)]
        )
        data = request(method, right, host, body, Origin=other or "x")
    elif kind == "site":
        data = request(method, right, host, body, Sec_Fetch_Site=dice.choice(["cross-site", "same-site", "x"]))
    elif kind == "two tokens":
        data = request(method, f"{right}&token={near(dice, at.token)}", host, body)
    else:
        data = request(method, right, f"{host}\r\nHost: evil.example", body)
    return Case(kind, data)


def malformed(dice: random.Random, at: Target) -> Case:
    """Somebody with the token who sends what no page sends."""
    host, right = f"127.0.0.1:{at.port}", f"?token={at.token}"
    kind = dice.choice(["body", "fields", "path", "method", "version", "length", "head"])
    if kind == "body":
        whole = json.dumps({"question": dice.randrange(9), "answer": dice.choice(BAD_WORDS)}).encode()
        body = dice.choice([
            whole[: dice.randrange(len(whole))] or b"{", b"[" * dice.randrange(1, 9000),
            dice.randbytes(dice.randrange(1, 300)),
            b"null", b"[]", b'"left"', b"1", b"{}x", b'{"question":' + b"9" * 5000 + b',"answer":"left"}',
        ])  # fmt: skip
        data = request("POST", f"/api/answer{right}", host, body)
    elif kind == "fields":
        fields = {
            "question": dice.choice(["1", None, True, -1, 2**63, 2**70, 1.5, [], 10**6]),
            "answer": dice.choice(WORDS),
        }
        fields |= {
            name: dice.choice(WORDS) for name in ("nonce", "seconds", "strong", "rater", "page") if dice.random() < 0.5
        }
        data = request("POST", f"/api/answer{right}", host, json.dumps(fields).encode())
    elif kind == "path":
        path = dice.choice(
            ["/api", "/../page.html", "/%2e%2e/secret", "/api/question/", "//evil", "/answers.sqlite", "*", text(dice)]
        )
        data = request(dice.choice(["GET", "POST"]), path + right, host)
    elif kind == "method":
        method, path = dice.choice(
            [("PUT", "question"), ("HEAD", "answer"), ("get", "question"), ("GET", "answer"), ("X" * 90, "done")]
        )
        data = request(method, f"/api/{path}{right}", host)
    elif kind == "version":
        data = request("GET", f"/api/question{right}", host).replace(
            b"HTTP/1.1", dice.choice([b"HTTP/2.0", b"HTTP/1.1.1", b"X", b"HTTP/9"])
        )
    elif kind == "length":
        said = dice.choice(
            [
                "-1",
                "+2",
                "1e3",
                "0x2",
                "99999999999999999999",
                "2\r\nContent-Length: 3",
                "2\r\nTransfer-Encoding: chunked",
                "900",
            ]
        )
        data = (
            request("POST", f"/api/done{right}", host).replace(b"Content-Length: 0", f"Content-Length: {said}".encode())
            + b"{"
        )
    else:
        data = request("GET", f"/api/question{right}", host)[:-2]
        data += (
            dice.choice([b"a: b\r\n" * 300, b"a: " + b"b" * 90_000, b"\x00: \x00\r\n" * 500 + b"x" * 20_000])
            + b"\r\n\r\n"
        )
    return Case(f"malformed {kind}", data)


def noise(dice: random.Random, at: Target) -> Case:
    """No request at all, or the beginning of one."""
    whole = request("GET", f"/api/question?token={near(dice, at.token)}", f"127.0.0.1:{at.port}")
    data = dice.choice([
        dice.randbytes(dice.randrange(1, 4000)), whole[: dice.randrange(len(whole))], b"\r\n" * 5000,
        b"\x16\x03\x01" + dice.randbytes(200),
        b"GET " + b"/" * dice.randrange(70_000) + b" HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"",
    ])  # fmt: skip
    return Case("noise", data)


def slow(dice: random.Random, at: Target) -> Case:
    """A stranger who takes his time."""
    return stranger(dice, at)._replace(slow=dice.choice([0.02, 0.2, 1.0]))


KINDS: list[tuple[Callable[[random.Random, Target], Case], int]] = [
    (stranger, 50),
    (malformed, 35),
    (noise, 13),
    (slow, 2),
]


def sent(at: Target, case: Case) -> int:
    """The status that a case is answered with; 0 for none."""
    try:
        with socket.create_connection(("127.0.0.1", at.port), 30) as one:
            until = time.monotonic() + 15
            pieces = (
                [case.data[place : place + 8] for place in range(0, len(case.data), 8)] if case.slow else [case.data]
            )
            for piece in pieces:
                one.sendall(piece)
                time.sleep(case.slow)
                if time.monotonic() > until:
                    break
            one.shutdown(socket.SHUT_WR)
            first = one.makefile("rb").readline(200)
    except OSError:
        return 0
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", first)
    return int(found[1]) if found else 0


class Run:
    """A run that a person teaches, in a process of its own.

    Args:
        folder: of the run.
        options: beside the person; by default those of a run that goes on until it is stopped.
    """

    def __init__(self, folder: Path, options: Sequence[str] = RUN) -> None:
        self.folder = folder
        person = ["teacher=human", "teacher.open=false", f"output_dir={folder}"]
        command = [sys.executable, "-c", START, *options, *person]
        self.said = open(folder.with_suffix(".txt"), "w+", encoding="utf-8")
        self.process = subprocess.Popen(command, stdout=self.said, stderr=subprocess.STDOUT, cwd=ROOT)
        self.at = self._address()
        self.answered = 0

    def _address(self) -> Target:
        until = time.monotonic() + 120
        while time.monotonic() < until and self.process.poll() is None:
            if found := re.search(r"http://127\.0\.0\.1:(\d+)/\?token=(\w+)", Path(self.said.name).read_text()):
                return Target(int(found[1]), found[2])
            time.sleep(0.1)
        raise SystemExit(f"the run did not start: {Path(self.said.name).read_text()}")

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """What a good request is answered with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.at.port, timeout=30)
        connection.request(method, f"{path}?token={self.at.token}", body)
        reply = connection.getresponse()
        found = reply.status, reply.read()
        connection.close()
        return found

    def answer(self) -> float:
        """Give a good answer to a question; seconds from it to the next question."""
        status, text = self.ask("GET", "/api/question")
        started = time.monotonic()
        if status == 200:
            number = json.loads(text)["question"]
            given = json.dumps({"question": number, "answer": "cannot_tell"}).encode()
            self.answered += self.ask("POST", "/api/answer", given)[0] == 200
            status, _ = self.ask("GET", "/api/question")
        if status not in (200, 204):
            raise SystemExit(f"a good request was answered with {status}")
        return time.monotonic() - started

    def step(self) -> int:
        """The newest step that is told."""
        curve = json.loads(self.ask("GET", "/api/progress")[1])["curve"]
        return curve[-1]["step"] if curve else 0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(120)
        self.said.close()
        return code

    def kept(self) -> int:
        """Answers in the database."""
        with sqlite3.connect(self.folder / "answers.sqlite") as database:
            return int(database.execute("SELECT count(*) FROM answers").fetchone()[0])


def crowd(run: Run, connections: int) -> float:
    """Open so many connections that say nothing; seconds that a good answer then takes."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    several = []
    try:
        for _ in range(connections):
            several.append(socket.create_connection(("127.0.0.1", run.at.port), 30))
        return run.answer()
    finally:
        for one in several:
            one.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=1000, help="opened at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the smallest of everything")
    typed = parser.parse_args()
    if typed.quick:
        typed.cases, typed.connections = 40, 70
    dice = random.Random(typed.seed)
    with tempfile.TemporaryDirectory() as temporary:
        run = Run(Path(temporary) / "run")
        try:
            return attack(run, typed, dice)
        finally:
            if run.process.poll() is None:
                run.process.kill()
                run.process.wait()


def attack(run: Run, typed: argparse.Namespace, dice: random.Random) -> int:
    run.answer()
    before, started = run.step(), time.monotonic()
    makers = dice.choices([one for one, _ in KINDS], [weight for _, weight in KINDS], k=typed.cases)
    cases = [make(dice, run.at) for make in makers]
    waits, statuses = [], list[int]()
    with ThreadPoolExecutor(16) as pool:
        for place in range(0, len(cases), 100):
            pending = [pool.submit(sent, run.at, case) for case in cases[place : place + 100]]
            while not all(one.done() for one in pending):
                waits.append(run.answer())
                time.sleep(0.1)
            statuses += [one.result() for one in pending]
    waits.append(crowd(run, typed.connections))
    seconds, after = time.monotonic() - started, run.step()
    code = run.stop()
    kept = run.kept()
    kinds = Counter((case.kind, status) for case, status in zip(cases, statuses, strict=True))
    for (kind, status), count in sorted(kinds.items()):
        print(f"{kind:24} {status or 'closed'!s:8} {count:5}")
    wrong = [
        (case, status) for case, status in zip(cases, statuses, strict=True) if 200 <= status < 400 or status == 500
    ]
    print(f"{len(cases)} cases and {typed.connections} connections in {seconds:.0f} s; wrong answers: {len(wrong)}")
    print(f"good answers: {run.answered}, in the database: {kept}; the slowest took {max(waits):.2f} s")
    print(f"the run trained from step {before} to {after} and ended with code {code}")
    for case, status in wrong[:5]:
        print(f"  {status} {case.kind}: {case.data[:300]!r}")
    said = Path(run.said.name).read_text(encoding="utf-8")
    faults = [line for line in said.splitlines() if "the label page:" in line or "Traceback" in line]
    print(*faults[:5], sep="\n", end="\n" if faults else "")
    good = not wrong and not faults and kept == run.answered > 0 and after > before and code == 130
    return 0 if good else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
