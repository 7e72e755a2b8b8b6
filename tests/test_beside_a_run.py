"""What stands beside a result, a chart or a tracker, neither spoils it nor reaches the terminal."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import kill_and_resume
import pytest

from prefrl_cli.cli.train import main
from prefrl_cli.config import messages
from prefrl_cli.logger import logger as trackers
from prefrl_cli.logger import tensorboard
from prefrl_cli.run import runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.lifecycle import run_or_resume

RUN = ["experiment=addition_linear", "steps=2", "num_seeds=2", "quiet=true"]
CONFIG, OVERRIDES = kill_and_resume.config_of("addition_linear", "steps=2")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError("no such\nbackend"), "ValueError: no such backend"),
        (SystemExit("font"), "SystemExit: font"),
    ],
)
def test_a_chart_that_fails_is_one_line_and_is_drawn_later(problem, said, monkeypatch, capfd):
    def fails(*_):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(runner, "draw", fails)
        assert main([*RUN, "output_dir=run"]) == 0
    told = capfd.readouterr().err
    line = f"the run is finished, but its charts could not be drawn ({said}); to draw them type prefrl-train resume=run"
    assert told == f"{line}\n" and line in Path("run", "train.log").read_text()
    status = read_status(Path("run"))
    assert (status["status"], status["charts"], Path("run", "summary.json").is_file()) == ("finished", False, True)
    drawn = []
    monkeypatch.setattr(runner, "draw", lambda algorithm, *_: drawn.append(algorithm.step))
    assert main(["resume=run", "quiet=true"]) == 0
    assert drawn == [2] and read_status(Path("run"))["charts"] is True
    assert main(["resume=run", "quiet=true"]) == 2  # there is nothing left to do
    assert "the run is finished at step 2; to extend it type a larger steps=N" in capfd.readouterr().err


def test_a_run_that_is_killed_while_it_draws_draws_the_same_later(monkeypatch):
    class Killed(BaseException):
        pass

    def dying(*_):
        raise Killed

    assert run_or_resume(CONFIG, OVERRIDES, Path("whole")) == "finished"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(runner, "draw", dying)
        run_or_resume(CONFIG, OVERRIDES, Path("killed"))
    assert read_status(Path("killed"))["status"] == "finished"
    assert run_or_resume(CONFIG, OVERRIDES, Path("killed")) == "finished"
    assert kill_and_resume.differences(Path("whole"), Path("killed")) == []


def test_nothing_of_a_persons_settings_is_needed_to_draw():
    """In a process of its own, since matplotlib reads them when it is imported."""
    Path("matplotlibrc").write_bytes(b"backend : nonsense\nno such thing\n\xff\xfe")
    elsewhere = {"HOME": "/dev/null/x", "MPLCONFIGDIR": "/dev/null/x", "XDG_CACHE_HOME": "/dev/null/x"}
    command = "import sys; from prefrl_cli.cli.train import main; code = main(sys.argv[1:]); import os;"
    command += "print(os.environ['MPLBACKEND'], os.path.isfile('matplotlibrc'), code)"
    ended = subprocess.run(
        [sys.executable, "-c", command, *RUN, "output_dir=run"],
        capture_output=True,
        text=True,
        env={**os.environ, **elsewhere, "MPLBACKEND": "module://no_such.backend_inline"},
    )
    assert (ended.stdout, ended.stderr) == ("module://no_such.backend_inline True 0\n", "")
    assert read_status(Path("run"))["charts"] is True and list(Path("run", "charts").glob("*.png"))


def tracked(monkeypatch, **methods):
    """A run with a tracker that does something."""
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    monkeypatch.setattr(messages, "require", lambda tracker: None)
    for name in ("log", "close"):
        monkeypatch.setattr(tensorboard.TensorBoard, name, methods.get(name, lambda *_: None))
    return main([*RUN, "output_dir=run", "logger=tensorboard"])


def ends(self, *_):
    raise SystemExit(3)


def asks(self, *_):
    if sys.stdin is not None and os.isatty(0):
        raise AssertionError("a terminal is there")
    with open(0, "rb", closefd=False) as keyboard:
        if not keyboard.read():
            raise EOFError("nobody answers")


@pytest.mark.parametrize("method", ["log", "close"])
@pytest.mark.parametrize(("what", "said"), [(ends, "SystemExit: 3"), (asks, "EOFError: nobody answers")])
def test_a_tracker_cannot_end_a_run_or_ask(method, what, said, monkeypatch, capfd):
    assert tracked(monkeypatch, **{method: what}) == 0
    line = f"logger=tensorboard failed and is left out from here on ({said}); metrics.csv has everything\n"
    assert capfd.readouterr().err == line
    assert read_status(Path("run"))["status"] == "finished"


def test_a_tracker_that_hangs_is_left_behind(monkeypatch, capfd):
    never = threading.Event()
    monkeypatch.setattr(trackers, "_PATIENCE", 0.2)
    assert tracked(monkeypatch, log=lambda *_: never.wait()) == 0
    never.set()
    assert "(TimeoutError: no answer for 0.2 s)" in capfd.readouterr().err
    assert Path("run", "metrics.csv").read_text().count("\n") == 1 + 2 * 2  # every step of both seeds


def test_a_tracker_says_nothing(monkeypatch, capfd):
    def chatty(self, *_):
        print("to you")
        print("to you", file=sys.stderr)
        os.write(2, b"to you\n")
        subprocess.run(["sh", "-c", "echo to you; echo to you >&2"], check=True)

    assert tracked(monkeypatch, log=chatty, close=chatty) == 0
    assert capfd.readouterr() == ("", "")


def test_the_result_is_there_before_a_tracker_may_take_its_time(monkeypatch):
    seen = []

    def late(self):
        status = json.loads(Path("run", "status.json").read_text())["status"]
        seen.append((status, Path("run", "summary.json").is_file(), Path("run", "checkpoints", "last").is_file()))

    assert tracked(monkeypatch, close=late) == 0
    assert seen == [("finished", True, True)]
