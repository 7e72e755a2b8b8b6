"""What hypothesis makes of files that a run or a sweep wrote: each is read, or refused in one line, and none runs code.

`benchmarks/fuzz.py` does the same to whole folders, a thousand times, and goes on with each.
"""

import contextlib
import json
import shutil
import signal

import fuzz
import kill_and_resume
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefrl_cli.cli.train import main
from prefrl_cli.config.build import build
from prefrl_cli.core.option_types import ConfigError
from prefrl_cli.files.checkpoints import CheckpointError, Checkpoints
from prefrl_cli.report.runs import read_run
from prefrl_cli.run import runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.provenance import stored_config, stored_environment
from prefrl_cli.sweep.directory import Sweep
from prefrl_cli.sweep.record import read_record
from prefrl_cli.sweep.results import read_json

SHORT = [value for value in fuzz.VALUES if len(repr(value)) < 200]  # what fails is printed
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates(), st.sampled_from(SHORT)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=8,
)
# Whole files, cut and mixed; most of them no YAML or JSON at all.
DUMPED = VALUES.map(lambda one: yaml.safe_dump(one).encode())
BYTES = st.one_of(st.binary(max_size=200), st.sampled_from(fuzz.TEXTS), DUMPED)
QUICK = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
READ_FILES = [
    "config.yaml",
    "environment.json",
    "status.json",
    "summary.json",
    "metrics.csv",
    "sweep.yaml",
    "sweep.csv",
]


@pytest.fixture(autouse=True)
def small_numbers():
    torch.set_flush_denormal(False)  # as training leaves it, hypothesis draws no numbers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(runner, "draw", lambda *_: None)
        options = ["experiment=addition_linear", "steps=2", "checkpoint.every=1", "quiet=true", "output_dir=run"]
        assert main(options) == 0
    return folder / "run"


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


@contextlib.contextmanager
def spoilt(path):
    """What a file holds, which it holds again afterwards, also where the test fails: hypothesis tries it once more."""
    before = path.read_bytes() if path.exists() else None
    try:
        yield before
    finally:
        path.unlink(missing_ok=True) if before is None else path.write_bytes(before)


def read_all(run):
    """Every reader of a run's text files; only these may refuse, and in one line."""
    read_run(run)
    read_status(run), stored_environment(run), read_record(run), read_json(run / "summary.json")
    try:
        stored_config(run)
    except ConfigError as problem:
        assert "\n" not in str(problem)


@QUICK
@given(name=st.sampled_from(READ_FILES), content=BYTES)
def test_any_bytes_in_a_file(name, content, run):
    with spoilt(run / name):
        (run / name).write_bytes(content)
        read_all(run)
    assert not (run / "executed").exists() and not (run.parent / "executed").exists()


@QUICK
@given(data=st.data())
def test_any_value_of_an_option(data, run):
    path = run / "config.yaml"
    with spoilt(path) as before:
        config = yaml.safe_load(before)
        node, name = config, data.draw(st.sampled_from(sorted(config)))
        while isinstance(node[name], dict) and node[name] and data.draw(st.booleans()):
            node = node[name]
            name = data.draw(st.sampled_from(sorted(node)))
        node[name] = data.draw(VALUES)
        path.write_text(yaml.safe_dump(config))
        read_all(run)
        try:
            build(stored_config(run))
        except ConfigError as problem:
            assert "\n" not in str(problem)


def test_what_hypothesis_finds_is_told_in_few_words(run, monkeypatch):
    def reads(_):
        if len((run / "config.yaml").read_bytes()) % 3:
            raise RuntimeError("what is wrong")

    monkeypatch.setitem(globals(), "read_run", reads)
    with pytest.raises(RuntimeError, match="^what is wrong") as told:
        test_any_value_of_an_option(run=run)
    assert len(str(told.value)) + sum(map(len, getattr(told.value, "__notes__", []))) < 2000


@pytest.mark.parametrize("choice", [[], {}, [[]]])
def test_a_choice_that_is_no_name(choice, run):
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_bytes()) | {"streams": {"choice": choice}}))
    with pytest.raises(ConfigError):
        build(stored_config(run))


@QUICK
@given(data=st.data())
def test_any_damage_to_a_checkpoint(data, run):
    """It is refused, or a byte that no one reads was hit and it holds what it held."""
    path = max((run / "checkpoints").glob("*.pt"))
    whole = Checkpoints.load(path, "cpu")
    with spoilt(path) as before:
        changed = bytearray(before)
        for _ in range(data.draw(st.integers(1, 4))):
            changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(changed[: data.draw(st.integers(0, len(changed)))] if data.draw(st.booleans()) else changed)
        try:
            assert kill_and_resume.same(Checkpoints.load(path, "cpu"), whole)
        except CheckpointError as problem:
            assert "\n" not in str(problem)


@settings(QUICK, max_examples=15)
@given(status=VALUES, summary=VALUES, table=BYTES)
def test_any_job_of_a_sweep(status, summary, table, tmp_path):
    """How its jobs stand is read from files that anyone may have written, and told in a table."""
    folder = tmp_path / "sweep"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "default").mkdir(parents=True)
    for name, content in (("status.json", status), ("summary.json", summary)):
        content = content if isinstance(content, dict) else {"status": "finished", "metrics": content}
        (folder / "default" / name).write_text(json.dumps(content, default=str))
    (folder / "sweep.csv").write_bytes(table)
    (folder / "sweep.yaml").write_text("overrides: [experiment=addition_linear]\nflags: []\n")
    with Sweep(folder, ["experiment=addition_linear"]) as sweep:
        sweep.add(sweep.job(["experiment=addition_linear"]))
        sweep.counts(), sweep.failures(), sweep.save()


def test_some_whole_folders(tmp_path, monkeypatch):
    """A few of the thousands of `benchmarks/fuzz.py`: of a run, a sweep, a study and a folder of configurations."""
    monkeypatch.chdir(tmp_path)
    handlers = {one: signal.getsignal(one) for one in (signal.SIGALRM, signal.SIGPROF)}
    try:
        outcomes, faults = fuzz.fuzz(fuzz.make(tmp_path), cases=8, first=8)
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
    assert faults == [] and outcomes.total() == 8
