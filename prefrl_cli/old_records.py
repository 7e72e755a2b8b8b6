"""Records of earlier versions of prefrl, as today's code writes them: a run of any age resumes, repeats and reports.

A record names the choice of a group (`shaping: {choice: none}`), which outlives every move of a class. Records written
before that named the class; this table says which choices that class had then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from prefrl_cli.choices import conf_folder

_CHOICES: dict[str, tuple[str, ...]] = {
    "prefrl_cli.algorithm.oprl.OPRL": ("oprl",),
    "prefrl_cli.algorithm.oprl.Exploration": ("falling", "none"),
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
    "prefrl_cli.queries.Disagreement": ("disagreement", "disagreement_k_center"),
    "prefrl_cli.queries.Entropy": ("entropy", "entropy_k_center"),
    "prefrl_cli.queries.KCenter": ("k_center",),
    "prefrl_cli.queries.NearGreedy": ("near_greedy",),
    "prefrl_cli.queries.UniformTrajectories": ("uniform_trajectories",),
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
    "prefrl_cli.teacher.Closest": ("closest",),
    "prefrl_cli.teacher.Teacher": (
        *("oracle", "mistake", "noisy", "skip", "myopic", "equal"),
        *("return", "discounted_return", "progress"),
    ),
}


def updated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A record's options, nested, as today's code would have written them; the options themselves stay."""
    return {str(name): _updated_node(str(name), node) for name, node in config.items()}


def updated_flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """The same for options by their dotted names, as a checkpoint keeps them."""
    found = dict(options)
    for name, target in options.items():
        group, _, last = str(name).rpartition(".")
        if last == "_target_" and isinstance(target, str) and target in _CHOICES:
            inside = {key.removeprefix(f"{group}."): value for key, value in options.items() if f"{group}." in key}
            found[f"{group}.choice"] = _nearest(group.rpartition(".")[2], _CHOICES[target], inside)
            del found[name]
    return found


def _updated_node(group: str, node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    target = node.get("_target_")
    if group == "logger":
        return {name: _updated_node(str(name), inner) for name, inner in node.items()}
    if not isinstance(target, str) or target not in _CHOICES:
        return dict(node)
    options = {name: value for name, value in node.items() if name != "_target_"}
    return {"choice": _nearest(group, _CHOICES[target], options), **options}


def _nearest(group: str, names: tuple[str, ...], options: Mapping[str, Any]) -> str:
    """The choice whose values the record's are most like; the first wins a tie."""
    if len(names) == 1:
        return names[0]

    def same(name: str) -> int:
        path = conf_folder() / group / f"{name}.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return sum(options.get(key) == value for key, value in values.items())

    return max(names, key=same)
