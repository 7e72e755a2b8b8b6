"""Our environments as Gymnasium has them: its own checks, the same steps as ours, and learners of other tools."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest

from prefrl_cli.charts.films import COLOURS
from prefrl_cli.core.option_types import OptionError
from prefrl_cli.env.maze import Maze

gymnasium = pytest.importorskip("gymnasium")
from gymnasium.utils.env_checker import check_env  # noqa: E402
from PIL import ImageColor  # noqa: E402

from prefrl_cli.env.gymnasium_registration import TASKS  # noqa: E402

IDS = ["prefrl/Maze-v0", *(f"prefrl/{task}-v0" for task in TASKS)]
VARIANTS = [(name, {}) for name in IDS] + [
    ("prefrl/Maze-v0", {"size": 9, "observation": "one_hot", "layout": "rooms", "horizon": 90}),
    ("prefrl/CartPole-v0", {"fixed_horizon": False, "horizon": 500}),
    ("prefrl/Acrobot-v0", {"fixed_horizon": False}),
]


def test_all_are_registered():
    assert len(IDS) == 6 and all(gymnasium.spec(name).id == name for name in IDS)


def test_the_name_of_the_module_before_the_id_imports_it():
    code = "import gymnasium; print(gymnasium.make('prefrl_cli.env.gymnasium_registration:prefrl/Maze-v0', size=9))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "<OrderEnforcing<PassiveEnvChecker<MazeEnv<prefrl/Maze-v0>>>>\n"


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_gymnasium_finds_no_fault(name, options, render_mode):
    """A warning is an error here; both ways of rendering are among what it checks."""
    env = gymnasium.make(name, render_mode=render_mode, **options)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        check_env(env.unwrapped)
    assert not told
    assert env.unwrapped.metadata["render_modes"] == ["rgb_array", "ansi"]


def play(env, seed, actions):
    """What is observed, and rewards and ends, until an episode is over."""
    seen, info = env.reset(seed=seed)
    observed, steps = [seen], []
    for action in actions:
        seen, *step, _ = env.step(action)
        observed.append(seen), steps.append(tuple(step))
        if step[1] or step[2]:
            break
    return np.array(observed), steps


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_ours_step_for_step(task):
    env, ours = gymnasium.make(f"prefrl/{task}-v0"), TASKS[task]()
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(ours.horizon + 1)]
    observed, steps = play(env, 7, actions)
    state = ours.reset(np.random.Generator(np.random.PCG64(np.random.SeedSequence(7))).random((1, ours.reset_draws)))
    assert len(steps) == ours.horizon  # whatever happens: the horizon is fixed
    strongest = getattr(ours.action_space, "high", 1)
    for action, seen, (reward, terminated, _) in zip(actions, observed[1:], steps, strict=False):
        taken = action * np.float64(strongest) if isinstance(action, np.ndarray) else action
        state, earned, _ = ours.step(state, np.asarray(taken)[None])
        assert np.array_equal(seen, ours.observe(state)[0]) and reward == earned[0] and not terminated
    assert [step[2] for step in steps] == [False] * (ours.horizon - 1) + [True]


def test_a_task_may_end_as_gymnasiums_does():
    _, steps = play(gymnasium.make("prefrl/CartPole-v0", fixed_horizon=False), 1, [0] * 100)
    assert 5 < len(steps) < 15 and steps[-1] == (1.0, True, False)
    _, steps = play(gymnasium.make("prefrl/CartPole-v0", horizon=20, time_limit="end"), 1, [0] * 100)
    assert len(steps) == 20 and steps[-1] == (0.0, True, False)


def test_the_maze_is_ours_step_for_step():
    maze = Maze(9, layout="open")
    env = gymnasium.make("prefrl/Maze-v0", size=9, layout="open")
    observed, steps = play(env, 0, [1] * 8 + [2] * 8 + [0])
    assert observed.tolist() == [*range(9), *range(17, 81, 9)] and steps[-1] == (10.0, True, False)
    assert all(step == (0.0, False, False) for step in steps[:-1])
    _, steps = play(env, 0, [0] * 100)
    assert len(steps) == maze.horizon == 60 and steps[-1] == (0.0, False, True)
    observed, steps = play(gymnasium.make("prefrl/Maze-v0", observation="one_hot", time_limit="end"), 0, [0] * 100)
    assert steps[-1] == (0.0, True, False) and (observed == np.eye(64)[0]).all()
    env.reset()
    assert env.step(1)[4] == {"is_success": False}


def test_pictures_and_letters():
    env = gymnasium.make("prefrl/Maze-v0", size=5, render_mode="ansi")
    env.reset()
    assert env.render() == "A....\n..#..\n..#..\n.....\n....G\n"
    env.step(1)
    assert env.render() == "SA...\n..#..\n..#..\n.....\n....G\n"
    env = gymnasium.make("prefrl/Maze-v0", size=8, render_mode="rgb_array")
    env.reset()
    picture = env.render()
    assert picture.shape == (384, 384, 3) and picture.dtype == np.uint8
    for row, column, colour in ((0, 0, "agent"), (7, 7, "goal"), (1, 4, "wall"), (3, 0, "box")):
        assert tuple(picture[48 * row + 24, 48 * column + 24]) == ImageColor.getrgb(COLOURS[colour])
    env = gymnasium.make("prefrl/Pendulum-v0", render_mode="ansi")
    env.reset(seed=1)
    env.unwrapped.state = np.zeros(2)
    rows = env.render().splitlines()
    assert len(rows) == 24 and all("o" in row[20:28] for row in rows[3:11])
    assert "@" in rows[11] + rows[12] and not "".join(rows[14:]).strip()
    for task in TASKS:
        env = gymnasium.make(f"prefrl/{task}-v0", render_mode="rgb_array")
        env.reset(seed=0)
        assert len(np.unique(env.render().reshape(-1, 3), axis=0)) > 5


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("Maze", {"size": 2}, "size=2: must be a whole number between 4 and 256"),
        ("Maze", {"sise": 9}, "sise=9: Maze has no such option, but size, horizon, goal_reward,"),
        ("Maze", {"size": 40}, "horizon=60: the goal is 78 steps away; try horizon=312"),
        ("CartPole", {"horizon": "long"}, "horizon=long: must be a whole number between 1 and 100000"),
    ],
)
def test_a_wrong_option_is_one_line(name, options, line):
    with pytest.raises(OptionError) as problem:
        gymnasium.make(f"prefrl/{name}-v0", **options)
    assert str(problem.value).startswith(line)


def test_stable_baselines3_learns_the_maze():
    """Its PPO, untouched, finds the way of a small maze from the sparse reward."""
    baselines = pytest.importorskip("stable_baselines3")
    env = gymnasium.make("prefrl/Maze-v0", size=5, observation="one_hot", horizon=40)
    model = baselines.PPO("MlpPolicy", env, n_steps=400, batch_size=100, learning_rate=3e-3, seed=0, device="cpu")
    model.learn(6000)
    seen, _ = env.reset()
    rewards = []
    for _ in range(8):
        seen, reward, *_ = env.step(model.predict(seen, deterministic=True)[0])
        rewards.append(reward)
    assert rewards == [0.0] * 7 + [10.0]


CLONES = """
import gymnasium, numpy as np, torch
from imitation.algorithms.bc import BC
from imitation.data.rollout import flatten_trajectories
from imitation.data.types import Trajectory

env = gymnasium.make("prefrl_cli.env.gymnasium_registration:prefrl/Maze-v0", size=5, observation="one_hot")
maze, (seen, _) = env.unwrapped.maze, env.reset()
observed, actions, reached = [seen], [], False
while not reached:  # a shortest way
    actions.append(int(maze.distance[maze.transitions[env.unwrapped.state]].argmin()))
    seen, _, reached, *_ = env.step(actions[-1])
    observed.append(seen)
torch.manual_seed(0)
shown = flatten_trajectories([Trajectory(np.array(observed), np.array(actions), None, terminal=True)] * 8)
learner = BC(
    observation_space=env.observation_space, action_space=env.action_space, demonstrations=shown,
    rng=np.random.default_rng(0), device="cpu",
)
learner.train(n_epochs=30, progress_bar=False)
seen, _ = env.reset()
for _ in range(8):
    seen, reward, *_ = env.step(learner.policy.predict(seen, deterministic=True)[0])
print("reward", reward)
"""


def test_imitation_learns_the_maze(tmp_path):
    """Its behavioural cloning, untouched, repeats the way that it was shown; apart, since it leaves files open."""
    pytest.importorskip("imitation")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CLONES], capture_output=True, text=True, env=environment)
    assert done.stdout.endswith("reward 10.0\n"), done.stderr
