"""Classic control against Gymnasium's own, step for step, and what goes on where Gymnasium's episodes end."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prefrl_cli.core.environment import Box
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.classic_control.acrobot import Acrobot
from prefrl_cli.env.classic_control.cart_pole import CartPole
from prefrl_cli.env.classic_control.mountain_car import MountainCar, MountainCarContinuous
from prefrl_cli.env.classic_control.pendulum import Pendulum

TASKS = [CartPole, Pendulum, MountainCar, MountainCarContinuous, Acrobot]
ENDING = [CartPole, MountainCar, MountainCarContinuous, Acrobot]
IDS = {
    CartPole: "CartPole-v1", Pendulum: "Pendulum-v1", MountainCar: "MountainCar-v0",
    MountainCarContinuous: "MountainCarContinuous-v0", Acrobot: "Acrobot-v1",
}  # fmt: skip
WIDEST = {  # of states to begin with that are far from where episodes begin
    CartPole: ((-2.4, 2.4), (-3, 3), (-0.2, 0.2), (-3, 3)),
    Pendulum: ((-10, 10), (-8, 8)),
    MountainCar: ((-1.2, 0.6), (-0.07, 0.07)),
    MountainCarContinuous: ((-1.2, 0.6), (-0.07, 0.07)),
    Acrobot: ((-np.pi, np.pi), (-np.pi, np.pi), (-4 * np.pi, 4 * np.pi), (-9 * np.pi, 9 * np.pi)),
}


def ending(task, **options):
    """A task whose episodes end where Gymnasium's do, but for the horizon."""
    return task(**options) if task is Pendulum else task(fixed_horizon=False, **options)


def draw_actions(env, generator, *shape, beyond=1.0):
    if isinstance(env.action_space, Box):
        return beyond * generator.uniform(env.action_space.low, env.action_space.high, (*shape, 1))
    return generator.integers(env.action_space.n, size=shape)


def draw_states(task, generator, *shape):
    low, high = np.transpose(WIDEST[task])
    return generator.uniform(low, high, (*shape, len(low)))


def theirs(task, monkeypatch):
    """Gymnasium's environment with its limit on steps, its numbers kept in 64 bits where it would round them."""
    gymnasium = pytest.importorskip("gymnasium")
    from gymnasium.envs.classic_control import continuous_mountain_car

    made = gymnasium.make(IDS[task], disable_env_checker=True)
    exact = SimpleNamespace(array=lambda values, dtype=None: np.array(values), float32=None)
    monkeypatch.setattr(continuous_mountain_car, "np", exact)
    return made, made.spec.max_episode_steps


@pytest.mark.parametrize("task", TASKS)
def test_ten_thousand_steps_are_those_of_gymnasium(task, monkeypatch):
    """Both go on from a state of their own until the episode ends; three of four episodes begin anywhere."""
    generator = np.random.default_rng(11)
    made, limit = theirs(task, monkeypatch)
    env = ending(task, horizon=limit)
    pairs, ends, limits, episodes = [], 0, 0, 0
    while len(pairs) < 10_000:
        made.reset(seed=episodes)
        state = draw_states(task, generator, 1) if episodes % 4 else env.reset(generator.random((1, env.reset_draws)))
        made.unwrapped.state = state[0].copy()
        for number in range(1, limit + 1):
            # Gymnasium takes the cost of a continuous push from what was asked, not from what the engine does.
            action = draw_actions(env, generator, 1, beyond=1.0 if task is MountainCarContinuous else 1.2)
            seen, reward, terminated, truncated, _ = made.step(action[0])
            state, ours, over = env.step(state, action)
            pairs.append(((*state[0], ours[0], *env.observe(state)[0]), (*made.unwrapped.state, reward, *seen)))
            assert bool(over[0]) == terminated and (number == limit) == truncated
            ends, limits = ends + terminated, limits + truncated
            if terminated or truncated:
                break
            if task is Acrobot:  # it is chaotic: a difference in the last bit would grow from step to step
                made.unwrapped.state = state[0].copy()
        episodes += 1
    ours, gymnasiums = np.moveaxis(np.array(pairs), 1, 0)
    exact = state.shape[1] + 1  # states and rewards; then observations, of 32 bits
    np.testing.assert_allclose(ours[:, :exact], gymnasiums[:, :exact], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours[:, exact:], gymnasiums[:, exact:], rtol=2e-7, atol=1e-12)
    assert (ends >= 3) == (task is not Pendulum), "it has no end"
    assert (limits >= 3) == (task is not CartPole), "random actions never hold a pole so long"


@pytest.mark.parametrize("task", TASKS)
def test_episodes_begin_where_those_of_gymnasium_do(task):
    gymnasium = pytest.importorskip("gymnasium")
    made, env = gymnasium.make(IDS[task]), task()
    for seed in range(20):
        seen, _ = made.reset(seed=seed)
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        state = env.reset(generator.random((1, env.reset_draws)))
        np.testing.assert_allclose(state[0], made.unwrapped.state, rtol=1e-7, atol=1e-9)  # Acrobot's has 32 bits
        np.testing.assert_allclose(env.observe(state)[0], seen, rtol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_the_spaces_are_those_of_gymnasium(task):
    gymnasium = pytest.importorskip("gymnasium")
    made, env = gymnasium.make(IDS[task]), task()
    assert env.observation_space.shape == made.observation_space.shape
    if isinstance(env.action_space, Box):
        space = made.action_space
        assert (space.low, space.high, space.shape) == (env.action_space.low, env.action_space.high, (1,))
    else:
        assert env.action_space.n == made.action_space.n
    if task is not CartPole:
        assert env.horizon == made.spec.max_episode_steps
        high = np.maximum(made.observation_space.high, -made.observation_space.low)
        np.testing.assert_allclose(env.observation_high, high, rtol=1e-6)


def play(env, states, actions):
    """All states `[T + 1, ..., S]`, rewards and ends `[T, ...]` of actions `[T, ...]` from states."""
    states, rewards, ends = [states], [], []
    for action in actions:
        state, reward, ended = env.step(states[-1], action)
        states.append(state), rewards.append(reward), ends.append(ended)
    return np.stack(states), np.stack(rewards), np.stack(ends)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("options", [{}, {"absorbing": True}, {"absorbing": False}, {"fixed_horizon": False}])
def test_a_seed_is_a_seed(task, options):
    """What a seed does alone, or among others of an odd number, is the same to the bit."""
    env = task() if task is Pendulum else task(**options)
    generator = np.random.default_rng(5)
    seeds, episodes, steps = 13, 7, 150
    draws = generator.random((seeds, episodes, env.reset_draws))
    actions = draw_actions(env, generator, steps, seeds, episodes, beyond=1.3)
    whole = play(env, env.reset(draws), actions)
    for part in (np.s_[:1], np.s_[4:5], np.s_[3:10], np.s_[12:]):
        alone = play(env, env.reset(draws[part]), actions[:, part])
        assert all(np.array_equal(one, some[:, part]) for one, some in zip(alone, whole, strict=True))
        assert np.array_equal(env.observe(alone[0]), env.observe(whole[0])[:, part])
    one = play(env, env.reset(draws[2, 3]), actions[:, 2, 3])
    assert all(np.array_equal(number, some[:, 2, 3]) for number, some in zip(one, whole, strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_shapes_and_types(task):
    env = task()
    state = env.reset(np.full((2, 3, env.reset_draws), 0.5))
    following, reward, ended = env.step(state, draw_actions(env, np.random.default_rng(0), 2, 3))
    assert following.shape == state.shape and reward.shape == ended.shape == (2, 3)
    assert (following.dtype, reward.dtype, ended.dtype) == (np.float64, np.float64, np.bool_)
    seen = env.observe(state)
    assert seen.shape == (2, 3, *env.observation_space.shape) and seen.dtype == np.float32
    assert np.array_equal(state, env.reset(np.full((2, 3, env.reset_draws), 0.5)))  # a step leaves it as it was


@pytest.mark.parametrize("task", ENDING)
@pytest.mark.parametrize("absorbing", [True, False])
def test_an_episode_goes_on_and_earns_no_more_past_its_end(task, absorbing):
    """Up to its end it is Gymnasium's; past it the state stays, or moves on and can earn when it has come back."""
    generator = np.random.default_rng(2)
    start = draw_states(task, generator, 400)
    env, short = task(horizon=120, absorbing=absorbing), task(horizon=120, fixed_horizon=False)
    actions = draw_actions(env, generator, 120, 400)
    states, rewards, ends = play(env, start, actions)
    assert not ends.any()
    begun = short._is_over(start)
    shorter, earned, over = play(short, start, actions)
    past = np.concatenate([begun[None], begun | np.maximum.accumulate(over)])  # [T + 1, B], at an end before or here
    assert past[-1].all() if task is CartPole else 20 < past[-1].sum() < 400
    first = past[:-1].argmax(0)  # the step that begins at the end
    for episode in np.flatnonzero(~begun):
        until = int(first[episode]) if past[:-1, episode].any() else 120
        assert np.array_equal(states[: until + 1, episode], shorter[: until + 1, episode])
        assert np.array_equal(rewards[:until, episode], earned[:until, episode])
        if absorbing:
            assert (states[until:, episode] == states[until, episode]).all()
            assert (rewards[until:, episode] == 0).all()
    ended = np.stack([env._is_over(state) for state in states[:-1]])
    assert (rewards[ended] == 0).all()
    if not absorbing:
        came_back = (past[:-1] & ~ended).any()
        assert came_back and (states[-1] != states[-2]).any()


def test_a_cart_that_goes_on_stays_finite():
    env = CartPole(horizon=2000)
    generator = np.random.default_rng(0)
    for actions in (np.ones((2000, 50), dtype=int), draw_actions(env, generator, 2000, 50)):
        states, rewards, _ = play(env, env.reset(generator.random((50, 4))), actions)
        assert (np.abs(states).max((0, 1)) <= env.observation_high).all()
        assert 0 < rewards.mean() < 0.2


@pytest.mark.parametrize("task", TASKS)
def test_returns_and_observations_lie_within_their_bounds(task):
    for options in [{}] if task is Pendulum else [{"absorbing": True}, {"absorbing": False}, {"fixed_horizon": False}]:
        env = task(horizon=100, **options)
        generator = np.random.default_rng(3)
        starts = np.concatenate(
            [env.reset(generator.random((300, env.reset_draws))), draw_states(task, generator, 300)]
        )
        states, rewards, ends = play(env, starts, draw_actions(env, generator, 100, 600, beyond=3.0))
        least, greatest = env.return_range
        taken = np.concatenate([np.zeros((1, 600), dtype=bool), np.maximum.accumulate(ends)[:-1]]) == 0
        returns = (rewards * taken).sum(0)
        assert least <= returns.min() and returns.max() <= greatest
        seen = env.observe(states[:, :300] if task is CartPole else states)
        if env.fixed_horizon:  # else what follows an end may be anything
            assert (np.abs(seen).max((0, 1)) <= np.float32(env.observation_high)).all()


def played(env, states, last=None):
    """Trajectories `[1, 1]` of observed states `[T, F]`."""
    seen = torch.from_numpy(np.asarray(env.observe(np.array(states, dtype=float))))[None, None]
    nothing = torch.zeros(1, 1, seen.shape[2])
    end = seen[:, :, -1] if last is None else torch.from_numpy(env.observe(np.array(last, dtype=float)))[None, None]
    return Trajectories(seen, nothing, nothing, torch.tensor([[seen.shape[2]]]), end, torch.tensor([[False]]))


def test_what_solves_a_task():
    cart, stands, fell = CartPole(horizon=3), [0, 0, 0, 0], [0, 0, 0.22, 0]
    assert cart.success(played(cart, [stands] * 3)) and cart.success(played(cart, [stands] * 3, fell))
    assert not cart.success(played(cart, [stands, fell, stands]))
    assert not cart.success(played(cart, [stands, [2.5, 0, 0, 0], stands])) and not cart.success(played(cart, [stands]))
    pendulum = Pendulum(horizon=8)
    assert pendulum.success(played(pendulum, [[3, 0]] * 6 + [[0.3, 1], [-6.2, 0]]))
    assert not pendulum.success(played(pendulum, [[0, 0]] * 7 + [[0.5, 0]]))
    for car in (MountainCar(), MountainCarContinuous()):
        below, above = [car.flag - 0.01, 0.01], [car.flag, 0.01]
        assert car.success(played(car, [below], above)) and car.success(played(car, [below, above, below]))
        assert not car.success(played(car, [below, [0.55, -0.01]]))
        assert car.diagnostics(torch.tensor([below]))["position"] == torch.tensor([car.flag - 0.01])
    acrobot = Acrobot()
    assert acrobot.success(played(acrobot, [[0, 0, 0, 0], [np.pi, 0.5, 0, 0]]))
    assert not acrobot.success(played(acrobot, [[0, 0, 0, 0], [np.pi / 2, np.pi / 2, 0, 0]]))
    angles = np.random.default_rng(1).uniform(-np.pi, np.pi, (50, 4))
    height = acrobot.diagnostics(torch.from_numpy(acrobot.observe(angles)))["height"].numpy()
    np.testing.assert_allclose(height, -np.cos(angles[:, 0]) - np.cos(angles[:, 0] + angles[:, 1]), atol=1e-6)
    assert np.array_equal(height > 1, acrobot._is_over(angles))


@pytest.mark.parametrize("task", [Pendulum, MountainCarContinuous])
def test_a_seed_whose_actions_are_no_numbers_leaves_the_others_as_they_are(task):
    env = task()
    start = env.reset(np.full((3, 2, env.reset_draws), 0.3))
    actions = draw_actions(env, np.random.default_rng(0), 5, 3, 2)
    states, rewards, _ = play(env, start, actions)
    actions[:, 1] = np.nan
    broken, lost, ends = play(env, start, actions)  # without a warning, which would be an error here
    assert np.isnan(broken[1:, 1]).any(-1).all() and np.isnan(lost[:, 1]).all() and not ends.any()
    for seed in (0, 2):
        assert np.array_equal(broken[:, seed], states[:, seed]) and np.array_equal(lost[:, seed], rewards[:, seed])
