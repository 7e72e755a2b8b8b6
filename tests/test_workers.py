"""Several workers train a run as one process does: the same bytes, the same ends, and nothing left behind."""

from pathlib import Path

import kill_and_resume
import numpy as np
import pytest

from prefrl_cli.config.choices import choices
from prefrl_cli.run import runner
from prefrl_cli.run.lifecycle import run_or_resume

SMALL = ["env.size=4", "env.horizon=12"]
SIZES = {
    "oprl_maze": [
        "steps=6",
        *SMALL,
        "teacher=skip",
        "queries.questions=5",
        "queries.budget=12",
        "reward_update.batch=8",
    ],
    "tutorial/oprl_maze": ["steps=60", *SMALL, "reward_update.minimum=4", "teacher=equal"],
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(experiment, *options):
    """A short run of five seeds, which no two workers share evenly."""
    size = SIZES.get(experiment, ["steps=12", *(["env.largest=5"] if "maze" not in experiment else [])])
    steps = int(size[0].removeprefix("steps="))
    every = [f"checkpoint.every={steps // 3}", f"evaluation.every={steps // 3 + 1}"]
    return kill_and_resume.config_of(experiment, *size, *every, "num_seeds=5", "seed=3", *options)


def assert_same(one, other):
    one, other = Path(one), Path(other)
    left_out = {"config.yaml", "overrides.yaml"}  # they say how many workers
    assert [name for name in kill_and_resume.differences(one, other) if name not in left_out] == []
    assert (one / "evaluation.csv").read_bytes() == (other / "evaluation.csv").read_bytes()


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_gives_the_same_bytes(experiment, monkeypatch):
    """For any number of workers, and where a run goes on with another number than it began with."""
    figures = {}
    monkeypatch.setattr(
        runner, "draw", lambda algorithm, log, run: figures.update({run.path.name: repr(algorithm.figures(log.history(), np.array(log.living)))})
    )  # fmt: skip
    assert run_or_resume(*config_of(experiment), Path("alone")) == "finished"
    for number in (2, 3, 5):
        assert run_or_resume(*config_of(experiment, f"workers={number}"), Path(str(number))) == "finished"
        assert_same("alone", str(number))
    assert len(set(figures.values())) == 1 and len(figures) == 4
