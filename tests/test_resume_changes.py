"""A resume with one changed option goes on to the end, or is one line and leaves every byte of the run as it was."""

import shutil
from pathlib import Path

import pytest
import resume_changes
import torch

from prefrl_cli.cli.train import main
from prefrl_cli.config.build import build
from prefrl_cli.config.choices import GROUPS
from prefrl_cli.core.saved_state import Field, check_state
from prefrl_cli.files.checkpoints import CheckpointError, Checkpoints
from prefrl_cli.run import runner

SMALL = {
    "oprl_maze": [
        "num_seeds=1", "queries.questions=10", "queries.from_newest=20", "reward_update.updates=1",
        "reward_update.dataset_capacity=40",
        "reward_update.batch=8", "algorithm.episodes=4", "algorithm.replay_capacity=20", "policy_update.epochs=1",
        "policy.hidden=8", "reward_model.hidden=8", "algorithm.evaluation_episodes=2",
    ],
    "rewardnet_prefs": ["algorithm.initial_states=9", "algorithm.final_states=9", "env.largest=4", "num_seeds=1"],
}  # fmt: skip
UNFIT = {
    "oprl_maze": {
        "env.horizon=30", "env.horizon=120", "env.size=16", "algorithm.replay_capacity=10",
        "algorithm.replay_capacity=40",
        "queries.segment=1", "reward_update.dataset_capacity=20", "reward_update.dataset_capacity=80",
        "policy.hidden=16",
        "reward_model.members=2", "num_seeds=2",
    },
    "rewardnet_prefs": {"env.largest=2", "env.largest=8", "reward_model.hidden=32", "seed=1"},
}  # fmt: skip
FIT = {
    "oprl_maze": {"steps=20", "optimizer.lr=0.002", "algorithm.episodes=8", "checkpoint.every=4", "queries.every=2"},
    "rewardnet_prefs": {"steps=20", "optimizer.lr=0.02", "evaluation.every=6", "algorithm.batch=32"},
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", resume_changes.no_pictures)


@pytest.mark.parametrize("experiment", SMALL)
def test_every_option(experiment):
    config = resume_changes.begun(experiment, Path("whole"), *SMALL[experiment])
    outcomes = {}
    for typed in resume_changes.changes(config):
        if typed.partition("=")[0] in GROUPS:  # told before anything is read
            continue
        shutil.copytree("whole", "run")
        outcomes[typed], text = resume_changes.resumed(Path("run"), typed)
        assert outcomes[typed] in ("goes on", "refused"), f"{typed}: {outcomes[typed]}: {text}"
        shutil.rmtree("run")
    assert len(outcomes) > 45
    assert {typed for typed in UNFIT[experiment] if outcomes[typed] == "refused"} == UNFIT[experiment]
    assert {typed for typed in FIT[experiment] if outcomes[typed] == "goes on"} == FIT[experiment]


def test_the_line_names_the_option_and_both_sizes():
    resume_changes.begun("oprl_maze", Path("run"), *SMALL["oprl_maze"])
    outcome, text = resume_changes.resumed(Path("run"), "algorithm.replay_capacity=40")
    assert outcome == "refused"
    assert "with algorithm.replay_capacity=40; leave that out, or start a new run" in text
    assert "store.items.states [20, 60] for [40, 60]" in text


def test_more_steps_are_not_to_be_left_out(capsys):
    """They fit every checkpoint: leaving them out would not help."""
    resume_changes.begun("oprl_maze", Path("run"), *SMALL["oprl_maze"])
    assert main(["resume=run", "steps=1000", "algorithm.replay_capacity=40"]) == 2
    assert "with algorithm.replay_capacity=40; leave that out" in capsys.readouterr().err


def test_half_written_files_stay_where_a_resume_is_refused():
    resume_changes.begun("oprl_maze", Path("run"), *SMALL["oprl_maze"])
    Path("run", ".summary.json.part").write_text("{")
    Path("run", ".lock").unlink()
    assert resume_changes.resumed(Path("run"), "env.horizon=30")[0] == "refused"
    assert Path("run", ".summary.json.part").exists() and not Path("run", ".lock").exists()
    assert resume_changes.resumed(Path("run"), "optimizer.lr=0.002")[0] == "goes on"
    assert not Path("run", ".summary.json.part").exists()


def leaves(state, path=()):
    """Where each tensor and number of a state lies."""
    if isinstance(state, dict | list):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from leaves(value, (*path, key))
    else:
        yield path


def spoilt(value):
    """What stands for a part of a state and does not fit."""
    if not isinstance(value, torch.Tensor):
        yield from ("1", None, 0.5)
        return
    yield torch.cat([value[None], value[None]])
    yield value.to(torch.float64 if value.dtype != torch.float64 else torch.int16)
    yield 3
    if value.ndim:
        yield value[:-1]


@pytest.mark.parametrize("experiment", [*SMALL, "notebook/addition_linear", "tutorial/oprl_maze"])
def test_no_part_of_a_state_is_taken_unless_it_fits(experiment):
    config = resume_changes.begun(experiment, Path("run"), *SMALL.get(experiment, []))
    path = Checkpoints(Path("run", "checkpoints")).newest_first()[0]
    names = [name for name in leaves(Checkpoints.load(path, "cpu")["algorithm"]) if name[-1] not in ("score", "label")]
    assert len(names) > 8
    algorithm = build(config)
    for name in names:
        state = Checkpoints.load(path, "cpu")["algorithm"]
        *before, last = name
        node = state
        for key in before:
            node = node[key]
        original = node[last]
        for wrong in spoilt(original):
            if name[0] == "success" and isinstance(wrong, torch.Tensor) and wrong.shape[1:] != original.shape[1:]:
                continue
            node[last] = wrong
            with pytest.raises(ValueError):
                algorithm.restore(state)
        if isinstance(node, dict):
            del node[last]
            if name[0] != "streams" and before != ["before"] and last != "repeats":  # which older checkpoints lack
                with pytest.raises((ValueError, KeyError)):
                    algorithm.restore(state)


def test_numbers_of_states_that_are_none():
    wanted = {"states": Field((None, 2), torch.int64, 5)}
    check_state(wanted, {"states": torch.tensor([[0, 4]])})
    for wrong in ([[0, 5]], [[-1, 0]]):
        with pytest.raises(ValueError, match=r"state.states holds numbers that are not between 0 and 4"):
            check_state(wanted, {"states": torch.tensor(wrong)})
    with pytest.raises(ValueError, match=r"state holds \[\] for \[states\]"):
        check_state(wanted, {})


def test_a_record_of_other_seeds_is_no_record():
    config = resume_changes.begun("rewardnet_prefs", Path("run"), *SMALL["rewardnet_prefs"])
    path = Checkpoints(Path("run", "checkpoints")).newest_first()[0]
    content = Checkpoints.load(path, "cpu")
    name = next(iter(content["final"]))
    content["final"][name] = torch.zeros(2)
    run = type("Run", (), {"seeds": (0,)})
    with pytest.raises(CheckpointError, match=rf"checkpoint.final.{name} \[2\] for \[1\]"):
        runner.restore(build(config), run, type("Directory", (), {"path": Path("run")}), content)
