"""Full disks, read-only folders and deleted ones: one clear line, exit code 1, and nothing written is lost."""

import os
import resource
import shutil
import signal
from pathlib import Path

import kill_and_resume
import pytest

from prefrl_cli import runner
from prefrl_cli.checkpoints import Checkpoints
from prefrl_cli.cli.job import run_or_resume
from prefrl_cli.options import ConfigError
from prefrl_cli.run_directory import MetricsLog, read_status

OPTIONS = ["steps=12", "checkpoint.every=3", "quiet=true"]
CONFIG, OVERRIDES = kill_and_resume.config_of("addition_linear", *OPTIONS)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)


def told(capsys):
    """The one line on the console."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said
    return said


def test_a_full_disk_at_a_checkpoint(monkeypatch, capsys):
    """The limit on a file's size stands for it: the system refuses to write, half-way through the file."""
    assert run_or_resume(CONFIG, OVERRIDES, Path("whole")) == 0
    original = Checkpoints.save
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(self, step, *content):
        if step == 6:
            self.wait()
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            path = original(self, step, *content)
            self.wait()
            return path
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # as Python leaves it
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == 1
    assert "step 6: run: cannot be written: File too large" in told(capsys)
    assert read_status(Path("run"))["status"] == "failed"
    assert sorted(os.listdir("run/checkpoints")) == ["last", "step_000003.pt"]
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == 0
    assert kill_and_resume.differences(Path("whole"), Path("run")) == []


def test_a_full_disk_at_every_write(monkeypatch, capsys):
    """Nothing at all can be written from some step on, not even the status."""
    assert run_or_resume(CONFIG, OVERRIDES, Path("whole")) == 0
    capsys.readouterr()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    original = MetricsLog.add

    def full(self, step, metrics):
        if step == 8:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        original(self, step, metrics)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(MetricsLog, "add", full)
            code = run_or_resume(CONFIG, OVERRIDES, Path("run"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert "step 8: run: cannot be written" in told(capsys)
    assert read_status(Path("run"))["status"] == "running"  # as it was: no process holds it, so it can be resumed
    assert Path("run", "metrics.csv").read_text().count("\n") >= 1 + 2 * 8
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == 0
    assert kill_and_resume.differences(Path("whole"), Path("run")) == []


def test_a_run_directory_that_is_deleted(monkeypatch, capsys):
    original = MetricsLog.add

    def deleting(self, step, metrics):
        original(self, step, metrics)
        if step == 2:  # before the first checkpoint, which another thread writes
            shutil.rmtree("run")

    monkeypatch.setattr(MetricsLog, "add", deleting)
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == 1
    assert "the run directory run is gone, so nothing more can be written" in told(capsys)
    assert not Path("run").exists()


def test_a_folder_that_cannot_be_written():
    Path("file").write_text("")
    with pytest.raises(ConfigError, match="output_dir=file/run: cannot be written .*type output_dir=FOLDER"):
        run_or_resume(CONFIG, OVERRIDES, Path("file", "run"))


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_run_is_left_alone():
    Path("run").mkdir()
    Path("run", "status.json").write_text('{"status": "interrupted"}')
    Path("run").chmod(0o500)
    with pytest.raises(ConfigError, match="run: cannot be written"):
        run_or_resume(CONFIG, OVERRIDES, Path("run"))
