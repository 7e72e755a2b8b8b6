"""A run goes on in a new folder, from its newest or an earlier checkpoint, and the old one stays as it is."""

import json
import shutil
from pathlib import Path

import kill_and_resume
import pytest
import yaml

from prefrl_cli.cli.reproduce import main as reproduce
from prefrl_cli.cli.train import main
from prefrl_cli.config import messages
from prefrl_cli.files.checkpoints import Checkpoints
from prefrl_cli.logger import tensorboard
from prefrl_cli.report.configurations import configurations, varying
from prefrl_cli.report.runs import load
from prefrl_cli.run import runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.lifecycle import run_or_resume
from prefrl_cli.run.metrics_csv import MetricsLog

RUN = ["steps=12", "num_seeds=2", "checkpoint.every=3", "checkpoint.keep=0", "evaluation.every=5"]
CONFIG, OVERRIDES = kill_and_resume.config_of("addition_linear", *RUN, "quiet=false")


class Killed(BaseException):
    """Stands for a kill: nothing of ours catches it."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)  # takes longer than all the rest
    return tmp_path


def run(folder="run"):
    assert run_or_resume(CONFIG, OVERRIDES, Path(folder)) == "finished"
    return Path(folder)


def killed(monkeypatch, folder="run", number=3):
    """A run that is gone while it writes a checkpoint."""
    calls, original = [], Checkpoints.save

    def dying(*given):
        calls.append(None)
        if len(calls) == number:
            raise Killed
        return original(*given)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpoints, "save", dying)
        run_or_resume(CONFIG, OVERRIDES, Path(folder))
    return Path(folder)


def files(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def rows(folder):
    lines = (folder / "metrics.csv").read_text().splitlines()
    return [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]


def record(folder):
    return json.loads((folder / "environment.json").read_text())


def differing(one, other):
    found = kill_and_resume.differences(Path(one), Path(other))
    return [name for name in found if name != "overrides.yaml" and "checkpoints/" not in name]


def test_a_branch_without_a_change_is_the_run_going_on(monkeypatch, capsys):
    run("whole")
    origin = killed(monkeypatch)
    before = files(origin)
    capsys.readouterr()
    assert main(["resume=run", "output_dir=new"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "a new run from run/checkpoints/step_000006.pt" and "going on from step 6" in said
    assert files(origin) == before
    assert differing("whole", "new") == ["config.yaml"]
    assert yaml.safe_load(Path("new", "config.yaml").read_text())["output_dir"] == "new"
    (resumed,) = record(Path("new"))["resumed"]
    here, there = resumed["exactness"], record(origin)["exactness"]
    assert here.pop("seconds") >= 0 and there.pop("seconds") >= 0  # each took its own
    same = {"differences": [], "options": {}, "exactness": there}
    assert resumed == {"step": 6, **same, "branched_from": str(origin.resolve())}
    assert reproduce(["new", "quiet=true", "output_dir=again"]) == 0
    assert main(["resume=run"]) == 0 and differing("whole", "run") == []


def test_an_earlier_checkpoint_another_option_and_a_copy_that_is_gone(capsys):
    origin = run()
    before = files(origin)
    checkpoint = "resume=run/checkpoints/step_000003.pt"
    assert main([checkpoint, "output_dir=new", "optimizer.lr=0.01", "quiet=true"]) == 0
    assert files(origin) == before
    one, other = rows(origin), rows(Path("new"))
    assert [row["step"] for row in other] == [row["step"] for row in one]
    assert other[: 2 * 3] == one[: 2 * 3] and other[2 * 3 :] != one[2 * 3 :]
    (resumed,) = record(Path("new"))["resumed"]
    assert resumed["differences"] == ["config differs: optimizer.lr 0.15 -> 0.01"]
    assert yaml.safe_load(Path("new", "config.yaml").read_text())["optimizer"]["lr"] == 0.01
    assert sorted(path.name for path in Path("new", "checkpoints").glob("*.pt")) == [
        f"step_{step:06d}.pt" for step in (3, 6, 9, 12)
    ]
    shutil.rmtree(origin)
    assert main(["resume=new", "steps=14", "quiet=true"]) == 0  # a branch stands alone
    assert main(["resume=new", "steps=16", "optimizer.lr=0.3", "quiet=true"]) == 0
    capsys.readouterr()
    assert reproduce(["new", "quiet=true", "output_dir=again"]) == 0  # its beginning too, and each change where it was
    assert "identical: 32 rows" in capsys.readouterr().out
    path = Path("new", "environment.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "resumed": [{**one, "options": {}} for one in content["resumed"]]}))
    assert reproduce(["new", "quiet=true", "output_dir=other"]) == 1
    assert "note: its options were changed at step 3; this repeats the last ones" in capsys.readouterr().out


def test_a_finished_run_goes_on_in_a_new_folder_as_it_would_in_its_own(capsys):
    origin = run()
    before = files(origin)
    assert main(["resume=run", "output_dir=new", "steps=15", "quiet=true"]) == 0
    assert files(origin) == before and read_status(Path("new"))["step"] == 15
    assert main(["resume=run", "steps=15", "quiet=true"]) == 0
    assert differing("run", "new") == ["config.yaml"]
    # It was evaluated at step 12, where the other run ended, and so it is when it is repeated.
    assert reproduce(["new", "quiet=true", "output_dir=again"]) == 0
    assert "identical: 30 rows" in capsys.readouterr().out


def test_what_became_of_the_other_run_after_the_checkpoint_is_not_the_branchs_history(monkeypatch):
    origin = killed(monkeypatch, number=4)
    assert main(["resume=run", "optimizer.lr=0.02", "quiet=true"]) == 0
    assert [one["step"] for one in record(origin)["resumed"]] == [9]
    for step, earlier in ((6, []), (9, []), (12, [9])):
        new = f"new_{step}"
        checkpoint = f"resume=run/checkpoints/step_{step:06d}.pt"
        assert main([checkpoint, f"output_dir={new}", "steps=13", "optimizer.lr=0.02", "quiet=true"]) == 0
        assert [one["step"] for one in record(Path(new))["resumed"]] == [*earlier, step]
        lines = record(Path(new))["resumed"][-1]["differences"]
        assert ("config differs: optimizer.lr 0.15 -> 0.02" in lines) == (not earlier)


def test_a_branch_that_is_killed_at_any_moment_resumes(monkeypatch):
    run("whole")
    killed(monkeypatch)

    def dying(*_):
        raise Killed

    for number, place in enumerate([(runner, "due"), (MetricsLog, "add"), (MetricsLog, "sync")]):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(*place, dying)
            main(["resume=run", f"output_dir=new_{number}"])
        assert main([f"resume=new_{number}"]) == 0
        assert differing("whole", f"new_{number}") == ["config.yaml"]


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(monkeypatch, capsys):
    run("whole")
    origin = killed(monkeypatch, number=4)
    (origin / "checkpoints" / "step_000009.pt").write_bytes(b"PK")
    assert main(["resume=run", "output_dir=new"]) == 0
    assert "checkpoint step_000009.pt is damaged" in capsys.readouterr().out
    assert differing("whole", "new") == ["config.yaml"]


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            ["resume=run/checkpoints/step_000003.pt"],
            "resume=run/checkpoints/step_000003.pt: is one checkpoint of a run; to begin a new run from it type"
            " output_dir=NEW as well, to go on with the run itself type resume=run",
        ),
        (
            ["resume=run/checkpoints/step_000005.pt", "output_dir=new"],
            "resume=run/checkpoints/step_000005.pt: is not there; run has step_000003.pt, step_000006.pt,"
            " step_000009.pt, step_000012.pt",
        ),
        (
            ["resume=run", "output_dir=new"],
            "resume=run: steps=12 are done there; type a larger steps=N as well,"
            " or resume=run/checkpoints/step_000003.pt",
        ),
        (["resume=run", "output_dir=other", "steps=15"], "output_dir=other: holds a run already; type another folder"),
        (["resume=run", "output_dir=new", "num_seeds=3"], "num_seeds=3: the checkpoints of run are of other seeds"),
        (["resume=run", "output_dir=new", "steps=20", "optimizer.lr=-1"], "optimizer.lr=-1"),
        (["resume=run", "output_dir=new", "steps=20", "optimizer=sgd"], "optimizer=sgd: a run keeps its optimizer"),
        (
            ["resume=gone/checkpoints/step_000003.pt", "output_dir=new"],
            "resume=gone/checkpoints/step_000003.pt: holds no run",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused_writes_nothing(typed, line, here, capsys):
    run()
    Path("other").mkdir()
    Path("other", "status.json").write_text("{}")
    before, names = files(here), sorted(here.rglob("*"))
    capsys.readouterr()
    assert main(typed) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"prefrl-train: {line}") and said.count("\n") == 1
    assert files(here) == before and [path for path in sorted(here.rglob("*")) if path.name != ".lock"] == [
        path for path in names if path.name != ".lock"
    ]


def test_a_run_with_a_link_in_it_is_no_origin(here, capsys):
    run()
    shutil.move("run/checkpoints", "elsewhere")
    Path("run", "checkpoints").symlink_to(here / "elsewhere")
    assert main(["resume=run", "output_dir=new", "steps=15"]) == 2
    assert "run/checkpoints: is a link, or no plain file" in capsys.readouterr().err
    assert not Path("new").exists()


def test_a_moved_and_a_copied_run_resume_where_they_are(monkeypatch):
    run("whole")
    killed(monkeypatch)
    shutil.copytree("run", "copy")
    shutil.move("run", "moved")
    for folder in ("copy", "moved"):
        assert main([f"resume={folder}"]) == 0
        assert differing("whole", folder) == []
    assert not Path("run").exists()


def test_trackers_are_added_and_dropped_on_the_way(monkeypatch, capsys):
    logged = []
    monkeypatch.setattr(messages, "require", lambda tracker: None)
    monkeypatch.setattr(tensorboard.TensorBoard, "log", lambda self, step, metrics: logged.append(step))
    run("whole")
    killed(monkeypatch, number=2)
    assert main(["resume=run", "logger=tensorboard", "logger.tensorboard.per_seed=false", "steps=12"]) == 0
    assert logged == list(range(4, 13))
    config = yaml.safe_load(Path("run", "config.yaml").read_text())
    assert config["logger"] == {"tensorboard": {"choice": "tensorboard", "per_seed": False}}
    assert differing("whole", "run") == ["config.yaml"]
    assert main(["resume=run", "steps=13", "logger=[tensorboard]", "quiet=true"]) == 0  # it keeps its options
    assert yaml.safe_load(Path("run", "config.yaml").read_text())["logger"] == config["logger"]
    for number, none in enumerate(("null", "[]")):
        logged.clear()
        assert main(["resume=run", f"steps={14 + number}", f"logger={none}", "quiet=true"]) == 0
        assert logged == []
    # None of it is a change of what was trained.
    assert [one["differences"] for one in record(Path("run"))["resumed"]][0] == []
    capsys.readouterr()
    assert main(["resume=run", "steps=20", "logger=tensorbord"]) == 2
    assert capsys.readouterr().err == (
        "prefrl-train: logger=tensorbord: there is no such logger; did you mean logger=tensorboard?\n"
    )


def test_the_report_pools_a_branch_with_its_like():
    run("runs/whole")
    checkpoint = "resume=runs/whole/checkpoints/step_000003.pt"
    assert main([checkpoint, "output_dir=runs/same", "quiet=true"]) == 0
    assert main([checkpoint, "output_dir=runs/other", "optimizer.lr=0.01", "quiet=true"]) == 0
    config, overrides = kill_and_resume.config_of("addition_linear", *RUN, "optimizer.lr=0.01")
    assert run_or_resume(config, overrides, Path("runs/fresh")) == "finished"
    found = configurations(load([Path("runs")]))
    assert sorted(sorted(one.path.name for one in each.runs) for each in found) == [
        ["fresh"], ["other"], ["same", "whole"],
    ]  # fmt: skip
    assert all(each.seeds == [0, 1] for each in found)  # what is there twice counts once
    (branch,) = [each for each in found if each.runs[0].path.name == "other"]
    assert branch.options["changed on the way"] == "optimizer.lr 0.15 -> 0.01 at step 3"
    assert sorted(varying(found)["changed on the way"]) == ["-", "-", "optimizer.lr 0.15 -> 0.01 at step 3"]
