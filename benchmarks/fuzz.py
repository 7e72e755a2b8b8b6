"""Malformed run directories, sweeps, configurations and checkpoints: each must be refused in words or read, quickly.

    python benchmarks/fuzz.py --cases 1000

A case is one mutation of a real run, or every fourth time of a sweep. It goes through the report's reader, the
checkpoint loader and `prefrl-train resume=FOLDER`, which trains two steps more where it can. A fault is an exception
that is not ours, more than a minute, code that ran (`executed` files), a file outside the run that changed, or an
environment variable that was read. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import yaml

from prefrl_cli import runner
from prefrl_cli.checkpoints import CheckpointError, Checkpoints
from prefrl_cli.cli.record import stored_config, stored_environment
from prefrl_cli.cli.train import main as prefrl_train
from prefrl_cli.config import build
from prefrl_cli.options import ConfigError
from prefrl_cli.report.runs import load, read_run
from prefrl_cli.run_directory import read_status
from prefrl_cli.sweep_record import RECORD

LIMIT = 60  # seconds: going on with a sweep takes a few, on a busy machine ten times as many
SECRET = "a-secret-of-this-machine"
OUTSIDE = "outside"  # a file that links lead to; nothing may change it
VALUES = [
    None, True, -1, 0, 1e308, 10**40, float("nan"), float("inf"), "", "x" * 5000, "\0", "\u202e", [], [[]], {},
    {"a": {}}, {"_target_": "os.system"}, "os.system", "${oc.env:SECRET}", "${steps}", "???", "../../x", {1: 2},
    [None] * 50,
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
    record = next(iter(sorted(run.rglob("config.yaml"))))
    if kind == "value" and (run / RECORD).exists() and dice.random() < 0.5:
        record = run / RECORD
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
        path.symlink_to(
            "/dev/zero" if dice.random() < 0.5 else run.parent / OUTSIDE
        ) if kind == "link" else path.mkdir()
        return f"{kind} {path.name}"
    elif kind == "value":
        path = record
        config = yaml.safe_load(path.read_text())
        node = config
        while True:
            name = dice.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not isinstance(node[name], dict | list) or not node[name] or dice.random() < 0.2:
                break
            node = node[name]
        change = dice.random()
        if change < 0.2:
            del node[name]
        elif change < 0.3 and isinstance(node, dict):
            node[dice.choice([1, "new", None, "_target_", "\n"])] = dice.choice(VALUES)
        else:
            node[name] = dice.choice(VALUES)
        data = bytearray(yaml.safe_dump(config).encode("utf-8", "surrogatepass"))
    path.write_bytes(data)
    return f"{kind} {path.name}"


def read(run: Path) -> str:
    """Everything that reads a run or a sweep, and then goes on with it; what became of it."""
    if (run / RECORD).exists() or run.name == "sweep":
        load([run])
        return f"sweep, {resume(run)}"
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
    return f"{status}, {resume(run, 'steps=6')}"


def resume(run: Path, *options: str) -> str:
    """`prefrl-train resume=FOLDER`: whether it refused, failed or finished.

    Raises:
        AssertionError: for a trace, no message, or another exit code.
    """
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = prefrl_train([f"resume={run}", *options])
    text = said.getvalue()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for log in (*run.glob("*.error.log"), *run.rglob("train.log")):
            text += log.read_text() if log.is_file() else ""  # a trace is put there
    assert "Traceback" not in text, text.strip().splitlines()[-1]
    assert code in (0, 1, 2) and (code == 0 or text), code
    for path in run.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20:
            assert SECRET.encode() not in path.read_bytes(), f"{path.name} has it"
    assert SECRET not in text, text
    return f"resumed: {('finished', 'failed', 'refused')[code]}"


class TooSlow(BaseException):
    """A case that took longer than `LIMIT`."""


def _too_slow(*_: object) -> None:
    raise TooSlow


def fuzz(made: list[Path], cases: int, first: int = 0) -> tuple[collections.Counter[str], list[str]]:
    """Count what became of the cases, mutations of runs and sweeps that were made; the faults, a line each."""
    outcomes: collections.Counter[str] = collections.Counter()
    faults = []
    signal.signal(signal.SIGALRM, _too_slow)
    os.environ["SECRET"] = SECRET
    draw, runner.draw = runner.draw, lambda *_: None
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            for case in range(first, first + cases):
                dice = random.Random(case)
                original = made[(case % 4 == 0) % len(made)]
                run, outside = Path(folder, original.name), Path(folder, OUTSIDE)
                shutil.rmtree(run, ignore_errors=True)
                shutil.copytree(original, run, ignore=shutil.ignore_patterns("charts"))
                outside.write_text("as it was")
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
                if outside.read_text() != "as it was":
                    faults.append(f"case {case}, {done}: a file outside the run changed")
                if (case + 1 - first) % 50 == 0:
                    print(f"{case + 1 - first} cases, {len(faults)} faults", *faults, sep="\n  ", flush=True)
        finally:
            os.chdir(before)
            runner.draw = draw
    return outcomes, faults


def make(folder: Path) -> list[Path]:
    """A run and a sweep to mutate."""
    made = [folder / "run", folder / "sweep"]
    options = ["experiment=addition_linear", "steps=4", "checkpoint.every=2", "quiet=true"]
    assert prefrl_train([*options, f"output_dir={made[0]}"]) == 0
    assert prefrl_train(["-m", *options, "seed=1,2", f"output_dir={made[1]}"]) == 0
    # One of its jobs was killed.
    job = sorted(made[1].glob("*seed=*"))[1]
    (job / "status.json").write_text((job / "status.json").read_text().replace("finished", "running"))
    return made


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="seed of the first case")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    given = parser.parse_args()
    given.cases = 3 if given.quick else given.cases
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        started = time.perf_counter()
        outcomes, faults = fuzz(made, given.cases, given.first)
    for outcome, count in outcomes.most_common():
        print(f"{count:6} {outcome}")
    print(f"{given.cases} cases in {time.perf_counter() - started:.1f} s, {len(faults)} faults", *faults, sep="\n")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
