"""Hold the estimate of a run's memory against the peak of real runs.

`python benchmarks/memory.py` runs each of a spread of configurations in a process of its own, and prints the estimate,
the peak and their ratio. The exit code is 1 where a ratio is not between 0.5 and 2.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import tempfile
from pathlib import Path

from kill_and_resume import config_of

from prefrl_cli.config.build import memory_needed
from prefrl_cli.config.memory import in_words
from prefrl_cli.run.lifecycle import run_or_resume

FAST = ["steps=3", "checkpoint.every=1"]
RUNS = {
    "oprl_maze": [
        [],
        ["num_seeds=64"],
        ["env.size=64", "env.horizon=1000", "num_seeds=8", "queries.questions=50"],
        ["env.horizon=4000", "num_seeds=4", "queries.questions=20"],
        ["algorithm.evaluation_episodes=4000", "num_seeds=4"],
        ["algorithm.episodes=2000", "algorithm.replay_capacity=4000", "num_seeds=8"],
        ["policy.hidden=2048", "reward_model.hidden=2048", "num_seeds=8"],
        ["reward_update.dataset_capacity=100000", "reward_update.batch=5000", "num_seeds=4"],
        ["queries=disagreement_k_center", "queries.questions=100", "queries.from_newest=20", "num_seeds=8"],
        ["env.observation=one_hot", "num_seeds=4", "env.size=16", "env.horizon=200"],
        ["shaping=potential", "reward_model.members=10", "env.size=32", "env.horizon=250", "num_seeds=8"],
    ],
    "tutorial/oprl_maze": [["steps=60", "num_seeds=16"]],
    "rewardnet_prefs": [
        [],
        ["algorithm.batch=50000", "num_seeds=8"],
        ["env.largest=99", "num_seeds=4"],
        ["reward_model.hidden=4096", "num_seeds=4"],
    ],
    "addition_linear": [["algorithm.initial_states=300000", "num_seeds=8"], ["algorithm.batch=200000", "num_seeds=4"]],
}


def _run(experiment: str, options: list[str], folder: str, answer: object) -> None:
    config, overrides = config_of(experiment, *FAST, *options)
    code = int(run_or_resume(config, overrides, Path(folder, "run")) != "finished")
    # Not ru_maxrss, which begins at that of the process that started this one.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    answer.send((code, 1024.0 * int(peak[1]) if peak else 0.0))  # type: ignore[attr-defined]


def measured(experiment: str, options: list[str]) -> tuple[float, float]:
    """Estimate and peak in bytes."""
    ours, theirs = multiprocessing.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        child = multiprocessing.get_context("spawn").Process(target=_run, args=(experiment, options, folder, theirs))
        child.start()
        theirs.close()
        code, peak = ours.recv()
        child.join()
    if code:
        raise RuntimeError(f"{experiment} {options}: ended with {code}")
    return memory_needed(config_of(experiment, *FAST, *options)[0]), peak


def main() -> int:
    """Measure all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    quick = parser.parse_args().quick
    worst = 1.0
    for experiment, some in ({"rewardnet_prefs": [[]]} if quick else RUNS).items():
        for options in some:
            needed, peak = measured(experiment, options)
            worst = max(worst, needed / peak, peak / needed)
            words = f"{in_words(needed):>8} estimated {in_words(peak):>8} measured {needed / peak:6.2f}"
            print(f"{words}  {experiment} {' '.join(options)}", flush=True)
    print(f"largest factor between the two: {worst:.2f}")
    return int(worst > 2)


if __name__ == "__main__":
    sys.exit(main())
