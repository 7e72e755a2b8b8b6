"""Every number that a person can type has a limit below which one step ends."""

import inspect
import types
import typing
from typing import Annotated

import pytest
import yaml
from kill_and_resume import config_of

from prefrl_cli.config.build import build
from prefrl_cli.config.choices import GROUPS, choices, conf_folder
from prefrl_cli.config.group import Group
from prefrl_cli.config.options import Checkpoints, Evaluations, Run, signature
from prefrl_cli.core.option_types import ConfigError, Limits

MOST = 10**9
HANDED_IN = {"streams": ["seeds"], "algorithm": ["steps"]}  # by the root options, which have limits of their own
SEED = 2**32 - 1
# What one step repeats or holds: ten times or more what a sensible run needs, and no more than a step can bear.
HEAVY = {
    "hidden": 16_384, "layers": 100, "members": 1000, "epochs": 10_000, "minibatches": 10_000, "updates": 10_000,
    "batch": 10**6, "dataset_capacity": 10**6, "replay_capacity": 10**6, "questions": 10**6, "episodes": 10**6,
    "evaluation_episodes": 10**6,
    "initial_states": 10**6, "final_states": 10**6, "largest": 99, "size": 256, "horizon": 100_000,
    "num_seeds": 100_000, "threads": 1024,
}  # fmt: skip


def targets():
    """Each class that a configuration can name, once, and the group it is in."""
    found = {Run: "", Checkpoints: "checkpoint", Evaluations: "evaluation"}
    for group in GROUPS:
        for choice in choices(group):
            node = yaml.safe_load((conf_folder() / group / f"{choice}.yaml").read_text(encoding="utf-8"))
            found.setdefault(Group(group, node, ()).target, group)
    return found


def numbers(annotation):
    """The numeric types within an annotation, each with its limits."""
    base, *extras = typing.get_args(annotation) if typing.get_origin(annotation) is Annotated else (annotation,)
    if base in (int, float):
        yield base, next((one for one in extras if isinstance(one, Limits)), None)
    elif typing.get_origin(base) in (typing.Union, types.UnionType) or isinstance(typing.get_origin(base), type):
        for inner in typing.get_args(base):
            yield from numbers(inner)


OPTIONS = [
    (f"{group}.{name}".strip(".") + f" of {target.__name__}", name, target, base, limits)
    for target, group in targets().items()
    for name, option in signature(target).items()
    if option.is_value and name not in HANDED_IN.get(group, ())
    for base, limits in dict.fromkeys(numbers(option.annotation))  # once, where a list of them may be typed as well
]


def test_all_are_found():
    assert len(OPTIONS) == len({label for label, *_ in OPTIONS}) > 90
    assert {name for _, name, *_ in OPTIONS} >= set(HEAVY)


@pytest.mark.parametrize(("label", "name", "target", "base", "limits"), OPTIONS, ids=[one[0] for one in OPTIONS])
def test_it_has_a_limit(label, name, target, base, limits):
    assert limits is not None, f"{label} has no limits"
    if base is float:  # 32 bits hold nothing larger
        assert 1e300 not in limits and -1e300 not in limits
        return
    assert 0 <= limits.low <= limits.high <= (SEED if "seed" in name else MOST)
    if name in HEAVY:
        assert limits.high <= HEAVY[name]
    default = (
        inspect.signature(target).parameters[name].default if name in inspect.signature(target).parameters else None
    )
    if type(default) in (int, float) and default and base is int and name not in ("size", "largest"):
        assert limits.high >= 50 * default, f"{label}: the limit is near the default"


@pytest.mark.parametrize("typed", ["policy.steps=1000000000", "reward_model.members=1000000"])
def test_the_message_names_the_limit(typed):
    name, _, value = typed.partition("=")
    group, option = name.split(".")
    config, _ = config_of("oprl_maze" if option == "members" else "addition_linear")
    config[group][option] = int(value)
    limit = HEAVY["members"] if option == "members" else 10_000
    with pytest.raises(ConfigError, match=rf"{name}=.* between 1 and {limit}.*; try {name}={limit}"):
        build(config)
