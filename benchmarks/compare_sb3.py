"""stable-baselines3's PPO on the true reward of prefrl's maze and control tasks: the outside baseline of the results.

    pip install '.[compare]'
    python benchmarks/compare_sb3.py --size 8 --horizon 60 --episodes 500 --output sb3_8.jsonl
    python benchmarks/compare_sb3.py --size 16 --horizon 120 --episodes 500 --output sb3_16.jsonl
    python benchmarks/compare_sb3.py --size 32 --horizon 240 --episodes 1000 --seeds 0:4 --output sb3_32.jsonl
    python benchmarks/compare_sb3.py --task pendulum --seeds 0:4 --output sb3_pendulum.jsonl

The learner is untouched; the maze is `prefrl_cli.env.maze.Maze` behind Gymnasium's interface, one-hot, 10 on the goal.
The budget is counted in episodes, as everywhere in prefrl. A seed is solved if at least 0.9 of the last tenth of its
episodes reached the goal. One difference is left as it is, to the baseline's good: when the horizon ends an episode,
stable-baselines3 adds the value of the state it stopped in; prefrl's PPO takes the horizon for an end like any other.

A control task is played for as many steps as in `experiment=TASK`, with the settings that rl-baselines3-zoo has for it.
Pendulum, MountainCar and Acrobot are Gymnasium's own, of 200 steps, CartPole is prefrl's, which goes on after a fall.
Where an episode ends with success the baseline sees that end, which prefrl's learner does not; the return is the same.

The output has one line of JSON a seed, written when the seed is done; typed again, seeds that are there are not run
again. At the end a table row is printed: means with 95 % intervals over all seeds in the file, as those of a study.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from prefrl_cli.config.build import build
from prefrl_cli.config.compose import composed
from prefrl_cli.env.maze import Maze
from prefrl_cli.stats.intervals import mean_interval, share_interval
from prefrl_cli.stats.summary import brackets, digits, summarise, value_text

PRESETS: dict[str, dict[str, Any]] = {
    # The library's own settings; 600 steps are ten of the 8 x 8 maze's episodes (the default 2,048 update too seldom).
    "default": {"n_steps": 600},
    "tuned": {
        "n_steps": 1200,
        "batch_size": 120,
        "learning_rate": 1e-3,
        "ent_coef": 0.01,
        "gamma": 0.98,
        "policy_kwargs": {"net_arch": [128, 128]},
    },
}
SETTINGS = ("size", "horizon", "episodes", "preset")
CONTROL: dict[str, tuple[str, int, dict[str, Any]]] = {  # environment, steps, and the zoo's settings
    "pendulum": ("Pendulum-v1", 64_000, {
        "n_envs": 4, "n_steps": 1024, "gae_lambda": 0.95, "gamma": 0.9, "n_epochs": 10, "ent_coef": 0.0,
        "learning_rate": 1e-3, "clip_range": 0.2, "use_sde": True, "sde_sample_freq": 4,
    }),
    "cartpole": ("prefrl/CartPole-v0", 40_000, {
        "n_envs": 8, "n_steps": 32, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 20,
        "ent_coef": 0.0, "learning_rate": lambda left: 1e-3 * left, "clip_range": lambda left: 0.2 * left,
    }),
    "mountain_car": ("MountainCar-v0", 56_000, {
        "normalize": True, "n_envs": 16, "n_steps": 16, "gae_lambda": 0.98, "gamma": 0.99, "n_epochs": 4,
        "ent_coef": 0.0,
    }),
    "acrobot": ("Acrobot-v1", 64_000, {
        "normalize": True, "n_envs": 16, "n_steps": 256, "gae_lambda": 0.94, "gamma": 0.99, "n_epochs": 4,
        "ent_coef": 0.0,
    }),
}  # fmt: skip


class MazeEnv(gymnasium.Env[np.ndarray, np.int64]):
    """The maze as Gymnasium has it: terminated on the goal, truncated by the horizon.

    Attributes:
        successes: whether each finished episode reached the goal.
    """

    def __init__(self, maze: Maze) -> None:
        self.maze = maze
        self.next_state = maze.transitions.tolist()
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (maze.num_states,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(maze.num_actions)
        self.one_hot = np.eye(maze.num_states, dtype=np.float32)
        self.successes: list[bool] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.state, self.step_number = self.maze.start, 0
        return self.one_hot[self.state], {}

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.state = self.next_state[self.state][int(action)]
        self.step_number += 1
        reached = self.state == self.maze.goal
        over = not reached and self.step_number == self.maze.horizon
        if reached or over:
            self.successes.append(reached)
        return self.one_hot[self.state], self.maze.goal_reward * reached, reached, over, {}


class StopAfter(BaseCallback):
    """Ends training with the last episode of the budget."""

    def __init__(self, env: MazeEnv, episodes: int) -> None:
        super().__init__()
        self.env, self.episodes = env, episodes

    def _on_step(self) -> bool:
        return len(self.env.successes) < self.episodes


def train(size: int, horizon: int, episodes: int, preset: str, seed: int) -> dict[str, Any]:
    """One seed: its settings and what came out."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message=".*mini-batch", category=UserWarning)  # 64 does not divide 600
    env = MazeEnv(Maze(size=size, horizon=horizon))
    started = time.perf_counter()
    model = PPO("MlpPolicy", env, seed=seed, device="cpu", verbose=0, **PRESETS[preset])
    model.learn(episodes * horizon, callback=StopAfter(env, episodes))
    success = env.successes[:episodes]
    last = float(np.mean(success[-max(1, episodes // 10) :]))
    return {
        "size": size,
        "horizon": horizon,
        "episodes": episodes,
        "preset": preset,
        "seed": seed,
        "solved": last >= 0.9,
        "success_last": last,
        "success_mean": float(np.mean(success)),
        "steps": model.num_timesteps,
        "seconds": round(time.perf_counter() - started, 1),
        "success": "".join(str(int(reached)) for reached in success),
    }


def train_control(task: str, steps: int, seed: int) -> dict[str, Any]:
    """One seed of a control task: its return over the last tenth of each environment's episodes."""
    import prefrl_cli.env.gymnasium_registration  # noqa: F401  # for prefrl/CartPole-v0

    torch.set_num_threads(1)
    id, _, settings = CONTROL[task]
    settings = dict(settings)
    count, normalised = settings.pop("n_envs"), settings.pop("normalize", False)
    limit = {} if id.startswith("prefrl/") else {"max_episode_steps": 200}
    made = make_vec_env(id, count, seed=seed, env_kwargs=limit)
    started = time.process_time()
    model = PPO("MlpPolicy", VecNormalize(made) if normalised else made, seed=seed, device="cpu", **settings)
    model.learn(steps)
    seconds = time.process_time() - started
    returns = [each[-max(1, len(each) // 10) :] for each in made.env_method("get_episode_rewards") if each]
    last = float(np.mean(np.concatenate(returns)))
    return {"task": task, "steps": steps, "seed": seed, "return_last": last, "seconds": round(seconds, 1)}


def recorded(path: Path, settings: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """The seeds that are there already; one file holds one setting only."""
    lines = path.read_text().splitlines() if path.exists() else []
    records = [json.loads(line) for line in lines]
    for record in records:
        there = {name: record.get(name) for name in settings}
        if there != settings:
            raise SystemExit(f"{path} holds runs of {there}, not of {settings}; give another --output")
    return {record["seed"]: record for record in records}


def interval(records: list[dict[str, Any]], metric: str) -> str:
    values = np.array([record[metric] for record in records], dtype=float)
    if metric == "solved":
        low, high = share_interval(round(values.sum()), len(values))
    else:
        low, high = mean_interval(values, (0.0, 1.0))
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def seed_range(text: str) -> list[int]:
    first, colon, end = text.partition(":")
    return list(range(int(first), int(end))) if colon else [int(first)]


def main() -> None:
    parser = argparse.ArgumentParser(description="stable-baselines3's PPO on prefrl's maze and control tasks")
    parser.add_argument("--task", choices=sorted(CONTROL), help="a control task instead of the maze")
    parser.add_argument("--steps", type=int, help="of a control task; by default as many as in prefrl's experiment")
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--horizon", type=int, default=60)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--seeds", type=seed_range, default="0:16", help="FIRST:END without END, or one seed")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="default")
    parser.add_argument("--jobs", type=int, default=2, help="seeds at once, one thread each")
    parser.add_argument("--output", type=Path, help="a line of JSON a seed, appended")
    parser.add_argument("--quick", action="store_true", help="the smallest of everything, to see that it runs")
    options = parser.parse_args()
    if options.quick:
        options.size, options.horizon, options.episodes, options.seeds = 4, 30, 12, [0, 1]
        options.steps = 512
    if options.output is None:
        parser.error("which file? type --output FILE")
    if options.task:
        job, settings = train_control, {"task": options.task, "steps": options.steps or CONTROL[options.task][1]}
    else:
        job, settings = train, {name: getattr(options, name) for name in SETTINGS}
    done = recorded(options.output, settings)
    missing = [seed for seed in options.seeds if seed not in done]
    with ProcessPoolExecutor(options.jobs) as pool, options.output.open("a") as output:
        for future in as_completed([pool.submit(job, **settings, seed=seed) for seed in missing]):
            record = future.result()
            done[record["seed"]] = record
            print(json.dumps(record), file=output, flush=True)
            figures = ("return_last",) if options.task else ("success_last", "success_mean")
            shown = "  ".join(f"{name} {record[name]:.2f}" for name in figures)
            print(f"seed {record['seed']:4d}  {shown}  {record['seconds']:.0f} s", flush=True)
    records = list(done.values())
    if options.task:
        last, seconds = (np.array([record[name] for record in records]) for name in ("return_last", "seconds"))
        declared = build(composed([f"experiment={options.task}", "num_seeds=1"])).metrics
        (metric,) = (one for one in declared if one.name == "return_last")
        found = summarise(last, metric)
        mean = f"{value_text(found.mean)} {brackets(found.mean)}"
        print("| task | steps | seeds | return over the last tenth | median | worst tenth | CPU seconds a seed |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        print(f"| {options.task} | {settings['steps']:,} | {len(last)} | {mean} "
              f"| {digits(found.median)} | {digits(found.worst_tenth)} | {seconds.mean():.1f} |")  # fmt: skip
        return
    print("| maze | episodes | stable-baselines3 PPO | seeds | solved | success over all episodes |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {options.size} x {options.size} | {options.episodes} | {options.preset} | {len(records)} "
        f"| {interval(records, 'solved')} | {interval(records, 'success_mean')} |"
    )


if __name__ == "__main__":
    main()
