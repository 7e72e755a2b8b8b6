"""`prefrl-reproduce`: the same again, or the first thing that differs."""

import json
import os
from pathlib import Path

import kill_and_resume
import pytest
import torch

from prefrl_cli.cli import train
from prefrl_cli.cli.reproduce import main
from prefrl_cli.run import runner
from prefrl_cli.run.directory import RunDirectory
from prefrl_cli.run.lifecycle import run_or_resume


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    config, overrides = kill_and_resume.config_of("addition_linear", "steps=6", "evaluation.every=2")
    assert run_or_resume(config, overrides, Path("run")) == "finished"
    return Path("run")


def test_identical(run, capsys):
    assert main(["run", "output_dir=again", "quiet=true"]) == 0
    assert capsys.readouterr().out.splitlines() == ["identical: 12 rows of run/metrics.csv and again/metrics.csv"]
    assert main(["run", "quiet=true"]) == 0  # without a folder it goes where a run goes
    assert len(list(Path("outputs", "addition_linear").iterdir())) == 1


def test_identical_on_another_processor(run, capsys):
    path = run / "environment.json"
    environment = json.loads(path.read_text())
    path.write_text(json.dumps({**environment, "processor": "another"}))
    assert main(["run", "output_dir=again", "quiet=true"]) == 0
    said = "identical, on another processor: 12 rows of run/metrics.csv and again/metrics.csv"
    assert capsys.readouterr().out.splitlines() == [said]
    for old in ({}, {"processor": None}, {"processor": environment["processor"]}):  # an older record does not say
        path.write_text(json.dumps({**{k: v for k, v in environment.items() if k != "processor"}, **old}))
        assert main(["run", "quiet=true"]) == 0
        assert capsys.readouterr().out.startswith("identical: 12 rows")


def test_the_first_difference_with_the_environments_beside_it(run, capsys):
    lines = (run / "metrics.csv").read_text().splitlines()
    names, cells = lines[0].split(","), lines[4].split(",")
    place = names.index("loss")
    right, cells[place] = cells[place], "1.5"
    (run / "metrics.csv").write_text("\n".join([*lines[:4], ",".join(cells), *lines[5:]]) + "\n")
    environment = json.loads((run / "environment.json").read_text())
    environment["packages"]["torch"], environment["git"] = "1.0", {"commit": "a" * 40, "dirty": False}
    (run / "environment.json").write_text(json.dumps(environment))
    assert main(["run", "output_dir=again", "quiet=true"]) == 1
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == f"different: step 2, seed 1, loss: '1.5' became '{right}'"
    assert f"  environment differs: packages.torch 1.0 -> {torch.__version__}" in rest
    assert any(line.startswith(f"  environment differs: git.commit {'a' * 40} -> ") for line in rest)


def test_a_run_that_ended_early_is_compared_as_far_as_it_goes(run, capsys):
    text = (run / "metrics.csv").read_text()
    (run / "metrics.csv").write_text("".join(text.splitlines(keepends=True)[:8]) + "3,1,0.2")
    assert main(["run", "output_dir=again", "quiet=true"]) == 0
    assert "identical: 7 rows" in capsys.readouterr().out


def test_a_run_that_was_killed_is_repeated_as_far_as_it_came(run, capsys):
    for name in ("metrics.csv", "evaluation.csv"):
        head, *rows = (run / name).read_text().splitlines(keepends=True)
        (run / name).write_text(head + "".join(row for row in rows if int(row.partition(",")[0]) <= 4))
    (run / "status.json").write_text('{"status": "running", "step": 0}')
    assert main(["run", "output_dir=again", "quiet=true"]) == 0
    assert "identical: 8 rows" in capsys.readouterr().out
    for name in ("metrics.csv", "evaluation.csv"):
        assert Path("again", name).read_text() == (run / name).read_text()
    (run / "metrics.csv").write_text("")
    assert main(["run", "output_dir=more", "quiet=true"]) == 1


def test_half_a_number_is_not_compared(run, capsys):
    """A kill or a full disk may cut the last number of the last line, which still looks like one."""
    text = (run / "metrics.csv").read_text()
    assert text[-3].isdigit() and text[-2].isdigit()
    (run / "metrics.csv").write_text(text[:-3])
    assert main(["run", "output_dir=again", "quiet=true"]) == 0
    assert "identical: 11 rows" in capsys.readouterr().out


@pytest.mark.parametrize("change", [lambda line: line.rpartition(",")[0], lambda line: f"{line},1"])
def test_a_damaged_row_is_a_difference(change, run, capsys):
    lines = (run / "metrics.csv").read_text().splitlines()
    lines[2] = change(lines[2])
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert main(["run", "output_dir=again", "quiet=true"]) == 1
    assert "different: step 1, seed 1" in capsys.readouterr().out


def test_an_extended_run_is_extended_again(run, capsys):
    """It was evaluated where it ended first, which a longer run from the beginning is not."""
    assert train.main(["resume=run", "steps=7", "quiet=true"]) == 0
    assert train.main(["resume=run", "steps=9", "quiet=true"]) == 0
    capsys.readouterr()
    assert main(["run", "output_dir=again", "quiet=true"]) == 0
    assert capsys.readouterr().out.splitlines() == ["identical: 18 rows of run/metrics.csv and again/metrics.csv"]


def test_two_at_once_go_to_two_folders(run, monkeypatch, capsys):
    """Another run takes the folder after the time was asked for."""
    original, taken = RunDirectory.claim, []

    def late(wanted, *, exact):
        if not taken:
            taken.append(wanted)
            original(wanted, exact=exact).close()
        return original(wanted, exact=exact)

    monkeypatch.setattr(RunDirectory, "claim", late)
    assert main(["run", "quiet=true"]) == 0
    assert f"identical: 12 rows of run/metrics.csv and {taken[0]}_1/metrics.csv" in capsys.readouterr().out


def test_the_job_of_a_sweep(run, capsys):
    job = Path("sweep", "env.largest=9,steps=6")
    job.parent.mkdir()
    run.rename(job)
    assert main([str(job), "output_dir=again", "quiet=true"]) == 0
    os.chdir("sweep")
    assert main([job.name, "output_dir=once_more", "quiet=true"]) == 0
    assert capsys.readouterr().out.count("identical: 12 rows") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "which run"),
        (["run", "other"], "which run"),
        (["nowhere"], "nowhere: config.yaml is missing"),
        (["run", "steps=3"], "steps: a run is repeated with its own options"),
        (["run", "output_dir=run"], "output_dir=run: is there already"),
    ],
)
def test_what_is_refused(run, arguments, message, capsys):
    before = sorted(Path().rglob("*"))
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert sorted(Path().rglob("*")) == before


def test_a_link_in_the_place_of_metrics_is_not_followed(run, capsys):
    (run / "metrics.csv").rename("elsewhere.csv")
    (run / "metrics.csv").symlink_to("../elsewhere.csv")
    assert main(["run", "output_dir=again", "quiet=true"]) == 2
    assert "run: holds no metrics.csv to compare with" in capsys.readouterr().err
    assert not Path("again").exists()


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "prefrl-reproduce RUN_DIR" in capsys.readouterr().out
