"""Several workers train a run as one process does: the same bytes, the same ends, and nothing left behind."""

import multiprocessing
import os
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
from small import NEEDED, SIZES

from prefrl_cli.algorithm.reward_learning import RewardFromPreferences
from prefrl_cli.cli.train import main
from prefrl_cli.config.choices import choices
from prefrl_cli.config.options import check_run
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.run import runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.lifecycle import resume_run, run_job, run_or_resume
from prefrl_cli.run.workers import number as number_of
from prefrl_cli.run.workers import team
from prefrl_cli.run.workers.seed_axis import cut, joined, sent, shares, widened


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    return tmp_path


def config_of(experiment, *options):
    """A short run of five seeds, which no two workers share evenly."""
    for module in NEEDED.get(experiment, ()):
        pytest.importorskip(module)
    size = SIZES.get(experiment, ["steps=12", "env.largest=5"])
    steps = int(size[0].removeprefix("steps="))
    every = [f"checkpoint.every={steps // 3}", f"evaluation.every={steps // 3 + 1}"]
    return kill_and_resume.config_of(experiment, *size, *every, "num_seeds=5", "seed=3", *options)


def assert_same(one, other):
    one, other = Path(one), Path(other)
    left_out = {"config.yaml", "overrides.yaml"}  # they say how many workers
    assert [name for name in kill_and_resume.differences(one, other) if name not in left_out] == []
    assert (one / "evaluation.csv").read_bytes() == (other / "evaluation.csv").read_bytes()
    for path in one.glob("*.npz"):
        assert path.read_bytes() == (other / path.name).read_bytes()


def step_of(folder):
    return read_status(Path(folder))["step"]


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_gives_the_same_bytes(experiment, monkeypatch):
    """For any number of workers, and where a run goes on with other numbers than it began with."""
    charts = []

    def figures(algorithm, log, _):
        charts.append(repr(algorithm.figures(log.history(), np.array(log.living))))

    monkeypatch.setattr(runner, "draw", figures)
    assert run_or_resume(*config_of(experiment), Path("alone")) == "finished"
    assert run_or_resume(*config_of(experiment, "workers=3"), Path("three")) == "finished"
    assert_same("alone", "three")
    assert run_job(*config_of(experiment, "workers=2"), Path("parts"), until=3) == "interrupted"
    for number, until in ((5, 5), (1, None)):
        config, typed = config_of(experiment, f"workers={number}")
        assert step_of("parts") == (3 if until else 5)
        ended = resume_run(Path("parts"), config, typed, until=until)
    assert ended == "finished" and len(charts) == 3 and len(set(charts)) == 1
    assert_same("alone", "parts")


RUN = ["steps=12", "checkpoint.every=3", "evaluation.every=5", "num_seeds=3", "env.largest=5"]


def short(*options):
    return kill_and_resume.config_of("addition_linear", *RUN, *options)


def spoilt(monkeypatch, seed, happens, at=5):
    """In whatever process trains this seed, something happens in its step after `at`."""
    original = RewardFromPreferences.update

    def update(self):
        if self.step == at and seed in self.streams.seeds:
            happens(self)
        return original(self)

    monkeypatch.setattr(RewardFromPreferences, "update", update)


def assert_nothing_left():
    assert multiprocessing.active_children() == []


def test_a_process_of_its_own_that_inherits_nothing(monkeypatch):
    """As where there is a GPU, and on another system."""
    with monkeypatch.context() as patch:
        patch.setattr(team, "_can_fork", lambda: False)
        assert run_or_resume(*short("workers=2"), Path("two")) == "finished"
    assert run_or_resume(*short(), Path("alone")) == "finished"
    assert_same("alone", "two")
    assert_nothing_left()


def test_a_worker_that_is_killed(monkeypatch, capfd):
    assert run_or_resume(*short(), Path("alone")) == "finished"
    with monkeypatch.context() as patch:
        spoilt(patch, 2, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        assert run_or_resume(*short("workers=2"), Path("run")) == "failed"
    assert_nothing_left()
    told = capfd.readouterr().err
    assert re.fullmatch(
        r"prefrl-train: worker 2 of 2 \(seeds 1, 2\) was killed by signal 9 after step 5"
        r" \(was the memory too small\?\); to go on type prefrl-train resume=run; see run/train.log\n", told
    )  # fmt: skip
    status = read_status(Path("run"))
    assert status["status"] == "interrupted" and status["step"] == 5 and "worker 2 of 2" in status["reason"]
    assert run_or_resume(*short("workers=3"), Path("run")) == "finished"
    assert_same("alone", "run")


def test_what_a_worker_raises_is_told_as_in_one_process(monkeypatch, capfd):
    def fault(_):
        raise OverflowError("too many preferences")

    spoilt(monkeypatch, 1, fault)
    said = []
    for number in (1, 2):
        assert run_or_resume(*short(f"workers={number}"), Path(str(number))) == "failed"
        said.append(capfd.readouterr().err.replace(f"see {number}/", "see "))
        log = Path(str(number), "train.log").read_text()
        assert 'raise OverflowError("too many preferences")' in log
    assert said[0] == said[1] == "prefrl-train: step 5: OverflowError: too many preferences; see train.log\n"
    assert "worker 2 of 2 (seeds 1, 2)" in log
    assert_nothing_left()


@pytest.mark.parametrize("seeds", [(1,), (0,), (0, 1, 2)], ids=str)
def test_seeds_that_fail(seeds, monkeypatch, capfd):
    """In the middle, all of one worker's, and all there are."""

    def spoil(learner):
        rows = [place for place, seed in enumerate(learner.streams.seeds) if seed in seeds]
        with torch.no_grad():
            learner.optimizers[0].parameters.flat[rows] = torch.nan

    spoilt(monkeypatch, seeds[-1], spoil)
    if len(seeds) > 1:
        spoilt(monkeypatch, seeds[0], spoil)
    said = []
    for number in (1, 2):
        ended = run_or_resume(*short(f"workers={number}"), Path(str(number)))
        assert ended == ("failed" if len(seeds) == 3 else "finished")
        said.append(capfd.readouterr().err.replace(f"see {number}/", "see "))
    assert said[0] == said[1] and "the loss is not a number any more for seed" in said[0]
    assert_same("1", "2")
    failed = [read_status(Path(run))["failed_seeds"] for run in ("1", "2")]
    assert failed[0] == failed[1] and set(failed[0]) == {str(seed) for seed in seeds}
    assert_nothing_left()


@pytest.fixture
def begun(here):
    """A run of two workers in a session of its own, in the middle of training; its workers' process ids."""
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs Linux to find a process's children")
    options = ["experiment=addition_linear", *RUN[1:], "steps=100000", "charts=false", "workers=2", "output_dir=run"]
    arguments = [sys.executable, "-m", "prefrl_cli", "train", *options]
    run = subprocess.Popen(
        arguments, start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and not list(Path("run").glob("checkpoints/step_*.pt")):
        assert run.poll() is None
        time.sleep(0.05)
    workers = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    with run:
        yield run, workers
        run.kill()


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def assert_ended(pids):
    until = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(is_alive, pids))


def finish(step):
    """The run goes on to a step as one that was never disturbed."""
    options = ["charts=false", f"steps={step}"]
    assert run_or_resume(*short(*options), Path("alone")) == "finished"
    assert main(["resume=run", f"steps={step}", "workers=3", "quiet=true"]) == 0
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("run", name).read_bytes() == Path("alone", name).read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_a_group(number, begun):
    """As a terminal and batch systems send them: only the parent acts, and the step ends."""
    run, workers = begun
    assert len(workers) == 2
    os.killpg(run.pid, number)
    assert run.wait(30) == 128 + number
    told = run.stderr.read()
    assert told.count("stopping after this step") == 1 and "to go on type prefrl-train resume=run" in told
    assert_ended(workers)
    assert read_status(Path("run"))["status"] == "interrupted"
    finish(step_of("run") + 7)


def test_the_parent_is_killed(begun):
    run, workers = begun
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    assert_ended(workers)
    steps = [int(path.stem.removeprefix("step_")) for path in Path("run").glob("checkpoints/step_*.pt")]
    finish(max(steps) + 7)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("workers=0", "workers=0: must be a whole number between 1 and 1024 or auto; try workers=1"),
        ("workers=all", "workers=all: must be a whole number between 1 and 1024 or auto; try workers=1"),
        ("workers=4", "workers=4: more than num_seeds=3; try workers=3"),
    ],
)
def test_numbers_that_cannot_be(typed, told, capsys):
    assert main(["experiment=addition_linear", "num_seeds=3", "output_dir=run", typed]) == 2
    assert capsys.readouterr().err == f"prefrl-train: {told}\n" and not Path("run").exists()


def test_a_gpu_is_one_process():
    with pytest.raises(ConfigError, match="workers=2: one process fills the device cuda; try workers=1"):
        check_run({"experiment": "some", "workers": 2, "num_seeds": 2, "device": "cuda"})


@pytest.mark.parametrize(
    ("seeds", "variable", "device", "number"),
    [
        (64, None, "cpu", 4),
        (64, "2", "cpu", 2),
        (64, "4,2", "cpu", 4),
        (16, None, "cpu", 2),
        (8, None, "cpu", 1),
        (1, "8", "cpu", 1),
        (64, None, "cuda", 1),
    ],
)
def test_as_many_as_pay(seeds, variable, device, number, monkeypatch):
    monkeypatch.setattr(number_of, "available", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    run = check_run({"experiment": "some", "workers": "auto", "num_seeds": seeds, "device": device})
    assert number_of.number_of_workers(run) == number


def test_states_are_cut_and_joined():
    """Tensors have the seeds in front, several rows each or one; what has no axis is the same for all."""
    state = {"a": torch.arange(10.0).view(5, 2), "b": [torch.arange(15)], "step": 3, "count": torch.tensor(2.0)}
    state |= {"none": torch.zeros(0), "words": {"x": "y"}}
    for number in (1, 2, 3, 5):
        parts = [cut(state, share, 5) for share in shares(5, number)]
        assert kill_and_resume.same(widened(joined([sent(part) for part in parts])), state)
        assert sum(len(part["a"]) for part in parts) == 5 and parts[-1]["b"][0].tolist()[-3:] == [12, 13, 14]
    with pytest.raises(ValueError, match=r"state.b.0 has 15 rows for 4 seeds"):
        cut({"b": state["b"]}, range(1), 4)
    with pytest.raises(ValueError, match=r"state.step is not the same for all seeds"):
        joined([sent(state), sent({**state, "step": 4})])
    with pytest.raises(ValueError, match=r"state has not the same names for all seeds"):
        joined([sent(state), sent({"a": state["a"]})])
