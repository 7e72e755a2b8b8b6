"""A seed that fails stops alone: the others end as they would without it, and it counts as a failure ever after."""

import csv
import io
import json
import re
from pathlib import Path

import kill_and_resume
import numpy as np
import pytest
import torch
from small import CONTROL
from small import SIZES as SIZES_OF_WORKERS

from prefrl_cli.algorithm import living
from prefrl_cli.algorithm.oprl import OPRL
from prefrl_cli.algorithm.reward_from_file import RewardFromFile
from prefrl_cli.algorithm.reward_learning import _RewardLearning
from prefrl_cli.cli import report, reproduce, train
from prefrl_cli.config.choices import choices
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.report.results import results
from prefrl_cli.report.runs import load, read_run
from prefrl_cli.report.study.study import Row, Study, measure
from prefrl_cli.report.study.table import markdown, table
from prefrl_cli.run import progress, runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.stats.intervals import share_interval
from prefrl_cli.sweep.directory import Sweep

SIZES = {
    "oprl_maze": ["steps=4", "env.size=4", "env.horizon=12", "episodes=4"],
    "tutorial/oprl_maze": ["steps=60", "env.size=4", "env.horizon=12"],
    **{name: sizes for name, sizes in SIZES_OF_WORKERS.items() if sizes[: len(CONTROL)] == CONTROL},
}
DIVERGES = ["experiment=rewardnet_mse", "optimizer=sgd", "optimizer.lr=0.01", "steps=40", "quiet=true"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(runner, "draw", lambda *_: None)


def poison(monkeypatch, seed, at, part, value, early=True):
    """Spoil one number of a model's of one seed before, or after, an update."""
    for kind in (OPRL, RewardFromFile, _RewardLearning):
        original = kind.update

        def spoiling(self, original=original):
            def spoil():
                if self.step == at and seed in self.streams.seeds:
                    flat = self.optimizers[part % len(self.optimizers)].parameters.flat
                    with torch.no_grad():
                        flat[list(self.streams.seeds).index(seed), 1 if len(flat[0]) > 1 else 0] = value

            if early:
                spoil()
            metrics = original(self)
            if not early:
                spoil()
            return metrics

        monkeypatch.setattr(kind, "update", spoiling)


def rows(folder, *left_out):
    return [line for line in Path(folder, "metrics.csv").read_text().splitlines() if line.split(",")[1] not in left_out]


@pytest.mark.parametrize("part", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("experiment", choices("experiment"))
def test_the_others_end_as_without_it(experiment, part, undrawn, monkeypatch, capfd):
    """Whichever model is spoilt (of those that have two), by whatever, early in a run or after its last step."""
    options = ["num_seeds=3", "seed=5", "evaluation.every=2", *SIZES.get(experiment, ["steps=6"])]
    options = [one for one in options if not one.startswith("episodes")]
    config, overrides = kill_and_resume.config_of(experiment, *options)
    assert run_or_resume(config, overrides, Path("whole")) == "finished"
    steps = config["steps"]
    at, value, early = (steps // 2, np.nan, True) if part == 0 else (steps, np.inf, False)
    poison(monkeypatch, 6, at, part, value, early)
    capfd.readouterr()
    assert run_or_resume(config, overrides, Path("spoilt")) == "finished"
    told = capfd.readouterr().err
    failed = at + early
    assert re.fullmatch(rf"step {failed}: .* for seed 6; try a smaller .*; 2 of 3 seeds go on\n", told)
    assert rows("spoilt", "6") == rows("whole", "6")
    assert [line for line in rows("spoilt") if line.split(",")[1] == "6"] == [
        line for line in rows("whole") if line.split(",")[1] == "6" and int(line.split(",")[0]) < failed
    ]
    status, summary = read_status(Path("spoilt")), json.loads(Path("spoilt", "summary.json").read_text())
    assert status["status"] == "finished" and status["failed_seeds"] == summary["failed_seeds"]
    assert list(status["failed_seeds"]) == ["6"] and status["failed_seeds"]["6"]["step"] == failed
    whole = json.loads(Path("whole", "summary.json").read_text())["metrics"]
    for name, found in summary["metrics"].items():
        assert found["per_seed"] == [whole[name]["per_seed"][0], None, whole[name]["per_seed"][2]], name
    assert all(of[1] is None and of[0] is not None for of in summary["examples"]["after"].values())


@pytest.mark.parametrize("experiment", ["oprl_maze", "rewardnet_prefs", "addition_linear"])
def test_its_charts_are_drawn(experiment, monkeypatch, capfd):
    size = {"oprl_maze": ["steps=4", "env.size=4", "env.horizon=12"]}.get(experiment, ["steps=6"])
    poison(monkeypatch, 1, 2, 0, np.nan)
    assert run_or_resume(*kill_and_resume.config_of(experiment, "num_seeds=2", *size), Path("run")) == "finished"
    assert read_status(Path("run"))["charts"] is True
    assert len(list(Path("run", "charts").iterdir())) >= 6
    assert capfd.readouterr().err.count("\n") == 1
    if experiment == "oprl_maze":
        assert "<!-- Seed 0: " in Path("run", "charts", "maze.svg").read_text()


def test_one_that_diverges_has_the_rows_that_it_has_alone(undrawn, capsys):
    assert train.main([*DIVERGES, "num_seeds=4", "output_dir=run"]) == 0
    told = capsys.readouterr().err
    assert re.search(r"step \d+: the loss is not a number any more for seed 1; try a smaller optimizer.lr", told)
    failed = read_status(Path("run"))["failed_seeds"]
    assert "1" in failed and len(failed) < 4
    for seed in range(4):
        code = int(str(seed) in failed)
        assert train.main([*DIVERGES, f"seed={seed}", f"output_dir=alone{seed}"]) == code
        assert rows(f"alone{seed}")[1:] == [line for line in rows("run")[1:] if line.split(",")[1] == str(seed)]
    alone = read_status(Path("alone1"))
    assert alone["status"] == "failed"
    assert alone["failed_seeds"]["1"] == read_status(Path("run"))["failed_seeds"]["1"]


def test_a_kill_after_a_failure_changes_no_byte(undrawn, monkeypatch):
    config, overrides = kill_and_resume.config_of(
        "rewardnet_mse", "optimizer=sgd", "optimizer.lr=0.01", "steps=40", "num_seeds=12", "checkpoint.every=2"
    )
    assert run_or_resume(config, overrides, Path("whole")) == "finished"
    assert 1 <= len(read_status(Path("whole"))["failed_seeds"]) < 12
    original = Checkpoints.save

    class Killed(BaseException):
        pass

    for number in (8, 20):

        def dying(self, step, *content, number=number):
            if step == number:
                self.wait()
                raise Killed
            return original(self, step, *content)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Checkpoints, "save", dying)
            run_or_resume(config, overrides, Path("killed"))
    assert run_or_resume(config, overrides, Path("killed")) == "finished"
    assert kill_and_resume.differences(Path("whole"), Path("killed")) == []
    assert read_status(Path("whole"))["failed_seeds"] == read_status(Path("killed"))["failed_seeds"]


@pytest.mark.parametrize("steps", [3, 1])
def test_what_the_last_step_spoils_is_no_result(steps, undrawn, capsys):
    """Losses were numbers; the parameters after the last step, or what the policy makes of them, are not."""
    typed = ["experiment=notebook/rewardnet_mse", "policy=ascent", "policy.rate=10000", "optimizer=sgd"]
    typed += ["optimizer.lr=0.01" if steps == 3 else "optimizer.lr=1e36", f"steps={steps}", "num_seeds=3"]
    assert train.main([*typed, "output_dir=run"]) in (0, 1)
    status = read_status(Path("run"))
    assert status["failed_seeds"] and all(one["step"] == steps for one in status["failed_seeds"].values())
    if status["status"] == "finished":
        summary = json.loads(Path("run", "summary.json").read_text())
        for found in summary["metrics"].values():
            assert sum(value is None for value in found["per_seed"]) == len(status["failed_seeds"])


@pytest.mark.parametrize("experiment", ["addition_linear", "oprl_maze", "notebook/rewardnet_mse"])
def test_an_evaluation_without_a_number_ends_no_seed_of_a_longer_run(experiment, monkeypatch, capsys):
    """What is wrong with the last one is wrong with that run's results; a run that goes on trains that seed too."""
    drawn, original, seed = [], living.evaluated, 1
    monkeypatch.setattr(runner, "draw", lambda algorithm, log, _: drawn.append((algorithm.state(), list(log.living))))

    def infinite(algorithm):
        found = original(algorithm)
        if algorithm.step == 4:
            found[next(iter(found))][algorithm.streams.seeds.index(seed)] = np.inf
        return found

    monkeypatch.setattr(living, "evaluated", infinite)
    options = ["num_seeds=3", "seed=0", "evaluation.every=2", "checkpoint.every=4", "charts=true"]
    options += ["env.size=4", "env.horizon=12"] * (experiment == "oprl_maze")
    short, whole = (kill_and_resume.config_of(experiment, *options, f"steps={steps}") for steps in (4, 8))
    assert run_or_resume(*whole, Path("whole")) == "finished"
    assert not read_status(Path("whole"))["failed_seeds"]
    assert run_or_resume(*short, Path("run")) == "finished"
    failed = read_status(Path("run"))["failed_seeds"]
    assert list(failed) == ["1"] and failed["1"]["step"] == 4 and failed["1"]["reason"].endswith(" is infinite")
    run = read_run(Path("run"))
    assert run.status == "finished" and list(run.failed) == [1] and len(run.table.steps) == 4
    assert all(scores[1] == 0 or np.isnan(scores[1]) for scores in run.scores.values())
    status = json.loads(Path("run", "status.json").read_text())
    Path("run", "status.json").write_text(json.dumps({**status, "charts": False}))
    assert train.main(["resume=run"]) == 0  # its charts only
    assert read_status(Path("run"))["failed_seeds"] == failed
    assert drawn[1][1] == drawn[2][1] == [True, False, True]
    assert kill_and_resume.same(drawn[1][0], drawn[2][0])
    assert train.main(["resume=run", "steps=8", "quiet=true"]) == 0
    different = kill_and_resume.differences(Path("whole"), Path("run"))  # the earlier checkpoint names the seed
    assert set(different) == {"checkpoints/step_000004.pt", "overrides.yaml"}


def test_numpy_has_nothing_to_say(undrawn, capsys, recwarn):
    for typed in (
        ["experiment=oprl_maze", "env.size=4", "optimizer.lr=1e30"],
        ["experiment=rewardnet_prefs", "optimizer.lr=1e38"],
    ):
        train.main([*typed, "steps=3", "num_seeds=2", "quiet=true"])
        assert len(capsys.readouterr().err.splitlines()) <= 2
    assert not [one for one in recwarn if issubclass(one.category, RuntimeWarning)]


# What counts seeds


@pytest.fixture
def maze(undrawn, monkeypatch, capsys):
    """A maze in which seed 1 of four fails."""
    with monkeypatch.context() as patch:
        poison(patch, 1, 2, 0, np.nan)
        config = kill_and_resume.config_of("oprl_maze", "num_seeds=4", "steps=4", "env.size=4", "evaluation.every=1")
        assert run_or_resume(*config, Path("runs", "maze")) == "finished"
    capsys.readouterr()
    return Path("runs", "maze")


def test_a_failed_seed_has_no_success_and_no_other_value(maze):
    summary = json.loads((maze / "summary.json").read_text())["metrics"]
    run = read_run(maze)
    assert list(run.failed) == [1] and run.failed[1].startswith("step 3: the loss is not")
    for name in ("solved", "success_mean", "success_last", "greedy_success"):
        alive = [value for value in summary[name]["per_seed"] if value is not None]
        assert len(alive) == 3 and summary[name]["mean"] == pytest.approx(sum(alive) / 4)
        assert "seeds_with_value" not in summary[name] and run.scores[name][1] == 0.0
    assert summary["preference_accuracy"]["seeds_with_value"] <= 3 and np.isnan(run.scores["preference_accuracy"][1])
    success = run.table.columns["success"]
    assert success.shape == (4, 4) and success[2:, 1].tolist() == [0, 0]
    assert np.isnan(run.table.columns["return"][2:, 1]).all()


def test_it_counts_in_every_part_of_a_report(maze, capsys):
    (one,) = results(load([Path("runs")])).experiments
    configuration = one.configurations[0]
    assert (configuration.seeds, configuration.failed) == ([0, 1, 2, 3], [1])
    solved = int(np.nansum(configuration.scores["solved"]))
    assert one.metrics["solved"][0].mean == pytest.approx((solved / 4, *share_interval(solved, 4)))
    assert report.main(["runs", "-o", "out"]) == 0
    page = re.sub(r"<[^>]+>", " ", Path("out", "report.html").read_text())
    assert "Seeds that failed: 1." in page and re.search(r"1\s+step 3: the loss is not a number", page)
    assert "With fewer than 16 seeds" in page and re.search(r"over 4 of 4 seeds;.*?\s1 failed", page)
    cells = {row["metric"]: row for row in csv.DictReader(io.StringIO(Path("out", "report.csv").read_text()))}
    assert {row["failed_seeds"] for row in cells.values()} == {"1"}
    assert cells["solved"]["seeds"] == "4" and cells["epic_distance"]["seeds"] == "3"


def test_a_run_of_it_alone_counts_the_same(maze, monkeypatch):
    with monkeypatch.context() as patch:
        poison(patch, 9, 2, 0, np.nan)
        config = kill_and_resume.config_of(
            "oprl_maze", "num_seeds=1", "seed=9", "steps=4", "env.size=4", "evaluation.every=1"
        )
        assert run_or_resume(*config, Path("runs", "alone")) == "failed"
    (one,) = results(load([Path("runs")])).experiments[0].configurations
    assert (one.failed, one.unfinished) == ([1, 9], [])
    assert one.scores["solved"][one.seeds.index(9)] == 0 and np.isnan(one.scores["epic_distance"][one.seeds.index(9)])


def test_it_is_the_worse_one_of_a_pair(undrawn):
    for lr, folder in ((0.01, "high"), (0.001, "low")):
        assert train.main([*DIVERGES, "num_seeds=4", f"optimizer.lr={lr}", f"output_dir=runs/{folder}"]) == 0
    (one,) = results(load([Path("runs")])).experiments
    high, low = (run.scores["loss"] for run in (read_run(Path("runs/high")), read_run(Path("runs/low"))))
    (pair,) = one.comparisons["loss"]
    assert pair.seeds == "4 shared; difference without 2 failed"
    first, second = (low, high) if pair.first.options["optimizer.lr"] == 0.001 else (high, low)
    worst = [np.where(np.isnan(side), np.inf, side) for side in (first, second)]
    wins = (worst[0][:, None] < worst[1]) + 0.5 * (worst[0][:, None] == worst[1])
    assert pair.better.value == pytest.approx(wins.mean())
    both = ~np.isnan(high)
    assert pair.difference.value == pytest.approx(first[both].mean() - second[both].mean())


def test_a_study_says_so(maze):
    study = Study(
        "s", "S", "?", None, ("success_mean", "solved", "epic_distance"), "points", "", (Row("one", "maze", ()),)
    )
    found = measure(study, Path("runs"))
    text = markdown(study, found)
    assert "| one | 4, 1 failed |" in text and re.search(r"\| \d of 4, ", text)
    assert "A failed seed has no success; other means leave it out." in text and "fewer than 16 seeds" in text
    (row,) = csv.DictReader(io.StringIO(table(study, found)))
    assert (row["seeds"], row["failed_seeds"]) == ("4", "1")


def test_a_sweep_says_so(maze):
    with Sweep(Path("sweep"), []) as sweep:
        sweep.add(job := sweep.job(["a=1"]))
        maze.rename(sweep.folder(job))
        standing = sweep.standing(job)
    assert (standing.status, standing.reason, standing.failed) == ("finished", "1 of 4 seeds failed", True)


def test_it_is_reproduced(undrawn, capsys):
    assert train.main([*DIVERGES, "num_seeds=3", "output_dir=run"]) == 0
    assert reproduce.main(["run", "output_dir=again", "quiet=true"]) == 0
    assert "identical" in capsys.readouterr().out


@pytest.mark.parametrize(
    "failed",
    [
        [1],
        {"1": 3},
        {"7": {"step": 3}},
        {"1": {"step": "3"}},
        {"1": {"step": 3}, "2": {"step": 1}},
        {"1": {"step": -5}},
        {"x" * 9000: {}},
    ],
)
def test_a_record_that_says_something_else_is_told(failed, maze):
    status = json.loads((maze / "status.json").read_text())
    (maze / "status.json").write_text(json.dumps({**status, "failed_seeds": failed}))
    run = read_run(maze)
    assert run.status == "unreadable" and ("status.json" in run.reason or "metrics.csv" in run.reason)


def test_the_table_of_a_run_says_which_numbers_are_over_fewer_seeds():
    none = {"mean": None, "ci95": [None, None]}
    summary = {
        "experiment": "e", "seeds": [0, 1, 2, 3], "steps": 2, "train_seconds": 1.0, "failed_seeds": {}, "examples": {},
        "initial": {"a": {"mean": 1.0, "seeds_with_value": 2}, "b": none, "c": {"mean": 3.0}},
        "metrics": {
            "a": {"mean": 2.0, "ci95": [1.0, 3.0], "seeds_with_value": 3}, "b": none,
            "c": {"mean": 4.0, "ci95": [3.0, 5.0]},
        },
    }  # fmt: skip
    lines = progress.table(summary, Path("run"))
    assert "  before over 2 of 4 seeds: a" in lines and "  after over 3 of 4 seeds: a" in lines
    assert not any(line.startswith("  b ") for line in lines)  # nobody can measure it
    assert lines[2].endswith("[1, 3]") and max(map(len, lines)) <= 80
