"""What is typed is parsed in one place, checked once, and read from no more files than it needs."""

import argparse
import ast
import contextlib
import io
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from prefrl_cli.cli import reproduce
from prefrl_cli.cli.train import main
from prefrl_cli.config import choices as index
from prefrl_cli.config import options
from prefrl_cli.config.build import build
from prefrl_cli.config.choices import conf_folder
from prefrl_cli.config.compose import compose
from prefrl_cli.config.options import Configuration
from prefrl_cli.config.overrides import Typed, cut, values
from prefrl_cli.core.option_types import ConfigError, OptionError
from prefrl_cli.env.maze import Maze
from prefrl_cli.files.standard_streams import waiting
from prefrl_cli.report.configurations import configurations
from prefrl_cli.report.runs import load
from prefrl_cli.run import lifecycle

PACKAGE = Path(index.__file__).parents[1]
ADDITION = "experiment=addition_linear"
QUICK = [ADDITION, "steps=2", "quiet=true", "charts=false"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parses_typed_text(source):
    """What a source does that only the parser of typed text may do: cut at `=`, look for `name=`, use Hydra's."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            texts = [one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and type(one.value) is str]
            first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            if node.func.attr in ("partition", "rpartition", "split", "rsplit") and first == "=":
                yield f"line {node.lineno}: {node.func.attr}('=')"
            if node.func.attr in ("startswith", "removeprefix", "match", "fullmatch", "search"):
                yield from (f"line {node.lineno}: {text}" for text in texts if re.fullmatch(r"[-a-z_./]+=", text))
        if isinstance(node, ast.Name | ast.alias):
            name = node.id if isinstance(node, ast.Name) else node.name
            if name.rpartition(".")[2] in ("OverridesParser", "argv_overrides"):
                yield f"{name}"
        if isinstance(node, ast.Assign) and any(ast.unparse(one) == "sys.argv" for one in node.targets):
            yield f"line {node.lineno}: sys.argv is replaced, to be parsed again"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_typed_text_is_parsed_in_one_place(path):
    found = list(parses_typed_text(path.read_text(encoding="utf-8")))
    if path.relative_to(PACKAGE) == Path("config/overrides.py"):
        assert len(found) >= 3
    else:
        assert found == []


@pytest.mark.parametrize(
    "source",
    ['text.partition("=")', 'a.split("=", 1)', 'text.startswith("resume=")', 'text.startswith(("a=", "b."))',
     "from hydra.core.override_parser.overrides_parser import OverridesParser", "sys.argv = [1]",
     'flag.startswith("--config-dir=")'],
)  # fmt: skip
def test_the_rule_itself(source):
    assert list(parses_typed_text(source))
    assert not list(parses_typed_text('text.partition("; ")\ntext.split(",")\nname.startswith("logger.")'))


def test_flags_and_options_in_any_order():
    typed = Typed.of(["seed=1", "-m", "+env.size=8", "--config-dir", "mine", "seed=2,3", "~loss"])
    assert typed.flags.multirun and typed.flags.config_dir == "mine" and not typed.flags.check
    assert typed.overrides == ("seed=1", "+env.size=8", "seed=2,3", "~loss")
    assert (typed.value("seed"), typed.value("env.size"), typed.value("loss")) == ("2,3", "8", None)
    assert typed.without("seed") == ["+env.size=8", "~loss"]
    assert values(["seed=1,2", "env.size=8"]) == {"seed": ["1", "2"], "env.size": ["8"]}
    assert values(["seed=glob(*)"]) is None
    assert cut("a=1 +b.c=[1, 2] ~d=") == ["a=1", "+b.c=[1, 2]", "~d="]
    assert isinstance(typed.flags, argparse.Namespace)


# What people type for something else, and what they are told to type.
SLIPS = [
    ([ADDITION, "seeds=4"], "seeds=4: there is no such option; type num_seeds=4"),
    ([ADDITION, "epochs=7"], "type steps=7"),
    ([ADDITION, "lr=0.1"], "lr=0.1: there is no such option; type optimizer.lr=0.1"),
    (["experiment=oprl_maze", "size=12"], "type env.size=12"),
    (["experiment=oprl_maze", "hidden=32"], "type reward_model.hidden=32 or policy.hidden=32"),
    ([ADDITION, "wandb=true"], "type logger=wandb"),
    ([ADDITION, "gpu=1"], "type device=cuda"),
    (["oprl_maze"], "oprl_maze: is a choice without its group; type experiment=oprl_maze"),
    (["potential", "experiment=oprl_maze"], "type shaping=potential"),
    (["experiment", "oprl_maze"], "experiment: an option and its value are one word; type experiment=oprl_maze"),
    (["experiment", "=", "oprl_maze"], "type experiment=oprl_maze"),
    (["experiment:", "oprl_maze"], "type experiment=oprl_maze"),
    (["--experiment", "oprl_maze"], "--experiment: options have no dashes; type experiment=oprl_maze"),
    (["--seed=3"], "type seed=3"),
    (["resume=last"], "resume=last: there is no such run; for the newest that is not finished type resume=latest"),
    (["-m", ADDITION, "seed=0..3"], "type seed=0,1,2,3, or without -m, together in one process, seed=0 num_seeds=4"),
    (["-m", ADDITION, "seed=0-99"], "type seed=range(0,100), or"),
    ([ADDITION, "seed=5:8"], "to train 5 to 8 together type seed=5 num_seeds=4"),
    (["--check", "resume=latest"], "--check: says what a new run would do"),
]


@pytest.mark.parametrize(("typed", "line"), SLIPS, ids=lambda one: " ".join(one) if isinstance(one, list) else "")
def test_a_usual_slip_is_told_what_to_type(typed, line, here, capsys):
    assert main(typed) == 2
    said = capsys.readouterr()
    assert line in said.err and said.err.count("\n") == 1 and not said.out and list(here.iterdir()) == []


def test_what_a_slip_is_told_to_type_is_taken():
    assert compose(Typed.of([ADDITION, "num_seeds=4", "optimizer.lr=0.1"])).run.num_seeds == 4
    assert values(["seed=range(0,4)"]) == {"seed": ["0", "1", "2", "3"]}


@pytest.fixture
def checks(monkeypatch):
    """Counts how often root options are checked."""
    counted = []
    check = options.check_run
    monkeypatch.setattr(options, "check_run", lambda config: (counted.append(1), check(config))[1])
    return counted


def test_root_options_are_checked_once_in_a_run(checks):
    assert main([*QUICK, "output_dir=run"]) == 0
    assert len(checks) == 1
    assert main(["resume=run", "steps=3", "quiet=true"]) == 0
    assert len(checks) == 2
    assert main(["-m", *QUICK, "seed=0,1"]) == 0
    assert len(checks) == 2 + 2 * 2  # each job: before any begins, and where it runs


def test_a_configuration_is_a_value():
    made = compose(Typed.of([ADDITION, "steps=7"]))
    assert Configuration.of(made) is made and made.experiment == "addition_linear"
    assert made.choices["optimizer"] == "sgd" and made.choices["env"] == "addition"
    two = made.with_run(num_seeds=2)
    assert (two.run.num_seeds, two.options["num_seeds"], made.run.num_seeds, two.run.steps) == (2, 2, 1, 7)
    with pytest.raises(AttributeError):
        made.run = two.run
    assert build(two).streams.seeds == (0, 1)


def test_a_run_reads_the_files_that_it_uses_each_once():
    opened, hearing = [], [True]

    def hear(event, arguments):
        if hearing[0] and event == "open" and str(arguments[0]).startswith(str(conf_folder())):
            opened.append(Path(arguments[0]).relative_to(conf_folder()).as_posix())

    index._content.cache_clear()
    sys.addaudithook(hear)
    try:
        assert main([*QUICK, "output_dir=run"]) == 0
    finally:
        hearing[0] = False
    config = yaml.safe_load(Path("run", "config.yaml").read_text())
    used = {
        f"{group}/{node['choice']}.yaml"
        for group, node in config.items()
        if isinstance(node, dict) and "choice" in node
    }
    assert len(used) >= 6
    assert sorted(opened) == sorted({*used, "config.yaml", "experiment/addition_linear.yaml"})


def test_an_error_of_a_part_is_data():
    with pytest.raises(OptionError) as found:
        Maze(size=8, horizon=5)
    problem = found.value
    assert (problem.option, problem.value, problem.try_) == ("horizon", 5, 56)
    assert problem.line("env") == "env.horizon=5: the goal is 14 steps away; try env.horizon=56"
    both = OptionError(
        "queries.questions", 9, "more than are kept", {"queries.questions": 4, "reward_update.dataset_capacity": 9}
    )
    told = "queries.questions=9: more than are kept; try queries.questions=4 or reward_update.dataset_capacity=9"
    assert both.line("algorithm") == str(both) == told


def test_check_says_what_would_run_and_writes_nothing(here, capsys):
    assert main(["experiment=rewardnet_mse", "num_seeds=3", "seed=2", "steps=40", "output_dir=mine", "--check"]) == 0
    said = capsys.readouterr().out
    for words in ("rewardnet_mse", "env=addition", "3 seeds, 2 to 4", "40, ", "mine", "MB of the"):
        assert words in said, words
    assert re.search(r"^time +about \d+:\d\d, ", said, re.MULTILINE)
    assert list(here.iterdir()) == []
    (here / "mine").mkdir()
    (here / "mine" / "thesis.txt").touch()
    assert main([ADDITION, "output_dir=mine", "--check"]) == 2
    assert "mine: is not empty (it holds thesis.txt); type another folder" in capsys.readouterr().err
    assert main([ADDITION, "optimizer.lr=-1", "--check"]) == 2


def test_check_of_a_sweep_has_a_line_for_each_job(here, capsys):
    assert main(["-m", ADDITION, "steps=9", "optimizer.lr=0.1,0.2", "--check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines[:2]] == [f"job optimizer.lr={lr},steps=9" for lr in (0.1, 0.2)]
    assert all("seed 0, 9 steps, about" in line and " MB, about 0:0" in line for line in lines[:2])
    assert lines[2].startswith("check: 2 jobs can run, about 0:0")
    assert main(["-m", ADDITION, "optimizer.lr=0.1,-1", "--check"]) == 2
    said = capsys.readouterr()
    assert "job optimizer.lr=-1: optimizer.lr=-1: must be a number above 0" in said.err
    assert "1 of 2 jobs cannot run" in said.err and list(here.iterdir()) == []


def test_a_sweep_ends_with_a_table_and_its_options_are_columns(here, capsys):
    assert main(["-m", ADDITION, "steps=2", "num_seeds=2", "charts=false", "optimizer.lr=0.1,0.2", "seed=0,5"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert lines[0][:2] == ["optimizer.lr", "seed"] and lines[0][3:] == ["95", "%", "interval"]
    assert [line[:2] for line in lines[1:]] == [["0.1", "0"], ["0.1", "5"], ["0.2", "0"], ["0.2", "5"]]
    (table,) = here.rglob("sweep.csv")
    head, *rows = [line.split(",") for line in re.sub(r'"[^"]*"', "job", table.read_text()).splitlines()]
    assert head[:7] == ["job", "overrides", "optimizer.lr", "seed", "status", "reason", "seconds"]
    assert [row[2:5] for row in rows] == [[lr, seed, "finished"] for lr in ("0.1", "0.2") for seed in ("0", "5")]
    metric = lines[0][2]
    (first,) = [path for path in table.parent.iterdir() if "lr=0.1" in path.name and "seed=0" in path.name]
    summary = json.loads((first / "summary.json").read_text())
    assert lines[1][2] == f"{summary['metrics'][metric]['mean']:.4g}"


def test_charts_are_drawn_or_not_and_said(capsys):
    assert main([ADDITION, "steps=2", "output_dir=with"]) == 0
    _, after = capsys.readouterr().out.split("run: with\n")
    head, *names = " ".join(map(str.strip, after.splitlines())).split(", ")
    assert head == "charts: with/charts/" and names
    assert all(Path("with", "charts", name).is_file() for name in names)
    assert main([*QUICK, "output_dir=run"]) == 0
    assert not Path("run", "charts").exists() and "matplotlib" not in capsys.readouterr().err
    assert main(["resume=run", "quiet=true"]) == 2  # there is nothing to do
    assert lifecycle.is_done(Path("run"))
    assert main(["resume=run", "charts=true", "quiet=true"]) == 0
    assert any(Path("run", "charts").iterdir())


def test_a_terminal_is_told_what_is_waited_for(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with contextlib.redirect_stderr(stream), waiting("loading torch"):
        assert stream.getvalue() == "loading torch ..."
    assert stream.getvalue().endswith("\r\033[K")
    with contextlib.redirect_stderr(file := io.StringIO()), waiting("loading torch"):
        pass
    assert file.getvalue() == ""
    with contextlib.redirect_stderr(stream := Terminal()), waiting("loading torch", quiet=True):
        pass
    assert stream.getvalue() == ""


def test_a_repeated_run_is_of_the_same_configuration():
    assert main([*QUICK, "output_dir=runs/first"]) == 0
    assert reproduce.main(["runs/first", "output_dir=runs/again", "quiet=true"]) == 0
    assert "logger" not in yaml.safe_load(Path("runs", "again", "config.yaml").read_text())
    (found,) = configurations(load([Path("runs")]))
    assert len(found.runs) == 2


def test_a_folder_that_is_called_like_a_slip_is_taken():
    with pytest.raises(ConfigError, match="type resume=latest"):
        Typed.of(["resume=last"])
    Path("last").mkdir()
    assert Typed.of(["resume=last"]).value("resume") == "last"
