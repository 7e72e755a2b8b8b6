"""What a metric is stands where it is declared: nobody else knows one by its name."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from prefrl_cli.algorithm import metrics
from prefrl_cli.core.metric import Metric, by_name, from_declaration
from prefrl_cli.policy.group_baseline import GroupBaseline
from prefrl_cli.policy.ppo import PPO
from prefrl_cli.policy.replay import Replay
from prefrl_cli.report.configurations import Configuration
from prefrl_cli.report.results import compare, headline_of, results
from prefrl_cli.report.runs import read_run
from prefrl_cli.run.earlier.results import declared, metric_of
from prefrl_cli.stats.intervals import share_interval
from prefrl_cli.stats.summary import brackets, digits, record, summarise, value_text

ROOT = Path(__file__).parents[1]
DECLARED = [*metrics.OPRL_METRICS, *metrics.REWARD_METRICS, *PPO.metrics, *GroupBaseline.metrics, *Replay.metrics]
MAY_NAME_THEM = ("algorithm", "policy", "reward_model")  # which compute them, and draw their own figures


def typed_names():
    """Words that people type as options and choices: `loss` is a metric and a group, `steps` an option."""
    found = set()

    def keys(node):
        for name, value in node.items() if isinstance(node, dict) else ():
            found.add(str(name))
            keys(value)

    for path in (ROOT / "conf").rglob("*.yaml"):
        found |= {path.stem, path.parent.name}
        keys(yaml.safe_load(path.read_text(encoding="utf-8")))
    return found | {"return"}  # a criterion


def names_in(source, names):
    """Literals of a source that are a metric's name, or its name in an evaluation; with their lines."""
    literals = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant))
    return [
        (node.lineno, node.value)
        for node in literals
        if isinstance(node.value, str) and node.value.removeprefix("evaluation/") in names
    ]


def test_no_name_of_a_metric_stands_outside_the_algorithms_and_their_figures():
    names = {metric.name for metric in DECLARED} | {"label_accuracy"}
    names -= typed_names()
    assert {"success", "success_mean", "solved", "labels_used", "preference_accuracy", "answer_error"} <= names
    found = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / "prefrl_cli").rglob("*.py")
        if path.parent.name not in MAY_NAME_THEM and (lines := names_in(path.read_text(encoding="utf-8"), names))
    }
    assert found == {}


def test_the_rule_itself():
    source = 'watched = ("success", "steps")\nfor name in ("evaluation/solved",):\n    """success"""\n'
    assert names_in(source, {"success", "solved"}) == [(1, "success"), (2, "evaluation/solved"), (3, "success")]


def test_a_declaration_survives_a_record_and_a_hostile_one_does_not_pass():
    for metric in DECLARED:
        assert from_declaration(metric.name, metric.declaration()) == metric
    bad = {"direction": "sideways", "low": "0", "high": 1e999, "headline": 1, "label": "x" * 1000, "role": ["cost"]}
    assert from_declaration("a", bad) == Metric("a")
    old = {"per_seed": [0.5], "mean": 0.5}
    found = declared({"label_accuracy": old, "solved": old, "mine": old, "wrong": [1]})
    assert list(found) == ["solved", "preference_accuracy", "mine"]
    assert found["solved"][0].binary and found["solved"][0].failed == 0.0 and found["mine"][0] == Metric("mine")
    assert declared([1]) == declared(None) == {}


def test_each_algorithm_has_one_headline_that_comes_first():
    for several, name in ((metrics.OPRL_METRICS, "success_mean"), (metrics.REWARD_METRICS, "preference_accuracy")):
        evaluated = [metric.name for metric in several if metric.name not in ("success", "return", "steps")]
        assert headline_of(by_name(several), reversed(evaluated)) == name
    assert headline_of({}, ["a", "b"]) == "a" and headline_of({}, []) == ""


@pytest.mark.parametrize(
    ("name", "headline"), [("oprl_maze", "success_mean"), ("rewardnet_prefs", "preference_accuracy")]
)
def test_a_run_of_an_earlier_version_has_the_headline_that_it_had(name, headline):
    (experiment,) = results([read_run(ROOT / "tests" / "old_runs" / name)]).experiments
    assert experiment.headline == headline


def test_a_share_of_seeds_has_the_interval_of_shares_wherever_it_is_said():
    solved, values = metric_of("solved", {}), np.array([1.0, 1.0, np.nan, 1.0])
    failed = np.array([False, False, True, False])
    found = summarise(values, solved, failed)
    assert (found.seeds, found.mean.value) == (4, 0.75)
    assert tuple(found.mean)[1:] == pytest.approx(share_interval(3, 4))
    said = record(values, solved, failed)
    assert said["ci95"] == pytest.approx(share_interval(3, 4)) and "seeds_with_value" not in said
    error = summarise(values, metric_of("calibration_error", {}), failed)
    assert error.seeds == 3 and error.mean.value == error.mean.high == 1.0 and 0.2 < error.mean.low < 0.6
    assert (said["median"], said["worst_tenth"]) == (1.0, 0.0)
    nothing = summarise(np.full(3, np.nan), solved)
    assert nothing.seeds == 0 and np.isnan(nothing.mean).all() and np.isnan(nothing.iqm).all()


def test_numbers_are_written_with_the_digits_that_their_interval_leaves():
    found = summarise(np.arange(20) / 20, Metric("a")).mean
    low, high = (digits(end, found.high - found.low) for end in found[1:])
    assert (value_text(found), brackets(found)) == ("0.47", f"[{low}, {high}]") and len(low) == 4
    alone = summarise(np.array([0.25]), Metric("a")).mean
    assert (value_text(alone), brackets(alone)) == ("0.250", "")


def side(name, values):
    scores = {"labels_used": np.array(values), "success_mean": np.array(values)}
    return Configuration(name, "maze", {}, [], list(range(len(values))), scores)


def test_what_has_no_direction_is_no_improvement():
    more, fewer = side("1", [300.0, 320.0, 310.0]), side("2", [100.0, 120.0, 90.0])
    found = compare(more, fewer, metric_of("labels_used", {}))
    assert np.isnan(found.better).all() and found.difference.value == pytest.approx(620 / 3)
    success = metric_of("success_mean", {})
    assert compare(more, fewer, success).better.value == 1.0
    assert compare(more, fewer, replace(success, direction="lower")).better.value == 0.0
    assert compare(more, side("3", [300.0, 320.0, 310.0]), success).same and not compare(more, fewer, success).same
