"""Every piece of advice that the package gives, "try ..." and "type ...", is provoked, typed and accepted."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from prefrl_cli.cli import train
from prefrl_cli.config import compose, messages
from prefrl_cli.config import overrides as resuming
from prefrl_cli.config.build import build
from prefrl_cli.run import lifecycle, runner

PACKAGE = Path(train.__file__).parents[1]
OPRL, ADDITION = "experiment=oprl_maze", "experiment=addition_linear"
PIPE = r"[\w/]+(\|[\w/]+)*"  # choices beside each other: the first is typed

# (module, advice as the source has it): what provokes it, and what is typed as well where one piece alone is not all.
TYPED = {
    ("oprl.py", "try {}={} or {}={}"): [OPRL, "algorithm.episodes=300"],
    ("oprl.py", "try {}=16"): [OPRL, "algorithm.test_episodes=1"],
    ("oprl.py", "try episodes=10"): [OPRL, "policy_update=rloo", "algorithm.episodes=1"],
    ("oprl.py", "try queries.start=1"): [OPRL, "algorithm.episodes=1"],
    ("oprl.py", "try reward_model=process"): [OPRL, "shaping=potential", "reward_model=implicit"],
    ("oprl.py", "try reward_model.members=3"): [OPRL, "queries=disagreement", "reward_model.members=1"],
    ("oprl.py", "try queries.segment={}"): [OPRL, "queries.segment=61"],
    ("choices.py", "type {}={}"): [OPRL, "~optimizer"],
    ("hydra_app.py", "type experiment={}"): ["steps=3"],
    ("messages.py", "type {}={}"): [f"+{ADDITION}"],
    ("messages.py", "type {}={} #1"): ["--experiment", "addition_linear"],
    ("messages.py", "type '{}=[{}]'"): [OPRL, "optimizer.betas=0.9,0.99"],
    ("config.py", "try seed={}"): [OPRL, "seed=4294967295", "num_seeds=2"],
    ("config.py", "try device=cpu"): [OPRL, "device=foo"],
    ("config.py", "try device=cpu #1"): [OPRL, "device=cuda:99"],
    ("config.py", "type logger={}"): [ADDITION, "+logger.tensorboard.per_seed=true"],
    ("maze.py", "try horizon={}"): [OPRL, "env.horizon=5"],
    ("groups.py", "type {}={}"): [OPRL, "loss.nu=1"],
    ("groups.py", "type {}={} #1"): [OPRL, "env=addition"],
    ("groups.py", "type {}={} #2"): [OPRL, "env._target_=prefrl_cli.env.maze.Mase"],
    ("groups.py", "try {}.every=10"): [OPRL, "checkpoint=3"],
    ("groups.py", "type logger={}"): [ADDITION, "+logger.tensorboard=3"],
    ("memory.py", "try {}={}"): [OPRL, "algorithm.test_episodes=1000000", "num_seeds=1000"],
    ("options.py", "try {}={}"): [OPRL, "env.size=2"],
    ("teacher.py", "try discount=1.0"): [OPRL, "teacher.criterion=progress"],
}
# What names a thing of the person's own, another program, or is said at another moment; where that is tested.
TOLD = {
    ("checkpoints.py", "type of a tensor: {}"): "is no advice",
    ("groups.py", "type {}={} #3"): "a group that is no mapping; Hydra refuses it first: test_advice_for_a_group",
    ("groups.py", "type 'allow_targets=[{}]'"): "names code of one's own: test_safety",
    ("groups.py", "try {}="): "is replaced by the group's full name",
    ("groups.py", "try {}.{}="): "the full name: `try horizon={}` above",
    ("groups.py", "try smaller sizes"): "memory is checked first",
    ("hydra_app.py", "type one name"): "a name of one's own",
    ("hydra_app.py", "type the sweep's own command again"): "test_safety",
    ("hydra_app.py", "type the sweep's own command again #1"): "test_safety",
    ("hydra_app.py", "type the same command again, or {}"): "test_sweep",
    ("job.py", "type {}"): "test_a_full_disk_names_the_folder",
    ("job.py", "type optimizer.steps=N as well, larger than {}"): "test_advice_of_a_resume",
    ("job.py", "try steps={}"): "test_advice_of_a_resume",
    ("job.py", "type prefrl-train resume={}"): "test_resume",
    ("job.py", "type a larger steps=N"): "test_advice_of_a_resume",
    ("messages.py", "type ~GROUP"): "test_config: null leaves a group out",
    ("plugins.py", "type pip install 'prefrl[{}]'"): "another program's command",
    ("trackers.py", "type pip install 'prefrl[{}]'"): "another program's command",
    ("record.py", "type {}={} as well"): "test_advice_of_a_resume",
    ("report.py", "type a linked folder's path to include it"): "a folder of one's own",
    ("report.py", "type another folder"): "a folder of one's own",
    ("report.py", "type a run directory or a folder"): "a folder of one's own",
    ("report.py", "type -o DIR"): "a folder of one's own",
    ("reproduce.py", "type prefrl-reproduce RUN_DIR, or --help"): "test_reproduce",
    ("reproduce.py", "type another folder"): "a folder of one's own",
    ("resume.py", "type resume=RUN_DIR"): "a folder of one's own",
    ("resume.py", "type resume=RUN_DIR, or resume=latest"): "test_resume",
    ("resume.py", "type the folder that prefrl-train printed"): "a folder of one's own",
    ("resume.py", "type only NAME=VALUE, such as steps=200"): "test_advice_of_a_resume",
    ("study.py", "type prefrl-study NAME, or --list"): "test_study",
    ("study.py", "type one NAME"): "test_study",
    ("study.py", "type --output-dir DIR"): "a folder of one's own",
    ("sweep_launcher.py", "type the command again later"): "test_launchers",
    ("train.py", "type prefrl-train experiment=NAME, or --help"): "test_advice_for_nothing",
    ("trust.py", "type it on the command line instead"): "test_safety",
    ("trust.py", "type it on the command line instead #1"): "test_safety",
    ("trust.py", "type --config-dir FOLDER for files of your own"): "a folder of one's own",
    ("trust.py", "type that on the command line"): "test_safety",
    ("runs.py", "type its own path beside it"): "a folder of one's own",
    ("run_directory.py", "type output_dir=FOLDER"): "a folder of one's own",
    ("run_directory.py", "type output_dir=FOLDER #1"): "a folder of one's own",
    ("run_directory.py", "type another folder"): "a folder of one's own",
    ("run_directory.py", "type another folder #1"): "a folder of one's own",
    ("runner.py", "try a smaller optimizer.lr, or optimizer.clip=1.0"): "test_advice_of_a_resume",
    ("sweep.py", "type another folder"): "a folder of one's own",
    ("sweep.py", "type another output_dir"): "a folder of one's own",
    ("sweep.py", "type output_dir=FOLDER"): "a folder of one's own",
}


def texts(tree):
    """Every text of a module that is no docstring, `{}` for what is put into it."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    skipped = {id(one.value) for one in first if isinstance(one, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def advice():
    """Each piece of advice of the package: the module's file and the words, numbered where a module repeats them."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for text in texts(ast.parse(path.read_text(encoding="utf-8"))):
            for match in re.finditer(r"(?:(?<=[;,: ])|^)(?:try|type) [^;?)]+", text):
                times = sum(name == path.name and words.partition(" #")[0] == match[0] for name, words in found)
                found.append((path.name, match[0] + (f" #{times}" if times else "")))
    return found


def test_every_piece_of_advice_has_a_case():
    assert not set(TYPED) & set(TOLD)
    assert sorted(advice()) == sorted({**TYPED, **TOLD}), "advice without a case, or a case without advice"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    return tmp_path


@pytest.fixture
def only_built(monkeypatch):
    """Runs are checked and built, and not trained."""
    built = []

    def run_job(config, overrides):
        build(config)
        built.append(overrides)
        return "finished"

    monkeypatch.setattr(compose, "run_job", run_job)
    monkeypatch.setattr(messages, "require", lambda _: None)  # as if all were installed
    return built


def told(arguments, capsys):
    """The one line of a refused command."""
    assert train.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def with_advice(arguments, line):
    """The arguments with what the line says to try or to type in their places."""
    words = re.search(r"; (?:try|type|did you mean) (.*?)(?: or .*)?\??$|; for a sweep .* type (.*)$| type (.*)$", line)
    cure = next(one for one in words.groups() if one)
    (text,) = shlex.split(cure)
    name, _, value = text.partition("=")
    typed = {one: one.lstrip("+~").partition("=")[0] for one in arguments if not one.startswith("--")}
    kept = [one for one in typed if name != typed[one] and not name.startswith(f"{typed[one]}.")]
    kept = [one for one in kept if one != value and not one.startswith((f"+{name}.", f"{name}._target_"))]
    group = [one for one in kept if one.startswith("~")]
    return [one for one in kept if one not in group], f"{name}={value.partition('|')[0] if '[' not in value else value}"


@pytest.mark.parametrize(("key", "arguments"), TYPED.items(), ids=[" ".join(key) for key in TYPED])
def test_it_is_accepted_when_typed(key, arguments, only_built, capsys):
    line = told(arguments, capsys)
    pattern = re.escape(key[1].partition(" #")[0]).replace(r"\{\}", "[^ ]+")
    assert re.search(pattern.replace("try\\ ", "try (?:[a-z_]+\\.)?"), line), line
    kept, cure = with_advice(arguments, line)
    for _ in range(3):  # a part that is chosen anew may need another one, which is told in turn
        if train.main([*kept, cure]) == 0:
            break
        line = capsys.readouterr().err.splitlines()[-1]
        kept, cure = with_advice([*kept, cure], line)
    assert only_built and not capsys.readouterr().err, line


def test_advice_for_nothing(capsys, only_built):
    assert train.main([]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "type prefrl-train experiment=NAME, or --help" in said[0]
    assert train.main([ADDITION]) == 0 and train.main(["--help"]) == 0


def test_advice_for_a_group(capsys, only_built):
    line = told([OPRL, "optimizer=null"], capsys)
    assert "such as optimizer=adam; to leave one out type ~GROUP" in line
    assert train.main([OPRL, "optimizer=adam"]) == 0
    assert train.main([OPRL, "~loss"]) == 0


def test_advice_of_a_resume(capsys):
    """Each is typed in turn; the run is made longer each time."""
    run = [ADDITION, "steps=4", "optimizer.steps=4", "output_dir=run", "quiet=true", "checkpoint.every=2"]
    assert train.main(run) == 0
    assert "to extend it type a larger steps=N" in told(["resume=run"], capsys)
    assert "must be" not in told(["resume=run", "steps=3"], capsys)
    assert train.main(["resume=run", "steps=6"]) == 0
    assert "type optimizer.steps=N as well, larger than 4" in capsys.readouterr().out
    assert train.main(["resume=run", "steps=8", "optimizer.steps=20", "quiet=true"]) == 0
    assert "such as steps=200" in told(["resume=run", "~env"], capsys)
    assert train.main(["resume=run", "steps=10", "optimizer.clip=1.0", "quiet=true"]) == 0
    status = Path("run", "status.json")
    status.write_text(status.read_text().replace("finished", "interrupted"))
    line = told(["resume=run", "steps=4"], capsys)
    assert line.endswith("; try steps=10")
    assert train.main(["resume=run", "steps=10", "quiet=true"]) == 0


def test_a_full_disk_names_the_folder(capsys, monkeypatch):
    from prefrl_cli.files.checkpoints import Checkpoints

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        assert train.main([ADDITION, "steps=4", "output_dir=my run", "quiet=true"]) == 1
    said = capsys.readouterr().err
    typed = re.search(r"to go on type (prefrl-train .*?);", said)[1]
    assert shlex.split(typed) == ["prefrl-train", "resume=my run"]
    assert train.main([*shlex.split(typed)[1:], "quiet=true"]) == 0


def test_the_modules_are_those_that_are_patched():
    assert compose.run_job is lifecycle.run_job and resuming.resume_run is lifecycle.resume_run
