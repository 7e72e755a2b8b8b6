"""Trackers get every step of every seed; one that fails is told once and training does not notice."""

import functools
import importlib.util
import json
import multiprocessing
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from prefrl_cli.cli.train import main
from prefrl_cli.config import messages
from prefrl_cli.config.choices import conf_folder
from prefrl_cli.config.options import signature
from prefrl_cli.logger import mlflow, tensorboard, wandb
from prefrl_cli.logger.logger import Trackers
from prefrl_cli.run import runner

RUN = ["experiment=addition_linear", "steps=3", "num_seeds=2", "quiet=true", "output_dir=run"]
NOT_QUIET = RUN[:1] + RUN[2:3]
METRICS = {"loss": np.array([1.0, np.nan, 3.0]), "lost": np.array([np.nan] * 3)}


class Fake:
    """Notes what it is given, and raises at the call it is told to."""

    def __init__(self, fails="", per_seed=True):
        self.per_seed, self.fails, self.calls = per_seed, fails, []
        self._call("open")

    def log(self, step, metrics):
        self.calls.append((step, metrics))
        self._call("log")

    def close(self):
        self.calls.append("close")
        self._call("close")

    def _call(self, name):
        if name == self.fails:
            raise OSError(f"no room\nto {name}")


def test_median_and_each_seed_that_has_a_value():
    every, median = Fake(), Fake(per_seed=False)
    with Trackers((7, 8, 9), {"every": lambda: every, "median": lambda: median}) as trackers:
        trackers.log(4, METRICS)
    assert every.calls == [(4, {"loss/median": 2.0, "loss/seed_7": 1.0, "loss/seed_9": 3.0}), "close"]
    assert median.calls == [(4, {"loss/median": 2.0}), "close"]


def test_a_failed_seed_counts_in_the_median_and_has_no_curve():
    every, metrics = Fake(), {"success": np.array([1.0, np.nan, 0.5])}
    with Trackers((7, 8, 9), {"every": lambda: every}) as trackers:
        trackers.log(4, metrics, {"success": np.array([1.0, 0.0, 0.5])})
    assert every.calls[0] == (4, {"success/median": 0.5, "success/seed_7": 1.0, "success/seed_9": 0.5})


@pytest.mark.parametrize("fails", ["open", "log", "close"])
def test_a_failure_is_told_once_and_the_others_go_on(fails):
    fine, said = Fake(), []
    with Trackers((0, 1, 2), {"bad": functools.partial(Fake, fails), "fine": lambda: fine}, said.append) as trackers:
        for step in range(3):
            trackers.log(step, METRICS)
    assert said == [
        f"logger=bad failed and is left out from here on (OSError: no room to {fails}); metrics.csv has everything"
    ]
    assert [call[0] for call in fine.calls[:-1]] == [0, 1, 2] and fine.calls[-1] == "close"


def test_the_time_that_a_tracker_takes_to_begin_is_not_training(here, monkeypatch):
    clock = [0.0]

    @functools.wraps(tensorboard.TensorBoard.__init__)
    def slow(self, **_):
        clock[0] += 9
        self.per_seed = False

    monkeypatch.setattr(messages, "require", lambda tracker: None)
    monkeypatch.setattr(tensorboard.TensorBoard, "__init__", slow)
    monkeypatch.setattr(tensorboard.TensorBoard, "log", lambda *_: None)
    monkeypatch.setattr(tensorboard.TensorBoard, "close", lambda _: None)
    monkeypatch.setattr(runner, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    for typed in ([*RUN, "logger=tensorboard"], ["resume=run", "steps=4", "quiet=true"]):
        assert main(typed) == 0
        assert json.loads(Path("run", "summary.json").read_text())["train_seconds"] == 0
    assert clock == [18]


def test_an_interruption_is_not_kept():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Trackers((0,), {"any": interrupt}) as trackers:
        trackers.log(0, METRICS)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)  # takes longer than all the rest
    return tmp_path


def test_training_with_a_broken_tracker_ends_as_without_one(here, monkeypatch, capsys):
    def broken(self, *_, **__):
        raise ImportError("half installed")

    assert main(RUN) == 0
    monkeypatch.setattr(messages, "require", lambda tracker: None)
    monkeypatch.setattr(tensorboard.TensorBoard, "log", broken)
    assert main([*RUN[:-1], "output_dir=with", "logger=tensorboard"]) == 0
    assert capsys.readouterr().err.count("logger=tensorboard failed and is left out") == 1
    assert (here / "with" / "metrics.csv").read_bytes() == (here / "run" / "metrics.csv").read_bytes()


def test_several_at_once_with_their_options(here, monkeypatch):
    seen = {}

    def note(self, step, metrics):
        seen.setdefault(type(self).__name__, {})[step] = sorted(metrics)

    monkeypatch.setattr(messages, "require", lambda tracker: None)
    for tracker in (tensorboard.TensorBoard, wandb.WandB):
        monkeypatch.setattr(tracker, "log", note)
        monkeypatch.setattr(tracker, "close", lambda self: None)

    @functools.wraps(wandb.WandB.__init__)
    def without_package(self, per_seed, **_):
        self.per_seed = per_seed

    monkeypatch.setattr(wandb.WandB, "__init__", without_package)
    assert main([*RUN, "logger=[tensorboard,wandb]", "logger.wandb.per_seed=false"]) == 0
    assert list(seen["TensorBoard"]) == list(seen["WandB"]) == [0, 1, 2, 3]
    assert {"loss/median", "loss/seed_0", "loss/seed_1"} <= set(seen["TensorBoard"][1])
    assert "loss/median" in seen["WandB"][1] and not any("seed" in name for name in seen["WandB"][1])
    assert any(name.startswith("evaluation/") for name in seen["WandB"][0])


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "wandb"])
def test_what_is_not_installed_is_told_at_the_start(name, here, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda one: None if one == name else found(one))
    assert main([*RUN, f"logger={name}"]) == 2
    line = f"prefrl-train: logger={name}: {name} is not installed; type pip install 'prefrl[{name}]'\n"
    assert capsys.readouterr().err == line
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("logger=nope", "logger=nope: there is no such logger; choose one of mlflow, tensorboard, wandb"),
        ("logger.wandb.mode=online", "logger.wandb: is not chosen; type logger=wandb"),
        ("+logger.mine=3", "logger.mine=3: must be a group of options"),
    ],
)
def test_a_wrong_choice(typed, line, here, capsys):
    assert main([*RUN, typed]) == 2
    assert line in capsys.readouterr().err


def test_tensorboard_shows_every_step(here):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    tracker = tensorboard.TensorBoard(here)
    for step in range(3):
        tracker.log(step, {"loss/median": float(step)})
    tracker.close()
    again = tensorboard.TensorBoard(here)  # a resumed run
    again.log(2, {"loss/median": 9.0})
    again.close()
    events = accumulator(str(here / "tensorboard"))
    events.Reload()
    assert [(point.step, point.value) for point in events.Scalars("loss/median")] == [(0, 0.0), (1, 1.0), (2, 9.0)]


def _log_to_mlflow(folder):
    folder.mkdir(exist_ok=True)
    tracker = mlflow.MLflow(folder, "any", {"env": {"size": 8}}, f"sqlite:///{folder.parent}/mlflow.db")
    tracker.log(1, {"loss/median": 0.5})
    tracker.close()


@pytest.mark.filterwarnings("ignore")
def test_mlflow_when_several_processes_make_the_store(here):
    client = pytest.importorskip("mlflow.tracking").MlflowClient
    pytest.importorskip("alembic")
    processes = [multiprocessing.Process(target=_log_to_mlflow, args=(here / name,)) for name in ("a", "b")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    _log_to_mlflow(here / "a")  # resumed: the same run, the step not twice
    store = client(f"sqlite:///{here}/mlflow.db")
    runs = store.search_runs([store.get_experiment_by_name("any").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["a", "b"]
    assert {run.data.tags["prefrl.identity"] for run in runs} == {mlflow.tracker_id(here / name) for name in "ab"}
    for run in runs:
        assert run.data.params["env.size"] == "8"
        (point,) = store.get_metric_history(run.info.run_id, "loss/median")
        assert (point.step, point.value) == (1, 0.5)


def test_training_does_not_wait_long_for_a_server_that_is_not_there(here, monkeypatch):
    pytest.importorskip("mlflow")
    for name in ("MAX_RETRIES", "TIMEOUT"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "")  # put back at the end
        monkeypatch.delenv(f"MLFLOW_HTTP_REQUEST_{name}")
    began = time.monotonic()
    with pytest.raises(Exception, match="Max retries exceeded"):
        mlflow.MLflow(here, "any", {}, "http://127.0.0.1:1")
    assert time.monotonic() - began < 60  # four minutes with MLflow's own patience


def test_trackers_know_a_resumed_run_again(here, tmp_path_factory):
    first = mlflow.tracker_id(here)
    assert len(first) == 16 and mlflow.tracker_id(here) == first
    moved = here.rename(here.with_name("moved"))
    assert mlflow.tracker_id(moved) == first
    assert mlflow.tracker_id(tmp_path_factory.mktemp("new")) != first
    (moved / mlflow._IDENTITY).write_text("../another'; DROP")
    assert mlflow.tracker_id(moved) not in (first, "../another'; DROP")


@pytest.mark.parametrize("name", ["run", "r\u00fcn\nof 'mine'", "r\udcfcn"])
def test_a_copy_is_a_run_of_its_own_for_trackers(name, here):
    original, copy = here / name, here / "copy"
    original.mkdir()
    first = mlflow.tracker_id(original)
    shutil.copytree(original, copy)
    second = mlflow.tracker_id(copy)
    assert second != first and mlflow.tracker_id(copy) == second and mlflow.tracker_id(original) == first
    (moved := here / "moved").symlink_to(original)
    assert mlflow.tracker_id(moved) == first  # the same folder by another name
    shutil.rmtree(original)
    copy.rename(original)
    assert mlflow.tracker_id(original) == second


@pytest.mark.parametrize("place", ["", "\n", "\n/nowhere", "\n\0", "\n..", "\n/dev", f"\n{'x' * 4000}"])
def test_an_identity_whose_folder_cannot_be_found_is_that_of_a_moved_run(place, here):
    (here / mlflow._IDENTITY).write_text(f"{'a' * 16}{place}")
    assert mlflow.tracker_id(here) == "a" * 16 == mlflow.tracker_id(here)
    (here / mlflow._IDENTITY).write_text(f"{'a' * 16}\n{'x' * 5000}")
    assert mlflow.tracker_id(here) != "a" * 16


@pytest.mark.parametrize("again", [False, True])
def test_wandb_is_asked_to_go_on_in_the_same_run(here, monkeypatch, again):
    asked = []
    package = SimpleNamespace(Settings=dict, init=lambda **given: asked.append(given))
    monkeypatch.setitem(sys.modules, "wandb", package)
    for folder in (here, here if again else here.joinpath("other")):
        folder.mkdir(exist_ok=True)
        wandb.WandB(folder, "any", {})
    assert (asked[0]["id"] == asked[1]["id"]) is again
    assert [one["resume"] for one in asked] == ["allow"] * 2


@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(here):
    pytest.importorskip("wandb")
    tracker = wandb.WandB(here, "any", {"steps": 3})
    tracker.log(1, {"loss/median": 0.5})
    tracker.close()
    assert list(here.glob("wandb/offline-run-*/*.wandb"))


VARIABLES = {
    "MLFLOW_TRACKING_URI": "http://me:secret@there",
    "MLFLOW_EXPERIMENT_NAME": "mine",
    "WANDB_MODE": "dryrun",
    "WANDB_PROJECT": "project",
    "WANDB_DIR": "elsewhere",
    "WANDB_RUN_GROUP": "group",
}


@pytest.fixture
def asked(monkeypatch):
    """What the trackers were asked for, by their names."""
    seen = {}

    def keep(tracker, name):
        @functools.wraps(tracker.__init__)
        def without_package(self, per_seed=True, **given):
            self.per_seed = per_seed
            seen[name] = given

        monkeypatch.setattr(tracker, "__init__", without_package)
        monkeypatch.setattr(tracker, "log", lambda *_: None)
        monkeypatch.setattr(tracker, "close", lambda _: None)

    monkeypatch.setattr(messages, "require", lambda tracker: None)
    keep(mlflow.MLflow, "mlflow")
    keep(wandb.WandB, "wandb")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return seen


def test_trackers_follow_the_environment_where_no_option_is_typed(here, asked, monkeypatch, capsys):
    chosen = [*NOT_QUIET, "logger=[mlflow,wandb]", "steps=1"]
    assert main([*chosen, "output_dir=without"]) == 0
    assert "environment" not in capsys.readouterr().out
    assert (asked["wandb"]["mode"], asked["mlflow"]["store"]) == ("offline", "sqlite:///outputs/mlflow.db")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert main([*chosen, "output_dir=run"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "environment" in line]
    assert told == [
        "trackers follow the environment: MLFLOW_TRACKING_URI=http://***@there, MLFLOW_EXPERIMENT_NAME=mine,"
        " WANDB_MODE=dryrun, WANDB_PROJECT=project, WANDB_DIR=elsewhere, WANDB_RUN_GROUP=group; a typed option wins"
    ]
    assert (asked["mlflow"]["store"], asked["mlflow"]["experiment"]) == ("http://me:secret@there", "mine")
    wandb = asked["wandb"]
    assert [wandb[name] for name in ("mode", "project", "folder", "experiment")] == [
        "offline", "project", "elsewhere", "group"
    ]  # fmt: skip
    kept = b"".join(path.read_bytes() for path in (here / "run").rglob("*") if path.is_file())
    assert b"secret" not in kept and b"secret" not in repr(asked["mlflow"]["settings"]).encode()
    assert main(["resume=run", "steps=2", "quiet=true"]) == 0
    assert asked["mlflow"]["store"] == "http://me:secret@there"


def test_a_typed_option_wins_also_where_it_is_the_default(here, asked, monkeypatch, capsys):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_MODE", "online")
    typed = ["logger.mlflow.store=sqlite:///mine.db", "logger.wandb.mode=offline", "logger.wandb.folder=here"]
    assert main([*NOT_QUIET, "steps=1", "output_dir=run", "logger=[mlflow,wandb]", *typed]) == 0
    assert asked["mlflow"]["store"] == "sqlite:///mine.db"
    wandb = asked["wandb"]
    assert (wandb["mode"], wandb["folder"], wandb["project"]) == ("offline", "here", "project")
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "environment" in line]
    assert "WANDB_PROJECT" in told and not any(name in told for name in ("TRACKING_URI", "WANDB_MODE", "WANDB_DIR"))


@pytest.mark.parametrize("value", ["nonsense", " ", "disabled"])
def test_a_variable_that_says_nothing_useful(value, here, asked, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", value)
    assert main([*NOT_QUIET, "steps=1", "output_dir=run", "logger=wandb"]) == 0
    said = capsys.readouterr().out
    assert asked["wandb"]["mode"] == ("disabled" if value == "disabled" else "offline")
    assert ("WANDB_MODE=nonsense: must be one of offline, online, disabled" in said) == (value == "nonsense")
    assert ("environment" in said) == (value != " ")


def test_the_jobs_of_a_sweep_follow_the_environment_which_is_told_once(here, asked, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_PROJECT", "project")
    assert main(["-m", "experiment=addition_linear", "steps=1", "seed=0,1", "logger=wandb"]) == 0
    assert asked["wandb"]["project"] == "project"
    assert capsys.readouterr().err.count("trackers follow the environment: WANDB_PROJECT=project;") == 1


def test_what_the_environment_says_is_no_reason_to_refuse_a_record(here, asked, monkeypatch, capsys):
    """And a record may still not say where a tracker writes."""
    assert main([*NOT_QUIET, "steps=1", "output_dir=run", "logger=wandb", "logger.wandb.folder=there"]) == 0
    assert main(["resume=run", "steps=2"]) == 2
    assert "type logger.wandb.folder=there as well" in capsys.readouterr().err


def test_the_defaults_of_the_trackers_are_those_of_their_files():
    for name, tracker in (("mlflow", mlflow.MLflow), ("wandb", wandb.WandB), ("tensorboard", tensorboard.TensorBoard)):
        options = yaml.safe_load((conf_folder() / "logger" / f"{name}.yaml").read_text())
        assert options.pop("_target_").rpartition(".")[2] == tracker.__name__
        assert {option: signature(tracker)[option].default for option in options} == options


def test_tensorboard_shows_the_options(here):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    settings = {"steps": 3, "env": {"size": 8, "layout": "wall"}, "optimizer": {"betas": [0.9, 0.99], "clip": None}}
    tracker = tensorboard.TensorBoard(here, settings)
    tracker.log(0, {"evaluation/success/median": 0.0, "evaluation/success/seed_3": 0.0})
    tracker.close()
    events = accumulator(str(here / "tensorboard"))
    events.Reload()
    found = {
        tag: HParamsPluginData.FromString(kept.plugin_data.content)
        for tag, kept in events.summary_metadata.items()
        if kept.plugin_data.plugin_name == "hparams"
    }
    shown = found["_hparams_/session_start_info"].session_start_info.hparams
    values = {name: value.number_value or value.string_value for name, value in shown.items()}
    assert values == {
        "steps": 3, "env.size": 8, "env.layout": "wall", "optimizer.betas": "[0.9,0.99]", "optimizer.clip": "null"
    }  # fmt: skip
    columns = [one.name.tag for one in found["_hparams_/experiment"].experiment.metric_infos]
    assert columns == ["evaluation/success/median"]
    assert len(list((here / "tensorboard").iterdir())) == 1  # beside the curves, in no run of its own
