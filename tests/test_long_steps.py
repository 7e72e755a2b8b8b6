"""A step that takes long does not keep a run alive that was asked to stop."""

import os
import signal
import time
from pathlib import Path

import pytest

from prefrl_cli.algorithm.reward_learning import RewardFromPreferences
from prefrl_cli.cli.train import main
from prefrl_cli.run import runner, signals
from prefrl_cli.run.directory import read_status

RUN = ["experiment=addition_linear", "steps=9", "checkpoint.every=2", "output_dir=run", "quiet=true"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)


def stuck(monkeypatch, *sent):
    """From step 5 on a step never ends; what is sent comes within it."""
    original = RewardFromPreferences.update

    def update(self):
        if self.step == 5:
            for number in sent:
                os.kill(os.getpid(), number)
            for _ in range(6000):  # a minute at most
                time.sleep(0.01)
        return original(self)

    monkeypatch.setattr(RewardFromPreferences, "update", update)


@pytest.mark.parametrize(
    ("sent", "code"),
    [((signal.SIGTERM,), 143), ((signal.SIGINT, signal.SIGINT), 130), ((signal.SIGTERM, signal.SIGTERM), 143)],
    ids=["SIGTERM", "Ctrl-C twice", "SIGTERM twice"],
)
def test_a_step_without_an_end_is_left(sent, code, monkeypatch, capfd):
    monkeypatch.setattr(signals, "PATIENCE", 0.2)
    with monkeypatch.context() as patch:
        stuck(patch, *sent)
        assert main(RUN) == code
    (said,) = capfd.readouterr().err.splitlines()  # quiet: no line before it
    assert "interrupted" in said
    assert read_status(Path("run"))["status"] == "interrupted"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert main(["resume=run", "quiet=true"]) == 0 and read_status(Path("run"))["step"] == 9


def test_a_step_that_ends_is_not_hurried(monkeypatch, capfd):
    """What follows it, such as a checkpoint on a slow disk, may take longer."""
    monkeypatch.setattr(signals, "PATIENCE", 0.3)
    original, save = RewardFromPreferences.update, runner.save

    def update(self):
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self)

    def slow(*given):
        time.sleep(0.6)
        save(*given)

    with monkeypatch.context() as patch:
        patch.setattr(RewardFromPreferences, "update", update)
        patch.setattr(runner, "save", slow)
        assert main(RUN) == 143
    assert "interrupted at step 5; to go on type prefrl-train resume=run" in capfd.readouterr().err
    assert read_status(Path("run"))["step"] == 5
