"""Full disks, read-only folders and deleted ones: one clear line, exit code 1, and nothing written is lost."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import kill_and_resume
import pytest

from prefrl_cli.cli import train
from prefrl_cli.core.option_types import ConfigError, as_typed
from prefrl_cli.files import checkpoints
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.run.metrics_csv import MetricsLog

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
    assert run_or_resume(CONFIG, OVERRIDES, Path("whole")) == "finished"
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
        assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == "failed"
    assert "step 6: run: cannot be written: File too large" in told(capsys)
    assert read_status(Path("run"))["status"] == "failed"
    assert sorted(os.listdir("run/checkpoints")) == ["last", "step_000003.pt"]
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == "finished"
    assert kill_and_resume.differences(Path("whole"), Path("run")) == []


def test_a_full_disk_at_every_write(monkeypatch, capsys):
    """Nothing at all can be written from some step on, not even the status."""
    assert run_or_resume(CONFIG, OVERRIDES, Path("whole")) == "finished"
    capsys.readouterr()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    original = MetricsLog.add

    def full(self, step, metrics, evaluation):
        if step == 8:
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        original(self, step, metrics, evaluation)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(MetricsLog, "add", full)
            code = run_or_resume(CONFIG, OVERRIDES, Path("run"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == "failed"
    assert "step 8: run: cannot be written" in told(capsys)
    assert read_status(Path("run"))["status"] == "running"  # as it was: no process holds it, so it can be resumed
    assert Path("run", "metrics.csv").read_text().count("\n") >= 1 + 2 * 7  # the rows of steps 1 to 7
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == "finished"
    assert kill_and_resume.differences(Path("whole"), Path("run")) == []


def test_a_run_directory_that_is_deleted(monkeypatch, capsys):
    original = MetricsLog.add

    def deleting(self, step, metrics, evaluation):
        original(self, step, metrics, evaluation)
        if step == 2:  # before the first checkpoint, which another thread writes
            shutil.rmtree("run")

    monkeypatch.setattr(MetricsLog, "add", deleting)
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == "failed"
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
    Path("run", "config.yaml").write_text("experiment: addition_linear\n")
    Path("run").chmod(0o500)
    with pytest.raises(ConfigError, match="run: cannot be written"):
        run_or_resume(CONFIG, OVERRIDES, Path("run"))


def files(folder):
    """What every file holds but for the lock, which names the process."""
    return {path: path.read_bytes() for path in Path(folder).rglob("*") if path.is_file() and path.name != ".lock"}


def stopped_early(monkeypatch, *options, folder="run"):
    """A run that failed after step 8, its checkpoints at 3 and 6."""
    original = MetricsLog.add

    def fails(self, step, metrics, evaluation):
        original(self, step, metrics, evaluation)
        if step == 8:
            raise RuntimeError("stop")

    with monkeypatch.context() as patch:
        patch.setattr(MetricsLog, "add", fails)
        assert run_or_resume(*kill_and_resume.config_of(*options, *OPTIONS), Path(folder)) == "failed"


def test_a_checkpoint_of_other_options_is_not_given_up(monkeypatch, capsys):
    """From step 0 everything that was written would be lost."""
    stopped_early(monkeypatch, "rewardnet_prefs")
    before = files("run")
    capsys.readouterr()
    assert train.main(["resume=run", "reward_model.hidden=8"]) == 2
    assert "resume=run: checkpoint of step 6 does not fit (" in told(capsys)
    assert files("run") == before
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "FORMAT", checkpoints.FORMAT + 1)
        assert train.main(["resume=run"]) == 2
    assert "checkpoint step_000006.pt is of format" in told(capsys)
    assert files("run") == before
    assert train.main(["resume=run", "quiet=true"]) == 0


def test_a_config_that_was_edited_is_told(monkeypatch, capsys):
    stopped_early(monkeypatch, "addition_linear")
    text = Path("run", "config.yaml").read_text()
    assert "\n  lr: 0.15\n" in text
    Path("run", "config.yaml").write_text(text.replace("\n  lr: 0.15\n", "\n  lr: 0.5\n"))
    capsys.readouterr()
    assert train.main(["resume=run"]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "config differs: optimizer.lr 0.15 -> 0.5"


def test_what_a_shell_would_take_apart_is_quoted(monkeypatch, capsys):
    original = MetricsLog.add

    def stopping(self, step, metrics, evaluation):
        original(self, step, metrics, evaluation)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(MetricsLog, "add", stopping)
    assert train.main(["experiment=addition_linear", *OPTIONS, "output_dir='my\trun'"]) == 143
    assert capsys.readouterr().err.endswith("to go on type prefrl-train resume=$'my\\trun'\n")
    assert as_typed("my run") == "'my run'" and as_typed("a/b=1,c") == "a/b=1,c"
    assert (
        subprocess.check_output(["bash", "-c", f"printf %s {as_typed(chr(10) + 'a' + chr(39) + chr(34))}"]) == b"\na'\""
    )


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_console_without_room_or_letters_stops_no_run(encoding):
    """In a process of its own: what a stream still holds is told when Python ends."""
    command = "import sys; from prefrl_cli.run import runner; from prefrl_cli.cli.train import main;"
    command += "runner.draw = lambda *_: None; sys.exit(main(sys.argv[1:]))"
    typed = ["experiment=addition_linear", "steps=4", "output_dir='\u00e9'"]
    with open("/dev/full" if encoding == "utf-8" else "said", "w") as out:
        ended = subprocess.run(
            [sys.executable, "-c", command, *typed],
            stdout=out,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert read_status(Path("\u00e9"))["status"] == "finished"
    if encoding == "ascii":
        assert Path("said").read_text().endswith("run: \\xe9\n")


def test_a_folder_whose_name_is_no_text(capsys):
    """Its `config.yaml` could not be read again; a run that was moved to such a folder goes on."""
    name = os.fsdecode(b"\xff")
    assert train.main(["experiment=addition_linear", *OPTIONS, f"output_dir='{name}'"]) == 2
    assert "output_dir='\\udcff': must be a word or null" in told(capsys)
    assert run_or_resume(CONFIG, OVERRIDES, Path("run")) == "finished"
    Path("run").rename(name)
    assert train.main([f"resume={name}", "steps=14"]) == 0
    assert "run: \\udcff" in Path(name, "train.log").read_text()
