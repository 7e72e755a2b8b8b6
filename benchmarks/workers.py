"""What several workers gain: the same run by one process and by several, in turn, on the processors of this machine.

`python benchmarks/workers.py` compares one thread, two threads, two workers and four of 64 seeds of `oprl_maze`;
`--experiments tutorial/oprl_maze rewardnet_prefs` others, `--option steps=20` shorter ones. Seconds of training are
those that a run records itself; those of the whole command hold the start and the charts too, and so do the seconds
that all its processes have used of a processor, which say what the cutting costs. The median round counts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WAYS = (("workers=1", "threads=1"), ("workers=1", "threads=2"), ("workers=2",), ("workers=4",))
WANTED = {("workers=2",): "1.90 and 1.35"}


def command(experiment: str, folder: Path, *options: str) -> tuple[float, float, float]:
    """Seconds of training, of the whole command, and of processors."""
    typed = [f"experiment={experiment}", f"output_dir={folder}", "quiet=true", *options]
    began, used = time.perf_counter(), sum(os.times()[2:4])
    subprocess.run([sys.executable, "-m", "prefrl_cli", "train", *typed], check=True)
    whole = time.perf_counter() - began
    training = json.loads((folder / "summary.json").read_text())["train_seconds"]
    return training, whole, sum(os.times()[2:4]) - used


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", nargs="*", default=["oprl_maze"])
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="for every run")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    given = parser.parse_args()
    if given.quick:
        given.experiments, given.seeds, given.rounds = ["addition_linear"], 4, 1
        given.option = ["steps=3", "env.largest=5", "charts=false"]
    os.environ.pop("OMP_NUM_THREADS", None)
    for experiment in given.experiments:
        seconds: dict[tuple[str, ...], list[tuple[float, ...]]] = {way: [] for way in WAYS}
        with tempfile.TemporaryDirectory() as place:
            for number in range(given.rounds):
                for way in WAYS:
                    folder = Path(place, f"{number}-{'-'.join(way)}")
                    found = command(experiment, folder, f"num_seeds={given.seeds}", *given.option, *way)
                    seconds[way].append(found)
        print(f"{experiment}, {given.seeds} seeds, median of {given.rounds}")
        medians = {
            way: [statistics.median(some) for some in zip(*found, strict=True)] for way, found in seconds.items()
        }
        one_thread, two_threads = (medians[way][0] for way in WAYS[:2])
        for way, (training, whole, used) in medians.items():
            gains = f"{one_thread / training:.2f} x of one thread, {two_threads / training:.2f} x of two"
            wanted = f" (wanted: {WANTED[way]})" if way in WANTED else ""
            print(f"  {' '.join(way):<20}{training:7.2f} s of training, {gains}{wanted}")
            print(f"{'':<22}{whole:7.2f} s in all, {used:.2f} s of processors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
