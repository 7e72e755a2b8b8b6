"""Malformed runs, sweeps, studies, configurations and checkpoints: each must be refused in words or read, quickly.

    python benchmarks/fuzz.py --cases 2000

A case is one mutation of a run, a sweep, a study or a folder of configurations. A run or a sweep goes through the
report, the checkpoint loader and `prefrl-train resume=FOLDER`, which trains two steps more where it can, some runs
through `prefrl-reproduce` too; a study is read and its rows are composed; of a configuration a run begins.

A fault is an exception that is not ours, more than 5 seconds of the processor or a minute in all, more than 1 GiB of
memory, code that ran (`executed` files), a file outside the run that changed, an environment variable that was read,
or a message with a character that a terminal would obey. The exit code is 1 if there was one.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import yaml

from prefrl_cli.cli.report import main as prefrl_report
from prefrl_cli.cli.reproduce import main as prefrl_reproduce
from prefrl_cli.cli.train import main as prefrl_train
from prefrl_cli.config.build import build
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.checkpoints import FORMAT, CheckpointError, Checkpoints
from prefrl_cli.report.runs import read_run
from prefrl_cli.report.study.file import load as load_study
from prefrl_cli.report.study.study import measure
from prefrl_cli.report.study.table import markdown, table
from prefrl_cli.run import runner
from prefrl_cli.run.directory import RECORD, read_status
from prefrl_cli.run.provenance import stored_config, stored_environment
from prefrl_cli.sweep.directory import composed

LIMIT = 5  # seconds of the processor
HANGS = 60  # seconds in all, on a busy machine: nothing is waited for
MEMORY = 1 << 30  # bytes
BIG = 200 << 20  # bytes of a file
SECRET = "a-secret-of-this-machine"
OUTSIDE = "outside"  # a file that links lead to; nothing may change it
VALUES = [
    None, True, -1, 0, 1e308, 10**40, float("nan"), float("inf"), "", "x" * 5000, "\0", "\u202e", [], [[]], {},
    {"a": {}}, {"_target_": "os.system"}, "os.system", "${oc.env:SECRET}", "${steps}", "???", "../../x", {1: 2},
    [None] * 50, datetime.date(2020, 2, 30 - 1), datetime.datetime(1, 1, 1), {1, "a"}, b"\xff", 1 << 70, -0.0,
    "\x1b[31mred", "\ud800", "a\nb", "\t", "<!-- /study x -->", "|", "~/x", "file:///etc", "\u0000", "a" * 70_000,
    2**63,
]  # fmt: skip
TEXTS = [
    b"", b"\xff\xfe\x00", b"[" * 20_000, b"{a: " * 20_000, b"\0" * 100, b"null", b"3", b"[1]", b"NaN", b"1e999",
    b"!!python/object/apply:os.system ['touch executed']\n", b"cos\nsystem\n(S'touch executed'\ntR.", b"a: &a [*a]\n",
    b"\n".join([b"a0: &a0 [1]"] + [b"a%d: &a%d [*a%d, *a%d]" % (n, n, n - 1, n - 1) for n in range(1, 40)]),
    b'{"step": ' + b"9" * 5000 + b"}", b'{"a": 1, "a": 2}', b'{"step": NaN, "status": Infinity}', b'{"a":' * 50_000,
    b"seed: 0x" + b"F" * 5000 + b"\n", b"seed: " + b"9" * 100_000 + b"\n", b"a: 2020-13-45\n", b"a: 1\na: 2\n",
    b"\ta: 1\n", b"a: !!binary x\n", b"a: !!set {x, y}\n", b"a: !!timestamp x\n", b"? [1, {a: b}]\n: 1\n", b"a: .nan\n",
    b"1: 2\n~: 3\n",
    b"a0: &a0 {k: v}\n" + b"".join(b"a%d: &a%d {<<: [*a%d, *a%d]}\n" % (n, n, n - 1, n - 1) for n in range(1, 30)),
    b"\xef\xbb\xbfa: 1\n", "a: 1\n".encode("utf-16"), b"a: \xe9\n", b"a: \x1b[31m\n", b"a: 1\r\nb: 2\r\n", b"- " * 3000,
    b"step,seed\n" * 100, b'step,seed,"a\n' + b"0,0,1\n" * 1000,
    b"step,seed," + b",".join(b"%d" % n for n in range(100_000)),
]  # fmt: skip
JOBS = [
    "..",
    ".",
    "",
    "/etc",
    "a/../..",
    "\0",
    "x" * 300,
    "link",
    "sweep.yaml",
    "\x1b[31m",
    "\u202e",
    "seed=1",
    "a\nb",
    "~",
]


KINDS = ["flip", "cut", "text", "text of a text", "link", "folder", "pipe", "insert", "value", "strides", "jobs"]
STUDY = """\
title: Which?
question: Which is better?
common: [experiment=addition_linear, steps=1]
minutes: 1
chart: lines
x_label: n
metrics: [loss]
rows:
  - {name: a, overrides: [seed=1], x: 1, series: s}
  - {name: b, overrides: [optimizer.lr=0.1], x: 2, series: s, baseline: a}
"""
MINE = """\
# @package _global_
defaults:
  - addition_linear
  - _self_
seed: 3
optimizer:
  lr: 0.1
"""


def mutate(run: Path, dice: random.Random) -> str:
    """Spoil one file of a run, a sweep, a study or a folder of configurations; what was done."""
    path = dice.choice(sorted(one for one in run.rglob("*") if one.is_file() and one.suffix not in (".png", ".svg")))
    data = bytearray(path.read_bytes())
    kind = dice.choice([*KINDS, "value", "value", *["big"] * (dice.random() < 0.2)])
    record = next(iter(sorted(run.rglob("config.yaml"))), path)
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
    elif kind in ("link", "folder", "pipe"):
        path.unlink()
        if kind == "link":
            path.symlink_to("/dev/zero" if dice.random() < 0.5 else run.parent / OUTSIDE)
        else:
            path.mkdir() if kind == "folder" else os.mkfifo(path)
        return f"{kind} {path.name}"
    elif kind == "big":
        what = dice.choice(["newlines", "zeros", "letters", "commas"])
        with path.open("r+b") as file:
            if dice.random() < 0.5:  # after what belongs there
                file.seek(0, 2)
            if what == "zeros":
                file.truncate(BIG)
            else:
                file.write({"newlines": b"\n", "letters": b"9", "commas": b"0,"}[what] * (BIG // 2))
        return f"200 MB of {what} in {path.name}"
    elif kind == "strides" and (several := sorted(run.rglob("step_*.pt"))):
        path = several[-1]
        data = torch.zeros(1, dtype=torch.uint8).expand(3 << 29)  # 1.6 GB that are one byte in the file
        text = json.dumps({"a": {"__tensor__": ["float32", "float32", [3 << 27], 0, 3 << 29]}})
        content = dice.choice([text, '{"algorithm": {}}'])
        torch.save({"format": FORMAT, "step": int(path.stem[5:]), "content": content, "data": data}, path)
        return f"strides {path.name}"
    elif kind == "jobs" and (run / "sweep.csv").exists():
        path = run / "sweep.csv"
        data += b"".join(f'"{dice.choice(JOBS)}",x,failed\n'.encode() for _ in range(3))
        if dice.random() < 0.5:
            (run / "link").symlink_to(run.parent)
    elif kind == "text of a text":  # a line of a text file that is as it was otherwise
        lines = bytes(data).split(b"\n")
        lines[dice.randrange(len(lines))] = dice.choice(TEXTS)[:6000]
        data = bytearray(b"\n".join(lines))
    elif kind == "value":
        path = record
        config = yaml.safe_load(path.read_text())
        header = next((line for line in path.read_text().splitlines() if line.startswith("# @package")), "")
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
        data = bytearray(f"{header}\n{yaml.safe_dump(config)}".encode("utf-8", "surrogatepass"))
    path.write_bytes(data)
    return f"{kind} {path.name}"


def read(run: Path, dice: random.Random) -> str:
    """Everything that reads a run, a sweep, a study or a configuration, and then goes on with it; what became of it."""
    if run.name == "study":
        return study(run)
    if run.name == "conf":
        options = ["experiment=mine", "steps=1", "quiet=true", f"output_dir={run.parent / 'new'}"]
        return f"configuration, {said(run, lambda: prefrl_train(['--config-dir', str(run), *options]))}"
    if dice.random() < 0.3:
        said(run, lambda: prefrl_report([str(run), "-o", str(run.parent / "report")]))
    if (run / RECORD).exists() or run.name == "sweep":
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
    if dice.random() < 0.1:
        return f"reproduced: {said(run, lambda: prefrl_reproduce([str(run), 'quiet=true']))}"
    return f"{status}, {resume(run, 'steps=6')}"


def study(folder: Path) -> str:
    """A study's file read, its rows composed, and what it would say of them."""
    try:
        found = load_study(str(folder / "mine.yaml"))
        for row in found.rows:
            composed(row)
    except ConfigError as problem:
        assert "\n" not in str(problem), problem
        return "study refused"
    results = measure(found, folder)
    text = markdown(found, results) + table(found, results)
    assert SECRET not in text and "<!--" not in text, text
    return "study composed"


def resume(run: Path, *options: str) -> str:
    """`prefrl-train resume=FOLDER`: whether it refused, failed or finished."""
    return f"resumed: {said(run, lambda: prefrl_train([f'resume={run}', *options]))}"


def said(run: Path, command: Callable[[], int]) -> str:
    """Whether a command on a folder refused, failed or finished.

    Raises:
        AssertionError: for a trace, no message, another exit code, or what a terminal would obey.
    """
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        code = command()
    text = told.getvalue()
    wrong = [letter for letter in text if not letter.isprintable() and letter != "\n"]
    assert not wrong, f"{wrong[0]!r} in {text[:200]!r}"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for log in (*run.glob("*.error.log"), *run.rglob("train.log")):
            text += log.read_text() if log.is_file() else ""  # a trace is put there
    assert "Traceback" not in text, text.strip().splitlines()[-1]
    assert code in (0, 1, 2) and (code == 0 or text), code
    for path in run.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 20:
            assert SECRET.encode() not in path.read_bytes(), f"{path.name} has it"
    assert SECRET not in text, text
    return ("finished", "failed", "refused")[code]


class TooSlow(BaseException):
    """A case that took longer than `LIMIT` or `HANGS`."""


def _too_slow(*_: object) -> None:
    raise TooSlow


def _memory(name: str) -> int:
    """A line of `/proc/self/status` in bytes: `VmRSS`, or `VmHWM`, its highest since it was reset."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0]) << 10


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Within it time and memory are those of a case.

    Raises:
        TooSlow: after `LIMIT` or `HANGS`.
        MemoryError: for more than `MEMORY`.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    before = _memory("VmRSS")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    # Not so little that it would be refused before it is seen, and not so much that the machine suffers.
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 4 * MEMORY, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    signal.alarm(HANGS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
    if (more := _memory("VmHWM") - before) > MEMORY:
        raise MemoryError(f"{more / (1 << 30):.1f} GiB")


def fuzz(made: list[Path], cases: int, first: int = 0) -> tuple[collections.Counter[str], list[str]]:
    """Count what became of the cases, mutations of runs and sweeps that were made; the faults, a line each."""
    outcomes: collections.Counter[str] = collections.Counter()
    faults = []
    signal.signal(signal.SIGALRM, _too_slow)
    signal.signal(signal.SIGPROF, _too_slow)
    os.environ["SECRET"] = SECRET
    draw, runner.draw = runner.draw, lambda *_: None
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            for case in range(first, first + cases):
                dice = random.Random(case)
                original = made[(0, 1, 0, 2, 0, 1, 0, 3)[case % 8] % len(made)]
                run, outside = Path(folder, original.name), Path(folder, OUTSIDE)
                shutil.rmtree(run, ignore_errors=True)
                shutil.copytree(original, run, ignore=shutil.ignore_patterns("charts"))
                outside.write_text("as it was")
                shutil.rmtree(run.parent / "new", ignore_errors=True)
                done = f"{original.name}, {mutate(run, dice)}"
                try:
                    with bounded():
                        outcomes[read(run, dice)] += 1
                except (Exception, TooSlow) as problem:
                    faults.append(f"case {case}, {done}: {type(problem).__name__}: {str(problem)[:150]}")
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
    """A run, a sweep, a study and a folder of configurations to mutate."""
    made = [folder / name for name in ("run", "sweep", "study", "conf")]
    for place, text in ((made[2] / "mine.yaml", STUDY), (made[3] / "experiment" / "mine.yaml", MINE)):
        place.parent.mkdir(parents=True)
        place.write_text(text)
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
