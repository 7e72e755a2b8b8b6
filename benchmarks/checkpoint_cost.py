"""How much of the training time its checkpoints take, for every experiment: measured inside the runs themselves.

`python benchmarks/checkpoint_cost.py` trains each experiment for 200 steps with one seed and with 16, a checkpoint
every 50, and times the saves. `training waits` is the sum of the saves over the training time: what checkpoints cost.
`of its work` is the same in processor time, which other programs on a busy machine disturb less. The disk's own work is
done by a thread while training goes on; it counts where a save has to wait for the one before.

An experiment of a millisecond a step needs more of them for a steady figure:
`--experiments notebook/rewardnet_mse --steps 2000`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kill_and_resume import config_of

from prefrl_cli.config.choices import choices
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import runner
from prefrl_cli.run.lifecycle import run_or_resume

MOST = 0.03  # of the training time


Times = list[tuple[float, float]]  # seconds, and those of them that this thread worked


def timed(function: Callable[..., Any], times: Times) -> Callable[..., Any]:
    """The same function, which notes how long each call took."""

    def measured(*given: Any) -> Any:
        began, worked = time.perf_counter(), time.thread_time()
        try:
            return function(*given)
        finally:
            times.append((time.perf_counter() - began, time.thread_time() - worked))

    return measured


def cost(experiment: str, seeds: int, steps: int, every: int) -> tuple[Times, Times, Times, int]:
    """One run: how long training took, each save in it, and each on the disk; the largest file's bytes."""
    saves: Times = []
    writes: Times = []
    training: Times = []
    save, put, draw, train = runner.save, Checkpoints._put, runner.draw, runner.train
    runner.save, runner.train = timed(save, saves), timed(train, training)
    Checkpoints._put = timed(put, writes)
    runner.draw = lambda *_: None
    try:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "run")
            # Several values of one option: the last counts.
            options = [f"num_seeds={seeds}", f"steps={steps}", f"checkpoint.every={every}"]
            if run_or_resume(*config_of(experiment, *options), folder) != "finished":
                raise RuntimeError(f"{experiment} failed")
            size = max(path.stat().st_size for path in folder.glob("checkpoints/*.pt"))
            return training, saves, writes, size
    finally:
        runner.save, runner.draw, runner.train = save, draw, train
        Checkpoints._put = put


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", nargs="*", default=choices("experiment"))
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 16])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--every", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.experiments, options.seeds, options.steps, options.every = ["addition_linear"], [1], 4, 2
    print("| experiment | seeds | training | a save | on the disk | file | training waits | of its work |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    over = []
    for experiment in options.experiments:
        for seeds in options.seeds:
            training, saves, writes, size = cost(experiment, seeds, options.steps, options.every)
            (seconds, work), (waited, worked), (wrote, _) = (
                tuple(map(sum, zip(*times, strict=True))) for times in (training, saves, writes)
            )
            share = waited / seconds
            print(
                f"| {experiment} | {seeds} | {seconds:.2f} s | {1000 * waited / len(saves):.1f} ms"
                f" | {1000 * wrote / len(writes):.1f} ms | {size / 1e6:.2f} MB | {100 * share:.1f} %"
                f" | {100 * worked / work:.1f} % |",
                flush=True,
            )
            if share > MOST:
                over.append(f"{experiment} with {seeds} seeds: {100 * share:.1f} %")
    print(f"over {100 * MOST:.0f} %: {'; '.join(over) or 'none'}")
    return int(bool(over) and not options.quick)  # of a few milliseconds no share can be told


if __name__ == "__main__":
    sys.exit(main())
