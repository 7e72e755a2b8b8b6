"""Time of `prefrl-report`: its start, and 100 runs of 64 seeds and 500 steps (32,000 rows each).

    python benchmarks/report_speed.py [RUNS [SEEDS [STEPS]]]

The runs are made up, in a temporary folder; their numbers look like those of `oprl_maze`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

COMMAND = [sys.executable, "-c", "import sys; from prefrl_cli.cli.report import main; sys.exit(main())"]
PACKAGES = {"prefrl": "0.1.0", "torch": "2.13.0", "numpy": "2.4.0"}
COLUMNS = (
    "evaluation/greedy_success", "evaluation/greedy_steps", "evaluation/label_accuracy", "evaluation/labels_used",
    "return", "success", "reward_loss", "policy_loss", "labels_used",
    "evaluation/success_last", "evaluation/success_mean", "evaluation/solved",
)  # fmt: skip


def make_run(
    folder: Path,
    *,
    first_seed: int = 0,
    seeds: int = 4,
    steps: int = 20,
    every: int = 5,
    speed: float = 1.0,
    status: str = "finished",
    reason: str | None = None,
    commit: str = "a" * 40,
    noise: int = 0,
    split: bool = False,
    **options: Any,
) -> Path:
    """Write a run directory as `prefrl-train` does; `speed` is how fast its seeds learn, `noise` seeds the dice.

    Metrics of training and of evaluations are in one file, as earlier versions had them, or `split` into two.
    """
    folder.mkdir(parents=True)
    names = list(range(first_seed, first_seed + seeds))
    config: dict[str, Any] = {
        "experiment": "oprl_maze",
        "env": {"_target_": "prefrl_cli.env.maze.Maze", "size": 8},
        "shaping": {"_target_": "prefrl_cli.shaping.PotentialShaping", "weight": 3.0},
        "algorithm": {"_target_": "prefrl_cli.algorithm.oprl.OPRL", "episodes": 10},
        "seed": first_seed, "num_seeds": seeds, "steps": steps, "device": "cpu", "threads": None,
        "output_dir": str(folder), "quiet": False, "checkpoint": {"every": 50}, "evaluation": {"every": every},
    }  # fmt: skip
    for name, value in options.items():
        group, _, option = name.partition("__")
        if option:
            config[group][option] = value
        else:
            config[name] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    (folder / "overrides.yaml").write_text(yaml.safe_dump(["experiment=oprl_maze"]))
    step = steps if status == "finished" else steps // 2
    write(folder, "status.json", {"status": status, "step": step, "reason": reason, "started": "", "ended": ""})
    git = {"commit": commit, "dirty": False}
    write(folder, "environment.json", {"python": "3.11.7", "packages": PACKAGES, "git": git})
    rows, final = metrics(names, step, every, speed, noise)
    (folder / "metrics.csv").write_text(rows)
    if split:
        in_two(folder)
    if status == "finished":
        values = {name.removeprefix("evaluation/"): {"per_seed": found} for name, found in final.items()}
        summary = {"experiment": "oprl_maze", "seeds": names, "steps": steps, "train_seconds": 1.5, "metrics": values}
        write(folder, "summary.json", summary)
    return folder


def in_two(folder: Path) -> None:
    """Move the columns of the evaluations to a file of their own."""
    head, *lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    tested = [place for place, name in enumerate(head) if name.startswith("evaluation/")]
    trained = [place for place in range(2, len(head)) if place not in tested]
    for name, places in (("metrics.csv", trained), ("evaluation.csv", tested)):
        kept = [[*line[:2], *(line[place] for place in places)] for line in lines]
        rows = [[*head[:2], *(head[place].removeprefix("evaluation/") for place in places)]]
        rows += [line for line in kept if any(line[2:])]
        (folder / name).write_text("".join(f"{','.join(row)}\n" for row in rows))


def write(folder: Path, name: str, content: Any) -> None:
    (folder / name).write_text(json.dumps(content, indent=2))


def metrics(seeds: list[int], steps: int, every: int, speed: float, noise: int) -> tuple[str, dict[str, list[float]]]:
    """The text of `metrics.csv`, and the final evaluation."""
    dice = np.random.default_rng([noise, *seeds])
    skill = dice.gamma(8, speed / 8, len(seeds))
    lines = [",".join(["step", "seed", *COLUMNS])]
    total = np.zeros(len(seeds))
    cells: dict[str, np.ndarray] = {}
    for step in range(steps + 1):
        chance = 1 / (1 + np.exp(6 - 12 * skill * step / max(steps, 1)))
        success = dice.binomial(10, chance) / 10
        total += success if step else 0
        losses = dice.gamma(2, 0.3 * (1.1 - chance), (2, len(seeds))).astype(np.float32)
        cells = {} if not step else {
            "return": 10 * success, "success": success, "reward_loss": losses[0], "policy_loss": -losses[1],
            "labels_used": np.floor(200 * skill * min(1.0, 2 * step / steps)),
        }  # fmt: skip
        if step % every == 0 or step == steps:
            found = {"greedy_success": chance.round(), "greedy_steps": 60 - 46 * chance.round()}
            found |= {"label_accuracy": 0.5 + chance / 2, "labels_used": cells.get("labels_used", 0 * chance)}
            if step >= steps // 2:
                found |= {"success_last": success, "success_mean": total / max(step, 1), "solved": chance.round()}
            cells |= {f"evaluation/{name}": values for name, values in found.items()}
        texts = [cells[name].astype(str) if name in cells else [""] * len(seeds) for name in COLUMNS]
        lines += [f"{step},{','.join(row)}" for row in zip(map(str, seeds), *texts, strict=True)]
    final = {name: cells[name].astype(float).tolist() for name in COLUMNS if name.startswith("evaluation/")}
    return "\n".join(lines) + "\n", final


def processor_seconds() -> float:
    """Of the commands that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=int, nargs="?", default=100)
    parser.add_argument("seeds", type=int, nargs="?", default=64)
    parser.add_argument("steps", type=int, nargs="?", default=500)
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    typed = parser.parse_args()
    runs, seeds, steps = (2, 2, 4) if typed.quick else (typed.runs, typed.seeds, typed.steps)
    started = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], check=True, stdout=subprocess.DEVNULL)
    print(f"start: {time.perf_counter() - started:.2f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(runs):
            options = {"env__size": 8 + number // 2, "shaping__weight": float(number % 2)}
            make_run(
                folder / "runs" / f"{number:03d}",
                seeds=seeds,
                steps=steps,
                every=25,
                speed=1 + number / runs,
                **options,
            )
        subprocess.run(["sync"], check=False)
        started, before = time.perf_counter(), processor_seconds()
        subprocess.run([*COMMAND, str(folder / "runs"), "-o", str(folder / "report")], check=True)
        seconds = time.perf_counter() - started
        busy = processor_seconds() - before  # less than the time, on a machine that others use too
        size = (folder / "report" / "report.html").stat().st_size / 1e6
        print(f"{runs} runs, all of different options, {seeds} seeds, {steps} steps:")
        print(f"{seconds:.1f} s, {busy:.1f} s of processor, load {os.getloadavg()[0]:.1f}, {size:.1f} MB")


if __name__ == "__main__":
    main()
