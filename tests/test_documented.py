"""Every command and Python call of README.md, CONTRIBUTING.md and docs/ is tried, by a rule that a reader can follow.

What trains is run with `steps=2 num_seeds=2` added, and so are the options in tables that begin with an experiment.
RUN_DIR is a run that was stopped, NEW a folder that is not there, NAME and my_study.yaml a small study. Benchmarks'
commands are tried in test_benchmarks.py, launchers and searches in test_launchers.py, the rows of studies in
test_study_files.py, and what pages repeat from the code in test_pages.py.
"""

import importlib
import importlib.util
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
from test_study import HERE, TINY

from prefrl_cli.cli import study, train
from prefrl_cli.config.choices import choices
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.report.study.file import load
from prefrl_cli.run import runner
from prefrl_cli.run.lifecycle import run_or_resume

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
TEXT = "\n".join(PAGES.values())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FEWER = ["steps=2", "num_seeds=2", "quiet=true"]
BEGINS = re.compile(r"(\$ )?(PYTHONPATH=\S+ )?(prefrl[- ][a-z]+( |$)|python |make |pip |eval |-m )")
ROWS = {row.command for name in choices("study") for row in load(name).rows}


def commands():
    """Lines of shell, text and console blocks that begin as a command, and inline code that does, each once."""
    blocks = re.findall(r"^```(?:bash|sh|text|console)\n(.*?)^```", TEXT, re.M | re.S)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S))
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
    options = ["num_seeds=2", "steps=4", "checkpoint.every=2", "preferences.save=preferences.npz"]
    config, overrides = kill_and_resume.config_of("oprl_maze", *options)
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
    monkeypatch.setattr(study, "_launcher", lambda typed: ([HERE], typed.names[:1]))
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
    text = re.sub(r"(resume=\S+ steps)=\d+", r"\1=6", text)
    return [re.sub(r"^NAME$", "my_study.yaml", word).replace("=NEW", "=new") for word in shlex.split(text)]


@pytest.mark.parametrize("text", COMMANDS)
def test_it_does_what_it_says(text, here, capsys):
    words = filled(text.removeprefix("'$' "))
    if words[0] == "make":
        assert f"\n{words[1]}: " in (ROOT / "Makefile").read_text()
    elif words[:2] == ["pip", "install"]:
        extra = re.fullmatch(r"(?:prefrl|\.)\[(.*)\]", words[2])
        assert extra[1] in PROJECT["optional-dependencies"] if extra else words[2].isalpha()
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(f"{words[2]}.__main__") and f"prefrl-{words[3]}" in PROJECT["scripts"]
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()  # see test_benchmarks.py
    elif words[0] == "prefrl-label":  # which waits for a person; see test_label_command.py
        assert words[0] in PROJECT["scripts"] and Path(words[1]).suffix in (".npz", ".jsonl")
    elif "teacher=human" in words:  # which waits for a person too; see test_person.py
        assert started([*words, "--check"]) == 0, capsys.readouterr().err
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
        assert "my_conf/" in PAGES["docs/extending.md"]  # run by a test of its own
    elif text.startswith("'$' "):
        (line,) = re.findall(rf"^\$ {re.escape(shlex.join(words))}\n(.*)$", TEXT, re.M)
        assert started(words) == 2 and capsys.readouterr().err == f"{line}\n"
    elif words[0] == "prefrl-train" and not any(re.match("--help|--cfg|--check|resume=", word) for word in words):
        assert started([*words, *FEWER, "output_dir=new"]) == 0, capsys.readouterr().err
        assert json.loads(Path("new", "summary.json").read_text())["steps"] == 2
    elif words[0] == "prefrl":
        assert f"prefrl-{words[1]}" in PROJECT["scripts"]
    elif len(words) == 1 or words == ["prefrl-train", "resume="]:
        assert words[0] in PROJECT["scripts"]  # its name alone
    else:
        code = started([*words, *(["steps=4"] if "output_dir=new" in words else [])])
        assert code == 0, capsys.readouterr().err


def in_tables():
    """Inline code that begins with an experiment; once where only seeds and steps differ."""
    found = {}
    for text in re.findall(r"`(experiment=[^`]*)`", TEXT):
        words = [word for word in shlex.split(text) if not re.match(r"(seed|num_seeds|steps)=", word)]
        found.setdefault(tuple(words), None)
    return list(found)


@pytest.mark.parametrize("words", in_tables(), ids=" ".join)
def test_the_options_of_tables_train(words, here, capsys):
    assert started(["prefrl-train", *words, *FEWER, "output_dir=new"]) == 0, capsys.readouterr().err
    assert json.loads(Path("new", "summary.json").read_text())["steps"] == 2


def test_options_of_tables_are_found():
    assert len(in_tables()) >= 14


def test_every_python_call(here):
    """Inline code that is a call with arguments; the pages whose blocks of Python are run have tests of their own."""
    known = {'Checkpoints.load(path, "cpu")': {"path": "outputs/oprl_maze/run/checkpoints/step_000002.pt"}}
    others = "\n".join(text for name, text in PAGES.items() if name not in OWN_TESTS)
    calls = set(re.findall(r"`([A-Za-z_][\w.]*\([^`]+\))`", others))
    assert calls == set(known), "a call that is not tried"
    for call, names in known.items():
        found = eval(call, {"Checkpoints": Checkpoints}, names)
        assert found["step"] == 2 and found["seeds"] == [0, 1]
        with_text = eval(call.replace("path", repr(names["path"])), {"Checkpoints": Checkpoints})
        assert with_text.keys() == found.keys()
    assert "```python" not in others


OWN_TESTS = {"docs/extending.md", "docs/api.md"}


def test_the_files_of_a_run_are_documented(made):
    """A run leaves no file, and its summary and status no name, that docs/running.md does not explain."""
    run, page = made / "outputs" / "oprl_maze" / "run", PAGES["docs/running.md"].partition("## A run directory")[2]
    names = {path.name for path in run.iterdir()}
    explained = set(re.findall(r"[\w.]+", " ".join(re.findall(r"`([^`]+)`", page))))
    assert len(names) >= 8 and names <= explained
    for file in ("summary.json", "status.json"):
        content = json.loads((run / file).read_text())
        assert len(content) >= 7 and content.keys() <= explained, file
    summary = json.loads((run / "summary.json").read_text())
    assert summary["metrics"]["solved"].keys() <= explained


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
    assert {"epic_distance", "preference_accuracy", "greedy_success"} <= set(metrics)


@pytest.mark.parametrize("typed", [["teacher=myopic"], ["teacher=skip"], ["teacher=equal"], ["criterion=progress"]])
def test_parts_of_ones_own_go_with_ours(typed, extended, capsys):
    assert train.main([*extended, "steps=2", *typed]) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (
            "    def figures(",
            "    def pictures(",
            "env=Corridor: has no figures, which oprl needs; see docs/extending.md",
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
        (
            '    time_limit = "end"',
            '    time_limit = "never"',
            "env=Corridor: time_limit is never, and has to be end or bootstrap; see docs/extending.md",
        ),
        ("Discrete(2)", "Discrete(3)", "env=Corridor: num_actions is 2, and action_space is Discrete(n=3); see docs/"),
        ("self.start, self.goal = 0,", "self.start, self.goal = 12,", "start is 12, and states are 0 to 11; see"),
        (
            "self.start, self.goal = 0, length - 1",
            "self.start, self.goal = 0, -1",
            "goal is -1, and states are 0 to 11",
        ),
        (
            "[self.goal] = self.goal",
            "[self.goal] = length",
            "transitions have to be whole numbers from 0 to 11, of the shape [12, 2]; see docs/extending.md",
        ),
        ("  # [S, A]", ".astype(float)", "transitions have to be whole numbers from 0 to 11"),
        ('{"distance": self.goal - states}', "{}", "criterion=progress: the environment tells no distance to a goal;"),
    ],
)
def test_what_an_environment_of_ones_own_lacks_is_named(before, after, line, extended, capsys):
    text = Path("my_package.py").read_text()
    assert before in text
    Path("my_package.py").write_text(text.replace(before, after))
    assert train.main([*extended, "steps=2", "criterion=progress"]) == 2
    assert line in capsys.readouterr().err
