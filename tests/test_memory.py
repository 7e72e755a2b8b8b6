"""A run that needs more memory than there is ends before anything is written, in one line; any other may begin."""

import re
from pathlib import Path

import memory as benchmark
import numpy as np
import pytest
from kill_and_resume import config_of

from prefrl_cli.cli.train import main
from prefrl_cli.config import compose, memory
from prefrl_cli.config.build import memory_needed
from prefrl_cli.config.choices import choices
from prefrl_cli.files.preferences import formats
from prefrl_cli.report.study.file import load

GIB = 2**30


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["algorithm.evaluation_episodes=1000000"], "algorithm.evaluation_episodes"),
        (["env.horizon=100000", "env.size=64"], "env.horizon"),
        (["num_seeds=50000"], "num_seeds"),
        (["reward_update.dataset_capacity=1000000", "num_seeds=8"], "reward_update.dataset_capacity"),
        (["algorithm.replay_capacity=1000000", "num_seeds=4"], "algorithm.replay_capacity"),
        (["policy.hidden=16384"], "policy.hidden"),
        (["reward_model.members=1000", "num_seeds=64"], "reward_model.members"),
        (["algorithm.episodes=1000000", "algorithm.replay_capacity=1000000"], "algorithm.(episodes|replay_capacity)"),
        (["steps=1000000000"], "steps"),
    ],
)
def test_it_is_refused_with_advice_that_fits(typed, named, capsys, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 4.0 * GIB)
    assert main(["experiment=oprl_maze", *typed]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    found = re.fullmatch(
        rf"prefrl-train: ({named})=\d+: the run needs about .*B of memory, and 3.9 GB can be used here;"
        r" (?:try ([\w.]+)=(\d+)|lower ([\w.]+))",
        line,
    )
    assert found, line
    assert not list(Path.cwd().iterdir())


@pytest.mark.parametrize(
    "typed", [["algorithm.initial_states=1000000", "num_seeds=64"], ["algorithm.batch=1000000", "num_seeds=64"]]
)
def test_reward_learning_too(typed, capsys, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 4.0 * GIB)
    assert main(["experiment=addition_linear", *typed]) == 2
    name, value = re.search(r"; try ([\w.]+)=(\d+)$", capsys.readouterr().err).groups()
    fitting = [f"{name}={value}", *(one for one in typed if not one.startswith(f"{name}="))]
    assert memory_needed(config_of("addition_linear", *fitting)[0]) <= 0.9 * 4 * GIB


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_64_seeds_of_every_experiment_fit_a_laptop(experiment):
    assert memory_needed(config_of(experiment, "num_seeds=64")[0]) < 2 * GIB


def test_64_seeds_in_a_large_maze_fit():
    options = ["num_seeds=64", "env.size=64", "env.horizon=500"]
    assert memory_needed(config_of("oprl_maze", *options)[0]) < 12 * GIB


def test_it_grows_with_every_option_that_takes_memory():
    for experiment, some in benchmark.RUNS.items():
        least = memory_needed(config_of(experiment, *benchmark.FAST)[0])
        for options in some:
            if any("=" in one and one.partition("=")[0] not in ("steps", "env.size") for one in options):
                assert memory_needed(config_of(experiment, *benchmark.FAST, *options)[0]) > least, options


@pytest.mark.parametrize("ending", ["npz", "jsonl"])
def test_a_file_of_preferences_counts_for_each_seed(ending):
    example, needed = formats.load(formats.EXAMPLE), {}
    for number in (300, 6000):
        data = example.take(np.arange(number) % len(example))
        formats.save(Path(f"{number}.{ending}"), data)
        questions, size = formats.held(f"{number}.{ending}")
        arrays = sum(values.nbytes for values in data.arrays().values())
        assert 0.4 < questions / number < 4 and 0.4 < size / arrays < 4
        for seeds in (1, 64):
            typed = f"preferences.file={number}.{ending}", f"num_seeds={seeds}"
            needed[number, seeds] = memory_needed(config_of("reward_from_file", *typed)[0])
    assert needed[6000, 1] - needed[300, 1] > 5000 * 900  # some 950 bytes a question, and twice that in all
    assert needed[6000, 64] - needed[6000, 1] > 10 * (needed[300, 64] - needed[300, 1])
    assert formats.held("nothing.npz") == formats.held(None) == (0, 0)


def test_it_is_near_what_a_run_takes():
    """Generous, since allocators differ; `benchmarks/memory.py` has the whole spread."""
    needed, peak = benchmark.measured("oprl_maze", ["algorithm.evaluation_episodes=4000", "num_seeds=4"])
    assert 0.5 < needed / peak < 2.5


def test_the_least_of_all_control_groups_counts(tmp_path, monkeypatch):
    root = tmp_path / "groups"
    (root / "a" / "b").mkdir(parents=True)
    for folder, limit, usage in ((root, "max", "9"), (root / "a", "1000", "300"), (root / "a" / "b", "800", "200")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{usage}\n")
    (tmp_path / "proc").write_text("0::/a/b\n")
    monkeypatch.setattr(memory, "_ROUTES", ((str(root), "memory.max", "memory.current"),))
    assert sorted(memory._free_of_groups(tmp_path / "proc")) == [600.0, 700.0]
    monkeypatch.setattr(memory, "_free_of_groups", lambda: [600.0, 700.0])
    monkeypatch.setattr(memory, "_used", lambda: 50.0)
    assert memory.available() == 650.0


def test_nothing_is_refused_where_nothing_is_known(monkeypatch):
    monkeypatch.setattr(memory, "_free_of_the_machine", lambda: float("inf"))
    monkeypatch.setattr(memory, "_free_of_groups", lambda: [])
    assert memory.available() == float("inf")


@pytest.mark.parametrize("name", choices("study"))
def test_no_row_of_a_study_is_refused_where_20_gib_are_free(name):
    rows = load(name).rows
    assert rows
    for row in rows:
        assert memory_needed(compose.composed(list(row.overrides))) <= memory.SHARE * 20 * GIB, row.name
