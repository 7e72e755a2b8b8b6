"""Sweeps: folders that say which job they are, a table of all jobs, and going on after anything."""

import csv
import fcntl
import os
import re
import shutil
import signal
import sys
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prefrl_cli.cli.train import main
from prefrl_cli.config import messages
from prefrl_cli.config.overrides import what
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.logger import mlflow, tensorboard
from prefrl_cli.run import runner
from prefrl_cli.sweep import launcher
from prefrl_cli.sweep.directory import Sweep
from prefrl_cli.sweep.record import find, goes_on, job_name, read_record
from prefrl_cli.sweep.results import read_json

ADDITION = ["-m", "experiment=addition_linear", "quiet=true"]
# The larger learning rate ends as a number that is none.
FAILING = ["-m", "experiment=rewardnet_mse", "optimizer=sgd", "optimizer.lr=0.001,1e30", "steps=12", "seed=3"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)  # takes longer than all the rest
    return tmp_path


def sweeps(folder):
    return sorted((folder / "outputs").glob("*/sweeps/*"))


def table(sweep):
    with (sweep / "sweep.csv").open(newline="") as file:
        return {row["job"]: row for row in csv.DictReader(file)}


def test_a_folder_is_named_by_its_overrides_in_one_order():
    name = job_name(["shaping=none", "experiment=oprl_maze", "env.size=8", "quiet=true", "output_dir=x"])
    assert name == "env.size=8,shaping=none" == job_name(["env.size=8", "shaping=none"])
    assert job_name(["experiment=a", "seed=1"], with_experiment=True) == "experiment=a,seed=1"
    assert job_name(["experiment=a"]) == "default"


@given(st.lists(st.tuples(st.sampled_from(["env.size", "+a", "optimizer.betas"]), st.text(max_size=300)), max_size=4))
def test_any_override_gives_a_safe_short_name(pairs):
    name = job_name([f"{option}={value}" for option, value in pairs])
    assert re.fullmatch(r"[A-Za-z0-9_.,=+~\[\]-]{1,200}", name)
    assert not name.startswith(".")


@given(st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_other_values_are_another_folder(one, other):
    assert (job_name([f"a={one}"]) == job_name([f"a={other}"])) == (one == other)


def test_what_makes_a_sweep_the_same():
    typed = ["experiment=a", "seed=1,2", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "quiet=true"]
    assert what(typed) == what(["seed=1,2", "experiment=a"]) != what(["seed=1,3", "experiment=a"])


def test_the_table_has_every_job_and_a_finished_sweep_typed_again_is_a_new_one(here, capsys):
    arguments = ["-m", "experiment=addition_linear", "steps=1", "seed=1,2"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    (sweep,) = sweeps(here)
    rows = table(sweep)
    assert sorted(rows) == ["seed=1,steps=1", "seed=2,steps=1"]
    for name, row in rows.items():
        summary = read_json(sweep / name / "summary.json")
        assert (row["status"], row["reason"]) == ("finished", "")
        assert float(row["seconds"]) == summary["train_seconds"]
        assert float(row["theta_1"]) == summary["metrics"]["theta_1"]["mean"]
    assert said.err.splitlines()[-1] == "sweep: 2 done, 0 running, 0 failed of 2"
    head, *lines, last = said.out.splitlines()
    assert head.split("  ")[1:] == ["seed", "preference_accuracy", "95 % interval"]
    means = {seed: float(rows[f"seed={seed},steps=1"]["preference_accuracy"]) for seed in "12"}
    assert [line.split() for line in lines] == [[seed, f"{mean:.4g}"] for seed, mean in means.items()]
    assert last == f"sweep: {sweep.relative_to(here)}"
    assert yaml.safe_load((sweep / "sweep.yaml").read_text())["finished"] is True
    assert main(arguments) == 0
    assert f"sweep: {sweep.relative_to(here)} is finished; this is a new one\n" in capsys.readouterr().out
    assert len(sweeps(here)) == 2


def test_a_value_that_is_typed_twice_is_one_job(here, capsys):
    assert main(["-m", "experiment=addition_linear", "steps=1", "num_seeds=2", "seed=1,1,2"]) == 0
    said = capsys.readouterr().err
    assert "sweep: 2 done, 0 running, 0 failed of 2\n" in said and "of 3" not in said


def test_the_newest_sweep_is_the_one_that_was_begun_last_wherever_the_clock_stood(here, capsys, monkeypatch):
    """The local time goes back when summer time ends, or with the time zone; the folders are named by it."""
    arguments = [*ADDITION, "steps=1", "seed=1"]
    for stamp in ("2026-10-25_02-50-00", "2026-10-25_02-10-00"):
        monkeypatch.setattr(time, "strftime", lambda *_, stamp=stamp: stamp)
        assert main(arguments) == 0
    newest = here / "outputs" / "addition_linear" / "sweeps" / "2026-10-25_02-10-00"
    began = yaml.safe_load((newest / "sweep.yaml").read_text())["started"]
    shutil.rmtree(newest / "seed=1,steps=1")
    (newest / "sweep.yaml").write_text((newest / "sweep.yaml").read_text().replace("finished: true", "finished: false"))
    monkeypatch.setattr(time, "strftime", lambda *_: "2026-10-25_03-00-00")
    assert main([one for one in arguments if one != "quiet=true"]) == 0
    assert f"sweep: going on with {newest.relative_to(here)}\n" in capsys.readouterr().out
    assert len(sweeps(here)) == 2
    assert yaml.safe_load((newest / "sweep.yaml").read_text())["started"] == began
    older = newest.with_name("9999-old")  # by a prefrl that noted no time
    older.mkdir()
    (older / "sweep.yaml").write_text(yaml.safe_dump({"overrides": what(arguments[1:]), "flags": []}))
    assert find(newest.parent, what(arguments[1:])) == (newest, True)


def test_a_sweep_that_was_killed_before_its_record_begins_again(here):
    for name, files in (("a", []), ("b", [".lock"]), ("c", [".lock", ".sweep.yaml.0123456789abcdef.part"])):
        (here / name).mkdir()
        for file in files:
            (here / name / file).write_text("")
        with Sweep(here / name, []) as sweep:
            sweep.add(job := sweep.job(["seed=1"]))
            sweep.folder(job).mkdir()
        assert sorted(os.listdir(here / name)) == [".lock", "seed=1", "sweep.csv", "sweep.yaml"]


@pytest.mark.parametrize("name", ["multirun.yaml", "study.db"])
def test_what_hydra_writes_into_is_no_second_name_of_a_file(name, here, capsys):
    arguments = [*ADDITION, "steps=1", "seed=1", "output_dir=mine"]
    assert main(arguments) == 0
    (here / "outside").write_text("mine")
    (here / "mine" / name).unlink(missing_ok=True)
    os.link(here / "outside", here / "mine" / name)
    assert main(arguments) == 2
    assert "is another file's second name; put a copy in its place" in capsys.readouterr().err
    assert (here / "outside").read_text() == "mine"


def test_failures_are_told_and_rerun_and_nothing_is_lost(here, capsys):
    assert main(FAILING) == 1
    said = capsys.readouterr().err
    (sweep,) = sweeps(here)
    good, bad = (f"optimizer.lr={lr},optimizer=sgd,seed=3,steps=12" for lr in ("0.001", "1e+30"))
    assert re.search(rf"1 failed:\n  {re.escape(bad)}\n      step \d+: the loss is not a number any more", said)
    rows = table(sweep)
    assert (rows[good]["status"], rows[bad]["status"]) == ("finished", "failed")
    assert "not a number" in rows[bad]["reason"]
    assert find(sweep.parent, what(FAILING[1:])) == (sweep, False)
    kept = {path: path.stat().st_mtime_ns for path in (sweep / good).rglob("*")}
    assert main(FAILING) == 1
    assert f"sweep: going on with {sweep.relative_to(here)}\n" in capsys.readouterr().out
    assert main([f"resume={sweep}", "steps=3"]) == 2
    assert "steps=3: a sweep goes on with its own options" in capsys.readouterr().err
    assert main([f"resume={sweep}", "quiet=true"]) == 1
    assert sweeps(here) == [sweep]
    assert kept == {path: path.stat().st_mtime_ns for path in (sweep / good).rglob("*")}
    before = sorted((sweep / ".failed").iterdir())
    assert [path.name for path in before] == [f"{bad}.1", f"{bad}.2"]
    assert all(read_json(path / "status.json")["status"] == "failed" for path in (*before, sweep / bad))


def test_what_is_told_does_not_stand_behind_the_line_of_a_running_sweep(here, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main([*ADDITION, "steps=0,1", "seed=1"]) == 2
    assert "\r\033[Kprefrl-train: job seed=1,steps=0: steps=0: must be" in capsys.readouterr().err


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("-m", "experiment is not set; type experiment="),
        ("-m seed=0,1,2", "experiment is not set; type experiment="),
        ("-m experiment=addition_linear seed=0,1,2 optimizer.lr=-1", "optimizer.lr=-1: must be a number above 0"),
        ("-m experiment=addition_linear seed=range(40) steps=0", "steps=0: must be"),
    ],
)
def test_what_is_wrong_with_every_job_is_one_line(typed, line, check, here, capsys):
    assert main([*typed.split(), *(["--check"] if check else [])]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"prefrl-train: {line}") and said.err.count("\n") == 1 and said.out == ""
    assert list(here.iterdir()) == []


def test_what_is_wrong_with_several_jobs_is_told_once(here, capsys):
    typed = [*ADDITION, "steps=1", "optimizer.lr=-1,0.1", "seed=0,1,2"]
    assert main([*typed, "--check"]) == 2
    told = r"prefrl-train: job optimizer\.lr=-1,seed=0,steps=1 and 2 more: optimizer\.lr=-1: must be a number above 0"
    checked = capsys.readouterr().err.splitlines()
    assert re.match(told, checked[0]) and len(checked) == 2 and "3 of 6 jobs cannot run" in checked[1]
    assert main([*typed, "output_dir=sweep"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == checked[0] and len(lines) == 2 and "3 of 6 jobs cannot run; none was begun" in lines[1]
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_sweep_that_is_stopped_says_how_to_go_on_with_all_of_it(here, capsys, monkeypatch, number, code):
    monkeypatch.setattr(runner, "draw", lambda *_: os.kill(os.getpid(), number))
    arguments = [*ADDITION, "steps=1", "seed=1,2", "output_dir=sweep"]
    assert main(arguments) == code
    assert capsys.readouterr().err.splitlines()[-1] == (
        "prefrl-train: sweep interrupted; to go on type the same command again, or prefrl-train resume=sweep"
    )
    assert [row["status"] for row in table(here / "sweep").values()].count("waiting") == 1
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    assert main(["resume=sweep"]) == 0
    assert [row["status"] for row in table(here / "sweep").values()] == ["finished", "finished"]


def test_a_job_that_was_killed_with_its_sweep_is_not_running(here):
    with pytest.raises(KeyboardInterrupt), Sweep(here / "sweep", []) as sweep:
        for name in ("seed=1", "seed=2"):
            sweep.add(job := sweep.job([name]))
            folder = sweep.folder(job)
            folder.mkdir()
            (folder / ".lock").write_text("1\n")
            (folder / "status.json").write_text('{"status": "running", "step": 1}')
        assert sweep.counts() == {"running": 2}
        held = (here / "sweep" / "seed=2" / ".lock").open()
        fcntl.flock(held, fcntl.LOCK_EX)
        raise KeyboardInterrupt
    rows = table(here / "sweep")
    held.close()
    assert [rows[name]["status"] for name in ("seed=1", "seed=2")] == ["interrupted", "running"]


@pytest.mark.parametrize("folder", ["one,other", "out_${seed}", "choice(a,b)"])
def test_a_sweep_has_one_folder(folder, here, capsys):
    assert main([*ADDITION, "steps=1", "seed=1,2", f"output_dir={folder}"]) == 2
    assert f"output_dir={folder}: holds the whole sweep" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_the_folder_is_read_as_a_runs_is(here):
    assert main([*ADDITION, "steps=1", "seed=1", "output_dir='my sweep'"]) == 0
    assert [path.name for path in here.iterdir()] == ["my sweep"]
    assert main([*ADDITION, "steps=1", "seed=1", "output_dir=null"]) == 0
    assert len(sweeps(here)) == 1


def test_a_run_and_a_sweep_do_not_share_a_folder(here, capsys):
    alone = ["experiment=addition_linear", "quiet=true", "steps=1"]
    assert main([*alone, "output_dir=run"]) == main(["-m", *alone, "output_dir=sweep"]) == 0
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*")}
    assert main(["-m", *alone, "output_dir=run"]) == main([*alone, "output_dir=sweep"]) == 2
    said = capsys.readouterr().err
    assert "output_dir=run: holds a run; type" in said and "output_dir=sweep: holds a sweep; type" in said
    assert before == {path: path.stat().st_mtime_ns for path in here.rglob("*")}


def test_a_tracker_that_fails_in_the_jobs_is_told_once(here, capsys, monkeypatch):
    def broken(self, *_, **__):
        raise ImportError("half installed")

    monkeypatch.setattr(messages, "require", lambda tracker: None)
    monkeypatch.setattr(tensorboard.TensorBoard, "log", broken)
    assert main([*ADDITION, "steps=1", "seed=1,2", "logger=tensorboard"]) == 0
    said = capsys.readouterr().err
    assert said.count("prefrl-train: logger=tensorboard failed and is left out from here on (ImportError: half") == 1
    assert [row["reason"] for row in table(sweeps(here)[0]).values()] == ["", ""]


def test_what_trackers_share_is_made_once_before_the_first_job(here, monkeypatch):
    made = []

    def prepare(store, **_):
        made.append((store, len(list(here.rglob("status.json")))))

    monkeypatch.setattr(messages, "require", lambda tracker: None)
    monkeypatch.setattr(mlflow.MLflow, "prepare", staticmethod(prepare))
    assert main([*ADDITION, "steps=1", "seed=1,2", "logger=mlflow"]) == 0
    assert made == [("sqlite:///outputs/mlflow.db", 0)]


@pytest.mark.parametrize("batches", [[], ["hydra.sweeper.max_batch_size=1"]])
def test_no_job_begins_where_one_has_a_wrong_option(batches, here, capsys, monkeypatch):
    prepared = []
    monkeypatch.setattr(messages, "require", lambda tracker: None)
    monkeypatch.setattr(mlflow.MLflow, "prepare", staticmethod(lambda **_: prepared.append(1)))
    typed = [*ADDITION, *batches, "logger=mlflow", "seed=1"]
    assert main([*typed, "steps=1,x,-1"]) == 2
    said = capsys.readouterr()
    assert re.findall(r"steps=\S+: must be a whole number", said.err) == ["steps=x: must be a whole number"] + [
        "steps=-1: must be a whole number"
    ]
    assert said.err.endswith("2 of 3 jobs cannot run; none was begun, nothing was written\n") and said.out == ""
    assert list(here.iterdir()) == [] and not prepared


def test_more_values_with_a_wrong_one_leave_a_sweep_as_it_was(here, capsys):
    typed = [*ADDITION, "seed=1", "output_dir=mine"]
    assert main([*typed, "steps=1"]) == 0
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file() and path.name != "multirun.yaml"}
    assert main([*typed, "steps=0,1,2"]) == 2
    assert "steps=0: must be a whole number" in capsys.readouterr().err
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(path.name for path in (here / "mine").glob("seed=*")) == ["seed=1,steps=1"]


def test_a_job_whose_options_are_wrong_by_now_leaves_the_others(here, capsys, monkeypatch):
    """They were right when the sweep began: another version, or a file that has gone."""
    typed = [*ADDITION, "steps=1,2,3", "seed=1", "output_dir=mine"]
    assert main(typed) == 0
    for steps in (2, 3):
        shutil.rmtree(here / "mine" / f"seed=1,steps={steps}")
    built = launcher.build

    def stricter(config):
        if config.run.steps == 2:
            raise ConfigError("steps=2: must be odd")
        return built(config)

    monkeypatch.setattr(launcher, "build", stricter)
    assert main(["resume=mine"]) == 1
    assert "1 failed:\n  seed=1,steps=2\n      steps=2: must be odd" in capsys.readouterr().err
    assert [row["status"] for row in table(here / "mine").values()] == ["finished", "failed", "finished"]


def test_a_sweep_that_is_running_is_left_alone(here, capsys):
    arguments = [*ADDITION, "steps=1", "seed=1", "output_dir=mine"]
    assert main(arguments) == 0
    before = (here / "mine" / "sweep.csv").read_bytes()
    with (here / "mine" / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(arguments) == 2
    assert "mine: this sweep is running in another process" in capsys.readouterr().err
    assert (here / "mine" / "sweep.csv").read_bytes() == before
    assert main([*ADDITION, "steps=2", "seed=1", "output_dir=mine"]) == 2
    assert "mine: holds another sweep; type another output_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "now", "goes"),
    [
        ("seed=0,1", "seed=0,1,2", True),
        ("seed=0,1", "seed=2,1,0", True),
        ("seed=0", "seed=0,1", True),
        ("seed=0,1", "seed=range(0,4)", True),
        ("seed=0,1 env.size=8", "env.size=8,12 seed=0,1", True),
        ("seed=0,1", "seed=0", False),
        ("seed=0,1", "seed=1,2", False),
        ("seed=0,1", "seed=0,1 env.size=8", False),
        ("seed=0,1 env.size=8", "seed=0,1", False),
        ("experiment=a", "experiment=a,b", False),  # it is not in the jobs' names
        ("experiment=a,b", "experiment=a,b,c", True),
        ("hparams_search=x seed=0", "hparams_search=x seed=0,1", False),
        ("hparams_search=x hydra.sweeper.n_trials=2", "hparams_search=x hydra.sweeper.n_trials=3", True),
        ("hparams_search=x", "hparams_search=x hydra.sweeper.n_trials=3", True),
        ("hparams_search=x hydra.sweeper.n_trials=2", "hparams_search=y hydra.sweeper.n_trials=2", False),
        ("seed=[0", "seed=0,1", False),
    ],
)
def test_which_sweep_goes_on_as_another(before, now, goes):
    one, other = ({"overrides": what(text.split()), "flags": []} for text in (before, now))
    assert goes_on(one, other) == goes
    assert not goes_on(one, {**other, "flags": ["--config-dir=/x"]})


def test_a_sweep_is_given_more_values_in_its_folder(here, capsys):
    arguments = [*ADDITION, "steps=1", "output_dir=mine"]
    assert main([*arguments, "seed=1,2"]) == 0
    kept = {path: path.stat().st_mtime_ns for path in (here / "mine").glob("*/*")}
    assert main([*arguments, "seed=1,2,3", "optimizer.lr=0.1"]) == 2
    said = "mine: holds another sweep; type another output_dir, or its own options and more values\n"
    assert capsys.readouterr().err.endswith(said)
    shutil.move("mine", "moved")
    arguments[-1] = "output_dir=moved"
    assert main([*arguments, "seed=1,2,3"]) == 0
    rows = table(here / "moved")
    assert sorted(rows) == [f"seed={seed},steps=1" for seed in (1, 2, 3)]
    assert {row["status"] for row in rows.values()} == {"finished"}
    assert all((here / "moved" / path.relative_to(here / "mine")).stat().st_mtime_ns == at for path, at in kept.items())
    assert "seed=1,2,3" in read_record(here / "moved")["overrides"]
    assert main(["resume=moved"]) == 0 and main([*arguments, "seed=1,2"]) == 2  # the third is not forgotten


@pytest.mark.parametrize(
    "override",
    ["hydra.launcher._target_=os.system", "+hydra.callbacks.a=1", "allow_targets=[os]", "--config-path=/tmp"]
    + ["logger.mlflow.store=sqlite:////etc/x", "+logger={m: {store: http://x}}"],
)
def test_the_record_of_someone_elses_sweep_runs_nothing(override, here, capsys):
    record = {"overrides": ["experiment=addition_linear", override], "flags": [], "finished": False}
    (here / "sweep.yaml").write_text(yaml.safe_dump(record))
    assert main([f"resume={here}"]) == 2
    assert f"sweep.yaml: a file may not set {override}; type the sweep's own command again" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["sweep.yaml"]
