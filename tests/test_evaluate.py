"""What a run has learned is tried again, elsewhere or with other dice, and the run stays as it is."""

import json
import shutil
from pathlib import Path

import direct
import kill_and_resume
import numpy as np
import pytest

from prefrl_cli.cli.evaluate import Evaluation, evaluate, main, table
from prefrl_cli.config.choices import choices
from prefrl_cli.core.metric import Metric
from prefrl_cli.env.rollout import probabilities
from prefrl_cli.run import runner
from prefrl_cli.run.lifecycle import run_or_resume

MAZE = ["steps=8", "checkpoint.every=4", "num_seeds=3", "queries=disagreement", "queries.questions=8", "seed=5"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each kind; charts take longer than all the rest."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "draw", lambda *_: None)
        for experiment, options in (("oprl_maze", MAZE), ("rewardnet_prefs", ["steps=4"])):
            config, overrides = kill_and_resume.config_of(experiment, *options)
            assert run_or_resume(config, overrides, folder / experiment) == "finished"
    return folder


def files(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("experiment", ["oprl_maze", "rewardnet_prefs"])
def test_nothing_changed_it_is_the_runs_own_evaluation(experiment, runs):
    before = files(runs)
    found = evaluate(runs / experiment, {})
    assert files(runs) == before
    metrics = json.loads((runs / experiment / "summary.json").read_text())["metrics"]
    left_out = {"labels_used", "success_last", "success_mean", "solved"}  # of training, not of what was learned
    assert set(metrics) - left_out <= set(found.metrics)
    for name in set(metrics) - left_out:
        expected = [np.nan if value is None else value for value in metrics[name]["per_seed"]]
        np.testing.assert_array_equal(found.metrics[name], expected, name)


def test_other_dice_change_what_is_drawn_and_not_what_was_learned(runs):
    one, other = (evaluate(runs / "oprl_maze", typed, 20) for typed in ({}, {"seed": 1000}))
    assert (one.policies, one.seeds) == ([5, 6, 7], [5, 6, 7])
    assert (other.policies, other.seeds) == ([5, 6, 7], [1000, 1001, 1002])
    for name in ("greedy_steps", "epic_distance", "distance_correlation"):  # an ensemble of three among it
        np.testing.assert_array_equal(one.metrics[name], other.metrics[name], name)
    assert (one.metrics["steps"] != other.metrics["steps"]).any()


def test_success_is_the_chance_that_the_policy_reaches_the_goal():
    """Against the exact chance, by going through all states at once; nothing is seen of the dice."""
    algorithm = direct.configured("oprl_maze", "num_seeds=3", "env.size=5", "env.horizon=24")
    for _ in range(4):
        algorithm.update()
    maze, policy = algorithm.env, probabilities(algorithm.env, algorithm.policy, algorithm.streams).double().numpy()
    chance = np.zeros((3, maze.num_states))
    chance[:, maze.start] = 1
    for _ in range(maze.horizon):
        going = chance[..., None] * policy
        going[:, maze.goal] = 0
        chance = chance * (np.arange(maze.num_states) == maze.goal)
        for state, nexts in enumerate(np.asarray(maze.transitions)):
            for action, to in enumerate(nexts):
                chance[:, to] += going[:, state, action]
    exact = chance[:, maze.goal]
    assert ((exact > 0.05) & (exact < 0.999)).any()
    error = np.sqrt(exact * (1 - exact) / 4000) + 1e-3
    assert (abs(algorithm.play(4000)["success"].numpy() - exact) < 4 * error).all()


def test_another_maze(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = files(runs)
    typed = ["seed=100", "episodes=7", "env.layout=random", "env.layout_seed=3"]
    assert main([str(runs / "oprl_maze"), *typed, "--json", "found.json"]) == 0
    head, more, *lines = capsys.readouterr().out.splitlines()
    assert f"{head} {more.strip()}" == (
        "oprl_maze, step 8: policies of seeds 5 to 7, 7 episodes each with the random numbers of seeds 100 to 102,"
        " env.layout=random, env.layout_seed=3"
    )
    assert max(map(len, [head, more, *lines])) <= 80 and "an illustration" in lines[-1]
    assert any(line.split()[0] == "success" and "[" in line for line in lines)
    content = json.loads(Path("found.json").read_text())
    assert content["options"]["env.layout"] == "random" and len(content["metrics"]["success"]["per_seed"]) == 3
    assert files(runs) == before and [path.name for path in tmp_path.iterdir()] == ["found.json"]


def test_an_earlier_checkpoint_and_a_damaged_one(runs, tmp_path, capsys):
    run = shutil.copytree(runs / "oprl_maze", tmp_path / "run")
    assert main([str(run / "checkpoints" / "step_000004.pt"), "episodes=2"]) == 0
    assert capsys.readouterr().out.startswith("oprl_maze, step 4: ")
    assert main([str(run / "checkpoints" / "step_000001.pt")]) == 2
    said = capsys.readouterr().err
    assert "step_000001.pt: is not there; " in said and said.endswith("run has step_000004.pt, step_000008.pt\n")
    (run / "checkpoints" / "step_000008.pt").write_bytes(b"PK")
    assert evaluate(run, {}, 2).step == 4
    shutil.rmtree(run / "checkpoints")
    assert main([str(run)]) == 2
    assert "no checkpoint to evaluate (there is none yet)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["RUN", "env.size=12"], "env.size=12: the networks of the run do not fit (optimizer.flat [3, "),
        (["RUN", "env.siz=12"], "env.siz: the run has no such option; did you mean env.size?"),
        (["RUN", "env.size=-1"], "env.size=-1: must be"),
        (["RUN", "env=maze"], "env=maze: a run keeps its env"),
        (["RUN", "optimizer.lr=1"], "optimizer.lr: a run is evaluated as it is; only seed, "),
        (["RUN", "num_seeds=2"], "num_seeds: a run is evaluated as it is"),
        (["RUN", "episodes=0"], "episodes=0: must be"),
        (["RUN", "seed=4294967295"], "seed=4294967295 num_seeds=3: seeds end at"),
        (["nowhere"], "nowhere: config.yaml is missing"),
        (["RUN", "RUN"], "which run?"),
        ([], "which run?"),
        (["RUN", "--jsn"], "which run?"),
        (["RUN", "--json"], "--json: which file?"),
        (["RUN", "episodes=1", "--json", "no/folder"], "--json no/folder: cannot be written"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_line(typed, line, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = files(runs)
    assert main([str(runs / "oprl_maze") if text == "RUN" else text for text in typed]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"prefrl-evaluate: {line}") and said.count("\n") == 1
    assert files(runs) == before and list(tmp_path.iterdir()) == []


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "usage: prefrl-evaluate RUN_DIR" in capsys.readouterr().out


def test_every_experiments_algorithm_can_be_evaluated():
    for experiment in choices("experiment"):
        algorithm = direct.configured(experiment, "num_seeds=2")
        algorithm.adopt(algorithm.state())
        assert all(len(values) == 2 for values in {**algorithm.evaluate(), **algorithm.play(2)}.values())


def test_one_seed_has_no_interval():
    found = Evaluation("oprl_maze", 3, [7], [7], {"success": np.array([0.5])}, [], {"success": Metric("success")})
    (row,) = [line for line in table(found, {}, 10) if "success" in line]
    assert row.split() == ["success", "-", "0.5"]  # nor a value in the run, of which nothing is known here
