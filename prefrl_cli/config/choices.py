"""What there is to choose in `conf/`, and what records of earlier versions call it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefrl_cli.core.option_types import ConfigError, show, suggest

PARTS = (
    "streams",
    "env",
    "reward_model",
    "policy",
    "criterion",
    "teacher",
    "queries",
    "loss",
    "reward_update",
    "shaping",
    "policy_update",
    "exploration",
)

GROUPS = (*PARTS, "optimizer", "algorithm")


def conf_folder() -> Path:
    """The folder `conf/`: inside the package when it was installed from a wheel, beside it in a clone."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"conf/config.yaml is missing beside {package}; install prefrl again")


def choices(group: str) -> list[str]:
    """The options of a group, those in folders included."""
    folder = conf_folder() / group
    return sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))


def content(path: Path) -> str:
    """A file of `conf/`, read once as long as it does not change; Hydra takes its text from here as well.

    Raises:
        OSError: when there is none that can be read.
    """
    about = path.stat()
    return _content(path, about.st_mtime_ns, about.st_size)


@functools.cache
def _content(path: Path, changed: int, size: int) -> str:
    return path.read_text(encoding="utf-8")


def target(group: str, choice: str) -> str:
    """The class that a choice of a group stands for; empty where there is no such choice."""
    try:
        text = content(conf_folder() / group / f"{choice}.yaml")
    except OSError:
        return ""
    found = re.search(r"^_target_: ([\w.]+)$", text, re.MULTILINE)
    return found[1] if found else ""


def named(config: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Composed options with the name of each group's choice in place of its class: `shaping: {choice: none}`.

    What was chosen is what a person knows, and it outlives a move of the class. A class that a person typed, or that a
    file of their own names, stays.

    Args:
        config: plain options; a group has a `_target_`.
        chosen: group -> choice; a tracker's name is its choice.
    """

    def node(group: str, choice: Any, options: Any) -> Any:
        if not isinstance(options, Mapping) or "_target_" not in options or "choice" in options:
            return options
        if options["_target_"] != target(group, str(choice)):
            return options
        return {"choice": choice, **{name: value for name, value in options.items() if name != "_target_"}}

    found = {name: node(name, chosen.get(name), value) if name in GROUPS else value for name, value in config.items()}
    if isinstance(found.get("logger"), Mapping):
        found["logger"] = {name: node("logger", name, value) for name, value in found["logger"].items()}
    return found


def not_set(group: str, user: str) -> ConfigError:
    """The error for a group that something needs."""
    return ConfigError(f"{group} is not set and {user} needs one; type {group}={'|'.join(choices(group))}")


def choice_error(group: str, name: str, names: Sequence[str] | None = None) -> ConfigError:
    """The error for a group's option that does not exist."""
    if (now := choice_now(group, name)) != name:
        return ConfigError(f"{group}={name}: is called {now} now; type {group}={now}")
    if group == "teacher" and name in choices("criterion"):
        return ConfigError(f"teacher={name}: what a teacher judges by is chosen by itself; type criterion={name}")
    known = names if names is not None else choices(group)
    return ConfigError(f"{group}={show(name)}: there is no such {group}; {suggest(name, known, f'{group}=')}")


def of_any_group(name: str) -> tuple[str, str]:
    """The group and the choice that are meant by a choice's name, such as `maze`, or by both, `teacher/noisy`.

    Raises:
        ConfigError: where there is none, or several groups have it.
    """
    every = {f"{group}/{choice}": (group, choice) for group in GROUPS for choice in choices(group)}
    if name in every:
        return every[name]
    for group, choice in _CHOICES_NOW:
        if name in (choice, f"{group}/{choice}"):
            raise choice_error(group, choice)
    fitting = [both for both, (_, choice) in every.items() if choice == name]
    if len(fitting) == 1:
        return every[fitting[0]]
    if fitting:
        raise ConfigError(f"{show(name)}: several groups have one; type {' or '.join(fitting)}")
    group = name.partition("/")[0]
    names = [both for both in every if both.startswith(f"{group}/")] or [choice for _, choice in every.values()]
    raise ConfigError(f"{show(name)}: there is no such part; {suggest(name, sorted(set(names)))}")


# What earlier versions called an option of a group, and a choice.
_OPTIONS_NOW = {
    ("algorithm", "memory"): "replay_capacity",
    ("algorithm", "render_every"): "greedy_episode_every",
    ("algorithm", "test_episodes"): "evaluation_episodes",
    ("optimizer", "steps"): "decay_steps",
    ("queries", "recent"): "from_newest",
    ("reward_update", "keep"): "dataset_capacity",
    ("reward_update", "minimum"): "min_questions",
}
_CHOICES_NOW = {("exploration", "falling"): "linear_decay", ("queries", "uniform_trajectories"): "uniform"}


def option_now(name: str) -> str:
    """What an option of earlier versions is called today, by its dotted name; any other name itself."""
    group, _, last = name.partition(".")
    return f"{group}.{_OPTIONS_NOW[group, last]}" if (group, last) in _OPTIONS_NOW else name


def choice_now(group: str, name: str) -> str:
    """What a choice of earlier versions is called today; any other name itself."""
    return _CHOICES_NOW.get((group, name), name)


_CHOICES: dict[str, tuple[str, ...]] = {
    "prefrl_cli.algorithm.oprl.OPRL": ("oprl",),
    "prefrl_cli.algorithm.oprl.Exploration": ("linear_decay", "none"),
    "prefrl_cli.algorithm.oprl.RewardUpdate": ("preferences",),
    "prefrl_cli.algorithm.reward_learning.RewardFromPreferences": ("reward_from_preferences",),
    "prefrl_cli.algorithm.reward_learning.RewardRegression": ("reward_regression",),
    "prefrl_cli.env.addition.Addition": ("addition",),
    "prefrl_cli.env.maze.Maze": ("maze",),
    "prefrl_cli.group_update.GroupBaseline": ("rloo", "grpo"),
    "prefrl_cli.loggers.MLflow": ("mlflow",),
    "prefrl_cli.loggers.TensorBoard": ("tensorboard",),
    "prefrl_cli.loggers.WandB": ("wandb",),
    "prefrl_cli.loss.Davidson": ("davidson",),
    "prefrl_cli.loss.RaoKupper": ("rao_kupper",),
    "prefrl_cli.loss.SkipTies": ("skip",),
    "prefrl_cli.loss.SoftTies": ("soft",),
    "prefrl_cli.optimizers.Adam": ("adam", "adamw"),
    "prefrl_cli.optimizers.RMSprop": ("rmsprop",),
    "prefrl_cli.optimizers.SGD": ("sgd",),
    "prefrl_cli.policy.ActorCritic": ("actor_critic",),
    "prefrl_cli.policy.Ascent": ("ascent",),
    "prefrl_cli.policy.GridSearch": ("grid",),
    "prefrl_cli.policy_update.PPO": ("ppo",),
    "prefrl_cli.policy_update.Replay": ("replay",),
    "prefrl_cli.policy_update.group_baseline.GroupBaseline": ("rloo", "grpo"),
    "prefrl_cli.policy_update.ppo.PPO": ("ppo",),
    "prefrl_cli.policy_update.replay.Replay": ("replay",),
    "prefrl_cli.queries.Disagreement": ("disagreement", "disagreement_k_center"),
    "prefrl_cli.queries.Entropy": ("entropy", "entropy_k_center"),
    "prefrl_cli.queries.KCenter": ("k_center",),
    "prefrl_cli.queries.NearGreedy": ("near_greedy",),
    "prefrl_cli.queries.UniformTrajectories": ("uniform",),
    "prefrl_cli.queries.WholeRange": ("whole_range",),
    "prefrl_cli.reward_model.ImplicitReward": ("implicit",),
    "prefrl_cli.reward_model.LinearReward": ("linear",),
    "prefrl_cli.reward_model.ProcessReward": ("process",),
    "prefrl_cli.reward_model.RewardNet": ("net",),
    "prefrl_cli.shaping.AdditiveShaping": ("additive",),
    "prefrl_cli.shaping.NoShaping": ("none",),
    "prefrl_cli.shaping.PotentialShaping": ("potential",),
    "prefrl_cli.shaping.StepAdvantage": ("step_advantage",),
    "prefrl_cli.streams.NotebookStreams": ("notebook",),
    "prefrl_cli.streams.PhiloxStreams": ("philox",),
    "prefrl_cli.preference.teacher.Closest": ("closest",),
    "prefrl_cli.preference.teacher.Teacher": ("oracle",),
    "prefrl_cli.teacher.Closest": ("closest",),
    "prefrl_cli.teacher.Teacher": ("oracle",),
}


def updated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A record's options, nested, as today's code would have written them; the options themselves stay."""
    found: dict[str, Any] = {}
    for name, node in config.items():
        updated_node = _updated_node(str(name), node)
        if name == "teacher" and "criterion" not in config and isinstance(updated_node, dict):
            found |= _judge_and_errors(updated_node)
        else:
            found[str(name)] = updated_node
    return found


def updated_flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same for options by their dotted names, as a checkpoint keeps them."""
    found = dict(options)
    for name, target in options.items():
        group, _, last = str(name).rpartition(".")
        if last == "_target_" and isinstance(target, str) and target in _CHOICES:
            inside = {key.removeprefix(f"{group}."): value for key, value in options.items() if f"{group}." in key}
            found[f"{group}.choice"] = _nearest(group.rpartition(".")[2], _CHOICES[target], inside)
            del found[name]
    chosen = {name.removesuffix(".choice"): str(value) for name, value in found.items() if name.endswith(".choice")}
    found = {option_now(name) if name.partition(".")[0] in chosen else name: value for name, value in found.items()}
    found |= {f"{group}.choice": choice_now(group, choice) for group, choice in chosen.items()}
    for (group, choice), added in _ADDED.items():
        if found.get(f"{group}.choice") == choice:
            found = {f"{group}.{name}": value for name, value in added.items()} | found
    teacher = {name: value for name, value in found.items() if name.startswith("teacher.")}
    if teacher and not any(name.startswith("criterion.") for name in found):
        parts = _judge_and_errors({name.removeprefix("teacher."): value for name, value in teacher.items()})
        found = {name: value for name, value in found.items() if name not in teacher}
        found |= {f"{group}.{name}": value for group, node in parts.items() for name, value in node.items()}
    return found


# Options that a choice did not have in earlier versions, with the values that stand for what it did then.
_ADDED: dict[tuple[str, Any], dict[str, Any]] = {("env", "maze"): {"time_limit": "end"}}
_ERRORS = {"noisy": ("beta", None), "myopic": ("gamma", 1), "mistake": ("mistake", 0), "skip": ("skip", 0)}
_ERRORS |= {"equal": ("equal", 0)}


def _judge_and_errors(teacher: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The groups `criterion` and `teacher` of a record in which a teacher was both; one of a person's own stays."""
    choice, options = teacher.get("choice"), dict(teacher)
    if choice == "closest":
        return {"criterion": options}
    if choice is None or "criterion" not in options:
        return {"teacher": options}
    discount, criterion = options.pop("discount", 1.0), options.pop("criterion")
    judge = {"ties": options.pop("ties", "skip")}
    if criterion == "return":
        judge = {"discount": discount, **judge}
        criterion = "discounted_return" if choice == "discounted_return" or discount != 1 else "return"
    if choice not in choices("teacher") or choice == "oracle":
        erring = (name for name, (number, none) in _ERRORS.items() if options.get(number, none) != none)
        choice = next(erring, "oracle")
    return {"criterion": {"choice": criterion, **judge}, "teacher": options | {"choice": choice}}


def _updated_node(group: str, node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    target = node.get("_target_")
    if group == "logger":
        return {name: _updated_node(str(name), inner) for name, inner in node.items()}
    if target is not None and (not isinstance(target, str) or target not in _CHOICES):
        return dict(node)
    options = {
        _OPTIONS_NOW.get((group, str(name)), str(name)): value for name, value in node.items() if name != "_target_"
    }
    if target is not None:
        options = {"choice": _nearest(group, _CHOICES[target], options), **options}
    choice = options.get("choice")
    if isinstance(choice, str):
        choice = options["choice"] = choice_now(group, choice)
    return options | (_ADDED.get((group, choice), {}) if isinstance(choice, str) else {}) | options


def _nearest(group: str, names: tuple[str, ...], options: Mapping[str, Any]) -> str:
    """The choice whose values the record's are most like; the first wins a tie."""
    if len(names) == 1:
        return names[0]
    import yaml  # --help does without

    def same(name: str) -> int:
        path = conf_folder() / group / f"{name}.yaml"
        values = yaml.safe_load(content(path)) if path.is_file() else {}
        return sum(options.get(key) == value for key, value in values.items())

    return max(names, key=same)
