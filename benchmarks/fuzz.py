"""Malformed run directories, configurations and checkpoints: each must be refused in words or read, quickly.

    python benchmarks/fuzz.py --cases 1000

A case is one mutation of a real run. It goes through the report's reader, the checkpoint loader, and reading and
checking the configuration as resuming does. A fault is an exception that is not ours, more than ten seconds, or code
that ran (`executed` files). The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import yaml

from prefrl_cli.checkpoints import CheckpointError, Checkpoints
from prefrl_cli.cli.record import stored_config, stored_environment
from prefrl_cli.cli.train import main as prefrl_train
from prefrl_cli.config import build
from prefrl_cli.options import ConfigError
from prefrl_cli.report.runs import read_run
from prefrl_cli.run_directory import read_status

LIMIT = 10  # seconds
VALUES = [
    None, True, -1, 0, 1e308, 10**40, float("nan"), float("inf"), "", "x" * 5000, "\0", "\u202e", [], [[]], {},
    {"a": {}}, {"_target_": "os.system"}, "os.system", "${oc.env:HOME}", "???", "../../x", {1: 2}, [None] * 50,
]  # fmt: skip
TEXTS = [
    b"", b"\xff\xfe\x00", b"[" * 20_000, b"{a: " * 20_000, b"\0" * 100, b"null", b"3", b"[1]", b"NaN", b"1e999",
    b"!!python/object/apply:os.system ['touch executed']\n", b"cos\nsystem\n(S'touch executed'\ntR.", b"a: &a [*a]\n",
    b"\n".join([b"a0: &a0 [1]"] + [b"a%d: &a%d [*a%d, *a%d]" % (n, n, n - 1, n - 1) for n in range(1, 40)]),
    b'{"step": ' + b"9" * 5000 + b"}",
]  # fmt: skip


def mutate(run: Path, dice: random.Random) -> str:
    """Spoil one file of a run; what was done."""
    path = dice.choice(sorted(one for one in run.rglob("*") if one.is_file() and one.suffix not in (".png", ".svg")))
    data = bytearray(path.read_bytes())
    kind = dice.choice(["flip", "cut", "text", "link", "folder", "insert", "value", "value", "value"])
    if kind == "flip" and data:
        for _ in range(dice.choice([1, 3, 30])):
            data[dice.randrange(len(data))] = dice.randrange(256)
    elif kind == "cut":
        del data[dice.randrange(len(data) + 1) :]
    elif kind == "insert":
        place = dice.randrange(len(data) + 1)
        data[place:place] = dice.choice(TEXTS)[:2000]
    elif kind == "text":
        data = bytearray(dice.choice(TEXTS))
    elif kind in ("link", "folder"):
        path.unlink()
        path.symlink_to("/dev/zero" if dice.random() < 0.5 else "/etc/passwd") if kind == "link" else path.mkdir()
        return f"{kind} {path.name}"
    elif kind == "value":
        path = run / "config.yaml"
        config = yaml.safe_load(path.read_text())
        node = config
        while True:
            name = dice.choice(list(node))
            if not isinstance(node[name], dict) or not node[name] or dice.random() < 0.2:
                break
            node = node[name]
        change = dice.random()
        if change < 0.2:
            del node[name]
        elif change < 0.3:
            node[dice.choice([1, "new", None, "_target_", "\n"])] = dice.choice(VALUES)
        else:
            node[name] = dice.choice(VALUES)
        data = bytearray(yaml.safe_dump(config).encode("utf-8", "surrogatepass"))
    path.write_bytes(data)
    return f"{kind} {path.name}"


def read(run: Path) -> str:
    """Everything that reads a run; what became of it."""
    status = read_run(run).status
    read_status(run), stored_environment(run)
    for path in Checkpoints(run / "checkpoints").newest_first():
        try:
            Checkpoints.load(path, "cpu")
        except CheckpointError:
            status += ", checkpoint refused"
    try:
        build(stored_config(run))
    except ConfigError as problem:
        assert "\n" not in str(problem), problem
        status += ", options refused"
    return status


class TooSlow(BaseException):
    """A case that took longer than `LIMIT`."""


def _too_slow(*_: object) -> None:
    raise TooSlow


def fuzz(made: Path, cases: int, first: int = 0) -> tuple[collections.Counter[str], list[str]]:
    """Count what became of the cases; the faults, a line each."""
    outcomes: collections.Counter[str] = collections.Counter()
    faults = []
    signal.signal(signal.SIGALRM, _too_slow)
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            for case in range(first, first + cases):
                dice = random.Random(case)
                run = Path(folder, "run")
                shutil.rmtree(run, ignore_errors=True)
                shutil.copytree(made, run, ignore=shutil.ignore_patterns("charts"))
                done = mutate(run, dice)
                signal.alarm(LIMIT)
                try:
                    outcomes[read(run)] += 1
                except (Exception, TooSlow) as problem:
                    faults.append(f"case {case}, {done}: {type(problem).__name__}: {str(problem)[:150]}")
                finally:
                    signal.alarm(0)
                if Path("executed").exists() or (run / "executed").exists():
                    faults.append(f"case {case}, {done}: code ran")
                    break
        finally:
            os.chdir(before)
    return outcomes, faults


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "run")
        options = ["experiment=addition_linear", "steps=4", "checkpoint.every=2", "quiet=true"]
        assert prefrl_train([*options, f"output_dir={made}"]) == 0
        started = time.perf_counter()
        outcomes, faults = fuzz(made, given.cases, given.first)
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")
    print(f"{given.cases} cases in {time.perf_counter() - started:.1f} s, {len(faults)} faults", *faults, sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
