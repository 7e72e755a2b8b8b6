"""Labels alone, by prefrl and by imitation's preference comparisons: last returns and CPU seconds a seed.

    python -m venv imitation && imitation/bin/pip install imitation==1.0.1 'setuptools<81'
    python benchmarks/compare_imitation.py --python imitation/bin/python

imitation needs an older Gymnasium and an older stable-baselines3 than prefrl's extras, so it has an environment of its
own, whose Python starts this very file. Both learn from as many labels and as many steps of the same two tasks, one
thread each: Pendulum, and a CartPole that goes on after a fall. imitation has two settings: those of its tutorial, and
short fragments judged by a teacher who does not err, as prefrl's are.

Everything counts for prefrl, its start as well; of imitation only the training, so without its imports. The last return
of prefrl is the mean of the last tenth of training, that of imitation of 20 episodes that its learner plays in the end.
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

ROOT = Path(__file__).parents[1]
TASKS = {"pendulum": (250, 64_000), "cartpole": (100, 40_000)}  # labels and steps
SETTINGS: dict[str, dict[str, Any]] = {
    "tutorial": {"num_iterations": 5, "fragment_length": 100, "temperature": 1.0},
    "short": {"num_iterations": 20, "fragment_length": 10, "temperature": 0.0},
}
HORIZON = 200


def imitations_environment(task: str) -> Any:
    """A task as Gymnasium has it, each episode of 200 steps; only imitation's Python calls this and what follows."""
    import gymnasium
    from gymnasium.envs.classic_control import CartPoleEnv
    from imitation.data.wrappers import RolloutInfoWrapper

    class Everlasting(CartPoleEnv):
        """A pole that goes on falling, and earns 1 for each step that begins upright and in bounds."""

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            stands = abs(self.state[0]) <= self.x_threshold and abs(self.state[2]) <= self.theta_threshold_radians
            self.steps_beyond_terminated = None
            super().step(action)
            place, speed, angle, spin = self.state
            angle = (angle + np.pi) % (2 * np.pi) - np.pi
            self.state = (place, np.clip(speed, -10, 10), angle, np.clip(spin, -10, 10))
            return np.array(self.state, np.float32), float(stands), False, False, {}

    env = gymnasium.make("Pendulum-v1").unwrapped if task == "pendulum" else Everlasting()
    return RolloutInfoWrapper(gymnasium.wrappers.TimeLimit(env, HORIZON))


def imitation(task: str, setting: str, seed: int, labels: int, steps: int) -> dict[str, float]:
    """One seed of imitation's preference comparisons, put together as its tutorial does."""
    import torch
    import torch._dynamo  # the first step of an optimiser imports it
    from imitation.algorithms import preference_comparisons as comparisons
    from imitation.policies.base import FeedForward32Policy, NormalizeFeaturesExtractor
    from imitation.rewards.reward_nets import BasicRewardNet
    from imitation.util.networks import RunningNorm
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    options, random, started = SETTINGS[setting], np.random.default_rng(seed), time.process_time()
    envs = DummyVecEnv([lambda: imitations_environment(task)] * 8)
    envs.seed(seed)
    net = BasicRewardNet(envs.observation_space, envs.action_space, normalize_input_layer=RunningNorm)
    extractor = {
        "features_extractor_class": NormalizeFeaturesExtractor,
        "features_extractor_kwargs": {"normalize_class": RunningNorm},
    }
    learner = PPO(
        FeedForward32Policy, envs, seed=seed, n_steps=2048 // 8, batch_size=64, ent_coef=0.01, learning_rate=2e-3,
        clip_range=0.1, gae_lambda=0.95, gamma=0.97, n_epochs=10, policy_kwargs=extractor, device="cpu",
    )  # fmt: skip
    trainer = comparisons.PreferenceComparisons(
        comparisons.AgentTrainer(learner, net, envs, rng=random, exploration_frac=0.05),
        net,
        num_iterations=options["num_iterations"],
        fragmenter=comparisons.RandomFragmenter(rng=random, warning_threshold=0),
        preference_gatherer=comparisons.SyntheticGatherer(rng=random, temperature=options["temperature"]),
        reward_trainer=comparisons.BasicRewardTrainer(
            comparisons.PreferenceModel(net), comparisons.CrossEntropyRewardLoss(), rng=random, epochs=3
        ),
        fragment_length=options["fragment_length"],
        transition_oversampling=1,
        initial_comparison_frac=0.1,
        initial_epoch_multiplier=4,
        query_schedule="hyperbolic",
    )
    trainer.train(total_timesteps=steps, total_comparisons=labels)
    seconds = time.process_time() - started
    played, _ = evaluate_policy(learner, DummyVecEnv([lambda: imitations_environment(task)]), 20, deterministic=False)
    return {"last": float(played), "seconds": seconds}


def ours(task: str, seeds: int, extra: list[str]) -> dict[str, Any]:
    """All seeds of prefrl in one process: their last returns, and seconds a seed."""
    with tempfile.TemporaryDirectory() as folder:
        typed = [
            f"experiment={task}",
            f"num_seeds={seeds}",
            "seed=0",
            "threads=1",
            "charts=false",
            "evaluation.every=0",
        ]
        command = [sys.executable, "-m", "prefrl_cli.cli.train", *typed, *extra, f"output_dir={folder}/run"]
        before = used()
        subprocess.run(command, cwd=ROOT, env=one_thread(), check=True, stdout=subprocess.DEVNULL)
        seconds = used() - before
        summary = json.loads(Path(folder, "run", "summary.json").read_text())
    return {"last": summary["metrics"]["return_last"]["per_seed"], "seconds": seconds / seeds}


def used() -> float:
    """CPU seconds of all children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def row(task: str, name: str, last: list[float], seconds: float, ratio: float | None) -> str:
    figures = f"{np.median(last):.0f} | {np.mean(last):.0f} | {np.min(last):.0f} | {seconds:.1f}"
    return f"| {task} | {name} | {len(last)} | {figures} | {'' if ratio is None else f'{ratio:.0f} x'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="labels alone, by prefrl and by imitation")
    parser.add_argument("--python", type=Path, help="of an environment that has imitation; none runs prefrl alone")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=4, help="of imitation, from 0 on")
    parser.add_argument("--our-seeds", type=int, default=64, help="of prefrl, in one process")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    parser.add_argument("--child", nargs=5, metavar="WORD", help=argparse.SUPPRESS)  # what imitation's Python is to do
    options = parser.parse_args()
    if options.child:
        task, setting, *numbers = options.child
        print(json.dumps(imitation(task, setting, *map(int, numbers))))
        return
    extra = ["steps=2", "queries.until=2"] if options.quick else []
    if options.quick:
        options.tasks, options.seeds, options.our_seeds = ["cartpole"], 1, 2
    print("| task | what | seeds | median | mean | worst | CPU seconds a seed | times prefrl's |", flush=True)
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for task in options.tasks:
        labels, steps = (20, 4096) if options.quick else TASKS[task]
        mine = ours(task, options.our_seeds, [f"queries.budget={labels}", *extra])
        print(row(task, f"prefrl, {labels} labels", mine["last"], mine["seconds"], None), flush=True)
        for setting in SETTINGS if options.python else ():
            found = []
            for seed in range(options.seeds):
                words = [task, setting, *map(str, (seed, labels, steps))]
                command = [str(options.python), "-W", "ignore", __file__, "--child", *words]
                done = subprocess.run(command, env=one_thread(), check=True, capture_output=True, text=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
            seconds = float(np.mean([each["seconds"] for each in found]))
            last = [each["last"] for each in found]
            print(row(task, f"imitation, {setting}", last, seconds, seconds / mine["seconds"]), flush=True)


if __name__ == "__main__":
    main()
