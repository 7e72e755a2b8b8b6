"""What an episode costs as the maze grows: time per episode and seed from 8 x 8 to 64 x 64, as a table and a chart.

`python benchmarks/maze_cost.py --output docs/maze_cost.png` takes a minute or two on one core. The sizes are run in
turn, round after round, and the median round counts. The horizon grows with the side of the maze (7.5 steps a cell),
as it must for the goal to be reached; the ratio in the last column is against the smallest maze: time per episode
should grow no faster than the number of states.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import direct
import torch

SIZES = (8, 16, 32, 64)


def main() -> None:
    """Measure, print the table and, where asked, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="a picture of it")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    typed = parser.parse_args()
    sizes = SIZES[:2] if typed.quick else SIZES
    if typed.quick:
        typed.seeds, typed.rounds = 1, 1
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    tried = {size: _experiment(size, typed.seeds) for size in sizes}
    for experiment in tried.values():
        experiment.update()  # the first one of each also loads what torch loads late
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(typed.rounds):
        for size, experiment in tried.items():
            began = time.perf_counter()
            experiment.update()
            seconds[size].append((time.perf_counter() - began) / (10 * typed.seeds))
    cost = {size: 1000 * statistics.median(some) for size, some in seconds.items()}
    print(f"{'maze':>8} {'states':>7} {'ms an episode':>14} {'states':>7} {'time':>7}")
    for size in sizes:
        grown = (size / SIZES[0]) ** 2
        print(f"{size:>3} x {size:<3}{size * size:>7} {cost[size]:>14.2f} {grown:>6.0f}x {cost[size] / cost[8]:>6.1f}x")
    if typed.output:
        _draw(cost, typed.output)


def _experiment(size: int, seeds: int) -> direct.OPRL:
    horizon = size * 15 // 2
    return direct.configured(
        "oprl_maze", f"env.size={size}", f"env.horizon={horizon}", f"num_seeds={seeds}", "criterion=progress"
    )


def _draw(cost: dict[int, float], path: Path) -> None:
    from matplotlib.figure import Figure

    from prefrl_cli.charts.draw import style

    with style():
        figure = Figure(figsize=(5.5, 3.6), layout="constrained")
        axes = figure.add_subplot()
        states = [size * size for size in cost]
        axes.loglog(states, cost.values(), "o-", label="measured")
        linear = [cost[8] * count / states[0] for count in states]
        axes.loglog(states, linear, ":", color="grey", label="as the number of states")
        axes.set_xticks(states, [f"{size} x {size}" for size in cost])
        axes.minorticks_off()
        axes.set_xlabel("maze")
        axes.set_ylabel("milliseconds an episode and seed")
        axes.legend(frameon=False)
        figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
