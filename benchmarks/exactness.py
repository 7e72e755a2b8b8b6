"""Whether a seed is a seed: algorithms of odd sizes, one seed alone against itself among others; what that costs.

    python benchmarks/exactness.py                       # 500 configurations in each mode, some minutes a mode
    python benchmarks/exactness.py --number 50 --mode 'MKL_CBWR= MKL_ENABLE_INSTRUCTIONS=SSE4_2'
    python benchmarks/exactness.py cost                  # of exact products and of a run's check of itself
    python benchmarks/exactness.py sums                  # of a run's metrics.csv in every mode, see docs/processors.md

A mode is variables that change how a product is computed; each has a process of its own. `differ` counts the
configurations in which a metric or a parameter of the seed is not bit for bit the same.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import hashlib
import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.run import processor  # before torch: it asks for exact products

# isort: split
import torch
from torch import Tensor

from prefrl_cli.config.build import build
from prefrl_cli.config.compose import composed
from prefrl_cli.config.options import check_run
from prefrl_cli.core.option_types import ConfigError

MODES = ("", "ATEN_CPU_CAPABILITY=default", "ATEN_CPU_CAPABILITY=avx2", "MKL_ENABLE_INSTRUCTIONS=AVX2")
ODD = (1, 2, 3, 5, 7, 9, 13, 17, 31, 33)
_WIDE, _MIXED = (1, 3, 5, 7, 13, 33, 100), (3, 5, 16)
_UPDATES = 3
_MAZE = (
    ("shaping=none", "shaping=additive", "shaping=potential", "shaping=step_advantage"),
    ("policy_update=ppo", "policy_update=rloo", "policy_update=grpo", "policy_update=replay"),
)
_PARTS = (
    *(f"queries={name}" for name in ("disagreement", "entropy", "k_center", "disagreement_k_center")),
    "criterion=progress",
    *(f"teacher={name}" for name in ("noisy", "skip", "equal")),
    *(f"loss={name}" for name in ("davidson", "rao_kupper", "skip")),
    *(f"optimizer={name}" for name in ("adamw", "rmsprop", "sgd")),
    "env.observation=one_hot",
)
_OTHERS = (
    ["experiment=rewardnet_mse"],
    ["experiment=rewardnet_prefs"],
    ["experiment=rewardnet_prefs", "policy=ascent"],
    ["experiment=notebook/rewardnet_prefs"],
    ["experiment=addition_linear"],
)


@functools.cache
def options_of(*typed: str) -> dict[str, Any]:
    """The options of a kind of algorithm, composed once."""
    return composed(list(typed))


def kinds() -> list[tuple[str, ...]]:
    """What to type for every kind of algorithm."""
    mazes = [("experiment=oprl_maze", *parts) for parts in itertools.product(*_MAZE)]
    mazes += [("experiment=oprl_maze", part) for part in _PARTS]
    mazes += [("experiment=oprl_maze", "shaping=potential", part) for part in _PARTS]
    return [*mazes, *map(tuple, _OTHERS), *map(tuple, _OTHERS)]


def odd(config: dict[str, Any], draw: random.Random) -> dict[str, Any]:
    """The same options with small odd sizes; some do not go together."""
    config = copy.deepcopy(config)
    for group in ("policy", "reward_model"):
        node = config.get(group) or {}
        for name, values in (("hidden", _WIDE), ("layers", (1, 2)), ("members", (1, 1, 2, 3))):
            if name in node:
                node[name] = draw.choice(values)
        if "zero_head" in node:
            node["zero_head"] = draw.random() < 0.5
    config["algorithm"]["batch" if "batch" in config["algorithm"] else "episodes"] = draw.choice(ODD)
    if "episodes" in config["algorithm"]:
        size = draw.choice((4, 5, 7))
        config["env"] |= {"size": size, "horizon": draw.randint(2 * size, 31), "layout": "open"}
        config["algorithm"] |= {"replay_capacity": 50, "evaluation_episodes": 4}
        config["queries"] |= {"questions": draw.choice(ODD), "from_newest": None, "start": 1}
        config["queries"]["segment"] = draw.choice((None, None, 3, 7))
        config["reward_update"] |= {
            "updates": 2,
            "batch": draw.choice(ODD),
            "dataset_capacity": 40,
            "min_questions": 1,
            "start": 0,
        }
        update = config["policy_update"]
        update |= {name: draw.choice((1, 2)) for name in ("epochs", "updates") if name in update}
        if "minibatches" in update:
            update["minibatches"] = draw.choice((1, 2, 3, 5))
    else:
        config["env"]["largest"] = draw.choice((3, 9))
        config["algorithm"] |= {"initial_states": draw.choice(ODD), "final_states": draw.choice(ODD)}
        if "spacing" in config["policy"]:
            config["policy"]["spacing"] = 0.7
    if "clip" in config["optimizer"]:
        config["optimizer"]["clip"] = draw.choice((None, 0.1, 1.0))
    return {**config, "steps": _UPDATES, "seed": draw.randrange(1000)}


def difference(config: dict[str, Any], place: int, seeds: int) -> str | None:
    """What differs first between a seed alone and itself at `place` among `seeds`; none where nothing does."""
    results = []
    for first, count in ((config["seed"] + place, 1), (config["seed"], seeds)):
        algorithm = build({**config, "seed": first, "num_seeds": count})
        history = [algorithm.evaluate(), *(algorithm.update() for _ in range(_UPDATES)), algorithm.evaluate()]
        results.append((history, parameters(algorithm.state())))
    (mine, my_parameters), (theirs, their_parameters) = results
    for step, (some, others) in enumerate(zip(mine, theirs, strict=True)):
        for metric, value in some.items():
            if not same(value[0], others[metric][place]):
                return f"{metric} of evaluation or update {step}"
    for name, value in my_parameters.items():
        if not same(value[0], their_parameters[name][place]):
            return f"parameters of {name}"
    return None


def parameters(state: dict[str, Any]) -> dict[str, Tensor]:
    """What was trained, `[R, P]` each, by the name that a checkpoint has for it."""
    return {name: part["flat"].detach() for name, part in state.items() if isinstance(part, dict) and "flat" in part}


def same(one: Tensor, other: Tensor) -> bool:
    """Equal bit for bit; NaN, which stands for no value, equals itself."""
    return torch.equal(one.isnan(), other.isnan()) and torch.equal(one.nan_to_num(), other.nan_to_num())


def tried(number: int, seed: int, *, shown: int = 3) -> tuple[int, int, int]:
    """Try random configurations: how many, how many differ, and how many of these a run's own check overlooks."""
    draw, known = random.Random(seed), kinds()
    done = differ = overlooked = 0
    while done < number:
        config = odd(options_of(*draw.choice(known)), draw)
        seeds = draw.choice(_MIXED)
        try:
            found = difference(config, draw.randrange(seeds), seeds)
        except ConfigError:  # sizes that do not go together
            continue
        done += 1
        if found:
            differ += 1
            run = check_run({**config, "num_seeds": seeds})
            seen = processor.check(build({**config, "num_seeds": seeds}), run)["exact"]
            overlooked += bool(seen)
            if differ <= shown:
                print(f"  {found}; {seeds} seeds, {config}", file=sys.stderr)
    return done, differ, overlooked


def _prepare() -> None:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def configurations(options: argparse.Namespace) -> int:
    """Each mode in a process of its own; 1 when anything differs."""
    print(f"{processor.name()}: one seed alone against itself among 3, 5 or 16")
    worst = 0
    for mode in options.mode or MODES:
        typed = [sys.executable, __file__, "child", "--number", str(options.number), "--seed", str(options.seed)]
        started = time.monotonic()
        done = subprocess.run(typed, env=_environment(mode), stdout=subprocess.PIPE, text=True, check=True)
        print(f"{mode or 'no variable':<45} {done.stdout.strip()}, {time.monotonic() - started:.0f} s", flush=True)
        worst |= ", 0 differ" not in done.stdout
    return worst


def _environment(mode: str) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if key != processor.VARIABLE}
    return {**own, "OMP_NUM_THREADS": "1", **dict(text.split("=", 1) for text in mode.split())}


def cost(options: argparse.Namespace) -> int:
    """Processor time of training 64 seeds with exact products and without, and of the run's check of itself.

    Two processes train the same run, a step each in turn: the medians over the steps are those of a quiet machine also
    where other work takes turns with them.
    """
    modes = ("", f"{processor.VARIABLE}=")
    with contextlib.ExitStack() as open_ones:
        exact, plain = (open_ones.enter_context(_Trained(mode)) for mode in modes)
        steps = [_in_turn(exact, plain, number) for number in range(options.steps)]
        check = statistics.median((exact.check, plain.check))
    ratios = [one / other for one, other in steps]
    whole = [sum(seconds) for seconds in zip(*steps, strict=True)]
    print(f"oprl_maze, 64 seeds, {options.steps} steps, one thread, processor time of training")
    print(f"exact products {whole[0]:.2f} s, without {whole[1]:.2f} s, ratio {whole[0] / whole[1]:.3f}")
    print(f"ratio of a step {statistics.median(ratios):.3f} (median; from {min(ratios):.3f} to {max(ratios):.3f})")
    print(f"a run's check of itself {check:.3f} s")
    return 0


class _Trained:
    """A process that trains a step whenever it is asked, in a mode.

    Attributes:
        check: seconds of the run's check of itself.
    """

    def __init__(self, mode: str) -> None:
        typed = [sys.executable, __file__, "steps"]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(typed, stdin=pipe, stdout=pipe, text=True, env=_environment(mode))
        self.check = self._read()

    def step(self) -> float:
        """Train; the seconds that the processor took."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> float:
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())

    def __enter__(self) -> _Trained:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def _in_turn(one: _Trained, other: _Trained, number: int) -> tuple[float, float]:
    """The seconds of a step of each; every second time the other begins."""
    if number % 2:
        seconds = other.step()
        return one.step(), seconds
    return one.step(), other.step()


def steps(_: argparse.Namespace) -> int:
    """The seconds of the check, then of a step for each line that comes."""
    config = {**composed(["experiment=oprl_maze"]), "num_seeds": 64}
    run = check_run(config)
    processor.prepare(run)
    algorithm = build(config)
    started = time.process_time()
    processor.check(algorithm, run)
    print(time.process_time() - started, flush=True)
    for _line in sys.stdin:
        started = time.process_time()
        algorithm.update()
        print(time.process_time() - started, flush=True)
    return 0


def sums(options: argparse.Namespace) -> int:
    """The beginning of the sha256 of `metrics.csv`, for every combination of modes."""
    print(processor.name())
    capabilities = ("avx512", "avx2", "default")
    modes = ("AUTO,STRICT", "AVX2", "AVX512,STRICT", "COMPATIBLE")
    for capability, mode in itertools.product(capabilities, modes):
        typed = f"ATEN_CPU_CAPABILITY={capability} {processor.VARIABLE}={mode}"
        print(f"{typed:<55} {_sum(typed)}", flush=True)
    return 0


def _sum(mode: str) -> str:
    train = "import sys; from prefrl_cli.cli.train import main; sys.exit(main())"
    typed = "experiment=oprl_maze seed=7 num_seeds=4 steps=8 quiet=true output_dir=run".split()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", train, *typed], env=_environment(mode), cwd=folder, check=True)
        return hashlib.sha256(Path(folder, "run", "metrics.csv").read_bytes()).hexdigest()[:16]


def child(options: argparse.Namespace) -> int:
    """One mode, in this process."""
    _prepare()
    done, differ, overlooked = tried(options.number, options.seed)
    print(f"{done} configurations, {differ} differ" + (f", {overlooked} of them unnoticed" if overlooked else ""))
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    whats = {one.__name__: one for one in (configurations, cost, sums, child, steps)}
    parser.add_argument("what", nargs="?", default="configurations", choices=whats)
    parser.add_argument("--number", type=int, default=500, help="configurations of a mode")
    parser.add_argument("--seed", type=int, default=0, help="of the random configurations")
    parser.add_argument(
        "--mode", action="append", help="variables, such as 'ATEN_CPU_CAPABILITY=avx2'; may be repeated"
    )
    parser.add_argument("--steps", type=int, default=50, help="of cost; 50 is the whole run")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    options = parser.parse_args(arguments)
    if options.quick:
        options.number, options.mode, options.steps = 5, options.mode or [""], 2
    return whats[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
