"""How commands end: with the work, or with a line that says why; in any shell, under any name."""

import ast
import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from small import SIZES
from test_launchers import needs

from prefrl_cli import __main__ as prefrl
from prefrl_cli.cli.command import run_command
from prefrl_cli.cli.train import main
from prefrl_cli.config import compose
from prefrl_cli.config.build import build, check_objective, metric_names
from prefrl_cli.config.choices import choices, conf_folder
from prefrl_cli.config.messages import cause
from prefrl_cli.core.option_types import ConfigError, Failed
from prefrl_cli.run import runner
from prefrl_cli.sweep import start
from prefrl_cli.sweep.results import read_json

ROOT = Path(__file__).parents[1]
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
QUICK = ["experiment=addition_linear", "steps=2", "quiet=true"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)  # takes longer than all the rest
    return tmp_path


def refused(arguments, capsys, lines=1):
    code = main(arguments)
    said = capsys.readouterr()
    assert (code, said.out) == (2, ""), said
    assert said.err.count("\n") == lines and "Traceback" not in said.err, said.err
    return said.err


# Sweeps that cannot start a job, all under quiet.
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        pytest.param(
            ["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"],
            r"hydra/launcher=joblib: cannot start the jobs \(ValueError: n_jobs == 0 .*\)",
            marks=needs("joblib"),
        ),
        pytest.param(
            ["seed=0,1", "hydra/launcher=joblib", "hydra.launcher.pre_dispatch=nothing"],
            r"hydra/launcher=joblib: cannot start the jobs \(.*nothing.*\)",
            marks=needs("joblib"),
        ),
        pytest.param(
            ["seed=0,1", "hydra/launcher=slurm", "hydra.launcher.partition=gpu"],
            r"hydra/launcher=slurm: cannot start the jobs \(RuntimeError: Could not detect \"srun\".*\)",
            marks=needs("submitit"),
        ),
        (["seed=range(0,0)"], "there is no job to run; type at least one value"),
    ],
)
def test_a_sweep_none_of_whose_jobs_can_start(typed, line, here, capsys):
    assert re.fullmatch(f"prefrl-train: {line}\n", refused(["-m", *QUICK, *typed], capsys))
    assert list(here.iterdir()) == []


def test_what_ends_a_sweep_in_its_midst_is_one_line(here, capsys, monkeypatch):
    original = start.hydra_main

    def breaks(*given):
        original(*given)
        raise RuntimeError("the store\nis gone")

    monkeypatch.setattr(start, "hydra_main", breaks)
    assert main(["-m", *QUICK, "seed=0,1", "output_dir=sweep"]) == 1
    assert capsys.readouterr().err == (
        "prefrl-train: the sweep ended early (RuntimeError: the store is gone); to go on type the same command again\n"
    )
    assert [read_json(path)["status"] for path in here.glob("sweep/*/status.json")] == ["finished"] * 2


def test_an_objective_is_a_metric_before_anything_is_written(here, capsys):
    typed = [*QUICK, "output_dir=run"]
    assert "objective=theta_3: the run has no such metric; did you mean objective=theta_" in refused(
        [*typed, "objective=theta_3"], capsys
    )
    line = refused([*typed, "objective=nonsense"], capsys)
    assert "choose one of" in line and "preference_accuracy, reward_error" in line
    assert "no such metric" in refused(["-m", *typed, "seed=0,1", "objective=nonsense"], capsys)
    assert list(here.iterdir()) == []
    assert main([*typed, "objective=theta_1"]) == 0
    metrics = (here / "run" / "metrics.csv").read_bytes()
    assert main([*typed[:-1], "output_dir=other"]) == 0
    assert (here / "other" / "metrics.csv").read_bytes() == metrics  # to ask for the metrics changes nothing
    assert "no such metric" in refused(["resume=run", "steps=3", "objective=nonsense"], capsys)
    assert "objective: theta_1" in (here / "run" / "config.yaml").read_text()


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_the_metrics_that_an_objective_may_be(experiment):
    small = [option for option in SIZES.get(experiment, []) if not option.startswith("preferences.save")]
    config = compose.composed([f"experiment={experiment}", *small, "steps=2"])
    algorithm = build({**config, "num_seeds": 2})
    before = sorted(algorithm.evaluate())
    assert metric_names(config, before[0]) == before
    for _ in range(2):
        algorithm.update()
    assert (names := metric_names(config)) == sorted(algorithm.evaluate())
    for name in (names[0], names[-1]):
        check_objective({**config, "objective": name})


@pytest.mark.parametrize("search", choices("hparams_search"))
def test_the_objective_of_every_search_is_a_metric(search):
    chosen = yaml.safe_load((conf_folder() / "hparams_search" / f"{search}.yaml").read_text())
    config = compose.composed([f"experiment={search.removesuffix('_optuna')}"])
    check_objective({**config, "objective": chosen["objective"]})


SEARCH = ["-m", "experiment=rewardnet_mse", "steps=1", "quiet=true", "hydra/sweeper=optuna"]
SEARCH += ["hydra.sweeper.n_trials=2", "optimizer.lr=interval(1e-3,1e-1)"]


@needs("optuna")
@pytest.mark.filterwarnings("ignore")  # of Optuna's own packages
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("quiet=true", "objective: a search needs a metric to go by; type objective=NAME, one of answer_error, "),
        ("objective=answer_eror", "objective=answer_eror: .* did you mean objective=answer_error?"),
        ("hydra.sweeper.n_trials=0 objective=answer_error", "there is no job to run"),
        ("hydra.sweeper.direction=[minimize,maximize] objective=answer_error", "goes by one metric; type minimize or"),
        ("hydra.sweeper.direction=up objective=answer_error", "either 'minimize' or 'maximize'"),
        ("hydra.sweeper.storage=sqlite:////nonexistent/x.db objective=answer_error", "unable to open database file"),
        (
            "hydra.sweeper.storage=sqlite:////nonexistent/x.db hydra.sweeper.study_name=a objective=answer_error",
            "unable to open database file",
        ),
        ("hydra.sweeper.storage=nonsense objective=answer_error", "Could not parse"),
    ],
)
def test_a_search_that_cannot_begin(typed, line, here, capsys):
    assert re.search(line, refused([*SEARCH, *typed.split()], capsys))
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (ConfigError("a=1: must be 2"), 2, "name: a=1: must be 2"),
        (Failed("it ended"), 1, "name: it ended"),
        (RuntimeError("two\nlines \x1b[31m"), 7, "name: RuntimeError: two lines ?[31m; PREFRL_TRACEBACK=1 before .*"),
        (MemoryError(), 7, "name: MemoryError: .*raise problem in .*"),
        (RecursionError("x" * 9000), 7, r"name: RecursionError: x{397}\.\.\.; .*"),
        (SystemExit("a text\nof a library"), 1, "name: a text of a library"),
        (KeyboardInterrupt(), 130, "name: interrupted"),
    ],
)
def test_every_end_is_one_line(problem, code, line, capsys):
    def raises():
        raise problem

    assert run_command("name", raises, unexpected=7) == code
    said = capsys.readouterr().err
    assert re.fullmatch(line.replace("?[31m", r"\?\[31m"), said.removesuffix("\n")), said


def test_a_traceback_on_demand(here, capsys, monkeypatch):
    monkeypatch.setenv("PREFRL_TRACEBACK", "1")
    assert main(["experiment=addition_linear", "env.slop=3"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "Traceback (most recent call last):" in said and any("hydra/_internal" in text for text in said)
    assert said[-1] == "prefrl-train: env.slop: there is no such option; did you mean env.slope?"


def test_an_error_that_says_nothing_shows_its_line():
    try:
        assert not SCRIPTS
    except AssertionError as problem:
        problem.args = ()
        assert cause(problem).startswith("AssertionError: assert not SCRIPTS in test_command_ends.py, line ")


@pytest.mark.parametrize("redirected", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_a_run_trains_whatever_became_of_its_streams(redirected, tmp_path):
    plain = [sys.executable, "-c", OF_A_LIBRARY + START, *QUICK[:2], "output_dir=run"]
    done = subprocess.run(["bash", "-c", f'"$@" {redirected}', "bash", *plain], cwd=tmp_path, timeout=120)
    assert done.returncode == 0
    assert read_json(tmp_path / "run" / "status.json")["status"] == "finished"
    kept = {path.name: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert len(kept) > 5 and not [name for name, content in kept.items() if b"of a library" in content]


OF_A_LIBRARY = """
import contextlib, os
from prefrl_cli.run import runner
def draw(*_):
    with contextlib.suppress(OSError):
        os.write(2, b"of a library")
runner.draw = draw
"""
START = "import sys\nfrom prefrl_cli.cli.train import main\nsys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("redirected", "typed", "code"),
    [
        ("2>&-", "experiment=nope", 2),
        ("2>/dev/full", "experiment=nope", 2),
        (">&-", "--help", 0),
        (">/dev/full", "--help", 2),
    ],
)
def test_the_exit_code_stays_where_nothing_can_be_told(redirected, typed, code, tmp_path):
    command = ["bash", "-c", f'"$@" {redirected}', "bash", sys.executable, "-c", START, typed]
    done = subprocess.run(command, cwd=tmp_path, timeout=60, capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr and (not code or "2>" in redirected or done.stderr.count("\n") == 1)


DELETED = [
    *("train experiment=addition_linear", "train -m experiment=addition_linear seed=0,1", "train resume=x"),
    *("report x", "report . -o y", "evaluate x", "reproduce x", "study x.yaml", "doctor"),
]


@pytest.mark.parametrize("typed", DELETED)
def test_a_folder_that_was_deleted(typed, tmp_path, capsys):
    before, gone = os.getcwd(), tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        name, *arguments = typed.split()
        command = importlib.import_module(f"prefrl_cli.cli.{name}")
        assert command.main(arguments) == 2
        told = f"prefrl-{name}: the folder you are in was deleted; type cd to go to another one\n"
        assert capsys.readouterr().err == told
        assert command.main(["--version"]) == 0
    finally:
        os.chdir(before)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_command_has_a_version_and_runs_as_a_module(name, tmp_path):
    module, _, function = SCRIPTS[name].partition(":")
    assert function == "main"
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert re.fullmatch(r"prefrl \d+\.\d+\.\d+\n", done.stdout) and (done.returncode, done.stderr) == (0, "")
    last = ast.parse(Path(importlib.import_module(module).__file__).read_text(encoding="utf-8")).body[-1]
    assert ast.unparse(last).startswith("if __name__ == '__main__':")  # what follows would not be there yet


def test_one_name_for_all_commands(capsys):
    assert prefrl.main(["--help"]) == 0
    told = capsys.readouterr().out
    commands = [name.removeprefix("prefrl-") for name in SCRIPTS if name != "prefrl"]
    assert all(re.search(rf"^  {name} ", told, re.MULTILINE) for name in commands)
    for name in commands:
        assert prefrl.main([name, "--help"]) == 0
        said = capsys.readouterr().out
        assert importlib.import_module(f"prefrl_cli.cli.{name}").main(["--help"]) == 0
        assert capsys.readouterr().out == said and f"prefrl-{name}" in said
        if name == "train":  # its first screen leaves out what few need
            assert prefrl.main([name, "--help", "all"]) == 0
            said = capsys.readouterr().out
        assert "PREFRL_TRACEBACK=1" in said


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ([], r"which command\? type prefrl train\|"),
        (["trian"], r"trian: there is no such command; did you mean train\?"),
        (["experiment=oprl_maze"], "type prefrl train experiment=oprl_maze"),
        (["train", "experiment=nope"], "experiment=nope: there is no such experiment"),
    ],
)
def test_the_one_name_typed_wrong(typed, line, capsys):
    assert prefrl.main(typed) == 2
    said = capsys.readouterr()
    assert re.search(line, said.err) and said.err.count("\n") == 1 and said.out == ""


def test_python_m_of_the_package(tmp_path):
    done = subprocess.run([sys.executable, "-m", "prefrl_cli"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr[:23]) == (2, "", "prefrl: which command? ")
