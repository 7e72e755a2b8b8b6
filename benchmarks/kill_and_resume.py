"""Kill runs at random moments, resume each until it is finished, and compare with the run that was left alone.

`python benchmarks/kill_and_resume.py` kills 100 times over all experiments; `--kills 32 --seed 1` another number at
other moments, `--experiments pendulum cartpole` some of them; with `--workers 2` it is a run of several processes, of
which any is killed. Each life of a run is a forked child of this process, which has imported everything and computed
nothing, so that a start costs milliseconds and a kill falls anywhere in a run: before the first checkpoint, while a
file is written, while charts are drawn. Compared byte for byte: metrics.csv, evaluation.csv, the charts, config.yaml,
and summary.json but for its seconds; checkpoints tensor by tensor, since they hold the seconds too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import prefrl_cli.algorithm.oprl
import prefrl_cli.algorithm.reward_learning
import prefrl_cli.charts.draw  # noqa: F401  imported here once, for all children
from prefrl_cli.config.choices import choices
from prefrl_cli.config.compose import composed
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import runner
from prefrl_cli.run.lifecycle import run_or_resume

# Short runs in which everything happens that happens in a long one: questions, evaluations, several checkpoints.
COMMON = ["num_seeds=2", "threads=1", "quiet=true"]
SHORT = {
    "oprl_maze": ["steps=12", "checkpoint.every=3"],
    "few_answers": ["steps=8", "checkpoint.every=3"],
    "reward_from_file": ["steps=60", "checkpoint.every=7"],
    "tutorial/oprl_maze": ["steps=150", "checkpoint.every=10", "queries.start=20"],
    "addition_linear": ["steps=60", "checkpoint.every=7"],
    "rewardnet_mse": ["steps=150", "checkpoint.every=20", "evaluation.every=30"],
    "rewardnet_prefs": ["steps=150", "checkpoint.every=20", "evaluation.every=30"],
    "notebook/addition_linear": ["steps=20", "checkpoint.every=3"],
    "notebook/rewardnet_mse": ["steps=60", "checkpoint.every=7"],
    "notebook/rewardnet_prefs": ["steps=20", "checkpoint.every=3"],
}
CONTROL = [
    "steps=12", "checkpoint.every=3", "env.horizon=20", "algorithm.episodes=2", "algorithm.evaluation_episodes=2",
    "queries.segment=5", "queries.from_newest=8", "queries.budget=20", "reward_update.first_updates=3",
    "reward_update.updates=2", "policy_update.epochs=2",
]  # fmt: skip
SHORT |= dict.fromkeys(("pendulum", "cartpole", "mountain_car", "acrobot", "inverted_pendulum", "minigrid"), CONTROL)
SHORT["gymnasium"] = [*CONTROL, "env.id=CartPole-v1"]
KEPT = {"oprl_maze": ["preferences.save=asked.npz"]}


def config_of(experiment: str, *options: str) -> tuple[dict[str, Any], list[str]]:
    """The options of a short run, and what one would type for them."""
    overrides = [f"experiment={experiment}", *COMMON, *SHORT.get(experiment, ["steps=10"]), *options]
    return composed(overrides), overrides


def start(config: Mapping[str, Any], overrides: list[str], folder: Path) -> int:
    """Begin or resume a run in a child; its process id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        sys.stdout.flush()
        code = int(run_or_resume(config, overrides, folder) != "finished")
    except BaseException as problem:
        print(f"child: {type(problem).__name__}: {problem}", file=sys.stderr)
    finally:
        os._exit(code)


def to_the_end(config: Mapping[str, Any], overrides: list[str], folder: Path) -> float:
    """Run undisturbed; the seconds it took.

    Raises:
        RuntimeError: when it failed.
    """
    began = time.perf_counter()
    _, status = os.waitpid(start(config, overrides, folder), 0)
    if status:
        raise RuntimeError(f"{folder}: ended with {status}")
    return time.perf_counter() - began


def kill_once(config: Mapping[str, Any], overrides: list[str], folder: Path, after: float, dice: random.Random) -> bool:
    """Run and kill it, or one of its workers, after some seconds; whether it had not yet come to its end."""
    child = start(config, overrides, folder)
    time.sleep(after)
    victims = [child, *workers(child)]
    victim = dice.choice(victims)
    with contextlib.suppress(ProcessLookupError):
        os.kill(victim, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]  # the run ends by itself where a worker is gone
    until = time.monotonic() + 20
    while any(alive(one) for one in victims):
        if time.monotonic() > until:
            raise RuntimeError(f"{folder}: a process is left behind")
        time.sleep(0.01)
    return status != 0


def workers(process: int) -> list[int]:
    """The processes that a run has started."""
    try:
        return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def alive(process: int) -> bool:
    """Whether a process is there and not merely waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints' contents are equal bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and (one.dtype, one.shape) == (other.dtype, other.shape)
            and one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
        )
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one if name != "seconds")
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)  # NaN equals itself here


def differences(one: Path, other: Path) -> list[str]:
    """The files of two runs that are not the same; the record of when and on what they ran is left out."""
    kept = re.compile(
        r"((config|overrides)\.yaml|(metrics|evaluation)\.csv|summary\.json|asked\.npz|(charts|checkpoints)/.*)"
    )
    found: list[set[str]] = []
    for folder in (one, other):
        names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        found.append({name for name in names if kept.fullmatch(name) or name.endswith(".part")})
    different = sorted(found[0] ^ found[1])
    for name in sorted(found[0] & found[1]):
        mine, theirs = one / name, other / name
        if name.endswith(".pt"):
            equal = same(Checkpoints.load(mine, "cpu"), Checkpoints.load(theirs, "cpu"))
        elif name == "summary.json":
            some, others = (json.loads(path.read_text()) | {"train_seconds": None} for path in (mine, theirs))
            equal = some == others
        else:
            equal = mine.read_bytes() == theirs.read_bytes()
        if not equal:
            different.append(name)
    return different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-charts", action="store_true", help="draw none, which takes half of a short run")
    parser.add_argument("--experiments", nargs="*", default=choices("experiment"))
    parser.add_argument("--workers", type=int, default=1, help="processes of each run, of which any is killed")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    options = parser.parse_args()
    more = [f"workers={options.workers}", f"num_seeds={2 * options.workers}"] if options.workers > 1 else []
    if options.quick:
        options.kills, options.no_charts, options.experiments = 3, True, ["addition_linear"]
    if options.no_charts:
        runner.draw = lambda *_: None
    chosen = random.Random(options.seed)
    identical = kills = 0
    with tempfile.TemporaryDirectory() as place:
        whole = {}
        for number, name in enumerate(options.experiments):
            config, overrides = config_of(name, *KEPT.get(name, ()), *more)
            folder = Path(place, f"whole_{number}")
            seconds = to_the_end(config, overrides, folder)
            whole[name] = (config, overrides, folder, seconds)
            print(f"{name}: {seconds:.1f} s undisturbed", flush=True)
        runs = 0
        while kills < options.kills:
            name = options.experiments[runs % len(options.experiments)]
            config, overrides, expected, seconds = whole[name]
            folder = Path(place, f"killed_{runs}")
            mine = 0
            # Some lives end at once, some while charts are drawn; what a kill interrupts is worth up to three kills.
            for _ in range(min(chosen.randint(1, 3), options.kills - kills)):
                share = chosen.random() * chosen.choice((0.4, 1.0))  # charts take the second half of a short run
                if not kill_once(config, overrides, folder, seconds * share, chosen):
                    break
                mine += 1
            to_the_end(config, overrides, folder)
            different = differences(expected, folder)
            runs, kills = runs + 1, kills + mine
            identical += 0 if different else mine
            outcome = f"{', '.join(different)} differ" if different else "identical"
            print(f"run {runs}, {name}, killed {mine} times: {outcome}; {identical} of {kills} so far", flush=True)
    print(f"identical: {identical} of {kills} kills, over {runs} runs of {len(whole)} experiments")
    return int(identical < kills)


if __name__ == "__main__":
    sys.exit(main())
