"""A study from end to end: its rows are ordinary runs, its table says what they found, and it always goes on."""

import csv
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from scipy.stats import ttest_rel

from prefrl_cli.charts.draw import style
from prefrl_cli.cli.study import main
from prefrl_cli.report.runs import Run
from prefrl_cli.report.study import chart as study_chart
from prefrl_cli.report.study.study import Result, Row, Study
from prefrl_cli.report.study.table import place
from prefrl_cli.run import runner
from prefrl_cli.run.directory import read_status
from prefrl_cli.run.earlier.results import metric_of
from prefrl_cli.stats.summary import digits, summarise
from prefrl_cli.sweep import job as sweep_job

TINY = {
    "title": "Two learning rates",
    "question": "Which is better?",
    "metrics": ["answer_error", "theta_1"],
    "common": ["experiment=addition_linear", "num_seeds=3", "evaluation.every=0"],
    "rows": [
        {"name": "rate 0.15", "overrides": ["steps=4"]},
        {"name": "rate 0.3", "overrides": ["steps=4", "optimizer.lr=0.3"], "baseline": "rate 0.15"},
    ],
}
STUDY = Path("outputs/studies/tiny")
DRAW = study_chart.draw


HERE = "hydra/launcher=basic"  # in this process: importing torch anew takes seconds


def not_drawn(_, __, path):
    """Stands for the chart, which takes a second."""
    path.with_suffix(".png").write_bytes(b"chart")
    return [path.with_suffix(".png")]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    monkeypatch.setattr(study_chart, "draw", not_drawn)
    write()
    return tmp_path


@pytest.fixture
def started(monkeypatch):
    """The folders of the jobs that were started in this process."""
    folders = []

    def run(compose, overrides, folder, *others):
        folders.append(folder.name)
        return original(compose, overrides, folder, *others)

    original = sweep_job.run_sweep_job
    monkeypatch.setattr(sweep_job, "run_sweep_job", run)
    return folders


def write(**changes):
    Path("tiny.yaml").write_text(yaml.safe_dump({**TINY, **changes}))


def rows():
    with (STUDY / "table.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def final(row, metric):
    """A metric of the last step, `[R]`, from `evaluation.csv` itself."""
    with (STUDY / row / "evaluation.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    return np.array([float(line[metric]) for line in lines if line["step"] == lines[-1]["step"]])


def test_the_tables_say_what_the_runs_found(started, monkeypatch, capsys):
    monkeypatch.setattr(study_chart, "draw", DRAW)
    assert main(["tiny.yaml", HERE]) == 0
    said = capsys.readouterr()
    assert said.out == f"table: {STUDY}/table.md\nchart: {STUDY}/chart.png\n"
    assert "tiny: 2 done, 0 running, 0 failed of 2" in said.err
    assert started == ["rate-0-15", "rate-0-3"]
    assert yaml.safe_load((STUDY / "rate-0-15" / "overrides.yaml").read_text()) == [
        "experiment=addition_linear", "num_seeds=3", "evaluation.every=0", "steps=4",
        f"output_dir='{STUDY}/rate-0-15'",
    ]  # fmt: skip
    first, second = rows()
    slow, fast = final("rate-0-15", "answer_error"), final("rate-0-3", "answer_error")
    assert len(set(slow)) == 3, "a comparison of equal seeds would show nothing"
    assert float(first["answer_error"]) == pytest.approx(slow.mean())
    assert float(second["difference"]) == pytest.approx(np.mean(fast - slow))
    ends = [float(second[f"difference_{end}"]) for end in ("low", "high")]
    assert ends == pytest.approx(ttest_rel(fast, slow).confidence_interval(), rel=1e-6)
    assert float(first["answer_error_median"]) == sorted(slow)[1]
    assert float(first["answer_error_worst_tenth"]) == max(slow)
    # The smaller error is the better one.
    wins = np.mean([(one < other) + 0.5 * (one == other) for one in fast for other in slow])
    assert float(second["improvement"]) == pytest.approx(wins)
    assert float(second["seeds_better"]) == pytest.approx(np.mean(fast < slow))
    assert float(second["p"]) == float(second["p_holm"]) >= 0.25, "three seeds cannot show more"
    assert (first["baseline"], first["difference"], second["baseline"]) == ("", "", "rate 0.15")
    command = "prefrl-train experiment=addition_linear num_seeds=3 evaluation.every=0 steps=4"
    assert (first["command"], second["command"]) == (command, f"{command} optimizer.lr=0.3")
    text = (STUDY / "table.md").read_text()
    heading = "| | seeds | answer error | median | worst tenth | theta 1 | against rate 0.15 | seeds better | p |"
    assert heading in re.sub(" +", " ", text) and "With fewer than 16 seeds" in text
    cell = next(line for line in text.splitlines() if line.startswith("| rate 0.3 |")).split(" | ")[2]
    width = float(second["answer_error_high"]) - float(second["answer_error_low"])
    assert cell.split()[0] == digits(fast.mean(), width)
    assert (STUDY / "chart.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (STUDY / "chart.svg").read_text()


def test_finished_rows_are_left_alone_and_changed_ones_run_again(started, capsys):
    assert main(["tiny.yaml", HERE]) == 0
    before = (STUDY / "rate-0-15" / "status.json").stat().st_mtime_ns
    assert main(["tiny.yaml", HERE]) == 0
    assert len(started) == 2
    capsys.readouterr()
    changed = [TINY["rows"][0], {**TINY["rows"][1], "overrides": ["steps=4", "optimizer.lr=0.2"]}]
    write(rows=changed)
    assert main(["tiny.yaml", HERE]) == 0
    assert "rate 0.3: runs again, its options have changed (config differs: optimizer.lr 0.3 -> 0.2)" in (
        capsys.readouterr().err
    )
    assert len(started) == 3
    assert (STUDY / "rate-0-15" / "status.json").stat().st_mtime_ns == before
    assert yaml.safe_load((STUDY / ".failed/rate-0-3.1/config.yaml").read_text())["optimizer"]["lr"] == 0.3


def test_a_row_that_is_older_than_an_option_is_left_alone(started, capsys):
    """What the record lacks stood at its default then; an option that stands elsewhere now is a change."""
    assert main(["tiny.yaml", HERE]) == 0
    kept = STUDY / "rate-0-15" / "config.yaml"
    whole = yaml.safe_load(kept.read_text())
    without = {**whole, "optimizer": {name: value for name, value in whole["optimizer"].items() if name != "clip"}}
    assert len(without["optimizer"]) == len(whole["optimizer"]) - 1
    kept.write_text(yaml.safe_dump(without))
    assert main(["tiny.yaml", HERE]) == 0 and len(started) == 2
    write(rows=[{**TINY["rows"][0], "overrides": ["steps=4", "optimizer.clip=0.5"]}, TINY["rows"][1]])
    capsys.readouterr()
    assert main(["tiny.yaml", HERE]) == 0 and len(started) == 3
    assert "its options have changed (config differs: optimizer.clip nothing -> 0.5)" in capsys.readouterr().err


def test_a_failing_row_leaves_the_others_running_and_is_in_the_table(started, capsys):
    bad = {"name": "bad", "overrides": ["experiment=rewardnet_mse", "optimizer=sgd", "optimizer.lr=1e30", "steps=9"]}
    write(rows=[bad, *TINY["rows"]])
    Path("README.md").write_text("<!-- study tiny -->\nbefore\n<!-- /study tiny -->\n")
    assert main(["tiny.yaml", HERE, "--readme", "README.md"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"^  bad\n      step \d+: the loss is not a number any more", said, re.MULTILINE)
    assert [row["status"] for row in rows()] == ["failed", "finished", "finished"]
    assert "not a number" in rows()[0]["reason"]
    assert re.search(r"^\| bad \| failed: step .*not a number", (STUDY / "table.md").read_text(), re.MULTILINE)
    assert "before" in Path("README.md").read_text(), "a page gets whole tables only"
    assert main(["tiny.yaml", HERE]) == 1
    assert "bad: runs again, it had failed" in capsys.readouterr().err
    assert (STUDY / ".failed" / "bad.1" / "status.json").is_file()


def test_a_row_that_another_process_trains_is_waited_for(started, monkeypatch, capsys):
    folder = STUDY / "rate-0-3"
    assert main(["tiny.yaml", HERE]) == 0
    (folder / "status.json").write_text('{"status": "running", "step": 2}')
    looks = []
    with (folder / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        def later(_):
            looks.append(None)
            if len(looks) == 3:  # the other one is done
                (folder / "status.json").write_text('{"status": "finished", "step": 4}')
                fcntl.flock(file, fcntl.LOCK_UN)

        monkeypatch.setattr(sweep_job.time, "sleep", later)
        assert main(["tiny.yaml", HERE]) == 0
    assert "rate 0.3: another process trains it; it is waited for" in capsys.readouterr().err
    assert len(looks) >= 3 and read_status(folder)["step"] == 4


def test_two_commands_do_not_run_one_study(started, capsys):
    STUDY.mkdir(parents=True)
    with (STUDY / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["tiny.yaml", HERE]) == 2
    assert "tiny: is running in another process" in capsys.readouterr().err
    assert not started


def test_stopped_it_stops_its_rows_and_goes_on_where_they_stood():
    write(rows=[{"name": "long", "overrides": ["steps=300", "checkpoint.every=10"]}], metrics=["answer_error"])
    code = "import sys; from prefrl_cli.cli.study import main; sys.exit(main())"
    begun = {**os.environ, "OMP_NUM_THREADS": "1"}
    study = subprocess.Popen([sys.executable, "-c", code, "tiny.yaml"], env=begun, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list((STUDY / "long").glob("checkpoints/step_*")):
        assert time.monotonic() < end and study.poll() is None
        time.sleep(0.02)
    study.send_signal(signal.SIGTERM)
    said = study.communicate(timeout=60)[1]
    assert study.returncode == 143, said
    assert said.splitlines()[-1] == "prefrl-study: stopped; the same command goes on"
    status = read_status(STUDY / "long")
    assert (status["status"], 0 < status["step"] < 300) == ("interrupted", True)
    assert main(["tiny.yaml", HERE]) == 0
    assert read_status(STUDY / "long")["step"] == 300
    assert f"going on from step {status['step']}" in (STUDY / "long" / "train.log").read_text()


PAGE = "# Title\n<!-- study a -->\nold\n<!-- /study a -->\nafter\n<!-- study b --><!-- /study b -->\n"


def test_a_page_gets_a_study_between_its_markers():
    once = place(PAGE, "a", "\nnew\n\n")
    assert once == PAGE.replace("old", "new")
    assert place(once, "a", "new") == once
    assert place(PAGE, "b", "x") == PAGE.replace("--><!--", "-->\nx\n<!--")


@pytest.mark.parametrize(
    "page",
    ["", "<!-- study a -->", "<!-- /study a -->\n<!-- study a -->", PAGE + "<!-- study a -->"],
)
def test_a_page_without_its_markers_is_refused(page):
    with pytest.raises(ValueError, match="needs the lines <!-- study a --> and <!-- /study a -->, once each"):
        place(page, "a", "new")


def test_a_page_gets_the_table_and_the_chart(started, capsys):
    Path("page").mkdir()
    page = Path("page/README.md")
    page.write_text("Before.\n<!-- study tiny -->\n<!-- /study tiny -->\nAfter.\n")
    assert main(["tiny.yaml", HERE, "--readme", str(page)]) == 0
    text = page.read_text()
    assert text.startswith("Before.\n<!-- study tiny -->\nWhich is better?\n") and text.endswith("-->\nAfter.\n")
    assert "![Two learning rates](study_tiny.png)" in text and "| rate 0.3 | 3 |" in text
    assert Path("page/study_tiny.png").read_bytes() == (STUDY / "chart.png").read_bytes()
    page.write_text("<!-- study tiny -->")
    assert main(["tiny.yaml", HERE, "--readme", str(page)]) == 2
    page.write_text("Nothing of that.")
    assert main(["tiny.yaml", HERE, "--readme", str(page)]) == 0
    assert "has no line <!-- study tiny -->: it gets no table" in capsys.readouterr().out
    assert page.read_text() == "Nothing of that."


def made_up(chart, rows):
    """A study of rows with four seeds each, of which as many succeed as the row's number says."""
    results = []
    for number, row in enumerate(rows, 1):
        scores = {"success_mean": np.arange(4) / 10 + number / 10, "solved": (np.arange(4) < number) * 1.0}
        run = Run(Path(), "finished", seeds=[0, 1, 2, 3], scores=scores)
        results.append(
            Result(row, run, {name: summarise(values, metric_of(name, {})) for name, values in scores.items()}, None)
        )
    study = Study("a", "A title", "Q?", None, ("solved", "success_mean"), chart, "labels", tuple(rows))
    return study, [*results, Result(Row("late", "late", ()), Run(Path(), "failed"), {}, None)]


@pytest.mark.parametrize("chart", ["points", "ladder"])
def test_a_chart_of_points_shows_every_row_at_its_value(chart):
    study, results = made_up(chart, [Row(name, name, ()) for name in ("one", "two", "three")])
    with style():
        sheet = study_chart.chart_sheet(study, results)
        success, solved = sheet.axes
        assert [label.get_text() for label in success.get_yticklabels()] == ["one", "two", "three"]
        for axes, values in ((success, [0.25, 0.35, 0.45]), (solved, [0.25, 0.5, 0.75])):
            points = [line for line in axes.lines if line.get_marker() == "o"]
            assert [line.get_xydata().tolist() for line in points] == [
                [[pytest.approx(value), row]] for row, value in enumerate(values)
            ]
            low, high = axes.get_xlim()
            assert all(low <= x <= high for line in axes.lines for x in line.get_xdata())
            worst = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
            assert np.allclose(worst, [0.1, 0.2, 0.3] if axes is success else [])
        assert [text.get_text() for text in solved.texts] == ["1 of 4", "2 of 4", "3 of 4"]
        assert sheet.get_supxlabel().endswith("1 of 4 rows did not finish.")


@pytest.mark.parametrize("chart", ["ladder", "lines"])
def test_the_words_around_a_chart_end_with_it(chart):
    study, results = made_up(chart, [Row(name, name, (), None, x, "a") for x, name in enumerate(("one", "two"), 1)])
    with style():
        sheet = study_chart.chart_sheet(replace(study, title="How many answers does it take? " * 5), results)
        FigureCanvasAgg(sheet).draw()
        words = [text for text in sheet.findobj(Text) if text.get_text().startswith(("How many", "Means over"))]
        assert len(words) == 2
        for text in words:
            box = text.get_window_extent()
            assert 0 < box.x0 < box.x1 < sheet.bbox.width and 0 < box.y0 < box.y1 < sheet.bbox.height


def test_a_chart_of_lines_has_a_line_a_series_near_its_x():
    rows = [Row(f"{name}{x}", f"{name}{x}", (), None, x, name) for name in "ab" for x in (8, 64)]
    study, results = made_up("lines", rows)
    with style():
        sheet = study_chart.chart_sheet(study, results)
        success = sheet.axes[0]
        assert success.get_xscale() == "log"
        assert [label.get_text() for label in success.get_xticklabels()] == ["8", "64"]
        assert [text.get_text() for text in sheet.legends[0].get_texts()] == ["a", "b"]
        (first, second) = success.lines
        assert np.allclose(first.get_ydata(), [0.25, 0.35]) and np.allclose(second.get_ydata(), [0.45, 0.55])
        assert np.allclose(first.get_xdata(), [8, 64], rtol=0.05)
        assert (first.get_xdata() < second.get_xdata()).all(), "series at one x stand beside each other"


def test_a_row_without_x_is_a_level_across_a_chart_of_lines():
    rows = [
        Row("level", "level", (), None, None, "no labels"),
        *(Row(f"{x}", f"{x}", (), None, x, "a") for x in (8, 64)),
    ]
    study, results = made_up("lines", rows)
    with style():
        axes = study_chart.chart_sheet(study, results).axes[0]
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines) == ["a", "no labels"] and [text.get_text() for text in axes.get_xticklabels()] == ["8", "64"]
        assert set(lines["no labels"].get_ydata()) == {0.25} and np.allclose(lines["a"].get_ydata(), [0.35, 0.45])
        assert list(lines["no labels"].get_xdata()) == [0, 1], "of the whole width"
