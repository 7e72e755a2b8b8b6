"""Kill a sweep with SIGKILL, all its processes at once, type it again, and compare with one that was left alone.

    python benchmarks/kill_a_sweep.py [--jobs 24] [--kills 3] [--launcher joblib] [--no-charts]

A kill falls when a job has a checkpoint and is not done, so that what is typed again must go on from one.
It prints a line a kill, and at the end whether each job finished once and has the same metrics.csv, byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prefrl_cli.sweep.results import read_json

SCRIPT = "import sys; from prefrl_cli.cli.train import main; sys.exit(main())"
NO_CHARTS = f"from prefrl_cli.run import runner; runner.draw = lambda *_: None; {SCRIPT}"


def command(jobs: int, steps: int, launcher: str | None, charts: bool) -> list[str]:
    """A sweep of the addition task over seeds and learning rates."""
    rates = ["0.05", "0.1", "0.15", "0.2"]
    options = [
        "-m",
        "experiment=addition_linear",
        f"steps={steps}",
        "checkpoint.every=50",
        f"seed={','.join(str(seed) for seed in range(jobs // len(rates)))}",
        f"optimizer.lr={','.join(rates)}",
    ]
    script = SCRIPT if charts else NO_CHARTS
    return [sys.executable, "-c", script, *options, *([f"hydra/launcher={launcher}"] if launcher else [])]


def start(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The command in a process group of its own."""
    return subprocess.Popen(
        arguments, cwd=folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def sweep_folder(folder: Path) -> Path:
    """The one sweep there is: typed again, it must not start another."""
    (found,) = folder.glob("outputs/*/sweeps/*")
    return found


def finished(folder: Path) -> dict[str, str]:
    """The jobs that are done, with when they ended."""
    states = {path.parent.name: read_json(path) for path in folder.glob("outputs/*/sweeps/*/*/status.json")}
    return {name: state["ended"] for name, state in states.items() if state.get("status") == "finished"}


def resumed(folder: Path) -> int:
    """How many jobs went on from a checkpoint."""
    logs = folder.glob("outputs/*/sweeps/*/*/train.log")
    return sum("going on from step" in path.read_text(encoding="utf-8") for path in logs)


def in_training(folder: Path) -> bool:
    """Whether a job has a checkpoint and is not done."""
    runs = {path.parent.parent for path in folder.glob("outputs/*/sweeps/*/*/checkpoints/step_*.pt")}
    return any(read_json(run / "status.json").get("status") == "running" for run in runs)


def kill_when_done(process: subprocess.Popen[bytes], folder: Path, done: int, extra_seconds: float) -> bool:
    """SIGKILL the group once so many jobs are done and the next has a checkpoint; whether it was still running."""
    while process.poll() is None:
        if len(finished(folder)) >= done and in_training(folder):
            time.sleep(extra_seconds)
            break
        time.sleep(0.005)
    running = process.poll() is None
    if running:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running


def compare(undisturbed: Path, killed: Path) -> list[str]:
    """The jobs whose `metrics.csv` differ or are missing on one side."""
    names = {path.parent.name for folder in (undisturbed, killed) for path in folder.glob("*/metrics.csv")}
    paths = {name: (undisturbed / name / "metrics.csv", killed / name / "metrics.csv") for name in sorted(names)}
    return [
        name
        for name, (one, other) in paths.items()
        if not (one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes())
    ]


def trial(
    folder: Path, jobs: int, kills: int, steps: int, launcher: str | None, charts: bool = True
) -> dict[str, object]:
    """Both sweeps; what became of them."""
    alone, disturbed = folder / "alone", folder / "killed"
    for path in (alone, disturbed):
        path.mkdir(parents=True)
    arguments = command(jobs, steps, launcher, charts)
    reference = start(arguments, alone)
    code_alone = reference.wait()
    dice = random.Random(0)
    ended: dict[str, str] = {}
    hits = 0
    for kill in range(kills):
        target = (kill + 1) * jobs // (kills + 2)
        hits += kill_when_done(start(arguments, disturbed), disturbed, target, dice.uniform(0, 0.05))
        now = finished(disturbed)
        assert ended.items() <= now.items(), "a finished job was run again"
        ended = now
        print(f"kill {kill + 1}: {len(ended)} of {jobs} jobs were done", flush=True)
    code = start(arguments, disturbed).wait()
    now = finished(disturbed)
    return {
        "exit codes": (code_alone, code),
        "kills that hit a running sweep": hits,
        "jobs finished": len(now),
        "jobs that went on from a checkpoint": resumed(disturbed),
        "finished jobs run again": sum(now[name] != when for name, when in ended.items()),
        "jobs that differ": compare(sweep_folder(alone), sweep_folder(disturbed)),
    }


def main() -> int:
    """Print what became of it; 0 when all is as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--launcher")
    parser.add_argument("--no-charts", action="store_true", help="draw none; jobs in processes of their own still do")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    given = parser.parse_args()
    if given.quick:
        given.jobs, given.kills, given.steps, given.no_charts = 4, 1, 100, True
    with tempfile.TemporaryDirectory() as folder:
        found = trial(Path(folder), given.jobs, given.kills, given.steps, given.launcher, not given.no_charts)
    for name, value in found.items():
        print(f"{name}: {value}")
    good = found["exit codes"] == (0, 0) and found["jobs finished"] == given.jobs and not found["jobs that differ"]
    good = good and found["kills that hit a running sweep"] == given.kills and not found["finished jobs run again"]
    return int(not (good and found["jobs that went on from a checkpoint"]))


if __name__ == "__main__":
    sys.exit(main())
