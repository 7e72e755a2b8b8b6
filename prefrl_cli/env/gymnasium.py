"""Any environment of Gymnasium, a batch of them for every seed.

An environment object each, seeded from the run's own random numbers at every start: a seed does not depend on those
beside it, as it would with Gymnasium's vectors, which share a generator or count seeds upwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prefrl_cli.core.environment import Box, Discrete, TimeLimit
from prefrl_cli.core.option_types import ConfigError, Given, Limits, Number, OptionError, Plain, Positive
from prefrl_cli.core.trajectories import Trajectories
from prefrl_cli.env.maze_layouts import cells_left

_REGISTERED_BY = {"MiniGrid": "minigrid", "BabyAI": "minigrid", "prefrl": "prefrl_cli.env.gymnasium_registration"}
_LARGEST_SCALE = 1000.0  # a bound above it says nothing of what is typical


class Gymnasium:
    """Gymnasium's environment of an id, as one whose states are vectors.

    What is observed is flattened as `gymnasium.spaces.flatten` does: a number of several is one of a vector's ones.
    Actions are numbers, or vectors whose bounds are stretched to -1 and 1.

    Args:
        id: the environment's id, such as `CartPole-v1`; one of the form `module:Name` imports the module, which
            `allow_targets` must name.
        kwargs: what its constructor takes, such as `{gravity: 9.8}`.
        wrappers: of `minigrid.wrappers` for a world of MiniGrid, else of `gymnasium.wrappers`, by name, inner first.
        horizon: most steps of an episode; none takes the environment's own time limit.
        keys: of an observation that is a dictionary, those that count; none takes all.
        told: what else a criterion may go by, and no network sees: numbers of the environment's `info` by name, such as
            `x_position`; of a world of MiniGrid also `progress`, minus the cells that are left to its goal.
        scale: networks divide what is observed by it, by each number's own if a list; none takes the space's bounds.
        absorbing: whether an episode that ends goes on to the horizon where it is, earning nothing: an end that comes
            with success or failure would tell the reward to a learner that is handed only labels.
        solved_return: the return from which an episode is a success; none takes the environment's own, if it has one.
        time_limit: what the horizon is, see `Environment`.
        allow_targets: packages that may be imported.

    Attributes:
        over: whether each episode has come to its end, or was cut off, `[R, B]`.
        started: what each episode was begun with, by which `played_again` repeats it, `[R, B]`.

    Raises:
        ConfigError: where a package is not installed.
        OptionError: for an environment that there is not, or that cannot be used.
    """

    reset_draws = 1
    return_range = (-math.inf, math.inf)

    def __init__(
        self,
        id: str = "CartPole-v1",
        kwargs: Mapping[str, Plain] | None = None,
        wrappers: Sequence[str] = (),
        horizon: Annotated[int, Limits(1, 100_000)] | None = None,
        keys: Sequence[str] | None = None,
        told: Sequence[str] = (),
        scale: Positive | Sequence[Positive] | None = None,
        absorbing: bool = True,
        solved_return: Number | None = None,
        time_limit: TimeLimit = "bootstrap",
        allow_targets: Given[Sequence[str]] = (),
    ) -> None:
        self._id, self._kwargs, self._keys, self._absorbing = id, dict(kwargs or {}), keys, absorbing
        self._told, self._wrappers = list(told), list(wrappers)
        _register(id, allow_targets)
        first = self._make()
        limit = horizon or self._limit or getattr(first.unwrapped, "max_steps", None)
        if limit is None:
            raise OptionError("horizon", None, f"{id} has no time limit of its own", 200)
        self.horizon, self.time_limit = int(limit), time_limit
        self._solved = first.spec.reward_threshold if solved_return is None else solved_return
        self._space, self._actions = self._observed_space(first.observation_space), first.action_space
        self._features = self._space.shape[0]
        self.observation_space = Box(-math.inf, math.inf, (self._features + len(self._told),))
        self.action_space = self._chosen_among()
        self.observation_scale = self._scale(scale)
        self._envs, self.over = [first], np.zeros((1, 1), dtype=np.bool_)
        self._shown: Any = None
        if told:
            self.reset(np.zeros((1, 1, 1)))  # an error where it does not tell

    def reset(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Starts `[R, B, F + 1]` of so many environments, each seeded with a number of its own, `[R, B, 1]`."""
        self._envs += [self._make() for _ in range(draws[..., 0].size - len(self._envs))]
        self.over, self.started = np.zeros(draws.shape[:2], dtype=np.bool_), (draws[..., 0] * 2**32).astype(np.int64)
        state = np.zeros((self.over.size, self.observation_space.shape[0] + 1))
        self._left: dict[int, NDArray[np.float64]] = {}  # of each environment, by `cells_left`
        for number, draw in enumerate(draws.ravel()):
            observed, info = self._envs[number].reset(seed=int(draw * 2**32))
            state[number, :-1] = self._kept(number, observed, info)
        return state.reshape(*self.over.shape, -1)

    def step(
        self, state: NDArray[np.float64], actions: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """One step of each environment whose episode goes on; the last number of a state is 1 where it was cut off."""
        following, rewards = state.copy(), np.zeros(self.over.shape)
        terminated = np.zeros(self.over.shape, dtype=np.bool_)
        for number, place in enumerate(np.ndindex(self.over.shape)):
            if self.over[place]:
                continue
            observed, reward, ends, cut, info = self._envs[number].step(self._action(actions[place]))
            following[place][:-1], following[place][-1] = self._kept(number, observed, info), cut and not ends
            rewards[place], terminated[place], self.over[place] = reward, ends, ends or cut
        return following, rewards, terminated & (not self._absorbing)

    def cut(self, state: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the environment itself has cut an episode off in states `[R, B, F + 1]`, before the horizon."""
        return np.asarray((state[..., -1] > 0) & (not self._absorbing))

    def observe(self, state: NDArray[np.float64]) -> NDArray[np.float32]:
        """What is seen of states: all but their last number."""
        return state[..., :-1].astype(np.float32)

    def success(self, played: Trajectories) -> Tensor:
        """Whether the return of trajectories `[R, B]` counts as solved; NaN where nobody says which does."""
        return played.returns * math.nan if self._solved is None else played.returns >= self._solved

    def diagnostics(self, states: Tensor) -> dict[str, Tensor]:
        """What is told of states, by name; nothing else is known of an environment of somebody else's."""
        return {name: states[..., self._features + place] for place, name in enumerate(self._told)}

    def figures(self, learned: Any) -> dict[str, Any]:
        """No pictures."""
        return {}

    def defects(self) -> Iterator[Any]:
        """What is wrong with the environment, found by playing it: each a `gymnasium_check.Defect`."""
        from prefrl_cli.env.gymnasium_check import defects  # which few need

        return defects(self)

    def outside(self, observed: NDArray[Any]) -> bool:
        """Whether some of what was observed, `[N, F]`, lies outside the space that the environment tells."""
        observed = observed[..., : self._features]
        small = 1e-6 * np.maximum(1.0, np.abs(observed))
        return bool(((observed < self._space.low - small) | (observed > self._space.high + small)).any())

    def played_again(self, start: int, actions: NDArray[Any]) -> Iterator[Callable[[], Any]]:
        """What draws an episode of these actions, begun with a number of `started`: at first, and after each action."""
        self._shown = self._make(render_mode="rgb_array") if self._shown is None else self._shown
        self._shown.reset(seed=start)
        yield self._shown.render
        for action in actions:
            _, _, ends, cut, _ = self._shown.step(self._action(action))
            yield self._shown.render
            if ends or cut:
                return

    def _make(self, **more: str) -> Any:
        import gymnasium

        owner, name = "minigrid" if _registered_by(self._id) == "minigrid" else "gymnasium", "id"
        found = importlib.import_module(f"{owner}.wrappers")
        try:
            made: Any = gymnasium.make(self._id, max_episode_steps=-1, disable_env_checker=True, **self._kwargs, **more)
            name = "wrappers"
            for wrapper in self._wrappers:
                made = getattr(found, wrapper)(made)
        except gymnasium.error.DependencyNotInstalled as problem:
            raise ConfigError(f"env.id={self._id}: {_first_line(problem)}") from None
        except (gymnasium.error.Error, TypeError, ValueError, AttributeError, AssertionError) as problem:
            name = "kwargs" if name == "id" and self._kwargs and isinstance(problem, TypeError) else name
            raise OptionError(name, getattr(self, f"_{name}"), _first_line(problem)) from None
        self._limit = gymnasium.spec(self._id).max_episode_steps
        return made

    def _observed_space(self, space: Any) -> Any:
        """The space of flattened observations."""
        from gymnasium import spaces

        if self._keys is not None:
            if not isinstance(space, spaces.Dict) or set(self._keys) - set(space):
                there = list(space) if isinstance(space, spaces.Dict) else None
                raise OptionError("keys", self._keys, "are not what is observed", there)
            space = spaces.Dict({key: space[key] for key in self._keys})
        self._whole, flat = space, _flat_space(space)
        if flat is None and isinstance(space, spaces.Dict):
            fitting = [key for key in space if _flat_space(space[key]) is not None]
            raise OptionError("keys", self._keys, "not all that is observed fits into a vector", fitting or None)
        if flat is None:
            raise OptionError("id", self._id, f"observes {_short(space)}, which fits into no vector")
        return flat

    def _chosen_among(self) -> Discrete | Box:
        from gymnasium import spaces

        if isinstance(self._actions, spaces.Discrete):
            return Discrete(int(self._actions.n))
        if isinstance(self._actions, spaces.Box) and np.issubdtype(self._actions.dtype, np.floating):
            return Box(-1.0, 1.0, (math.prod(self._actions.shape),))
        raise OptionError("id", self._id, f"is acted in by {_short(self._actions)}, not Discrete or Box actions")

    def _action(self, chosen: Any) -> Any:
        """An action as the environment takes it."""
        if isinstance(self.action_space, Discrete):
            return int(chosen) + int(self._actions.start)
        low, high = self._actions.low.ravel(), self._actions.high.ravel()
        bounded = np.isfinite(low) & np.isfinite(high)
        chosen = np.where(np.isfinite(chosen), chosen, 0.0)  # a seed that fails plays this step out, without a warning
        share = (chosen.astype(np.float64).clip(-1.0, 1.0) + 1) / 2
        with np.errstate(invalid="ignore"):
            stretched = np.where(bounded, low + share * (high - low), chosen)
        return stretched.astype(self._actions.dtype).reshape(self._actions.shape)

    def _kept(self, number: int, observed: Any, info: Mapping[str, Any]) -> NDArray[np.float64]:
        """A state: what an environment shows, and what it tells."""
        world = self._envs[number].unwrapped
        if "progress" in self._told and hasattr(world, "agent_pos"):
            if number not in self._left:
                self._left[number] = cells_left(world)
            info = {**info, "progress": -self._left[number][tuple(world.agent_pos)]}
        try:
            return np.append(self._flat(observed), [float(info[name]) for name in self._told])
        except (KeyError, TypeError, ValueError):
            numbers = [name for name, value in info.items() if isinstance(value, (int, float, np.number))]
            raise OptionError("told", self._told, f"{self._id} tells no such number", numbers) from None

    def _flat(self, observed: Any) -> NDArray[np.float64]:
        from gymnasium import spaces

        if self._keys is not None:
            observed = {key: observed[key] for key in self._keys}
        if isinstance(self._whole, spaces.Box):
            return np.asarray(observed, np.float64).ravel()
        return np.asarray(spaces.flatten(self._whole, observed), np.float64)

    def _scale(self, typed: float | Sequence[float] | None) -> tuple[float, ...]:
        bounds = np.maximum(np.abs(self._space.low), np.abs(self._space.high)).astype(np.float64)
        if isinstance(typed, Sequence) and len(typed) != len(bounds):
            raise OptionError("scale", typed, f"{self._id} shows {len(bounds)} numbers", 1.0)
        known = np.where((bounds > 0) & (bounds <= _LARGEST_SCALE), bounds, 1.0)
        seen = np.broadcast_to(known if typed is None else typed, bounds.shape)
        return (*seen.tolist(), *[math.inf] * len(self._told))


def _flat_space(space: Any) -> Any:
    """The space of vectors that hold what is observed; none where there is no such space."""
    from gymnasium import spaces

    parts = space.values() if isinstance(space, spaces.Dict) else space if isinstance(space, spaces.Tuple) else ()
    if isinstance(space, spaces.Text) or any(_flat_space(part) is None for part in parts):  # a text is no number
        return None
    try:
        flat = spaces.flatten_space(space)
    except NotImplementedError:
        return None
    return flat if isinstance(flat, spaces.Box) else None


def _register(id: str, allow_targets: Sequence[str]) -> None:
    """Import what registers an id.

    Raises:
        ConfigError: where it is not installed.
        OptionError: where it is not allowed.
    """
    if importlib.util.find_spec("gymnasium") is None:
        raise ConfigError("env=gymnasium: gymnasium is not installed; type pip install 'prefrl[gymnasium]'")
    module, colon, _ = id.rpartition(":")
    if colon:
        package = module.partition(".")[0]
        if package not in allow_targets and module not in allow_targets:
            reason = f"imports code of yours; type 'allow_targets=[{package}]' too"
            raise OptionError("id", id, reason)
        try:
            importlib.import_module(module)
        except ImportError as problem:
            raise OptionError("id", id, f"{module} cannot be imported ({_first_line(problem)})") from None
    module = _registered_by(id)
    if module and importlib.util.find_spec(module) is None:
        raise ConfigError(f"env.id={id}: {module} is not installed; type pip install 'prefrl[{module}]'")
    if module:
        importlib.import_module(module)


def _registered_by(id: str) -> str:
    return _REGISTERED_BY.get(id.partition("-")[0].partition("/")[0], "")


def _first_line(problem: Exception) -> str:
    return _short(str(problem).strip().partition("\n")[0] or type(problem).__name__)


def _short(thing: Any) -> str:
    text = str(thing)
    return text if len(text) <= 160 else f"{text[:157]}..."
