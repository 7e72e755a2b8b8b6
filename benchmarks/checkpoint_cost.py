"""How much longer training takes with a checkpoint every 50 steps than without: a ratio, measured in turn.

`python benchmarks/checkpoint_cost.py --experiment tutorial/oprl_maze --steps 400 --rounds 5`
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from kill_and_resume import config_of, to_the_end


def seconds(experiment: str, steps: int, every: int, folder: Path) -> float:
    """`train_seconds` of one run in a child."""
    # Several values of one option: the last counts.
    to_the_end(*config_of(experiment, f"steps={steps}", f"checkpoint.every={every}"), folder)
    return float(json.loads((folder / "summary.json").read_text())["train_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", default="tutorial/oprl_maze")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.rounds):
            never, often = (
                seconds(options.experiment, options.steps, every, Path(place, f"{every}_{number}")) for every in (0, 50)
            )
            ratios.append(often / never)
    print(
        f"{options.experiment}, {options.steps} steps: every 50 steps takes"
        f" {100 * (statistics.median(ratios) - 1):+.1f} % (wanted: at most 3 %), median of {options.rounds}"
    )


if __name__ == "__main__":
    main()
