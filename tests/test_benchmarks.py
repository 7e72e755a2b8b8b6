"""Every benchmark runs: each file of `benchmarks/` that can be started has `--quick`, the smallest of all it does.

Of the commands that are documented for them the arguments are read; `[OPTION]` in a usage line is left out.
"""

import argparse
import os
import re
import runpy
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
LONGEST = 900  # seconds; a guard against one that never ends, and no measure: a busy machine may be ten times slower
ABSENT = re.compile(r"ModuleNotFoundError: No module named '(gymnasium|stable_baselines3)'")  # of an extra


def starts(path):
    return "__name__" in path.read_text(encoding="utf-8")


FILES = sorted(FOLDER.glob("*.py"))
STARTED = [path.name for path in FILES if starts(path)]
IMPORTED_ONLY = ["direct.py"]
FILES_WRITTEN = {"compare_sb3.py": ["--output", "sb3.jsonl"], "maze_cost.py": ["--output", "cost.png"]}


def documented():
    """`python benchmarks/NAME.py ...` in the pages and in the benchmarks' own headings."""
    pages = [ROOT / "README.md", FOLDER / "README.md", *FILES]
    texts = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    found = re.findall(r"^ *python benchmarks/(.*)$|`python benchmarks/([^`]*)`", texts, re.M)
    commands = {"".join(one).partition("#")[0].partition("[")[0].strip() for one in found}
    assert len(commands) >= 10
    return sorted(commands)


def parsed(parse):
    """A parser's method that ends the program once the arguments are read."""

    def read(*given, **named):
        print("arguments:", parse(*given, **named))
        raise SystemExit(0)

    return read


def started(words, folder, *, parse_only=False):
    """Start one in a fork, which has torch already; what it said, and its exit code, none where it never ended."""
    said = folder / "said.txt"
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 70
        try:
            with said.open("wb") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))
            os.chdir(folder)
            sys.argv = [str(FOLDER / words[0]), *words[1:]]
            if parse_only:
                argparse.ArgumentParser.parse_args = parsed(argparse.ArgumentParser.parse_args)
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as problem:
            print(f"{type(problem).__name__}: {problem}", flush=True)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    began = time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return said.read_text(errors="replace"), os.waitstatus_to_exitcode(status)
        if time.monotonic() - began > LONGEST:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return said.read_text(errors="replace"), None
        time.sleep(0.02)


def test_every_file_is_started_or_imported():
    assert [path.name for path in FILES if not starts(path)] == IMPORTED_ONLY
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in STARTED if f"`{name}`" not in page] == [], "the table of benchmarks/README.md lacks them"


def checked(words, folder, *, parse_only=False):
    said, code = started(words, folder, parse_only=parse_only)
    if ABSENT.search(said):
        pytest.skip(said.strip().splitlines()[-1])
    assert code == 0 and said.strip(), said
    return said


@pytest.mark.parametrize("name", STARTED)
def test_it_runs(name, tmp_path):
    assert "--quick" in checked([name, "--help"], tmp_path)
    checked([name, *FILES_WRITTEN.get(name, []), "--quick"], tmp_path)


@pytest.mark.parametrize("command", documented())
def test_a_documented_command_is_one_that_it_takes(command, tmp_path):
    checked([*shlex.split(command), "--quick"], tmp_path, parse_only=True)


def test_a_benchmark_that_fails_is_seen(tmp_path):
    (tmp_path / "fails.py").write_text("raise AttributeError('_margin')")
    assert started([str(tmp_path / "fails.py")], tmp_path) == ("AttributeError: _margin\n", 70)
