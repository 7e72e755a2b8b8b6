"""Runs of an earlier version, whose records name classes that have moved since: they resume, repeat and are reported.

`tests/old_runs` was written by commit e3d99ca: every experiment on two seeds and a few steps, and a sweep of two jobs.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from prefrl_cli.cli import report, reproduce, train
from prefrl_cli.config.choices import updated, updated_flat
from prefrl_cli.config.overrides import renamed
from prefrl_cli.files.read import flat
from prefrl_cli.report.configurations import configurations
from prefrl_cli.report.runs import load
from prefrl_cli.run import runner
from prefrl_cli.run.provenance import changes_on_the_way

OLD = Path(__file__).parent / "old_runs"
RUNS = sorted(path.name for path in OLD.iterdir() if (path / "status.json").is_file())


@pytest.fixture
def here(tmp_path, monkeypatch):
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    return tmp_path


def values(folder):
    """Metrics by name, those of evaluations with what stood before them in an old run's metrics.csv."""
    found = {}
    for file, beginning in (("metrics", ""), ("evaluation", "evaluation/")):
        path = Path(folder, f"{file}.csv")
        rows = list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []
        for name in list(rows[0])[2:] if rows else ():
            name = beginning + name
            cells = [row[name.removeprefix(beginning)] for row in rows if row["step"] != "0" or "ev" in name]
            found[name.replace("label_accuracy", "preference_accuracy")] = cells
    return {
        name: np.array([float(cell) for cell in cells if cell])
        if name.startswith("evaluation/")
        else np.array([float(cell or "nan") for cell in cells])
        for name, cells in found.items()
    }


def assert_close(one, other, rows):
    """Processors differ in the last bits, which grow with the steps: so the first rows alone."""
    mine, theirs = values(one), values(other)
    for name in set(mine) & set(theirs):
        np.testing.assert_allclose(theirs[name][:rows], mine[name][:rows], rtol=1e-3, atol=1e-4, err_msg=name)


def test_all_are_there():
    names = {yaml.safe_load((OLD / name / "config.yaml").read_text())["experiment"] for name in RUNS}
    assert len(RUNS) == len(names) == 8
    assert all("_target_" in (OLD / name / "config.yaml").read_text() for name in RUNS)


@pytest.mark.parametrize("name", RUNS)
def test_a_finished_run_is_extended(name, here, capsys):
    status = json.loads(Path("old", name, "status.json").read_text())
    before = values(f"old/{name}")
    assert train.main([f"resume=old/{name}", f"steps={status['step'] + 2}", "quiet=true"]) == 0, capsys.readouterr().err
    after = values(f"old/{name}")
    shared = set(before) & set(after)
    assert shared == set(before) and any(name.startswith("evaluation/") for name in shared)
    assert {len(after[name]) - len(before[name]) for name in shared if not name.startswith("evaluation/")} == {4}
    for column in shared:
        np.testing.assert_array_equal(after[column][: len(before[column])], before[column], err_msg=column)
    assert "_target_" not in Path("old", name, "config.yaml").read_text()  # it names choices from now on


def test_an_interrupted_run_goes_on(here, capsys):
    folder = Path("old", "oprl_maze")
    (folder / "checkpoints" / "step_000004.pt").unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "status": "interrupted", "step": 2}))
    (folder / "summary.json").unlink()
    assert train.main([f"resume={folder}", "quiet=true"]) == 0, capsys.readouterr().err
    assert_close(OLD / "oprl_maze", folder, 8)
    assert json.loads((folder / "summary.json").read_text())["steps"] == 4


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_repeated(name, here, capsys):
    code = reproduce.main([f"old/{name}", "output_dir=again", "quiet=true"])
    said = capsys.readouterr().out
    assert (code, said.partition(" ")[0].partition(",")[0].strip(":")) in ((0, "identical"), (1, "different")), said
    assert_close(f"old/{name}", "again", 4)


def test_a_sweep_goes_on(here, capsys):
    jobs = [path for path in Path("old", "sweep").iterdir() if path.is_dir()]
    shutil.rmtree(jobs[0])
    assert train.main(["resume=old/sweep", "quiet=true"]) == 0, capsys.readouterr().err
    assert json.loads((jobs[0] / "status.json").read_text())["status"] == "finished"


def test_a_sweep_whose_options_were_called_otherwise_is_found_by_its_names_of_today(here, capsys):
    """Its jobs keep their folders; the names that it was typed with are answered with those of today."""
    folder = Path("outputs", "oprl_maze", "sweeps", "then")
    folder.parent.mkdir(parents=True)
    shutil.move(Path("old", "sweep"), folder)
    names = {path.name for path in folder.iterdir()}
    typed = [name for name in yaml.safe_load((folder / "sweep.yaml").read_text())["overrides"] if "=" in name]
    (folder / "sweep.yaml").write_text(yaml.safe_dump({"overrides": typed, "flags": [], "finished": False}))
    assert train.main(["-m", *typed, "quiet=true"]) == 2
    assert "type reward_update.dataset_capacity=VALUE" in capsys.readouterr().err
    today = [{"algorithm.memory=8": "algorithm.replay_capacity=8"}.get(one, one) for one in typed]
    today = [{"reward_update.keep=16": "reward_update.dataset_capacity=16"}.get(one, one) for one in today]
    assert train.main(["-m", *today]) == 0
    assert "going on with outputs/oprl_maze/sweeps/then" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} - {"multirun.yaml"} == names


def test_records_of_choices_are_read_by_the_names_of_today():
    """Options in groups, and flat as a checkpoint has them; a class of one's own has its own names."""
    queries = {"choice": "uniform_trajectories", "questions": 3, "recent": 40}
    config = {
        "queries": queries,
        "exploration": {"choice": "falling"},
        "algorithm": {"_target_": "mine.A", "memory": 5},
    }
    now = {
        "queries": {"choice": "uniform", "questions": 3, "from_newest": 40},
        "exploration": {"choice": "linear_decay"},
    }
    now["algorithm"] = config["algorithm"]
    assert updated(config) == updated(now) == now
    assert updated_flat(flat(config, "config.yaml")) == flat(now, "config.yaml")
    text = "+queries=uniform_trajectories,entropy"
    assert [renamed(one) for one in (text, "queries.recent=1,2", "seed=uniform_trajectories")] == [
        "+queries=uniform,entropy", "queries.from_newest=1,2", "seed=uniform_trajectories",
    ]  # fmt: skip


def test_an_option_that_was_changed_on_the_way_is_undone_by_its_name_of_today():
    environment = {"resumed": [{"step": 3, "options": {"reward_update.keep": [4, 5]}}]}
    assert list(changes_on_the_way(environment)) == [(3, {"reward_update.dataset_capacity": [4, 5]})]


def test_beside_a_run_an_old_name_is_answered_too(here, capsys):
    assert train.main(["resume=old/oprl_maze", "steps=9", "queries.recent=4"]) == 2
    assert "queries.recent: is called queries.from_newest now" in capsys.readouterr().err


def test_they_are_reported_with_what_is_run_now(here, capsys):
    """Old and new runs of the same options are one configuration."""
    assert train.main(["resume=old/oprl_maze", "steps=5", "quiet=true"]) == 0
    (old,) = [run for run in load([OLD / "oprl_maze"])]
    (new,) = [run for run in load([Path("old/oprl_maze")])]
    assert old.status == new.status == "finished", (old.reason, new.reason)
    differ = {name for name in {**old.options, **new.options} if old.options.get(name) != new.options.get(name)}
    assert differ == {"steps"}
    assert len(configurations([run for run in load([Path("old")]) if run.status == "finished"])) == len(RUNS) + 2
    assert report.main(["old", "-o", "page"]) == 0, capsys.readouterr().err
    page = Path("page", "report.html").read_text()
    assert "unreadable" not in page and "NoShaping" not in page
