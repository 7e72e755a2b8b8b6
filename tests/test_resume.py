"""A run that was killed, stopped or damaged goes on to the same bytes as one that was left alone."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import kill_and_resume
import numpy as np
import pytest
import torch
import yaml
from small import CONTROL, SIZES

from prefrl_cli.cli.train import main
from prefrl_cli.config.choices import choices
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import runner
from prefrl_cli.run.directory import RunDirectory, read_status
from prefrl_cli.run.earlier.going_on import latest
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.run.metrics_csv import MetricsLog
from prefrl_cli.run.signals import Signals, ended_by_signals

RUN = ["experiment=addition_linear", "steps=12", "num_seeds=2", "checkpoint.every=3", "evaluation.every=5"]


CONFIG, OVERRIDES = kill_and_resume.config_of("addition_linear", *RUN[1:], "quiet=false")


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)  # charts are compared in one test below, and take a second
    return tmp_path


def begin(folder):
    """Start or resume; Hydra would take half a second each time."""
    return run_or_resume(CONFIG, OVERRIDES, Path(folder))


def killed_at(monkeypatch, place, folder, *, number=1):
    """Run, and die without a chance to tidy when `place`, a module and a name, is called for the `number`-th time."""
    calls, original = [], getattr(*place)

    def dying(*given, **named):
        calls.append(None)
        if len(calls) == number:
            raise Killed
        return original(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(*place, dying)
        with pytest.raises(Killed):
            begin(folder)


def whole(folder="whole"):
    assert begin(folder) == "finished"
    return Path(folder)


def assert_same(one, other):
    assert [name for name in kill_and_resume.differences(Path(one), Path(other)) if name != "overrides.yaml"] == []


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_goes_on_exactly(experiment, here, monkeypatch):
    """Killed before its first checkpoint, in the middle, and after the last step."""
    monkeypatch.undo()
    monkeypatch.chdir(here)
    last: list = []

    def figures(algorithm, log, _):
        last.append(algorithm.figures(log.history(), np.array(log.living)))

    monkeypatch.setattr(runner, "draw", figures)
    quick = {"oprl_maze": 4, "few_answers": 4, "tutorial/oprl_maze": 60}.get(experiment, 12)
    size = SIZES[experiment] if CONTROL[-1] in SIZES.get(experiment, []) else []
    config, overrides = kill_and_resume.config_of(
        experiment, *size, f"steps={quick}", f"checkpoint.every={quick // 4}", f"evaluation.every={quick // 3}"
    )
    assert run_or_resume(config, overrides, Path("whole")) == "finished"
    for place, number in (((runner, "due"), 1), ((runner, "due"), quick - 1), ((runner, "draw"), 1)):
        calls, original = [], getattr(*place)

        def dying(*given, calls=calls, original=original, number=number, place=place):
            calls.append(None)
            if place[1] == "draw" or len(calls) == number:
                raise Killed
            return original(*given)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(*place, dying)
            run_or_resume(config, overrides, Path("killed"))
        status = read_status(Path("killed"))
        assert status["status"] == ("finished" if place[1] == "draw" else "running") and not status.get("charts")
    Path("killed", ".status.json.0123456789abcdef.part").write_text("{")  # and while it says that they are drawn
    assert run_or_resume(config, overrides, Path("killed")) == "finished"
    assert read_status(Path("killed"))["charts"] is True
    assert kill_and_resume.differences(Path("whole"), Path("killed")) == []
    assert len(last) == 2 and repr(last[0]) == repr(last[1])
    assert json.loads(Path("killed", "summary.json").read_text())["train_seconds"] > 0


def test_charts_are_the_same_too(here, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(here)
    one, other = whole(), Path("other")
    killed_at(monkeypatch, (Checkpoints, "save"), other, number=3)
    assert main([f"resume={other}"]) == 0
    assert len(list((other / "charts").iterdir())) == len(list((one / "charts").iterdir())) > 0
    assert_same(one, other)


@pytest.mark.parametrize(
    "place",
    [(RunDirectory, "write_json"), (MetricsLog, "add"), (MetricsLog, "sync"), (Checkpoints, "save"), (os, "fsync")],
    ids=lambda place: place[1],
)
def test_any_kill_point(place, monkeypatch, capsys):
    whole()
    for number in (1, 2, 4, 7, 12, 30):
        folder = f"killed_{number}"
        try:
            killed_at(monkeypatch, place, folder, number=number)
        except pytest.fail.Exception:  # it is not called so often
            assert number > 2
            break
        if not Path(folder, "config.yaml").exists():  # it had not begun
            assert main([f"resume={folder}"]) == 2
            continue
        assert main([f"resume={folder}"]) == 0
        assert_same("whole", folder)


def test_a_torn_line_and_files_half_written_are_cut_off(monkeypatch):
    whole()
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=3)
    with Path("run", "metrics.csv").open("a") as file:
        file.write("10,0,0.")
    Path("run", ".summary.json.part").write_text("{")
    Path("run", "checkpoints", "step_000009.pt.part").write_bytes(b"PK")
    assert main(["resume=run"]) == 0
    assert_same("whole", "run")


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "bit":
        data[len(data) // 2] ^= 4
    path.write_bytes({"bit": data, "torn": data[: len(data) // 2], "empty": b"", "text": b"hello"}[how])


@pytest.mark.parametrize("older", [True, False])
def test_a_checkpoint_of_other_seeds_is_passed_over(older, monkeypatch, capsys):
    """As one that was copied from another run."""
    whole()
    other, overrides = kill_and_resume.config_of("addition_linear", *RUN[1:], "seed=7")
    assert run_or_resume(other, overrides, Path("other")) == "finished"
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=4)
    checkpoints = Path("run", "checkpoints")
    (checkpoints / "step_000012.pt").write_bytes(Path("other", "checkpoints", "step_000012.pt").read_bytes())
    for path in () if older else (checkpoints / "step_000006.pt", checkpoints / "step_000009.pt"):
        path.unlink()
    capsys.readouterr()
    if older:
        assert begin("run") == "finished"
        assert "checkpoint step_000012.pt is of other seeds; the one before it is used" in capsys.readouterr().out
        assert_same("whole", "run")
    else:
        before = sorted(path.name for path in checkpoints.iterdir())
        with pytest.raises(ConfigError, match="its checkpoint is of other seeds; start a new run for these"):
            begin("run")
        assert sorted(path.name for path in checkpoints.iterdir()) == before


@pytest.mark.parametrize("how", ["bit", "torn", "empty", "text"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_used(how, monkeypatch, capsys):
    whole()
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=4)
    assert Path("run", "checkpoints", "last").read_text() == "step_000009.pt\n"
    damage(Path("run", "checkpoints", "step_000009.pt"), how)
    capsys.readouterr()
    assert main(["resume=run"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("checkpoint step_000009.pt is damaged (") for line in said)
    assert "going on from step 6" in said
    assert_same("whole", "run")


def test_without_any_good_checkpoint_it_begins_again(monkeypatch, capsys):
    whole()
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=4)
    for path in Path("run", "checkpoints").glob("*.pt"):
        damage(path, "torn")
    assert main(["resume=run"]) == 0
    assert "no checkpoint to go on from: from step 0" in capsys.readouterr().out
    assert_same("whole", "run")


def test_a_lost_row_of_metrics_makes_the_checkpoint_unfit(monkeypatch, capsys):
    whole()
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=4)
    lines = Path("run", "metrics.csv").read_text().splitlines(keepends=True)
    Path("run", "metrics.csv").write_text("".join(lines[: 1 + 2 * 7]))
    assert main(["resume=run"]) == 0
    assert "does not fit (metrics.csv has not all rows of step 8)" in capsys.readouterr().out
    assert_same("whole", "run")


def test_a_folder_in_the_place_of_metrics_is_told(monkeypatch, capsys):
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=4)
    Path("run", "metrics.csv").unlink()
    Path("run", "metrics.csv").mkdir()
    capsys.readouterr()
    assert main(["resume=run"]) == 2
    assert capsys.readouterr().err == "prefrl-train: run: cannot go on here (Is a directory, run/metrics.csv)\n"


def test_a_finished_run_refuses_and_more_steps_extend_it(capsys):
    run = whole("run")
    before = (run / "metrics.csv").read_bytes()
    capsys.readouterr()
    for arguments in (["resume=run"], ["resume=run", "steps=12"]):
        assert main(arguments) == 2
        said = capsys.readouterr().err
        assert said == "prefrl-train: resume=run: the run is finished at step 12; to extend it type a larger steps=N\n"
    assert (run / "metrics.csv").read_bytes() == before
    assert main(["resume=run", "steps=15"]) == 0
    assert "config differs: steps 12 -> 15" in capsys.readouterr().out
    assert (run / "metrics.csv").read_bytes().startswith(before)
    assert json.loads((run / "summary.json").read_text())["steps"] == 15
    assert yaml.safe_load((run / "config.yaml").read_text())["steps"] == 15


@pytest.mark.parametrize(("steps", "said"), [(12, True), (13, False), (None, False)])
def test_an_ended_schedule_is_told_when_a_run_is_extended(steps, said, capsys):
    config = {**CONFIG, "optimizer": {**CONFIG["optimizer"], "decay_steps": steps}}
    assert run_or_resume(config, OVERRIDES, Path("run")) == "finished"
    capsys.readouterr()
    assert main(["resume=run", "steps=14"]) == 0
    line = (
        "optimizer.decay_steps=12: the learning rate reached 0 after so many optimiser steps and stays there;"
        " to go on learning type optimizer.decay_steps=N as well, larger than 12"
    )
    assert (line in capsys.readouterr().out.splitlines()) == said


def test_what_differs_is_told_before_it_goes_on(monkeypatch, capsys):
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=3)
    path = Path("run", "environment.json")
    content = json.loads(path.read_text())
    content["packages"]["torch"] = "1.0"
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert main(["resume=run", "optimizer.lr=0.01"]) == 0
    said = capsys.readouterr().out.splitlines()
    torch_differs = f"environment differs: packages.torch 1.0 -> {torch.__version__}"
    differ = [torch_differs, "config differs: optimizer.lr 0.15 -> 0.01"]
    assert all(line in said for line in differ)
    assert max(map(said.index, differ)) < next(n for n, line in enumerate(said) if line.startswith("step "))
    assert json.loads(path.read_text())["resumed"][0]["step"] == 6


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["resume=nowhere"], "resume=nowhere: holds no run"),
        (["resume="], "which run"),
        (
            ["resume=run", "num_seeds=3"],
            "num_seeds=3: the checkpoints of run are of other seeds; leave that out, or start",
        ),
        (["resume=run", "optimzer.lr=3"], "optimzer.lr: the run has no such option; did you mean optimizer.lr?"),
        (["resume=run", "steps=2"], "steps=2: run is at step 6; try steps=6"),
        (["resume=run", "optimizer.lrr=3"], "optimizer.lrr: the run has no such option; did you mean optimizer.lr?"),
        (["resume=run", "optimizer.lr=-3"], "optimizer.lr=-3"),
        (["resume=run", "optimizer=adam"], "a run keeps its optimizer"),
        (["resume=run", "experiment=oprl_maze"], "run is a run of addition_linear"),
        (["resume=run", "--cfg=job"], "type only NAME=VALUE"),
        (["resume=latest", "experiment=oprl_maze"], "holds no unfinished run of oprl_maze"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_what_is_refused_changes_nothing(typed, message, monkeypatch, capsys):
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=3)
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file() and path.name != ".lock"}
    capsys.readouterr()
    assert main(typed) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert {path: path.read_bytes() for path in before} == before


def test_a_stored_file_allows_itself_no_code(monkeypatch, capsys):
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=3)
    path = Path("run", "config.yaml")
    config = yaml.safe_load(path.read_text())
    config["allow_targets"], config["criterion"]["_target_"] = ["subprocess"], "subprocess.Popen"
    capsys.readouterr()
    path.write_text(yaml.safe_dump(config))  # beside the choice that the record names
    assert main(["resume=run"]) == 2
    assert "criterion.choice=closest: its class is given too; " in capsys.readouterr().err
    del config["criterion"]["choice"]
    path.write_text(yaml.safe_dump(config))
    assert main(["resume=run"]) == 2
    assert "criterion._target_=subprocess.Popen: only " in capsys.readouterr().err
    path.write_text("!!python/object/apply:os.system ['touch touched']")
    assert main(["resume=run"]) == 2
    assert not Path("touched").exists()


def test_latest_is_the_one_started_last_whatever_the_clock_says(monkeypatch, capsys):
    def dying(*_):
        raise Killed

    for stamp in ("2030-01-01_00-00-00", "2020-01-01_00-00-00"):  # the clock was set back in between
        monkeypatch.setattr(time, "strftime", lambda *_, stamp=stamp: stamp)
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Checkpoints, "save", dying)
            main(RUN)
    monkeypatch.setattr(time, "strftime", lambda *_: "2031")
    assert main(["experiment=addition_linear", "steps=1", "quiet=true"]) == 0
    capsys.readouterr()
    assert main(["resume=latest", "experiment=addition_linear"]) == 0
    assert "resuming outputs/addition_linear/2020-01-01_00-00-00" in capsys.readouterr().out
    assert main(["resume=latest"]) == 0
    assert "resuming outputs/addition_linear/2030-01-01_00-00-00" in capsys.readouterr().out
    assert main(["resume=latest"]) == 2
    assert "outputs/ holds no unfinished run; type resume=RUN_DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGUSR1, 138), (signal.SIGXCPU, 152)],
)
def test_a_signal_finishes_the_step_and_writes_a_checkpoint(number, code, monkeypatch, capfd):
    whole()
    original = MetricsLog.add

    def signalled(self, step, metrics, evaluation):
        original(self, step, metrics, evaluation)
        if step == 5:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "add", signalled)
        assert stopped_with("run") == code
    assert "stopping after this step" in capfd.readouterr().err
    assert Path("run", "train.log").read_text().endswith("at step 5; to go on type prefrl-train resume=run\n")
    status = read_status(Path("run"))
    assert (status["status"], status["step"]) == ("interrupted", 5)
    assert Path("run", "checkpoints", "last").read_text() == "step_000005.pt\n"
    assert main(["resume=run"]) == 0
    assert_same_but_checkpoints("whole", "run")


def assert_same_but_checkpoints(one, other):
    """The step of the signal left a checkpoint that the other run has not; the last one is the same."""
    different = kill_and_resume.differences(Path(one), Path(other))
    assert [name for name in different if "checkpoints/" not in name and not name.endswith(".yaml")] == []
    assert "checkpoints/step_000012.pt" not in different


def stopped_with(folder):
    with pytest.raises(KeyboardInterrupt) as caught:
        begin(folder)
    return caught.value.exit_code


def test_a_second_signal_stops_at_once():
    with pytest.raises(KeyboardInterrupt), Signals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.caught == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_stops_a_run_at_once_is_told_how_to_go_on(monkeypatch, capsys):
    def twice(*_):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", twice)
        assert main(["experiment=addition_linear", "steps=4", "output_dir=my run", "quiet=true"]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "prefrl-train: interrupted; to go on type prefrl-train resume='my run'"
    assert main(["resume=my run", "quiet=true"]) == 0


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["env.size=9"], r"does not fit .*, with env\.size=9; leave that out, or start a new run"),
        (["num_seeds=5"], "num_seeds=5: the checkpoints of run are of other seeds; leave that out"),
        (["seed=1", "steps=9"], "seed=1: the checkpoints of run are of other seeds; leave that out"),
        (["optimizer.lr=0.5"], "the run is finished at step 2; to extend it type a larger steps=N$"),
    ],
)
def test_what_a_finished_run_cannot_take_is_told_before_more_steps_are_asked_for(typed, line, capsys):
    quick = ["steps=2", "algorithm.episodes=4", "charts=false", "quiet=true"]
    assert main(["experiment=oprl_maze", *quick, "output_dir=run"]) == 0
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    assert main(["resume=run", *typed]) == 2
    said = capsys.readouterr().err
    assert re.search(line, said) and said.count("\n") == 1, said
    assert {path: path.read_bytes() for path in before} == before


def test_a_closed_terminals_signals_come_twice_and_the_step_ends_all_the_same():
    with Signals() as signals:
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert signals.caught == signal.SIGHUP
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Signals():  # a study that is stopped twice sends both
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
    before = signal.getsignal(signal.SIGHUP)
    with pytest.raises(KeyboardInterrupt) as ended, ended_by_signals():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
    assert ended.value.exit_code == 129 and signal.getsignal(signal.SIGHUP) == before


def test_signals_that_are_ignored_or_taken_are_left_so():
    """As nohup leaves SIGHUP, and as a launcher waits for SIGUSR2 to ask for its job again."""
    taken: list[int] = []
    before = [signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGUSR2, lambda *_: taken.append(1))]
    try:
        for listening in (Signals(), ended_by_signals()):
            with listening:
                os.kill(os.getpid(), signal.SIGHUP)
                os.kill(os.getpid(), signal.SIGUSR2)
        with ended_by_signals(), Signals() as inside:  # a job in the process of its sweep writes its checkpoint first
            os.kill(os.getpid(), signal.SIGUSR1)
            assert inside.caught == signal.SIGUSR1
    finally:
        for number, handler in zip((signal.SIGHUP, signal.SIGUSR2), before, strict=True):
            signal.signal(number, handler)
    assert taken == [1, 1]


def test_a_terminal_that_is_closed_interrupts_the_run():
    """In a process of its own, which leads the session of a terminal: what it writes there fails afterwards."""
    child, terminal = pty.fork()
    if not child:
        command = [sys.executable, "-c", "import sys; from prefrl_cli.cli.train import main; sys.exit(main())"]
        os.execv(command[0], [*command, "experiment=addition_linear", "steps=1000000", "output_dir=run"])
    metrics, until = Path("run", "metrics.csv"), time.monotonic() + 60
    while not (metrics.is_file() and metrics.read_text().count("\n") > 5) and time.monotonic() < until:
        time.sleep(0.05)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
    status = read_status(Path("run"))
    assert (status["status"], status["reason"]) == ("interrupted", "stopped from outside")
    assert Path("run", "checkpoints", "last").read_text() == f"step_{status['step']:06d}.pt\n"


@pytest.mark.parametrize("named", ["step_000006.pt\n", "", None])
def test_last_names_the_newest_after_a_kill(named):
    """Killed after the last checkpoint, before `last` said so."""
    run = whole("run")
    (run / "checkpoints" / "step_000003.pt").write_bytes((run / "checkpoints" / "step_000009.pt").read_bytes())
    last = run / "checkpoints" / "last"
    last.unlink() if named is None else last.write_text(named)
    (run / "status.json").write_text((run / "status.json").read_text().replace("finished", "running"))
    assert main(["resume=run"]) == 0
    assert last.read_text() == "step_000012.pt\n"
    assert sorted(os.listdir(run / "checkpoints")) == ["last", "step_000009.pt", "step_000012.pt"]


def test_the_newest_of_copied_runs_is_the_one_that_was_started_last(here):
    """Their folders are named by the local time, and they are in no list of starts."""
    for name, started in (("a/2026-10-25_02-50", "00:50"), ("b/2026-10-25_02-10", "01:10"), ("c/later", "00:10")):
        folder = here / "outputs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("experiment: any\n")
        (folder / "status.json").write_text(f'{{"status": "interrupted", "started": "2026-10-25T{started}:00Z"}}')
    assert latest(None) == Path("outputs", "b", "2026-10-25_02-10")


def test_two_processes_cannot_train_in_one_folder(monkeypatch, capsys):
    killed_at(monkeypatch, (Checkpoints, "save"), "run", number=3)
    before = Path("run", "metrics.csv").read_bytes()
    holding = "import sys; from pathlib import Path; from prefrl_cli.run.directory import RunDirectory as D;"
    holding += "d = D.reopen(Path('run')); print('has it', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "has it\n"
        capsys.readouterr()
        assert main(["resume=run"]) == 2
        said = capsys.readouterr().err
        assert said == f"prefrl-train: run: process {other.pid} is training in this folder; wait for it, or stop it\n"
        with pytest.raises(ConfigError, match="is training"):
            RunDirectory.reopen(Path("run"))
        assert Path("run", "metrics.csv").read_bytes() == before
        other.kill()
    assert main(["resume=run"]) == 0  # a killed process holds no lock
