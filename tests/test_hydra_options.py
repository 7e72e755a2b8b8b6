"""Hydra's own options and flags: what is obeyed has its effect, and every other one is a line that names our way."""

import itertools
import re
import subprocess
import sys

import pytest
import yaml

from prefrl_cli.cli.options.hydra_options import OBEYED
from prefrl_cli.cli.train import main
from prefrl_cli.run import runner

ADDITION = "experiment=addition_linear"
QUICK = [ADDITION, "steps=1", "quiet=true"]
FOLDERS = "prefrl makes its own folders; type output_dir=FOLDER"
LOGS = "a run's own log is its train.log; type quiet=true"
SWEEPS = "is for sweeps; put -m before it"

# What is typed beside an experiment, and the line.
REFUSED = [
    ("hydra.run.dir=mine", FOLDERS),
    ("++hydra.run.dir=mine", FOLDERS),
    ("~hydra.run", FOLDERS),
    ("hydra.sweep.dir=mine", FOLDERS),
    ("-m hydra.sweep.dir=mine seed=0,1", FOLDERS),
    ("-m hydra.sweep.subdir=mine seed=0,1", FOLDERS),
    ("hydra.output_subdir=.hydra", FOLDERS),
    ("hydra/output=default", FOLDERS),
    ("hydra.job.chdir=true", FOLDERS),
    ("hydra.runtime.output_dir=x", FOLDERS),
    ("hydra/job_logging=stdout", LOGS),
    ("hydra/hydra_logging=default", LOGS),
    ("hydra.job_logging.root=null", LOGS),
    ("hydra.verbose=true", LOGS),
    ("hydra.mode=MULTIRUN seed=0,1", "for a sweep type -m"),
    ("-m hydra.mode=RUN", "for a sweep type -m"),
    ("hydra.help.header=x", "type --help"),
    ("+hydra.foo=1", "prefrl takes no such option of Hydra's"),
    ("hydra.job.name=x", "prefrl takes no such option of Hydra's"),
    ("~hydra", "prefrl takes no such option of Hydra's"),
    ("hydra/env=default", "prefrl takes no such option of Hydra's"),
    ("hydra/launcher=slurm", SWEEPS),
    ("+hydra/launcher=joblib", SWEEPS),
    ("hydra.launcher.n_jobs=2", SWEEPS),
    ("hydra/sweeper=optuna", SWEEPS),
    ("hydra/sweeper/sampler=tpe", SWEEPS),
    ("hydra.sweeper.n_trials=3", SWEEPS),
    ("hparams_search=oprl_maze_optuna", "a search is a sweep; put -m before it"),
    ("hydra.searchpath=[file://nowhere]", "file://nowhere is not there; type a folder that is"),
    ("-m hydra.searchpath=[nowhere] seed=0,1", "file://nowhere is not there; type a folder that is"),
    ("--cfg job hydra.searchpath=[pkg://nowhere]", "pkg://nowhere is not there; type a folder that is"),
    ("-m seed=range(1e9)", "seed=range(1e9): the sweep has 1,000,000,000 jobs; 100,000 at most"),
    ("-m seed=range(400) optimizer.lr=range(0,1,1e-3)", "the sweep has 400,000 jobs; 100,000 at most"),
    ("-m hydra.launcher={} seed=0,1", "a sweep needs one"),
    ("-m hydra.sweeper=null seed=0,1", "a sweep needs one"),
    ("-m hydra.sweeper.max_batch_size=0 seed=0,1", "must be a whole number of 1 or more"),
    ("-m hydra/launcher=joblib hydra.launcher.backend=nonsense seed=0,1", "each job has a process of its own"),
    ("-m hydra/launcher=joblib hydra.launcher.backend=threading seed=0,1", "each job has a process of its own"),
    ("-m hydra/launcher=joblib hydra.launcher.prefer=threads seed=0,1", "each job has a process of its own"),
    ("-m hydra/launcher=joblib hydra.launcher.pre_dispatch=0 seed=0,1", "must be a whole number of 1 or more"),
    ("-m hydra/launcher=joblib hydra.launcher.n_jobs=100000 seed=0,1", "jobs at once here; try hydra.launcher.n_jobs="),
    ("hydra.job.env_copy=[HOME,NOWHERE]", "NOWHERE is not set; leave it out"),
    ("-m hydra.sweeper.params={seed:'0,1'}", "type the values themselves, such as -m seed=0,1"),
    ("-m +hydra.sweeper.params.seed='0,1'", "type the values themselves, such as -m seed=0,1"),
    ("-m hydra.sweeper.params.seed=0,1", "type the values themselves, seed=0,1"),
    ("-m hydra/launcher=basic,joblib", "Sweeping over Hydra's configuration is not supported"),
    ("-m hydra.launcher.n_jobs=2 seed=0,1", "Could not override 'hydra.launcher.n_jobs'"),
    ("--package=env", "--package: says what --cfg shows; type --cfg job as well"),
    ("--resolve", "--resolve: says what --cfg shows; type --cfg job as well"),
    ("-m --cfg job", "-m and --cfg: exclude each other"),
    ("--run seed=0,1 -m", "--run and -m: exclude each other"),
    ("--info plugins --shell-completion", "--info and --shell-completion: exclude each other"),
    ("--config-name=", "--config-name: is not for prefrl; type --config-dir FOLDER"),
    ("--config-path=/tmp", "--config-path: is not for prefrl"),
    ("--experimental-rerun=x.pickle", "--experimental-rerun: is not for prefrl"),
    ("--experimental-rerun", "expected one argument; see prefrl-train --help"),
    ("--info nothing", "invalid choice: 'nothing'"),
    ("--cfg job sede=3", "sede: there is no such option; did you mean seed?"),
    ("-sc", "Expecting one subcommand"),
    ("+hydra.callbacks.mine._target_=nope.Nope", "Error locating target 'nope.Nope'; PREFRL_TRACEBACK=1"),
]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)  # takes longer than all the rest
    return tmp_path


def refused(arguments, capsys):
    code = main(arguments)
    said = capsys.readouterr()
    assert (code, said.out) == (2, ""), said
    assert said.err.startswith("prefrl-train: ") and said.err.count("\n") == 1, said.err
    return said.err


@pytest.mark.parametrize(("typed", "line"), REFUSED, ids=[typed for typed, _ in REFUSED])
def test_what_is_not_obeyed_is_one_line_and_nothing_is_written(typed, line, here, capsys):
    assert line in refused([ADDITION, *typed.split()], capsys)
    assert list(here.iterdir()) == []


ORDERS = list(itertools.permutations(["--cfg=job", "seed=3", ADDITION, "--package=env"]))[::5]


@pytest.mark.parametrize("arguments", ORDERS)
def test_flags_and_options_in_any_order(arguments, here, capsys):
    assert main(arguments) == 0
    assert yaml.safe_load(capsys.readouterr().out)["_target_"] == "prefrl_cli.env.addition.Addition"


@pytest.mark.parametrize("arguments", ([*QUICK[:1], "-m", *QUICK[1:], "seed=0,1"], [*QUICK, "seed=0,1", "--multirun"]))
def test_a_sweep_wherever_its_flag_stands(arguments, here):
    assert main([*arguments, "output_dir=sweep"]) == 0
    assert len(list(here.glob("sweep/*/summary.json"))) == 2


@pytest.mark.parametrize(("cut", "whole"), [("--multi", "--multirun"), ("--vers", "--version")])
def test_a_flag_that_is_cut_short_is_named_whole(cut, whole, here, capsys):
    assert f"unrecognized arguments: {cut}; did you mean {whole}?" in refused([*QUICK, "seed=0,1", cut], capsys)
    assert list(here.iterdir()) == []


def test_the_version_is_ours(capsys):
    assert main([ADDITION, "--version"]) == 0
    assert re.fullmatch(r"prefrl \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_hydras_other_flags_do_what_they_do(here, capsys):
    for flags, wanted in (("--info=defaults-tree", "hparams_search: null"), ("--hydra-help", "--config-dir")):
        typed = [sys.executable, "-m", "prefrl_cli.cli.train", ADDITION, flags]
        assert wanted in subprocess.run(typed, capture_output=True, text=True, timeout=60, check=True).stdout
    assert main([ADDITION, "--cfg", "hydra", "hydra.job.name=x"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["hydra"]["job"]["name"] == "x"
    assert list(here.iterdir()) == []


CALLBACK = """
import pathlib
from hydra.experimental.callback import Callback
class Mine(Callback):
    def on_job_start(self, config, **_):
        pathlib.Path("called").write_text(" ".join(sorted(config.hydra.job.env_set)))
"""


def test_what_is_obeyed_in_a_run_has_its_effect(here, monkeypatch):
    (here / "mine_callback.py").write_text(CALLBACK)
    (here / "more" / "env").mkdir(parents=True)
    (here / "more" / "env" / "mine.yaml").write_text("_target_: prefrl_cli.env.addition.Addition\nslope: 0.3\n")
    monkeypatch.syspath_prepend(str(here))
    monkeypatch.setenv("COPIED", "1")
    typed = {
        "hydra.searchpath": "hydra.searchpath=[file://more]",
        "hydra.job.env_set": "+hydra.job.env_set.ASKED=yes",
        "hydra.callbacks": "+hydra.callbacks.mine._target_=mine_callback.Mine",
        "hydra.job.env_copy": "hydra.job.env_copy=[COPIED]",
    }
    assert set(typed) == {name for name, text in OBEYED.items() if not text.startswith("with -m")}
    try:
        assert main([*QUICK, "env=mine", "output_dir=run", *typed.values()]) == 0
    finally:
        sys.modules.pop("mine_callback", None)
    assert yaml.safe_load((here / "run" / "config.yaml").read_text())["env"]["slope"] == 0.3
    assert (here / "called").read_text() == "ASKED COPIED"
