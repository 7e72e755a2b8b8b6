"""The launchers and the search: each for real where its package is installed, and one line where it is not."""

import contextlib
import importlib.util
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from kill_a_sweep import SCRIPT
from test_sweep import FAILING, sweeps, table

from prefrl_cli.cli.train import main
from prefrl_cli.config.choices import conf_folder
from prefrl_cli.report.configurations import configurations
from prefrl_cli.report.runs import load
from prefrl_cli.sweep.results import read_json

INSTALLED = {
    name: importlib.util.find_spec(package) is not None and importlib.util.find_spec(name) is not None
    for name, package in (
        ("joblib", "hydra_plugins.hydra_joblib_launcher"),
        ("submitit", "hydra_plugins.hydra_submitit_launcher"),
        ("ray", "hydra_plugins.hydra_ray_launcher"),
        ("optuna", "hydra_plugins.hydra_optuna_sweeper"),
    )
    if importlib.util.find_spec("hydra_plugins") is not None
}
CHOICES = {
    "hydra/launcher=processes": "",
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=slurm": "submitit",
    "hydra/launcher=slurm_local": "submitit",
    "hydra/launcher=ray_local": "ray",
    "hydra/launcher=ray_cluster": "ray",
    "hparams_search=oprl_maze_optuna": "optuna",
    "hparams_search=rewardnet_prefs_optuna": "optuna",
}


def needs(extra):
    return pytest.mark.skipif(not INSTALLED.get(extra), reason=f"needs pip install 'prefrl[{extra}]'")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder, *arguments):
    """The command in a process of its own: launchers leave threads and handlers behind."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=folder, capture_output=True, text=True, timeout=300
    )


def test_every_preset_is_tried():
    files = {path.stem for path in (conf_folder() / "hydra" / "launcher").iterdir()}
    searches = {path.stem for path in (conf_folder() / "hparams_search").iterdir()}
    assert files | {"joblib"} == {one.partition("=")[2] for one in CHOICES if "launcher" in one}
    assert searches == {one.partition("=")[2] for one in CHOICES if "search" in one}


@pytest.mark.parametrize(("choice", "extra"), CHOICES.items())
def test_a_missing_package_is_one_line(choice, extra, here, capsys):
    if INSTALLED.get(extra) or not extra:
        pytest.skip(f"{extra} is installed")
    assert main(["-m", "experiment=oprl_maze", "steps=1", choice]) == 2
    said = capsys.readouterr()
    assert re.fullmatch(rf"prefrl-train: hydra/\S+: is not installed; type pip install 'prefrl\[{extra}\]'\n", said.err)
    assert said.out == "" and list(here.iterdir()) == []


def test_the_presets_avoid_what_loses_work():
    presets = {path.stem: yaml.safe_load(path.read_text()) for path in (conf_folder() / "hydra/launcher").iterdir()}
    for name in ("ray_local", "ray_cluster"):
        assert presets[name]["ray"]["remote"] == {"num_cpus": 1, "max_retries": 0}
    assert presets["ray_cluster"]["ray"]["init"]["object_store_memory"] is None
    assert presets["slurm"]["timeout_min"] >= 1440 and presets["slurm"]["max_num_timeout"] > 0
    assert presets["slurm_local"]["timeout_min"] >= 1440


each_launcher = pytest.mark.parametrize(
    "launcher",
    [
        "processes",
        pytest.param("joblib", marks=needs("joblib")),
        pytest.param("slurm_local", marks=needs("submitit")),
        pytest.param("ray_local", marks=needs("ray")),
    ],
)


@each_launcher
def test_a_launcher_runs_each_job_and_leaves_finished_ones(launcher, here):
    arguments = ["-m", "experiment=addition_linear", "steps=1", "seed=1,2", "output_dir=sweep"]
    assert main([*arguments[:3], "seed=1", "output_dir=alone"]) == 0
    for _ in range(2):
        done = run(here, *arguments, f"hydra/launcher={launcher}")
        assert done.returncode == 0, done.stderr
        assert [row["status"] for row in table(here / "sweep").values()] == ["finished", "finished"]
        states = [read_json(path) for path in sorted((here / "sweep").glob("*/status.json"))]
        assert "Warning" not in done.stderr
    assert len(states) == 2
    names = ("alone/seed=1,steps=1", "sweep/seed=1,steps=1")
    one, other = ((here / name / "metrics.csv").read_bytes() for name in names)
    assert one == other


@each_launcher
def test_ranges_of_seeds_are_one_configuration_that_lacks_no_seed(launcher, here):
    options = ["experiment=rewardnet_prefs", "steps=3", "threads=1"]
    assert main([*options, "num_seeds=6", "output_dir=whole"]) == 0
    done = run(here, "-m", *options, "seed=0,3", "num_seeds=3", "output_dir=ranges", f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    (whole,), (pooled,) = (configurations(load([here / name])) for name in ("whole", "ranges"))
    assert len(pooled.runs) == 2 and not pooled.repeated and not pooled.unfinished
    order = np.argsort(pooled.seeds)  # they begin when they can
    assert np.array(pooled.seeds)[order].tolist() == whole.seeds == list(range(6))
    assert pooled.scores.keys() == whole.scores.keys() and "preference_accuracy" in whole.scores
    for name, scores in whole.scores.items():
        np.testing.assert_array_equal(pooled.scores[name][order], scores)
    np.testing.assert_array_equal(pooled.curve("loss").values[:, order], whole.curve("loss").values)


DIES = """
import os, signal
from prefrl_cli.reward_model.shaping import NoShaping
class Dies(NoShaping):
    def __init__(self):
        words = open("/proc/self/cmdline").read()
        if os.environ.get("LOKY_WORKER") or "loky" in words or "sweep.processes" in words:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def folders_of_processes():
    """The working folder of each other process that may be looked at."""
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if path.parent.name != str(os.getpid()) and (folder := path.resolve()).is_dir():
                yield folder


several = pytest.mark.parametrize("launcher", ["processes", pytest.param("joblib", marks=needs("joblib"))])


@several
def test_a_job_that_takes_its_process_down_is_told_and_the_others_run(launcher, here, monkeypatch):
    (here / "mine.py").write_text(DIES)
    monkeypatch.setenv("PYTHONPATH", str(here))
    targets = "shaping._target_=prefrl_cli.reward_model.shaping.NoShaping,mine.Dies"
    arguments = ["experiment=oprl_maze", "shaping=none", targets, "allow_targets=[mine]", "steps=1", "output_dir=sweep"]
    done = run(here, "-m", *arguments, f"hydra/launcher={launcher}")
    assert done.returncode == 1, done.stderr
    assert "1 failed:" in done.stderr and "Traceback" not in done.stderr
    rows = {("Dies" in name): row for name, row in table(here / "sweep").items()}
    assert rows[False]["status"] == "finished"
    assert rows[True]["status"] == "failed" and "its process ended without a word" in rows[True]["reason"]


@several
def test_workers_of_a_killed_sweep_stop_and_are_waited_for(launcher, here):
    """SIGKILL reaches the sweep's own process only, as when memory runs out."""
    arguments = ["-m", "experiment=addition_linear", "steps=1500", "checkpoint.every=50", "seed=1,2"]
    arguments += ["output_dir=sweep", f"hydra/launcher={launcher}", "threads=1"]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], cwd=here, start_new_session=True)
    began = time.monotonic()
    while len(list(here.glob("sweep/*/checkpoints/step_*.pt"))) < 2:
        assert time.monotonic() - began < 120 and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = run(here, *arguments)
    assert done.returncode == 0, done.stderr
    assert [row["status"] for row in table(here / "sweep").values()] == ["finished", "finished"]
    logs = [path.read_text() for path in here.glob("sweep/*/train.log")]
    assert len(logs) == 2 and all("going on from step" in text for text in logs)
    assert not list(here.glob("sweep/.failed/*"))
    ended = time.monotonic()
    while time.monotonic() - ended < 60:
        if not any(map(here.samefile, folders_of_processes())):  # whether any process of the killed sweep is left
            return
        time.sleep(0.1)
    pytest.fail("workers of the killed sweep are left")


@needs("optuna")
def test_a_search_that_was_killed_goes_on_where_it_was(here):
    arguments = ["-m", "experiment=rewardnet_prefs", "hparams_search=rewardnet_prefs_optuna", "num_seeds=1"]
    arguments += ["steps=400", "checkpoint.every=20", "hydra.sweeper.n_trials=3"]
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, *arguments], cwd=here, start_new_session=True)
    began = time.monotonic()
    while time.monotonic() - began < 200:
        states = [read_json(path) for path in here.glob("outputs/*/sweeps/*/*/status.json")]
        if len(states) == 2 and list(here.glob("outputs/*/sweeps/*/*/checkpoints/step_*.pt")):
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = run(here, *arguments)
    assert done.returncode == 0, done.stderr
    (sweep,) = sweeps(here)
    with sqlite3.connect(sweep / "study.db") as study:
        states = [state for (state,) in study.execute("select state from trials")]
    study.close()
    assert states.count("COMPLETE") == 3 and "RUNNING" not in states
    assert [row["status"] for row in table(sweep).values()] == ["finished"] * 3
    best = yaml.safe_load((sweep / "optimization_results.yaml").read_text())["best_value"]
    assert best == min(float(row["answer_error"]) for row in table(sweep).values())


@needs("optuna")
def test_trials_that_fail_do_not_end_a_search_and_its_objective_is_a_metric(here):
    arguments = ["-m", "experiment=oprl_maze", "hparams_search=oprl_maze_optuna", "num_seeds=1", "steps=2"]
    arguments += ["hydra.sweeper.n_trials=2"]
    done = run(here, *arguments, "optimizer.lr=choice(1e30,1e31)", "output_dir=bad")
    assert done.returncode == 1, done.stderr
    assert "2 failed:" in done.stderr and "Traceback" not in done.stderr
    done = run(here, *arguments, "output_dir=good")
    assert done.returncode == 0, done.stderr
    best = yaml.safe_load((here / "good" / "optimization_results.yaml").read_text())["best_value"]
    assert best == max(float(row["success_mean"]) for row in table(here / "good").values())


@needs("optuna")
@pytest.mark.parametrize("kept", [True, False])
def test_a_search_is_given_more_trials_and_not_fewer(kept, here):
    search = ["hparams_search=rewardnet_prefs_optuna"] if kept else ["hydra/sweeper=optuna", "objective=answer_error"]
    arguments = ["-m", "experiment=rewardnet_prefs", *search, "optimizer.lr=interval(0.001,0.1)", "steps=2"]
    for number in (2, 3):
        done = run(here, *arguments, f"hydra.sweeper.n_trials={number}")
        assert done.returncode == 0, done.stderr
        (sweep,) = sweeps(here)
        assert [row["status"] for row in table(sweep).values()] == ["finished"] * number
    if not kept:
        return
    before = (sweep / "sweep.yaml").read_bytes()
    done = run(here, *arguments, "hydra.sweeper.n_trials=1")
    assert done.returncode == 2
    assert done.stderr == (
        "prefrl-train: hydra.sweeper.n_trials=1: this search has had 3 trials;"
        " type hydra.sweeper.n_trials=N with a larger N, or another output_dir\n"
    )
    assert (sweep / "sweep.yaml").read_bytes() == before
    sweep.rename(here / "moved")
    assert run(here, "resume=moved", "hydra.sweeper.n_trials=4").returncode == 0
    assert len(table(here / "moved")) == 4


# A Slurm of one machine, which calls every job completed, as Slurm does with what submitit runs.
SBATCH = """#!/usr/bin/env python
import os, subprocess, sys
for task in ("0", "1"):
    job = {"SLURM_JOB_ID": "77" + task, "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": task}
    job |= {"SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "here"}
    job |= dict.fromkeys(("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), "0")
    command = ["bash", "-c", f"bash '{sys.argv[-1]}'; touch '{__file__}.77_{task}'"]
    subprocess.Popen(command, env=os.environ | job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print("Submitted batch job 77")
"""
SRUN = """#!/usr/bin/env python
import os, sys
command = sys.argv[next(place for place, text in enumerate(sys.argv) if "python" in text and place):]
os.execvp(command[0], command)
"""
SACCT = """#!/usr/bin/env python
import os
print("JobID|State|NodeList")
for job in ("77_0", "77_1"):
    ended = os.path.exists(os.path.join(os.path.dirname(__file__), "sbatch." + job))
    print(job, "COMPLETED" if ended else "RUNNING", "here", sep="|")
"""


@needs("submitit")
def test_slurm_is_asked_for_what_was_typed_and_its_completed_is_not_believed(here, monkeypatch):
    (here / "bin").mkdir()
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("sacct", SACCT), ("squeue", SACCT)):
        (here / "bin" / name).write_text(text.replace("/usr/bin/env python", sys.executable))
        (here / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{here / 'bin'}{os.pathsep}{os.environ['PATH']}")
    typed = ["hydra/launcher=slurm", "hydra.launcher.partition=short", "hydra.launcher.timeout_min=30"]
    done = run(here, *FAILING, "output_dir=sweep", *typed)
    assert done.returncode == 1, done.stderr
    assert "1 failed:" in done.stderr and "the loss is not a number any more" in done.stderr
    rows = table(here / "sweep")
    assert sorted(row["status"] for row in rows.values()) == ["failed", "finished"]
    assert all(
        read_json(here / "sweep" / name / "status.json")["status"] == row["status"] for name, row in rows.items()
    )
    script = next((here / "sweep" / ".submitit").rglob("*_submission.sh"))
    asked = set(re.findall(r"^#SBATCH --(.*)$", script.read_text(), re.MULTILINE))
    assert asked >= {"partition=short", "time=30", "array=0-1%2", "cpus-per-task=1", "mem=4GB", "signal=USR2@120"}
