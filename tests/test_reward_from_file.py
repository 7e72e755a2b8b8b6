"""A reward learned from a file: what is held out teaches nothing, and what the file says is what counts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from kill_and_resume import config_of

from prefrl_cli.cli import train
from prefrl_cli.config.build import build
from prefrl_cli.files.preferences import formats
from prefrl_cli.files.preferences.formats import EXAMPLE
from prefrl_cli.run.lifecycle import run_job, run_or_resume

DATA = formats.load(EXAMPLE)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def built(*options):
    return build(config_of("reward_from_file", "num_seeds=3", *options)[0])


def saved(name="file.npz", **changes):
    formats.save(Path(name), replace(DATA, **changes))
    return f"preferences.file={name}"


def learned(*options, updates=20):
    algorithm = built(*options)
    for _ in range(updates):
        algorithm.update()
    return algorithm


def test_it_predicts_answers_that_it_has_not_seen():
    """By a noisy teacher's progress; the example has more rewards at the end than one could guess by a coin."""
    algorithm = learned("num_seeds=4", updates=60)
    found = algorithm.evaluate()
    assert (found["preference_accuracy"] > 0.7).all() and (found["return_correlation"] > 0.5).all()
    assert (found["held_out_loss"] < 0.6).all() and (found["epic_distance"] < 0.65).all()


def test_each_seed_holds_out_its_own_answers():
    algorithm = built()
    count = int(DATA.counts.sum())
    both = torch.cat([algorithm._tested, algorithm._trained], 1)
    assert algorithm._tested.shape[1] == round(0.2 * count)
    assert (both.sort(1).values == torch.arange(count)).all() and (both[0] != both[1]).any()
    alone = built("seed=2", "num_seeds=1")
    assert (alone._tested == algorithm._tested[2:]).all() and (alone._trained == algorithm._trained[2:]).all()


def test_what_is_held_out_teaches_nothing():
    """Other answers to these questions change no parameter, and the accuracy turns round."""
    one = learned("num_seeds=1")
    rows = np.flatnonzero(DATA.counts)[one._tested[0]]
    label = DATA.label.copy()
    label[rows] = 1 - label[rows]
    other = learned("num_seeds=1", saved(label=label))
    assert torch.equal(one.reward_model.parameters.flat, other.reward_model.parameters.flat)
    right, wrong = (algorithm.evaluate()["preference_accuracy"] for algorithm in (one, other))
    assert right > 0.7 and torch.allclose(right + wrong, torch.ones(1))


def test_a_label_of_one_prefers_the_first():
    states = np.broadcast_to(np.array([5, 6])[:, None], DATA.states.shape)
    ones = np.ones_like(DATA.label)
    algorithm = learned(saved(label=ones, weight=ones, states=states))
    rewards = algorithm.reward_model.reward_table()[..., 0]
    assert (rewards[:, 5] > rewards[:, 6] + 0.1).all()


def test_accuracy_and_correlation_are_those_of_a_plain_loop():
    from scipy.stats import spearmanr

    algorithm = learned("num_seeds=2")
    found = algorithm.evaluate()
    data = DATA.take(DATA.counts)
    table = algorithm.reward_model.reward_table()[..., 0].detach().numpy()
    for seed in range(2):
        right, returns, true = [], [], []
        for row in algorithm._tested[seed].tolist():
            sums = [float(table[seed][data.states[row, k, : data.lengths[row, k]]].sum()) for k in (0, 1)]
            returns += sums
            true += [float(data.rewards[row, k].sum()) for k in (0, 1)]
            if data.label[row] != 0.5:
                right.append((sums[0] > sums[1]) == (data.label[row] > 0.5))
        assert float(found["preference_accuracy"][seed]) == pytest.approx(np.mean(right))
        assert float(found["return_correlation"][seed]) == pytest.approx(spearmanr(returns, true).statistic, abs=1e-5)


def test_what_has_no_answer_is_left_out_and_a_weight_counts():
    label = np.where(np.arange(len(DATA)) % 3 == 0, np.nan, DATA.label).astype(np.float32)
    algorithm = built(saved(label=label))
    there = ~np.isnan(label) & (DATA.weight > 0)
    assert algorithm._tested.shape[1] + algorithm._trained.shape[1] == there.sum()
    rng = np.random.default_rng(0)
    weighted = learned("num_seeds=1", saved("other.npz", weight=rng.uniform(0.1, 1, len(DATA)).astype(np.float32)))
    assert not torch.equal(weighted.reward_model.parameters.flat, learned("num_seeds=1").reward_model.parameters.flat)


def test_fewer_answers_and_none_held_out():
    algorithm = built("algorithm.answers=10")
    assert algorithm._trained.shape == (3, 10) and algorithm._tested.shape[1] == 54
    whole = learned("algorithm.held_out=0", updates=2)
    assert set(whole.evaluate()) == {"epic_distance", "distance_correlation"}


def test_unknown_true_rewards_are_not_compared():
    algorithm = built(saved(rewards=np.full_like(DATA.rewards, np.nan)))
    assert "return_correlation" not in algorithm.evaluate()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["env.size=9"], "env.size=9: EXAMPLE has questions about another environment; try env.size=8"),
        (["env.layout=open"], "env.layout=open: EXAMPLE has questions about another environment; try env.layout=wall"),
        (
            ["preferences.file=none.npz"],
            "preferences.file=none.npz: none.npz is missing; a file of preferences was expected; type preferences.file",
        ),
        (
            ["preferences.file=none.csv"],
            "preferences.file=none.csv: no file of preferences; its name has to end in .npz or .jsonl",
        ),
        (["algorithm.held_out=0.95"], "algorithm.held_out=0.95: must be a number between 0 and 0.9; try"),
        (["algorithm.answers=1000"], "algorithm.answers=1000: are more than the file has beside those held out; try"),
        (["env=addition"], "env=addition: process cannot use it"),
        (["policy=actor_critic"], "policy=actor_critic: reward_from_file has no use for it; leave policy out"),
        (["preferences.save=a.npz"], "preferences.save=a.npz: reward_from_file asks no teacher; leave that out"),
    ],
)
def test_wrong_options_are_one_line(options, line, capsys):
    if options[0].startswith("env=addition"):
        line = "env=addition: "
    assert train.main(["experiment=reward_from_file", *options]) == 2
    found = capsys.readouterr().err
    assert found.startswith(f"prefrl-train: {line}".replace("EXAMPLE", str(EXAMPLE))) or "..." in found, found
    assert found.count("\n") == 1 and not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"weight": np.zeros_like(DATA.weight)}, "preferences.file=file.npz: has no answer to learn from"),
        (
            {"about": {}, "states": DATA.states + 60},
            "preferences.file=file.npz: its states are numbers up to 122, and those of env numbers up to 63; try",
        ),
        (
            {"states": DATA.states[..., None].astype(np.float32), "last": DATA.last[..., None].astype(np.float32)},
            "vectors",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(changes, line, capsys):
    assert train.main(["experiment=reward_from_file", saved(**changes)]) == 2
    found = capsys.readouterr().err
    assert line in found and found.count("\n") == 1


def test_a_run_goes_on_only_with_the_same_questions(capsys):
    config, typed = config_of("reward_from_file", saved(), "num_seeds=2", "charts=false", "checkpoint.every=5")
    run_job({**config, "output_dir": "whole"}, typed)
    run_job({**config, "output_dir": "run"}, typed, until=6)
    label = np.where(np.isnan(DATA.label), np.nan, 1 - DATA.label)
    saved(label=label)
    shutil.copytree("run", "other")
    assert train.main(["resume=other"]) == 2
    assert "preferences.file holds other questions or answers than it did" in capsys.readouterr().err
    formats.save(Path("same.jsonl"), DATA)
    Path("file.npz").unlink()
    config = {**config, "preferences": {**config["preferences"], "file": "same.jsonl"}}
    assert run_or_resume(config, typed, Path("run")) == "finished"
    assert Path("run", "metrics.csv").read_bytes() == Path("whole", "metrics.csv").read_bytes()


def test_what_a_run_kept_is_learned_from(capsys):
    small = ["env.size=4", "num_seeds=2", "steps=3", "charts=false", "quiet=true"]
    assert train.main(["experiment=oprl_maze", *small, "preferences.save=asked.jsonl", "output_dir=run"]) == 0
    file = "preferences.file=run/asked.jsonl"
    assert train.main(["experiment=reward_from_file", *small, file, "output_dir=fit"]) == 0, capsys.readouterr().err
    metrics = json.loads(Path("fit", "summary.json").read_text())["metrics"]
    assert {"preference_accuracy", "calibration_error", "epic_distance", "return_correlation"} <= set(metrics)


def test_vectors_are_kept_and_learned_from(capsys):
    """Of a task whose states and actions are vectors: what is kept is learned from, with and without the task."""
    small = ["num_seeds=2", "charts=false", "quiet=true"]
    sizes = ["steps=4", "algorithm.episodes=4", "env.horizon=30", "queries.budget=60", "queries.until=4"]
    for name, file in (("run", "asked.npz"), ("other", "asked.jsonl")):
        options = ["experiment=pendulum", *small, *sizes, f"preferences.save={file}", f"output_dir={name}"]
        assert train.main(options) == 0, capsys.readouterr().err
    data, other = formats.load(Path("run/asked.npz")), formats.load(Path("other/asked.jsonl"))
    for name, value in data.arrays().items():
        np.testing.assert_array_equal(value, other.arrays()[name])
    assert data.states.shape[1:] == (2, 10, 3) and data.actions.shape[1:] == (2, 10, 1)
    used = json.loads(Path("run/summary.json").read_text())["metrics"]["labels_used"]["per_seed"]
    assert [data.counts[data.seed == seed].sum() for seed in range(2)] == used == [60, 60]
    returns = data.rewards.sum(2)
    assert (data.label == (returns[:, 0] > returns[:, 1])).all()
    for env, more in (("pendulum", {"reward_correlation"}), ("recorded", {"reward_correlation"})):
        options = ["experiment=reward_from_file", *small, "steps=30", "preferences.file=run/asked.npz"]
        assert train.main([*options, f"env={env}", "reward_model=state", f"output_dir={env}"]) == 0, (
            capsys.readouterr().err
        )
        metrics = json.loads(Path(env, "summary.json").read_text())["metrics"]
        assert metrics["preference_accuracy"]["mean"] > 0.6 and more <= set(metrics)
    assert train.main(["experiment=reward_from_file", "preferences.file=run/asked.npz"]) == 2
    assert (
        "env=maze: run/asked.npz has questions about another environment; try env=pendulum" in capsys.readouterr().err
    )


def test_a_file_alone_tells_an_environment(capsys):
    assert train.main(["experiment=reward_from_file", "env=recorded"]) == 2
    assert "env=recorded: is known by a file alone; try preferences.file=FILE" in capsys.readouterr().err
    algorithm = learned("env=recorded", saved())
    assert (algorithm.evaluate()["preference_accuracy"] > 0.6).all()
