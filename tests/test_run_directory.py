"""What a run leaves behind: complete, the same each time, claimed by one run only, and safe to read."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from prefrl_cli.cli.train import main
from prefrl_cli.config.options import check_run
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import processor
from prefrl_cli.run.directory import RunDirectory
from prefrl_cli.run.metrics_csv import MetricsLog

COMMAND = ["experiment=tutorial/oprl_maze", "steps=30", "seed=7", "num_seeds=3", "checkpoint.every=10", "quiet=true"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "first"
    assert main([*COMMAND, f"output_dir={folder}"]) == 0
    return folder


def test_everything_is_there(run):
    expected = {"config.yaml", "overrides.yaml", "environment.json", "metrics.csv", "summary.json", "status.json"}
    expected |= {"evaluation.csv"}
    assert {path.name for path in run.iterdir()} == expected | {"train.log", ".lock", "charts", "checkpoints"}
    assert {path.suffix for path in (run / "charts").iterdir()} >= {".png", ".svg"}
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["experiment"], config["seed"], config["steps"]) == ("tutorial/oprl_maze", 7, 30)
    assert yaml.safe_load((run / "overrides.yaml").read_text())[:-1] == COMMAND
    status = json.loads((run / "status.json").read_text())
    assert (status["status"], status["step"], status["reason"]) == ("finished", 30, None)
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__ and environment["threads"] == 1


def test_the_summary_says_what_the_table_of_metrics_says(run):
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["experiment"], summary["seeds"], summary["steps"]) == ("tutorial/oprl_maze", [7, 8, 9], 30)
    assert 0 < summary["train_seconds"] < 60
    texts = ((run / f"{name}.csv").read_text().splitlines() for name in ("metrics", "evaluation"))
    rows, tested = (list(csv.DictReader(lines)) for lines in texts)
    assert [(row["step"], row["seed"]) for row in rows] == [(str(s), str(r)) for s in range(1, 31) for r in (7, 8, 9)]
    assert {row["step"] for row in tested} == {"0", "10", "20", "30"}
    assert list(summary["training_metrics"]) == list(rows[0])[2:]
    for part, step in (("initial", 0), ("metrics", 30)):
        for name, found in summary[part].items():
            cells = [row[name] for row in tested if row["step"] == str(step)]
            values = [float(cell) if cell else None for cell in cells]
            assert [value is None for value in found["per_seed"]] == [value is None for value in values], name
            present = [value for value in values if value is not None]
            assert [value for value in found["per_seed"] if value is not None] == pytest.approx(present, rel=1e-6), name
            if present:
                assert found["mean"] == pytest.approx(np.mean(present))
            if len(present) > 1 and not found["binary"]:  # one value has no interval
                low, high = found["ci95"]
                assert low <= found["mean"] <= high and low < high + 1e-9  # it allows for what the sample has not shown
            assert found.get("seeds_with_value", 3) == len(present)
    # A metric that is not measured at a step is an empty cell, not a zero.
    first = rows[0]
    assert first["return"] != "" and first["policy_loss"] == "" and "greedy_steps" not in first
    assert [float(row["episodes"]) for row in rows[::3]] == list(range(1, 31))
    steps = [float(row["env_steps"]) for row in rows[::3]]
    assert all(0 < after - before <= 60 for before, after in zip([0.0, *steps], steps, strict=False))


def test_the_same_command_gives_the_same_bytes(run, tmp_path):
    assert main([*COMMAND, f"output_dir={tmp_path / 'second'}"]) == 0
    assert (tmp_path / "second" / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


def test_the_number_of_threads_changes_nothing(run, tmp_path):
    assert main([*COMMAND, f"output_dir={tmp_path / 'second'}", "threads=2"]) == 0
    assert (tmp_path / "second" / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


@pytest.mark.parametrize(
    ("variable", "typed", "threads"),
    [("2", None, 2), ("2", "1", 1), ("4,2", None, 1), ("0", None, 1), ("x", None, 1), (None, None, 1)],
)
def test_the_environment_may_choose_the_threads(variable, typed, threads, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    before = torch.get_num_threads()
    try:
        run = check_run({"experiment": "some", "threads": None if typed is None else int(typed)})
        assert processor.prepare(run) == torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_the_last_two_checkpoints_are_kept_and_run_no_code(run):
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["last", "step_000020.pt", "step_000030.pt"]
    assert (run / "checkpoints" / "last").read_text() == "step_000030.pt\n"
    saved = Checkpoints.load(run / "checkpoints" / "step_000020.pt", "cpu")
    assert (saved["step"], saved["seeds"], saved["algorithm"]["step"]) == (20, [7, 8, 9], 20)


def test_an_algorithm_goes_on_from_a_checkpoint_to_the_same_end(run):
    from prefrl_cli.config.build import build

    saved = Checkpoints.load(run / "checkpoints" / "step_000020.pt", "cpu")
    end = Checkpoints.load(run / "checkpoints" / "step_000030.pt", "cpu")
    algorithm = build(yaml.safe_load((run / "config.yaml").read_text()))
    algorithm.restore(saved["algorithm"])
    while algorithm.step < 30:
        algorithm.update()
    for name in ("policy", "reward_model"):
        assert torch.equal(algorithm.state()[name]["flat"], end["algorithm"][name]["flat"])


def test_no_two_runs_share_a_folder(tmp_path):
    wanted = tmp_path / "outputs" / "name" / "stamp"
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: RunDirectory.claim(wanted, exact=False).path, range(24)))
    assert len(set(paths)) == 24
    assert {path.name for path in paths} == {"stamp", *(f"stamp_{number}" for number in range(1, 24))}


def test_one_of_many_gets_an_exact_folder(tmp_path):
    (tmp_path / "mine").mkdir()

    def claim(_):
        try:
            return RunDirectory.claim(tmp_path / "mine", exact=True)
        except ConfigError:
            return None

    with ThreadPoolExecutor(8) as pool:
        got = [one for one in pool.map(claim, range(16)) if one is not None]
    assert len(got) == 1


def test_a_metric_that_appears_late_widens_the_file(tmp_path):
    path = tmp_path / "metrics.csv"
    with MetricsLog(tmp_path, [5, 6]) as log:
        log.add(0, {}, {"error": np.array([0.5, np.nan])})
        assert path.read_text() == "step,seed\n"
        log.add(1, {"loss": np.array([0.1, 2.0], dtype=np.float32)}, {})
        assert path.read_text().splitlines()[-1] == "1,6,2.0"  # there while the run goes on
        log.add(2, {"loss": np.array([1e-9, np.inf]), "rare": np.array([3, 4])}, {"error": np.array([1.0, 2.0])})
    assert path.read_text() == "step,seed,loss,rare\n1,5,0.1,\n1,6,2.0,\n2,5,1e-09,3\n2,6,inf,4\n"
    assert (tmp_path / "evaluation.csv").read_text() == "step,seed,error\n0,5,0.5\n0,6,\n2,5,1.0\n2,6,2.0\n"
    assert log.names == ["loss", "rare", "evaluation/error"]
    history = log.history()
    np.testing.assert_array_equal(history["loss"], [[0.1, 2.0], [1e-9, np.inf]])
    np.testing.assert_array_equal(history["evaluation/error"], [[0.5, np.nan], [np.nan] * 2, [1.0, 2.0]])


def test_numbers_that_json_does_not_know_are_null(tmp_path):
    directory = RunDirectory.claim(tmp_path / "run", exact=True)
    directory.write_json("some.json", {"values": [1.0, float("nan"), float("inf")], "deep": {"x": (float("nan"),)}})
    text = (directory.path / "some.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"values": [1.0, None, None], "deep": {"x": [None]}}


def test_an_interrupted_run_says_so(tmp_path):
    script = Path(sys.executable).with_name("prefrl-train")
    process = subprocess.Popen(
        [script, "experiment=tutorial/oprl_maze", "steps=100000", "output_dir=run"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 60
    while not (metrics.is_file() and metrics.read_text().count("\n") > 5) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    told = f"prefrl-train: interrupted at step {status['step']}; to go on type prefrl-train resume=run"
    assert error.splitlines() == ["", "stopping after this step; once more stops at once", told]
    assert status["status"] == "interrupted" and status["step"] > 1


def test_the_console_shows_about_ten_lines_and_a_table(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment=oprl_maze", "steps=20", "num_seeds=2", "output_dir=run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    progress = [line for line in lines if line.startswith("step ")]
    assert len(progress) == 10 and progress[-1].startswith("step 20/20, success ")
    assert all(len(line) <= 80 for line in lines)
    assert any(line.split()[0] == "success_mean" and "[" in line for line in lines)
    charts = " ".join(map(str.strip, lines[lines.index("run: run") + 1 :])).split(", ")
    assert charts == ["charts: run/charts/", *sorted(path.name for path in (tmp_path / "run" / "charts").glob("*.*"))]
    assert (tmp_path / "run" / "train.log").read_text().splitlines() == lines


def test_quiet_prints_nothing(tmp_path, capsys):
    assert main(["experiment=addition_linear", "steps=2", "quiet=true", f"output_dir={tmp_path / 'run'}"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


def test_without_a_folder_it_goes_to_outputs_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["experiment=tutorial/oprl_maze", "steps=1", "quiet=true"]) == 0
    runs = list((tmp_path / "outputs" / "tutorial" / "oprl_maze").iterdir())
    assert len(runs) == 2 and [path.name for path in tmp_path.iterdir()] == ["outputs"]
