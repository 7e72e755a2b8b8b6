"""Which parts of OPRL go together: each says what it needs, so that one of a person's own is asked as ours are."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from prefrl_cli.core.environment import (
    Discrete,
    Environment,
    FiniteEnvironment,
    TimeLimit,
    VectorEnvironment,
    is_finite,
)
from prefrl_cli.core.option_types import OptionError, show
from prefrl_cli.core.replay_buffer import Store
from prefrl_cli.core.streams import Streams
from prefrl_cli.preference.dataset import PreferenceDataset
from prefrl_cli.preference.loss import measured_smoothing, smooth
from prefrl_cli.preference.queries import UniformTrajectories
from prefrl_cli.preference.teacher import check
from prefrl_cli.reward_model.reward_update import RewardUpdate


def check_parts(
    env: Environment,
    reward_model: Any,
    queries: UniformTrajectories,
    reward_update: RewardUpdate,
    shaping: Any,
    policy_update: Any,
    episodes: int,
    replay_capacity: int,
    evaluation_episodes: int,
) -> None:
    """Refuse parts and sizes that do not go together.

    A policy update may say how many episodes it needs (`min_episodes`), that the value of a state counts in which a
    time limit cut an episode off (`bootstraps`), and that potentials change nothing in it (`cancels_potentials`); a
    shaping that states need rewards (`needs_state_rewards`); a reward model that its rewards are of actions
    (`rewards_actions`). What a part does not say, it does not need.

    Raises:
        OptionError: naming the option and what to type.
    """
    kind = FiniteEnvironment if is_finite(env) else VectorEnvironment
    for name in ("observation_space", "action_space", *Environment.__annotations__, *kind.__annotations__):
        if not hasattr(env, name):
            raise OptionError("env", type(env).__name__, f"has no {name}, which oprl needs; see docs/extending.md")
    if (wrong := _wrong(env)) is not None:
        raise OptionError("env", type(env).__name__, f"{wrong}; see docs/extending.md")
    capacity = reward_update.dataset_capacity
    for name, value, most, limit in (
        ("algorithm.episodes", episodes, replay_capacity, "algorithm.replay_capacity"),
        ("queries.questions", queries.questions, capacity, "reward_update.dataset_capacity"),
        ("reward_update.batch", reward_update.batch, capacity, "reward_update.dataset_capacity"),
    ):
        if value > most:
            raise OptionError(name, value, "more than are kept", {name: most, limit: value})
    if evaluation_episodes < 2 or replay_capacity < 2:
        name = "evaluation_episodes" if evaluation_episodes < 2 else "replay_capacity"
        raise OptionError(name, 1, "a question needs two trajectories", 16)
    if episodes < getattr(policy_update, "min_episodes", 1):
        raise OptionError("episodes", episodes, "is measured against the others of a batch", 10)
    if is_finite(env) and getattr(policy_update, "cancels_potentials", False):
        if getattr(shaping, "discount", None) == policy_update.discount:
            reason = "takes the same from all returns that are compared"
            raise OptionError("shaping", "potential", reason, "step_advantage")
    if env.time_limit == "bootstrap" and not getattr(policy_update, "bootstraps", False):
        reason = "only PPO values what a limit cut off"
        raise OptionError("env.time_limit", "bootstrap", reason, {"policy_update": "ppo"})
    if episodes * (queries.start + 1) < 2:
        raise OptionError("queries.start", queries.start, "no two trajectories are kept then", 1)
    if getattr(reward_model, "rewards_actions", False) and getattr(shaping, "needs_state_rewards", False):
        name = getattr(reward_model, "choice", "implicit")
        raise OptionError("reward_model", name, "rewards steps, not states", "process")
    if not is_finite(env) and queries.centres:
        raise OptionError("queries", "k_center", "needs states that are numbered", "uniform")
    if queries.needs_members and reward_model.members < 2:
        raise OptionError("reward_model.members", 1, "no two disagree", 3)
    if (queries.segment or 0) > env.horizon:
        reason = f"an episode has at most {env.horizon} steps"
        raise OptionError("queries.segment", queries.segment, reason, env.horizon)


def _wrong(env: Environment) -> str | None:
    """What an environment of one's own says of itself that cannot be, in words; none where there is nothing."""
    if env.time_limit not in get_args(TimeLimit):
        return f"time_limit is {show(env.time_limit)}, and has to be {' or '.join(get_args(TimeLimit))}"
    if not is_finite(env):
        return None
    follow, count, actions = np.asarray(env.transitions), env.num_states, env.num_actions
    if getattr(env.action_space, "n", None) != actions:
        return f"num_actions is {actions}, and action_space is {env.action_space}"
    for name, state in (("start", env.start), ("goal", env.goal)):
        if not 0 <= state < count:
            return f"{name} is {show(state)}, and states are 0 to {count - 1}"
    whole = follow.dtype.kind in "iu" and follow.shape == (count, actions)
    if not whole or follow.min() < 0 or follow.max() >= count:
        return f"transitions have to be whole numbers from 0 to {count - 1}, of the shape [{count}, {actions}]"
    return None


def check_measurable(loss: Any, teacher: Any) -> None:
    """Refuse to measure how reliable answers are of which none is given twice.

    A teacher that can be asked twice says in which share of the questions it is, `repeat`.

    Raises:
        OptionError: naming what to type.
    """
    if getattr(loss, "measured", False) and not getattr(teacher, "repeat", 0):
        cure = "teacher.repeat" if type(getattr(teacher, "repeat", None)) is float else "loss.smoothing"
        raise OptionError("loss.smoothing", "measured", "no question is answered twice", {cure: 0.1})


def smoothed(label: Tensor, loss: Any, teacher: Any, preferences: PreferenceDataset) -> Tensor:
    """Labels `[R, B]` that say no more than the teacher was found to be reliable, where a loss is to measure that."""
    if not getattr(loss, "measured", False):
        return label
    own: Tensor | None = getattr(teacher, "repeats", None)  # of whom is asked again later
    repeats = preferences.repeats if own is None else own.to(label.device)
    return smooth(label, measured_smoothing(repeats)[:, None])


def take_answers(teacher: Any, preferences: PreferenceDataset, kept: Store, streams: Streams, step: int) -> None:
    """Let a teacher answer what waits.

    A teacher may have questions of its own to ask first (`ask`), and answers that were taken back (`undone`).

    Args:
        teacher: answers now, later or never.
        preferences: where the questions wait.
        kept: the trajectories kept.
        streams: random numbers.
        step: the update.
    """
    if hasattr(teacher, "ask"):
        teacher.ask(preferences, step)
    if (pending := preferences.pending(step)) is not None:
        answers = teacher.answer(pending, kept, streams)
        if getattr(teacher, "undone", None) is not None:
            preferences.take_back(teacher.undone)
        if answers is not None:
            check(answers)
        preferences.answer(answers, step)


def teacher_state(teacher: Any) -> dict[str, Any]:
    """What of a teacher changes, as `teacher`; empty where nothing does."""
    return {"teacher": teacher.state()} if hasattr(teacher, "state") else {}


def feature_rows(
    env: Environment, episodes: int, policy_update: Any, reward_update: RewardUpdate, segment: int | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Rows of the batches of features that the policy and the reward model see; none where states are numbers."""
    if isinstance(env.observation_space, Discrete):
        return (), ()
    every, steps = env.num_states if is_finite(env) else episodes, env.horizon
    part = -(-episodes * steps // getattr(policy_update, "minibatches", 1))
    return (every, steps, part), (every, 2 * reward_update.batch * (segment or steps))


def updated_state(state: dict[str, Any]) -> dict[str, Any]:
    """A state of OPRL as today's code would have written it; one of today stays.

    Earlier versions kept a teacher's score beside each trajectory, and of an answer neither weight nor number nor time.
    They did not count the environment's steps.
    """
    if "asked" not in state or "labels_used" not in state:
        return state
    unknown = torch.full(
        (len(state["labels_used"]),), torch.nan, dtype=torch.float64, device=state["labels_used"].device
    )
    state = {"held_out": {}, "env_steps": unknown, **state}
    trajectories, answered = dict(state["trajectories"]), dict(state["preferences"])
    trajectories["items"] = {name: value for name, value in trajectories["items"].items() if name != "score"}
    items = dict(answered["items"])
    if "label" in items:
        label = items["label"]
        items["weight"] = torch.ones_like(label)
        items |= {name: torch.full_like(label, -1, dtype=torch.int64) for name in ("number", "asked", "answered")}
    answered["items"] = items
    if trajectories["items"]:  # an episode of theirs had always come to its end
        ended = torch.ones_like(trajectories["items"]["lengths"], dtype=torch.bool)
        trajectories["items"] = {**trajectories["items"], "terminated": ended}
    preferences = {"asked": state.pop("asked"), "used": state.pop("labels_used"), "answered": answered, "pending": []}
    return state | {"trajectories": trajectories, "preferences": preferences}
