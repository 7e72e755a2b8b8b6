"""How much faster prefrl is than the plain loops: ratios measured in one run, side by side.

`python benchmarks/speed.py` measures everything, `python benchmarks/speed.py ascent startup` some of it. What is
compared is run in turn, round after round, and the median round counts, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import direct
import plain_notebook
import torch
from plain_tutorial import GlobalDraws, PlainLoop
from torch import Tensor

from prefrl_cli.algorithm.oprl import OPRL
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.env.addition import Addition
from prefrl_cli.policy.action_search import Ascent
from prefrl_cli.preference.loss import bradley_terry
from prefrl_cli.preference.questions import Pairs
from prefrl_cli.reward_model.addition import RewardNet

PAIRS, HORIZON, ASCENT_STATES = 32, 60, 10


@dataclass(frozen=True)
class Row:
    """A line of the table: what, how long, and what it should be at least."""

    what: str
    measured: str
    wanted: str = ""


def medians(rounds: int, *timed: Callable[[], object]) -> list[float]:
    """Median seconds of each, run in turn `rounds` times after once for warming up."""
    seconds: list[list[float]] = [[] for _ in timed]
    for number in range(rounds + 1):
        for one, some in zip(timed, seconds, strict=True):
            started = time.perf_counter()
            one()
            if number:
                some.append(time.perf_counter() - started)
    return [statistics.median(some) for some in seconds]


def training(options: argparse.Namespace) -> list[Row]:
    """`tutorial/oprl_maze`: the same number of episodes from the start by the loops, by one seed, by 64."""
    plain: list[float] = []
    one: list[float] = []
    many: list[float] = []
    direct.tutorial_maze([0]).update()  # imports happen here
    for number in range(options.rounds):
        loop, single_seed, all_seeds = (
            PlainLoop(GlobalDraws(42 + number)), direct.tutorial_maze([42 + number]), direct.tutorial_maze(range(64))
        )  # fmt: skip
        seconds = [0.0, 0.0, 0.0]
        for _ in range(10):  # a tenth of each in turn, so that a busy machine slows all alike
            seconds[0] += _seconds(lambda loop=loop: loop.train(options.episodes // 10))
            seconds[1] += _seconds(lambda one=single_seed: _train(one, options.episodes // 10))
            torch.set_num_threads(options.threads)
            seconds[2] += _seconds(lambda all_of=all_seeds: _train(all_of, options.episodes // 10))
            torch.set_num_threads(1)
        for times, spent in zip((plain, one, many), seconds, strict=True):
            times.append(spent)
    loops, single, batch = map(statistics.median, (plain, one, many))
    return [
        Row(f"tutorial, {options.episodes} episodes, plain loop", f"{loops:.2f} s"),
        Row("  prefrl, 1 seed", f"{single:.2f} s = {loops / single:.1f} x", "12 x"),
        Row(
            f"  prefrl, 64 seeds, {options.threads} threads",
            f"{batch:.2f} s, per seed {64 * loops / batch:.0f} x",
            "60 x",
        ),
    ]


def _seconds(work: Callable[[], object]) -> float:
    gc.collect()
    gc.freeze()  # what another contestant keeps alive is not this one's to look through
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _train(experiment: OPRL, updates: int) -> None:
    for _ in range(updates):
        experiment.update()


def reward_update(options: argparse.Namespace) -> list[Row]:
    """One step of the tutorial's process reward model on 32 pairs of 60 states, as `OPRL` makes it."""
    loop, seeds = PlainLoop(GlobalDraws(0)), 16
    states = torch.randint(0, 64, (seeds, PAIRS, 2, HORIZON), generator=torch.Generator().manual_seed(0))
    labels = torch.arange(PAIRS).remainder(2).float()
    for first, second in states[0]:
        pair = [{"observations": torch.eye(64)[some]} for some in (first, second)]
        loop.preferences.append((pair[0], pair[1], float(labels[len(loop.preferences)])))
    step = _batched_update(states, labels.expand(seeds, -1))
    torch.set_num_threads(options.threads)  # what the command uses from 16 seeds on; the loop's matrices are too small
    loops, batched = medians(10 * options.rounds, loop.fit_reward, step)
    torch.set_num_threads(1)
    return [
        Row("reward-model update, plain loop", f"{1e3 * loops:.1f} ms"),
        Row(
            "  prefrl at 16 seeds, per seed",
            f"{1e3 * batched / seeds:.2f} ms = {loops / batched * seeds:.0f} x",
            "0.5 ms",
        ),
    ]


def _batched_update(states: Tensor, labels: Tensor) -> Callable[[], None]:
    experiment = direct.tutorial_maze(range(len(states)))
    pairs = Pairs(states, torch.zeros_like(states), torch.full(states.shape[:-1], HORIZON))
    weights = torch.ones_like(labels)

    def step() -> None:
        logits = pairs.return_differences(experiment.reward_model).squeeze(1)  # one member
        experiment.reward_optimizer.step(bradley_terry(logits, labels, weights))

    return step


def ascent(options: argparse.Namespace) -> list[Row]:
    """RewardNet's 100 ascent steps for 10 states: torch's autograd state by state, and the slope carried by hand."""
    net = plain_notebook.PlainNet(torch.Generator().manual_seed(81))
    policy = Ascent(20.0, 100, 0.02, accumulate=True)

    def by_hand(seeds: int) -> Callable[[], Tensor]:
        streams, env = PhiloxStreams(range(seeds)), Addition(19)
        model, states = RewardNet(env, streams), env.draw_states(streams, "states", ASCENT_STATES)
        return lambda: policy(model, states)

    states = torch.arange(2.0 * ASCENT_STATES).view(ASCENT_STATES, 2)
    loops, one, many = medians(
        3 * options.rounds, lambda: [net.greedy(state) for state in states], by_hand(1), by_hand(64)
    )
    return [
        Row("100 ascent steps for 10 states, plain loop", f"{1e3 * loops:.0f} ms"),
        Row("  prefrl, 1 seed", f"{1e3 * one:.2f} ms = {loops / one:.0f} x", "50 x"),
        Row("  prefrl, 64 seeds, per seed", f"{1e3 * many / 64:.3f} ms = {64 * loops / many:.0f} x", "1000 x"),
    ]


def startup(options: argparse.Namespace) -> list[Row]:
    """From the command to the line that tells of the first training step, in a new process."""
    times = [_command("steps=2", until="step 1/") for _ in range(options.rounds)]
    return [Row("from the command to the first step", f"{statistics.median(times):.1f} s", "at most 4 s")]


def command(options: argparse.Namespace) -> list[Row]:
    """`oprl_maze` on 64 seeds from the command to its end, with charts; once, since it is long."""
    if options.quick:
        return [Row("oprl_maze, 2 steps, whole command", f"{_command('num_seeds=2', 'steps=2'):.1f} s")]
    return [Row("oprl_maze, 64 seeds, whole command", f"{_command('num_seeds=64'):.1f} s", "at most 40 s")]


def _command(*overrides: str, until: str | None = None) -> float:
    """Seconds of `prefrl-train experiment=oprl_maze`, to its end or to the first line that has `until` in it."""
    start = [sys.executable, "-c", "import sys; from prefrl_cli.cli.train import main; sys.exit(main())"]
    with tempfile.TemporaryDirectory() as folder:
        typed = ["experiment=oprl_maze", f"output_dir={folder}/run", *overrides]
        started = time.perf_counter()
        with subprocess.Popen([*start, *typed], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if until is not None and until in line:
                    seconds = time.perf_counter() - started
                    break
            else:
                seconds = time.perf_counter() - started
                until = None if until is None else f"no line with {until!r}"
            for line in process.stdout:  # let it end by itself
                said.append(line)
        if process.returncode or (until or "").startswith("no line"):
            raise SystemExit(f"{' '.join(typed)}: {until or 'failed'}\n{''.join(said)}")
    return seconds


BENCHMARKS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    "training": training,
    "reward_update": reward_update,
    "ascent": ascent,
    "startup": startup,
    "command": command,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", nargs="*", metavar="|".join(BENCHMARKS), help="what to measure; nothing means all")
    parser.add_argument("--episodes", type=int, default=500, help="of the tutorial's training")
    parser.add_argument("--rounds", type=int, default=1, help="of which the median is taken; smaller things take more")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="for 64 seeds; one seed has one")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.episodes, options.rounds, options.threads = 10, 1, 1
    if unknown := set(options.which) - set(BENCHMARKS):
        parser.error(f"{', '.join(sorted(unknown))}: choose among {', '.join(BENCHMARKS)}")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as the command does; both sides profit
    print(f"{'':42}{'measured':>30}{'wanted':>16}")
    for name in options.which or BENCHMARKS:
        for row in BENCHMARKS[name](options):
            print(f"{row.what:42}{row.measured:>30}{row.wanted:>16}", flush=True)


if __name__ == "__main__":
    main()
