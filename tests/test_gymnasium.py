"""Environments of Gymnasium: what is observed and done in them, and that a seed is a seed there too."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from typing import Any

import direct
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from prefrl_cli.cli import doctor
from prefrl_cli.cli.train import main
from prefrl_cli.core.environment import Box, Discrete
from prefrl_cli.core.option_types import ConfigError, OptionError
from prefrl_cli.core.streams import PhiloxStreams
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.gymnasium import Gymnasium
from prefrl_cli.env.rollout import play
from prefrl_cli.policy.separate_actor_critic import SeparateActorCritic
from prefrl_cli.preference.criterion import Farthest
from prefrl_cli.reward_model.explicit import ProcessReward

gymnasium = pytest.importorskip("gymnasium")
spaces = gymnasium.spaces
SHARED = np.random.default_rng(0)


class Walk(gymnasium.Env[Any, Any]):
    """Counts its steps; an episode ends after `ends` of them, is cut off after `cuts`, and pays its action."""

    def __init__(self, observed: Any = None, chosen: Any = None, ends: int = 10**9, cuts: int = 10**9) -> None:
        self.observation_space = observed or spaces.Box(0.0, 1e6, (2,), np.float32)
        self.action_space = chosen or spaces.Discrete(3)
        self._ends, self._cuts = ends, cuts

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps, self.start = 0, float(self.np_random.integers(1000))
        return self.seen(), {"height": -self.start, "word": "up"}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        self.action = action
        info = {"height": -self.start - self.steps, "word": "up"}
        reward = float(np.sum(action)) if self.steps <= min(self._ends, self._cuts) else -1000.0  # never to be seen
        return self.seen(), reward, self.steps >= self._ends, self.steps >= self._cuts, info

    def seen(self) -> Any:
        if isinstance(self.observation_space, spaces.Box):
            return np.array([self.start, self.steps], np.float32)
        return self.observation_space.sample()


class Forgetful(Walk):
    def seen(self) -> Any:
        return np.array([np.random.default_rng().random(), self.steps], np.float32)


class Sharing(Walk):
    """Each object counts on one counter."""

    count = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        Sharing.count = 0
        return super().reset(seed=seed)

    def seen(self) -> Any:
        Sharing.count += 1
        return np.array([Sharing.count, self.steps], np.float32)


class Outside(Walk):
    def seen(self) -> Any:
        return np.array([-5.0, self.steps], np.float32)


class Broken(Walk):
    def seen(self) -> Any:
        return np.array([np.nan if self.steps > 3 else 0.0, self.steps], np.float32)


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    for kind in (Walk, Forgetful, Sharing, Outside, Broken):
        gymnasium.register(f"{kind.__name__}-v0", entry_point=kind, max_episode_steps=None)
    yield
    for kind in (Walk, Forgetful, Sharing, Outside, Broken):
        del gymnasium.registry[f"{kind.__name__}-v0"]


def played(env: Gymnasium, seeds: list[int], episodes: int = 3) -> dict[str, torch.Tensor]:
    streams = PhiloxStreams(seeds)
    policy = SeparateActorCritic(env, streams, hidden=4)
    return play(env, policy, streams, "policy", episodes).fields()


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "Acrobot-v1"])
def test_a_seed_alone_is_the_seed_among_others(name: str) -> None:
    env = Gymnasium(name, horizon=40, absorbing=False)
    alone, together = played(env, [7]), played(env, [3, 7, 8])
    for field, value in alone.items():
        assert torch.equal(value[0], together[field][1]), field
    starts = together["states"][:, :, 0].flatten(0, 1)
    assert len(starts.unique(dim=0)) == 9  # no two runs share an environment's seed
    again = played(env, [7])  # objects that were used before start anew
    assert all(torch.equal(value, again[field]) for field, value in alone.items())


def test_it_is_what_gymnasium_does() -> None:
    env = Gymnasium("CartPole-v1", horizon=30, absorbing=False)
    draws = np.array([[[0.3], [0.8]]])
    state, actions = env.reset(draws), np.random.default_rng(0).integers(2, size=(30, 1, 2))
    theirs = [gymnasium.make("CartPole-v1") for _ in range(2)]
    seen = [each.reset(seed=int(draw * 2**32))[0] for each, draw in zip(theirs, (0.3, 0.8), strict=True)]
    assert np.array_equal(env.observe(state)[0], np.stack(seen))
    over = [False, False]
    for taken in actions:
        state, reward, ended = env.step(state, taken)
        for number, each in enumerate(theirs):
            if over[number]:
                continue
            observed, paid, over[number], _, _ = each.step(taken[0, number])
            assert np.array_equal(env.observe(state)[0, number], observed)
            assert (reward[0, number], ended[0, number]) == (paid, over[number])
    assert any(over)


@pytest.mark.parametrize(("absorbing", "over"), [(True, "ends"), (False, "ends"), (False, "cuts"), (True, "cuts")])
def test_an_end_a_cut_and_what_follows_them(absorbing: bool, over: str) -> None:
    env = Gymnasium("Walk-v0", {over: 4}, horizon=9, absorbing=absorbing)
    found = played(env, [1, 2])
    assert (found["rewards"] > -1000).all() and not found["rewards"][..., 4:].any()
    assert (found["lengths"] == (9 if absorbing else 4)).all()
    assert (found["terminated"] == (over == "ends" and not absorbing)).all()
    assert (found["last"][..., 1] == 4).all()  # it stays where it was


@pytest.mark.parametrize(
    ("space", "features"),
    [
        (spaces.Box(0, 255, (2, 3), np.uint8), 6),
        (spaces.Discrete(5, start=2), 5),
        (spaces.MultiDiscrete([2, 3]), 5),
        (spaces.MultiBinary(4), 4),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-1, 1, (3,))), 5),
        (spaces.Tuple([spaces.Discrete(3), spaces.MultiBinary(2)]), 5),
    ],
)
def test_observations_are_flattened(space: Any, features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Walk, "seen", lambda self: self.observation_space.sample())
    env = Gymnasium("Walk-v0", {"observed": space}, horizon=3)
    assert env.observation_space.shape == (features,)
    state = env.reset(np.array([[[0.5]]]))
    assert env.observe(state).shape == (1, 1, features)
    assert space == spaces.Box(0, 255, (2, 3), np.uint8) or env.observe(state).max() <= 1


def test_actions_are_stretched_and_counted_from_their_first() -> None:
    env = Gymnasium("Walk-v0", {"chosen": spaces.Discrete(3, start=5)}, horizon=3)
    assert env.action_space == Discrete(3)
    assert env.step(env.reset(np.array([[[0.5]]])), np.array([[2]]))[1] == 7
    box = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 10.0], np.float32))
    env = Gymnasium("Walk-v0", {"chosen": box}, horizon=3)
    assert env.action_space == Box(-1.0, 1.0, (2,))
    state = env.reset(np.array([[[0.5]]]))
    for action, reward in (([1.0, 1.0], 12), ([-1.0, -1.0], -2), ([0.0, 0.0], 5), ([9.0, -9.0], 2)):
        assert env.step(state, np.array([[action]]))[1] == reward


def test_a_dictionary_may_be_taken_in_part() -> None:
    space = spaces.Dict(mission=spaces.Text(5), place=spaces.Discrete(4))
    with pytest.raises(OptionError, match=r"keys=null: not all .* vector; try keys=\[place\]"):
        Gymnasium("Walk-v0", {"observed": space}, horizon=3)
    assert Gymnasium("Walk-v0", {"observed": space}, horizon=3, keys=["place"]).observation_space.shape == (4,)
    with pytest.raises(OptionError, match=r"keys=\[wall\]: are not what is observed; try keys=\[mission,place\]"):
        Gymnasium("Walk-v0", {"observed": space}, horizon=3, keys=["wall"])


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["env.id=Nope-v0"], "env.id=Nope-v0: Environment `Nope` doesn't exist"),
        (["env.id=Walk-v0"], "env.horizon=null: Walk-v0 has no time limit of its own; try env.horizon=200"),
        (["env.kwargs={size: 3}"], "env.kwargs={size:3}: "),
        (["env.kwargs=3"], "env.kwargs=3: must be names and values, such as {size: 8}"),
        (
            ["env.told=[depth]", "env.id=Walk-v0", "env.horizon=3"],
            "env.told=[depth]: Walk-v0 tells no such number; try env.told=[height]",
        ),
        (
            ["env.told=[word]", "env.id=Walk-v0", "env.horizon=3"],
            "env.told=[word]: Walk-v0 tells no such number; try env.told=[height]",
        ),
        (["env.wrappers=[Nope]"], "env.wrappers=[Nope]: module 'gymnasium.wrappers' has no attribute 'Nope'"),
        (["env.id=os:X-v0"], "env.id=os:X-v0: imports code of yours; type 'allow_targets=[os]' too"),
        (["env.id=nowhere:X-v0", "allow_targets=[nowhere]"], "env.id=nowhere:X-v0: nowhere cannot be imported (No mod"),
    ],
)
def test_what_cannot_be_used_is_one_line(typed: list[str], told: str) -> None:
    with pytest.raises(ConfigError) as problem:
        direct.configured("gymnasium", *typed)
    assert str(problem.value).startswith(told) and "\n" not in str(problem.value)


def test_actions_that_are_not_supported() -> None:
    with pytest.raises(OptionError, match="is acted in by MultiBinary.2., not Discrete or Box actions"):
        Gymnasium("Walk-v0", {"chosen": spaces.MultiBinary(2)}, horizon=3)


@pytest.mark.parametrize(
    ("id", "missing", "told"),
    [
        ("CartPole-v1", "gymnasium", "env=gymnasium: gymnasium is not installed; type pip install 'prefrl[gymnasium]'"),
        ("MiniGrid-Empty-8x8-v0", "minigrid", "minigrid is not installed; type pip install 'prefrl[minigrid]'"),
    ],
)
def test_what_is_not_installed(id: str, missing: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else there(name, *rest)
    )
    with pytest.raises(ConfigError) as problem:
        Gymnasium(id)
    assert str(problem.value).endswith(told)


@pytest.mark.parametrize(
    ("id", "said"),
    [
        ("CartPole-v1", "repeats, alone and beside others"),
        ("Forgetful-v0", "the same seed and actions give other numbers the second time"),
        ("Sharing-v0", "an episode depends on another one beside it"),
        ("Outside-v0", "an observation lies outside its space"),
        ("Broken-v0", "an observation or a reward is not finite"),
        ("Walk-v0", "no episode ends within 1000 steps"),
    ],
)
def test_the_doctor_names_the_defect(id: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = doctor.main([f"env={id}", *([] if id == "CartPole-v1" else ["env.horizon=2000"])])
    shown = capsys.readouterr().out
    assert said in " ".join(shown.split())
    wrong = sum(line.startswith("!! ") for line in shown.splitlines())  # the others' episodes do not end either
    assert (wrong, code) == {"CartPole-v1": (0, 0), "Walk-v0": (1, 1)}.get(id, (2, 1))


@pytest.mark.parametrize("arguments", [["env.horizon=3"], ["foo"], ["env"]])
def test_the_doctor_refuses_the_rest(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(arguments) == 2
    assert "type env=ID, or nothing" in capsys.readouterr().err


def observed(env: Gymnasium) -> NDArray[np.float32]:
    return env.observe(env.reset(np.array([[[0.25]]])))


def test_bounds_are_the_scale_where_there_are_any() -> None:
    assert Gymnasium("MountainCar-v0").observation_scale == pytest.approx((1.2, 0.07))
    high = Gymnasium("CartPole-v1").observation_scale
    assert high[0] == pytest.approx(4.8) and high[1] == 1.0
    assert Gymnasium("CartPole-v1", scale=3.0).observation_scale == (3.0,) * 4
    assert Gymnasium("CartPole-v1", scale=[1.0, 1.0, 0.2, 2.0]).observation_scale == (1.0, 1.0, 0.2, 2.0)
    with pytest.raises(OptionError, match=r"scale=\[1.0,2.0\]: CartPole-v1 shows 4 numbers; try scale=1.0"):
        Gymnasium("CartPole-v1", scale=[1.0, 2.0])
    assert observed(Gymnasium("CartPole-v1")).dtype == np.float32


def test_what_is_told_reaches_the_criterion_and_no_network() -> None:
    env = Gymnasium("Walk-v0", {"ends": 6}, told=["height"], horizon=9)
    found = played(env, [4, 5])
    height = -found["states"][..., 0] - found["states"][..., 1]
    assert torch.equal(env.diagnostics(found["states"])["height"], height) and (height < 0).all()
    trajectories = Trajectories(**found)
    assert torch.equal(Farthest(env, "height")(trajectories), height[..., 0])  # it falls, and stays where it ends
    streams = PhiloxStreams([4, 5])
    policy, reward = SeparateActorCritic(env, streams, hidden=4), ProcessReward(env, streams, hidden=4)
    other = found["states"].clone()
    other[..., -1] = 7.0
    assert torch.equal(policy.act(other).log_probabilities, policy.act(found["states"]).log_probabilities)
    assert torch.equal(reward(other), reward(found["states"]))
    other[..., 0] += 1
    assert not torch.equal(reward(other), reward(found["states"]))


@pytest.mark.parametrize("name", ["MiniGrid-Empty-8x8-v0", "MiniGrid-FourRooms-v0", "MiniGrid-LavaGapS5-v0"])
def test_cells_are_counted_on_the_shortest_way_to_the_goal(name: str) -> None:
    pytest.importorskip("minigrid")
    env = Gymnasium(name, told=["progress"], keys=["image"], horizon=9)
    state = env.reset(np.array([[[0.1], [0.6]]]))
    told = env.diagnostics(torch.from_numpy(env.observe(state)))["progress"]
    for number, made in enumerate(env._envs):
        world = made.unwrapped
        goals = [(x, y) for x in range(world.width) for y in range(world.height) if kind(world, x, y) == "goal"]
        steps, border = 0, {tuple(world.agent_pos)}
        seen = set(border)
        while not border & set(goals):  # outwards from the agent, where the environment goes inwards from the goal
            steps += 1
            around = {(x + i, y + j) for x, y in border for i, j in ((0, 1), (1, 0), (0, -1), (-1, 0))}
            border = {place for place in around - seen if kind(world, *place) not in ("wall", "lava")}
            seen |= border
        assert told[0, number] == -steps and steps > 1


def kind(world: Any, x: int, y: int) -> str:
    thing = world.grid.get(x, y)
    return "" if thing is None else str(thing.type)


def test_the_world_of_minigrid_is_seen_whole_and_labelled_by_progress() -> None:
    pytest.importorskip("minigrid")
    algorithm = direct.configured(
        "minigrid",
        "env.horizon=12",
        "algorithm.episodes=2",
        "queries.budget=80",
        "queries.until=2",
        "reward_update.first_updates=2",
    )
    assert algorithm.env.observation_space.shape == (8 * 8 * 3 + 4 + 1,)
    algorithm.update()
    taken = algorithm._trajectories.get(torch.zeros(1, 1, dtype=torch.int64))["states"]
    image = taken[0, 0, 0, 4:196].reshape(8, 8, 3)  # after the direction
    assert image[1, 1].tolist() == [10, 0, 0] and image[6, 6, 0] == 8  # the agent, and the goal
    assert taken[0, 0, 0, -1] == -10 and algorithm.preferences.used.item() > 0


def test_without_a_return_that_counts_as_solved_success_has_no_value(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = ["num_seeds=2", "steps=2", "policy.hidden=4", "reward_model.hidden=4", "env.horizon=12", "charts=false"]
    for typed, known in (([], False), (["env.solved_return=-100"], True)):
        assert main(["experiment=gymnasium", "env.id=Pendulum-v1", *small, *typed, f"output_dir=known_{known}"]) == 0
        said = capsys.readouterr().out
        metrics = json.loads((tmp_path / f"known_{known}" / "summary.json").read_text())["metrics"]
        for name in ("success_last", "success_mean", "solved", "greedy_success"):
            assert (metrics[name]["mean"] is not None) == known and (f"  {name} " in said) == known
        assert metrics["greedy_steps"]["high"] == 12 and metrics["greedy_steps"]["ci95"][1] <= 12
