"""`prefrl-train --help`: complete, and answered without the packages that take long to import."""

import importlib
import os
import re
import subprocess
import sys

import pytest

from prefrl_cli.__main__ import _COMMANDS
from prefrl_cli.__main__ import main as prefrl
from prefrl_cli.cli.train import main
from prefrl_cli.config.choices import GROUPS, choices, conf_folder, target
from prefrl_cli.config.options import MISSING, signature


@pytest.fixture(scope="module")
def text():
    """What --help prints in a fresh interpreter, which then says what it imported."""
    code = (
        "import sys\nfrom prefrl_cli.cli.train import main\nassert main(['--help', 'all']) == 0\n"
        "assert main(['teacher=noisy', '--help']) == 0\n"
        "print('IMPORTED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_takes_nothing_slow(text):
    imported = set(text.rpartition("IMPORTED")[2].split())
    assert "prefrl_cli" in imported
    assert not imported & {"torch", "hydra", "omegaconf", "numpy", "matplotlib", "yaml", "tqdm"}


def test_names_everything_there_is(text):
    words = set(text.replace(",", " ").split())
    experiments = choices("experiment")
    assert len(experiments) >= 2
    for group in (*GROUPS, "experiment"):
        assert words >= set(choices(group)), group
    for option in ("seed=0", "num_seeds=1", "steps=100", "device=cpu", "output_dir=null", "checkpoint.every=50"):
        assert option in words
    assert 'eval "$(prefrl-train -sc install=bash)"' in text


def test_every_experiment_has_a_description_and_fits(text):
    listed = text.partition("experiments:\n")[2].partition("\n\n")[0].splitlines()
    for name in choices("experiment"):
        line = next(line for line in listed if line.split()[0] == name)
        assert len(line.split()) >= 4, line
    assert all(len(line) <= 80 for line in text.partition("IMPORTED")[0].splitlines())


@pytest.mark.parametrize("command", ["", *_COMMANDS])
def test_no_line_of_help_is_wider_than_80(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    whole = ["all"] if command == "train" else []
    for asked in (["--help"], ["--help", *whole]):
        assert prefrl([command, *asked] if command else asked) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) > 8 and all(len(line) <= 80 for line in lines), [line for line in lines if len(line) > 80]


def test_every_yaml_is_headed_by_a_comment():
    paths = sorted(conf_folder().rglob("*.yaml"))
    assert len(paths) > 30
    for path in paths:
        heading = [line for line in path.read_text().splitlines()[:3] if line.startswith("# ") and "@" not in line]
        assert heading and len(heading[-1]) > 5, path


def test_every_experiment_is_headed_by_its_command():
    for name in choices("experiment"):
        text = (conf_folder() / "experiment" / f"{name}.yaml").read_text()
        assert f"# prefrl-train experiment={name}" in text, name


def test_a_short_flag_is_the_same(capsys):
    assert main(["-h"]) == 0
    short = capsys.readouterr().out
    assert main(["steps=3", "--nonsense", "--help"]) == 0
    assert capsys.readouterr().out == short


def test_it_fits_a_terminal(capsys):
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24 and all(len(line) <= 80 for line in lines)
    words = set(" ".join(lines).replace(",", " ").split())
    assert words >= {*GROUPS, *choices("experiment"), "num_seeds", "output_dir", "checkpoint.every", "--check"}


def told(arguments, capsys):
    assert main([*arguments, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 80 for line in text.splitlines()), text
    return text


def test_a_part_is_explained(capsys):
    text = " ".join(told(["teacher=noisy"], capsys).split())
    assert text.startswith("teacher=noisy: Prefers the better one the more surely the better it is.")
    assert "teacher.beta=1.0 a number above 0 or null; null never errs" in text
    assert "teacher.mistake=0.0 a number between 0 and 1; chance of a flipped answer" in text


@pytest.mark.parametrize("group", [*GROUPS, "logger"])
def test_every_part_has_every_option_that_it_takes(group, capsys):
    """The same options as the constructor has when it is imported, whose values a configuration may hold."""
    names = choices(group)
    listed = told([group], capsys)
    assert all(f"  {name} " in listed for name in names)
    module, _, name = target(group, names[0]).rpartition(".")
    allowed = signature(getattr(importlib.import_module(module), name))
    options = {one for one, option in allowed.items() if option.is_value and option.default is not MISSING}
    prefix = f"logger.{names[0]}" if group == "logger" else group
    text = told([f"{group}={names[0]}"], capsys)
    assert set(re.findall(rf"^  {prefix}\.(\w+)=", text, re.MULTILINE)) >= options
    assert ": must" not in text and "_target_" not in text


def test_an_experiment_and_a_name_that_does_not_exist(capsys):
    assert "override /env: maze" in told(["experiment=oprl_maze"], capsys)
    assert "teacher, one of:" in told(["teacher="], capsys)
    assert main(["teacher=nois", "--help"]) == 2  # with the nearest: test_cli_errors


def test_experiments_of_ones_own(tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\n# What I tried first.\nsteps: 3\n")
    text = told(["--config-dir", str(tmp_path)], capsys)
    assert re.search(r"  mine  +What I tried first\.", text) and "oprl_maze" in text


def test_alone_it_says_which_experiments_there_are(capsys):
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("prefrl-train: which experiment? type prefrl-train experiment=NAME")
    assert all(name in said.err.split() for name in choices("experiment"))


def test_cfg_shows_every_option_without_torch(tmp_path):
    code = (
        "import sys\nfrom prefrl_cli.cli.train import main\n"
        "assert main(['experiment=oprl_maze', 'env.size=12', '--cfg', 'job']) == 0\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "size: 12" in done.stdout and "num_seeds: 1" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_shell_completion(tmp_path):
    script = f"{os.path.dirname(sys.executable)}/prefrl-train"
    line = f"{script} experiment=oprl_maze env.si"
    query = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    done = subprocess.run(
        [script, "-sc", "query=bash"], capture_output=True, text=True, timeout=60, env=query, cwd=tmp_path
    )
    assert done.stdout.split() == ["env.size="], done.stderr
    installed = subprocess.run([script, "-sc", "install=bash"], capture_output=True, text=True, timeout=60)
    assert "complete -o nospace" in installed.stdout
