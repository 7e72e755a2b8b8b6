"""Every experiment in `conf/` is built and run for a few steps; options, signatures and defaults agree."""

import dataclasses
import importlib
import re
from typing import Annotated, Literal

import pytest
import yaml

from prefrl_cli.cli.train import main
from prefrl_cli.config.choices import GROUPS, choices, conf_folder
from prefrl_cli.config.compose import composed
from prefrl_cli.config.options import Run, check, signature
from prefrl_cli.core.option_types import ConfigError, Limits, Positive, alternatives, show

EXPERIMENTS = choices("experiment")


def test_the_experiments_are_found():
    found = list((conf_folder() / "experiment").rglob("*.yaml"))
    assert len(found) == len(EXPERIMENTS) >= 2


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([f"experiment={name}", "steps=3", "num_seeds=2", "quiet=true", "output_dir=run"]) == 0
    rows, tested = (
        [row.split(",") for row in (tmp_path / "run" / file).read_text().splitlines()]
        for file in ("metrics.csv", "evaluation.csv")
    )
    first = int(rows[1][1])  # the notebook's experiments begin at the notebook's seed
    assert [row[:2] for row in rows[1:]] == [[str(step), str(first + seed)] for step in (1, 2, 3) for seed in (0, 1)]
    assert [row[:2] for row in tested[1:3]] == [["0", str(first + seed)] for seed in (0, 1)]
    assert [row[:2] for row in tested[-2:]] == [["3", str(first + seed)] for seed in (0, 1)]
    assert {path.suffix for path in (tmp_path / "run" / "charts").iterdir()} >= {".png", ".svg"}


GROUP_CHOICES = [(group, choice) for group in GROUPS for choice in choices(group)]


@pytest.mark.parametrize(("group", "choice"), GROUP_CHOICES, ids=lambda value: value)
def test_each_option_of_a_group_is_an_argument_with_a_fitting_value(group, choice):
    node = yaml.safe_load((conf_folder() / group / f"{choice}.yaml").read_text())
    node.pop("defaults", None)  # what the choice brings along, tested below
    module, _, name = node.pop("_target_").rpartition(".")
    allowed = signature(getattr(importlib.import_module(module), name))
    node = {
        key: float(value) if isinstance(value, str) and re.fullmatch(r"[\d.]+e-?\d+", value) else value
        for key, value in node.items()
    }
    own = {key: value for key, value in node.items() if not str(value).startswith("${")}  # the others are checked there
    assert check(group, allowed, own) == own
    # The other way round: every value that the constructor takes stands in the YAML, where a person looks for it.
    parts = {
        "seeds",
        "record",
        "preferences_file",
        "preference_data",
        "env_options",
        "allow_targets",
    }  # handed in by `build`
    parts |= {*GROUPS, "steps"} if group == "algorithm" else set()
    options = {name for name, option in allowed.items() if option.is_value}
    assert options - parts == node.keys() - parts
    # No number goes in unchecked: zero, a huge or a negative one would fail in the middle of training.
    numbers = {name: alternatives(allowed[name].annotation) for name in options - parts}
    assert not {name for name, kinds in numbers.items() if {int, float} & set(kinds)}


@pytest.mark.parametrize(
    ("typed", "model"),
    [
        (["experiment=oprl_maze"], "implicit"),
        (["experiment=oprl_maze", "shaping=none"], "implicit"),
        (["experiment=oprl_maze", "shaping=additive"], "process"),
        (["experiment=oprl_maze", "shaping=potential"], "process"),
        (["experiment=oprl_maze", "reward_model=process"], "process"),
        (["experiment=tutorial/oprl_maze", "shaping=none"], "process"),
        (["experiment=tutorial/oprl_maze", "shaping=step_advantage"], "process"),
    ],
)
def test_a_shaping_brings_its_reward_model_unless_one_is_named(typed, model):
    assert composed(typed)["reward_model"]["choice"] == model


def test_another_part_leaves_behind_what_the_experiment_said_about_its_own():
    """`queries.questions=200` stands in the experiment, and `early` asks by its budget."""
    options = composed(["experiment=oprl_maze", "queries=early", "queries.budget=40"])["queries"]
    assert options["choice"] == "early" and "questions" not in options
    assert (options["budget"], options["from_newest"]) == (40, 200)  # what both have stays
    kept = composed(["experiment=oprl_maze", "queries=disagreement"])["queries"]
    assert (kept["questions"], kept["from_newest"]) == (200, 200)


def test_what_was_typed_for_a_part_that_has_no_such_option_is_refused(capsys):
    assert main(["experiment=oprl_maze", "queries=early", "queries.questions=3", "steps=1"]) == 2
    assert "queries.questions: there is no such option; choose one of budget, first" in capsys.readouterr().err


def test_a_value_is_shown_in_one_line():
    assert show({"\n": ["\n", None], "size": 8}) == r"{'\n':['\n',null],size:8}"


def test_the_root_options_have_the_defaults_that_the_yaml_says():
    root = yaml.safe_load((conf_folder() / "config.yaml").read_text())
    declared = dataclasses.asdict(Run("any"))
    declared["allow_targets"] = list(declared["allow_targets"])
    del declared["experiment"], root["hydra"]
    groups = {key for entry in root.pop("defaults") if isinstance(entry, dict) for key in entry}
    assert root == declared
    assert groups >= {*GROUPS, "experiment"}


class Base:
    def __init__(self, size: Annotated[int, Limits(1, 9)] = 3, rate: Positive | None = None):
        self.size, self.rate = size, rate


class Child(Base):
    def __init__(self, kind: Literal["a", "b"], **parts: object):
        super().__init__(**parts)


def test_a_signature_goes_through_to_the_base_class():
    assert list(signature(Child)) == ["kind", "size", "rate"]


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [("size", 9, True), ("size", 10, False), ("size", 3.0, False), ("size", True, False), ("rate", 1, True)]
    + [("rate", None, True), ("rate", 0.0, False), ("rate", float("inf"), False), ("rate", 10**400, False)]
    + [("kind", "b", True), ("kind", "c", False), ("kind", 1, False), ("kind", [], False), ("size", {}, False)],
)
def test_values_are_held_against_annotations(name, value, allowed):
    if allowed:
        assert check("group", signature(Child), {name: value}) == {name: value}
    else:
        with pytest.raises(ConfigError, match=f"^group.{name}=.*: must be "):
            check("group", signature(Child), {name: value})


def test_an_int_becomes_the_float_that_is_asked_for():
    assert type(check("", signature(Base), {"rate": 1})["rate"]) is float


OPRL = ["experiment=oprl_maze", "steps=2", "num_seeds=2", "quiet=true", "output_dir=run"]


@pytest.mark.parametrize(
    "change", ["shaping=additive env.size=12 optimizer=adamw", "shaping=none policy_update=replay"]
)
def test_groups_are_exchanged_by_name(change, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*OPRL, *change.split()]) == 0
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    for typed in change.split():
        name, _, value = typed.partition("=")
        group, _, key = name.partition(".")
        if key:
            assert str(config[group][key]) == value
        else:
            assert config[group]["choice"] == value


def test_a_sweep_makes_a_full_run_of_each_job(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["-m", "experiment=addition_linear", "steps=1", "seed=1,2", "quiet=true"]) == 0
    (sweep,) = (tmp_path / "outputs" / "addition_linear" / "sweeps").iterdir()
    names = sorted(path.name for path in sweep.iterdir() if not path.name.startswith("."))
    assert names == ["multirun.yaml", "seed=1,steps=1", "seed=2,steps=1", "sweep.csv", "sweep.yaml"]
    for seed in (1, 2):
        run = sweep / f"seed={seed},steps=1"
        assert yaml.safe_load((run / "status.json").read_text())["status"] == "finished"
        assert yaml.safe_load((run / "config.yaml").read_text())["seed"] == seed


def test_one_failing_job_leaves_the_others_running(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    typed = ["experiment=rewardnet_mse", "optimizer=sgd", "optimizer.lr=1e30,0.001", "seed=3", "steps=12"]
    assert main(["-m", *typed, "charts=false", "quiet=true"]) == 1
    (sweep,) = (tmp_path / "outputs" / "rewardnet_mse" / "sweeps").iterdir()
    summaries = {path.parent.name: (path.parent / "summary.json").is_file() for path in sweep.glob("*/status.json")}
    assert sorted(summaries.values()) == [False, True]
    assert all(ended == ("lr=0.001," in name) for name, ended in summaries.items())
