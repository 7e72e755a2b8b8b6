"""Every command and Python call of the README is tried, by a rule that a reader can follow.

What trains is run with `steps=2 num_seeds=2` added. RUN_DIR is a run that was stopped, NEW a folder that is not there,
NAME and my_study.yaml a small study. Benchmarks' commands are tried in test_benchmarks.py, launchers and searches in
test_launchers.py, and the rows of studies in test_study_files.py.
"""

import importlib
import json
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import kill_and_resume
import pytest
import yaml
from test_launchers import CHOICES
from test_study import TINY, InThisProcess

from prefrl_cli.cli import train
from prefrl_cli.config import compose
from prefrl_cli.config.build import build
from prefrl_cli.config.choices import choices
from prefrl_cli.config.options import check_run
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.run import runner
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.study import jobs as study_jobs
from prefrl_cli.study.file import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FEWER = ["steps=2", "num_seeds=2", "quiet=true"]
BEGINS = re.compile(r"(\$ )?(PYTHONPATH=\S+ )?(prefrl-[a-z]+( |$)|python |make |pip |eval |-m )")
ROWS = {row.command for name in choices("study") for row in load(name).rows}


def commands():
    """Lines of shell, text and console blocks that begin as a command, and inline code that does, each once."""
    blocks = re.findall(r"^```(?:bash|sh|text|console)\n(.*?)^```", README, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^```.*?^```", "", README, flags=re.M | re.S))
    found = [" ".join(text.split()) for text in (*lines, *inline) if BEGINS.match(text)]
    found = [" ".join(map(shlex.quote, shlex.split(text, comments=True))) for text in dict.fromkeys(found)]
    return [text for text in dict.fromkeys(found) if text not in ROWS]


COMMANDS = commands()


def test_they_are_found():
    assert len(COMMANDS) >= 20
    assert {text.partition(" ")[0] for text in COMMANDS if text.startswith("prefrl-")} <= set(PROJECT["scripts"])
    shown = {text.split()[0] for text in COMMANDS}
    assert {"prefrl-train", "prefrl-report", "prefrl-reproduce", "prefrl-study", "make", "pip"} <= shown


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of `oprl_maze` that was stopped at step 2 of 4."""
    folder = tmp_path_factory.mktemp("made")
    run = folder / "outputs" / "oprl_maze" / "run"
    config, overrides = kill_and_resume.config_of("oprl_maze", "num_seeds=2", "steps=4", "checkpoint.every=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "draw", lambda *_: None)
        assert run_or_resume(config, overrides, run) == "finished"
    (run / "checkpoints" / "step_000004.pt").unlink()
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "status": "interrupted", "step": 2}))
    return folder


@pytest.fixture
def here(tmp_path, made, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    monkeypatch.setattr(study_jobs, "_train", InThisProcess)
    monkeypatch.setattr(study_jobs, "_LOOK", 0.0)
    shutil.copytree(made / "outputs", "outputs")
    Path("my_study.yaml").write_text(yaml.safe_dump(TINY))
    return tmp_path


def started(words):
    """Our command in this process; its exit code."""
    module, _, name = PROJECT["scripts"][words[0]].partition(":")
    return getattr(importlib.import_module(module), name)(words[1:])


def filled(text):
    """The words of a command, its placeholders filled in and alternatives left out."""
    text = re.sub(r"step_\d+", "step_000002", text).replace("RUN_DIR", "outputs/oprl_maze/run")
    return [re.sub(r"^NAME$", "my_study.yaml", word).replace("=NEW", "=new") for word in shlex.split(text)]


@pytest.mark.parametrize("text", COMMANDS)
def test_it_does_what_it_says(text, here, capsys):
    words = filled(text.removeprefix("'$' "))
    if words[0] == "make":
        assert f"\n{words[1]}: " in (ROOT / "Makefile").read_text()
    elif words[:2] == ["pip", "install"]:
        assert re.fullmatch(r"(prefrl|\.)\[(.*)\]", words[2])[2] in PROJECT["optional-dependencies"]
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()  # see test_benchmarks.py
    elif words[0] == "eval":
        assert started(shlex.split(re.fullmatch(r"\$\((.*)\)", words[1])[1])) == 0
        assert "complete" in capsys.readouterr().out
    elif text == "prefrl-train" or "-m" in words[:2]:
        chosen = [word for word in words if re.match(r"hydra/launcher=|hparams_search=", word)]
        if chosen:
            assert set(chosen) <= set(CHOICES)
        elif "…" not in words and words != ["prefrl-train"]:
            assert started([*words, *FEWER, "output_dir=sweep"]) == 0, capsys.readouterr().err
            assert len(list(here.glob("sweep/*/summary.json"))) > 1
    elif words[0].startswith("PYTHONPATH=") or "my_conf" in words:
        assert "my_conf/experiment/big_maze.yaml" in README  # run by the test of "Extend" below
    elif text.startswith("'$' "):
        (line,) = re.findall(rf"^\$ {re.escape(shlex.join(words))}\n(.*)$", README, re.M)
        assert started(words) == 2 and capsys.readouterr().err == f"{line}\n"
    elif words[0] == "prefrl-train" and "--help" not in words and not any("resume=" in word for word in words):
        assert started([*words, *FEWER, "output_dir=new"]) == 0, capsys.readouterr().err
        assert json.loads(Path("new", "summary.json").read_text())["steps"] == 2
    elif len(words) == 1:
        assert words[0] in PROJECT["scripts"]  # its name alone
    else:
        code = started([*words, *(["steps=4"] if "output_dir=new" in words else [])])
        assert code == 0, capsys.readouterr().err


def test_the_options_that_the_readme_names_in_its_tables(tmp_path, monkeypatch):
    """Inline code that begins with an experiment composes and builds, as `prefrl-train` would."""
    typed = sorted(set(re.findall(r"`(experiment=[^`]*)`", README)))
    assert len(typed) >= 8
    monkeypatch.chdir(tmp_path)
    for options in typed:
        config = compose.composed(shlex.split(options))
        check_run(config)
        build({**config, "num_seeds": 1})


def test_every_python_call_of_the_readme(here):
    """Inline code that is a call; the one block of Python is run by the test of "Extend" below."""
    known = {'Checkpoints.load(path, "cpu")': {"path": "outputs/oprl_maze/run/checkpoints/step_000002.pt"}}
    calls = set(re.findall(r"`([A-Za-z_][\w.]*\([^`]*\))`", README))
    assert calls == set(known), "a call that is not tried"
    for call, names in known.items():
        found = eval(call, {"Checkpoints": Checkpoints}, names)
        assert found["step"] == 2 and found["seeds"] == [0, 1]
        with_text = eval(call.replace("path", repr(names["path"])), {"Checkpoints": Checkpoints})
        assert with_text.keys() == found.keys()


@pytest.fixture
def extended(tmp_path, monkeypatch):
    """The files of docs/extending.md in a folder, and the options of its command."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    parts = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    files = dict(re.findall(r"`(my_conf/[\w/]+\.yaml)`:\n\n```yaml\n(.*?)^```", text, re.M | re.S))
    assert len(parts) == 3 and len(files) == len(re.findall("^```yaml", text, re.M)) == 4
    for path, content in {**files, "my_package.py": "\n".join(parts)}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    (line,) = re.findall(r"^PYTHONPATH=. prefrl-train (.*)$", text, re.M)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(".")
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    yield [*shlex.split(line), "num_seeds=2", "quiet=true", "output_dir=run"]
    sys.modules.pop("my_package", None)


def test_a_person_extends_prefrl_as_the_page_says(extended, capsys):
    assert train.main([*extended, "steps=5", "checkpoint.every=0"]) == 0, capsys.readouterr().err
    config = yaml.safe_load(Path("run", "config.yaml").read_text())
    assert [config[part]["_target_"].rpartition(".")[2] for part in ("env", "criterion", "teacher")] == [
        "Corridor", "Nearest", "Busy",
    ]  # fmt: skip
    metrics = json.loads(Path("run", "summary.json").read_text())["metrics"]
    assert metrics["labels_used"]["mean"] == pytest.approx(40, abs=15)  # of 100 questions 40 are three updates old
    assert {"epic_distance", "label_accuracy", "greedy_success"} <= set(metrics)


@pytest.mark.parametrize("typed", [["teacher=myopic"], ["teacher=skip"], ["teacher=equal"], ["criterion=progress"]])
def test_parts_of_ones_own_go_with_ours(typed, extended, capsys):
    assert train.main([*extended, "steps=2", *typed]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            "    def figures(",
            "    def pictures(",
            "env=Corridor: has no figures, which implicit needs; see docs/extending.md",
        ),
        (
            '    time_limit = "end"',
            "    pass",
            "env=Corridor: has no time_limit, which oprl needs; see docs/extending.md",
        ),
        (
            "criterion: Given",
            "criterion",
            "teacher.criterion: Busy does not say that it is handed in;",
        ),
        ('{"distance": self.goal - states}', "{}", "criterion=progress: the environment tells no distance to a goal;"),
    ],
)
def test_what_an_environment_of_ones_own_lacks_is_named(before, after, line, extended, capsys):
    text = Path("my_package.py").read_text()
    assert before in text
    Path("my_package.py").write_text(text.replace(before, after))
    assert train.main([*extended, "steps=2", "criterion=progress"]) == 2
    assert line in capsys.readouterr().err
