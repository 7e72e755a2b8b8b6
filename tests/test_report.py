"""`prefrl-report`: what it says, against SciPy and plain loops; what it does with runs that are broken or hostile."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_speed import make_run
from scipy import stats

from prefrl_cli.cli import report
from prefrl_cli.report.metrics import read_metrics
from prefrl_cli.report.page import digits
from prefrl_cli.report.pictures import thinned
from prefrl_cli.report.pool import Curve, configurations, varying
from prefrl_cli.report.resample import improvement, mean_band, performance_profile, share_interval
from prefrl_cli.report.results import compare, results
from prefrl_cli.report.runs import load, read_run
from prefrl_cli.report.statistics import bootstrap_interval, mean
from prefrl_cli.safe_files import UnreadableError


def made(paths: list[Path], output: Path) -> tuple[str, list[dict[str, str]]]:
    assert report.main([*map(str, paths), "-o", str(output)]) == 0
    with (output / "report.csv").open(newline="") as file:
        return (output / "report.html").read_text(), list(csv.DictReader(file))


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


# What the numbers are


def test_the_table_has_the_values_of_scipy(tmp_path):
    make_run(tmp_path / "runs" / "a", seeds=11)
    _, rows = made([tmp_path / "runs"], tmp_path / "report")
    (row,) = [row for row in rows if row["metric"] == "success_mean"]
    scores = np.array(json.loads((tmp_path / "runs/a/summary.json").read_text())["metrics"]["success_mean"]["per_seed"])
    assert float(row["mean"]) == pytest.approx(scores.mean())
    assert float(row["iqm"]) == pytest.approx(stats.trim_mean(scores, 0.25))
    for name, statistic in (("mean", np.mean), ("iqm", lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))):
        theirs = stats.bootstrap((scores,), statistic, n_resamples=2000, method="percentile", rng=0)
        ends = [float(row[f"{name}_low"]), float(row[f"{name}_high"])]
        np.testing.assert_allclose(ends, theirs.confidence_interval, rtol=1e-9)


def test_a_band_is_the_bootstrap_of_each_point():
    values = np.random.default_rng(1).gamma(2, size=(5, 9))
    band = mean_band(values)
    for row in range(5):
        assert (band.low[row], band.high[row]) == pytest.approx(bootstrap_interval(values[row], mean, resamples=500))
    assert np.isnan(mean_band(values[:, :1]).low).all()


def test_improvement_is_the_mann_whitney_statistic_and_resamples_pairs_together():
    generator = np.random.default_rng(2)
    x, y = generator.integers(0, 6, 12).astype(float), generator.integers(0, 6, 12).astype(float)
    chance, low, high = improvement(x, y, paired=True)
    assert chance == pytest.approx(stats.mannwhitneyu(x, y).statistic / 144)
    draws = np.random.default_rng(0).integers(0, 12, (2000, 12))
    slow = [((x[d][:, None] > y[d]) + 0.5 * (x[d][:, None] == y[d])).mean() for d in draws]
    assert (low, high) == pytest.approx(np.quantile(slow, [0.025, 0.975]))
    assert improvement(x, x, paired=True)[1:] == pytest.approx((0.5, 0.5))  # the same seeds: no doubt at all
    independent = improvement(x, x, paired=False)
    assert independent[0] == 0.5 and independent[1] < 0.4 < 0.6 < independent[2]
    rliable = [improvement(a, b, paired=False)[0] for a, b in (([1, 2, 1, 2], [1, 2, 3]), ([2, 2, 1, 1], [1, 2, 3]))]
    assert np.mean(rliable) == pytest.approx(1 / 3)


def test_profile_and_shares():
    scores = np.array([0.2, 0.5, 0.5, 0.9])
    assert performance_profile(scores, [0.0, 0.5, 0.51, 0.9, 1.0]).middle.tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]
    assert performance_profile(scores, [0.1, 0.5], lower=True).middle.tolist() == [0.0, 0.75]
    for successes, number in ((8, 8), (0, 5), (3, 10)):
        theirs = stats.binomtest(successes, number).proportion_ci(method="wilson")
        assert share_interval(successes, number) == pytest.approx(tuple(theirs), abs=1e-12)


def test_long_curves_are_thinned_by_means_and_lose_no_row():
    steps, values = np.arange(1000.0), np.random.default_rng(0).normal(size=(1000, 3))
    values[:8, 0] = np.nan
    thin = thinned(Curve(steps, values))
    assert len(thin.steps) == 125 and np.isnan(thin.values[0, 0])
    np.testing.assert_allclose(thin.values[:, 1], values[:, 1].reshape(125, 8).mean(1))
    np.testing.assert_allclose(thin.steps, steps.reshape(125, 8).mean(1))


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [(0.8156, 0.046, "0.816"), (473.875, 58.5, "474"), (0.00246, 0.0056, "0.0025"), (1.0, 0.0, "1.00"),
     (-0.004, 0.2, "0.00"),
     (float("nan"), 0.0, "–"), (float("inf"), 0.0, "∞"), (12345.6, 0.0, "12,346"), (-2.5, 0.0, "−2.50")],
)  # fmt: skip
def test_digits(value, scale, text):
    assert digits(value, scale) == text


# What is pooled, compared and told


def test_seeds_of_one_configuration_are_pooled_and_a_seed_counts_once(tmp_path):
    make_run(tmp_path / "a", seeds=4)
    make_run(
        tmp_path / "b", first_seed=2, seeds=4, noise=1, device="cuda", threads=2, quiet=True, checkpoint={"every": 7}
    )
    make_run(tmp_path / "c", seeds=4, shaping__weight=1.0)
    several = configurations(load([tmp_path]))
    assert [one.seeds for one in several] == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3]]
    assert varying(several) == {"shaping.weight": ["3.0", "1.0"]}
    first = read_run(tmp_path / "a").scores["success_mean"]
    np.testing.assert_array_equal(several[0].scores["success_mean"][:4], first)
    (told,) = several[0].repeated
    assert "seeds 2 to 3" in told and str(tmp_path / "b") in told
    assert several[0].curve("success").values.shape == (20, 6)


def test_an_option_that_follows_from_a_class_is_no_column(tmp_path):
    none = {"_target_": "prefrl_cli.shaping.NoShaping"}
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", shaping=none)
    make_run(tmp_path / "c", shaping=none, env__size=16)
    names = varying(configurations(load([tmp_path])))
    assert names == {"env.size": ["8", "8", "16"], "shaping": ["PotentialShaping", "NoShaping", "NoShaping"]}


def test_legends_name_what_sets_a_configuration_apart(tmp_path):
    for name, options in (
        ("a", {}),
        ("b", {"env__size": 9}),
        ("c", {"env__size": 10}),
        ("d", {"shaping__weight": 1.0}),
        ("e", {"shaping__weight": 1.0, "env__size": 9}),
    ):
        make_run(tmp_path / "runs" / name, **options)
    page, _ = made([tmp_path / "runs"], tmp_path)
    (legend, *_) = re.findall(r'<ul class="legend">(.*?)</ul>', page)
    assert re.findall(r"</b> \((.*?)\)</li>", legend) == [
        "env.size=8",
        "env.size=9",
        "env.size=10",
        "shaping.weight=1.0, env.size=8",
        "shaping.weight=1.0, env.size=9",
    ]
    make_run(tmp_path / "runs" / "f", env__horizon=9)
    make_run(tmp_path / "runs" / "g", env__horizon=8)
    make_run(tmp_path / "runs" / "h", env__horizon=7)
    page, _ = made([tmp_path / "runs"], tmp_path)
    (legend, *_) = re.findall(r'<ul class="legend">(.*?)</ul>', page)
    assert "</b> (the most common of each option)</li>" in legend


def test_comparisons_pair_the_seeds_that_are_shared(tmp_path):
    make_run(tmp_path / "a", seeds=6)
    make_run(tmp_path / "b", seeds=4, first_seed=2, noise=1, env__size=9)
    make_run(tmp_path / "c", seeds=4, first_seed=50, env__size=10)
    a, b, c = configurations(load([tmp_path]))
    paired = compare(a, b, "success_mean")
    assert paired.seeds == "4 shared of 6 and 4"
    assert paired.difference.value == pytest.approx(np.mean(a.scores["success_mean"][2:] - b.scores["success_mean"]))
    assert compare(a, c, "success_mean").seeds == "6 and 4, not the same"
    assert compare(a, b, "nothing") is None
    (experiment,) = results(load([tmp_path])).experiments
    assert len(experiment.comparisons["success_mean"]) == 3
    lower = compare(a, b, "greedy_steps")
    steps = [a.scores["greedy_steps"][2:], b.scores["greedy_steps"]]
    assert lower.better.value == pytest.approx(improvement(-steps[0], -steps[1], True)[0])


def test_what_has_no_result_is_listed_before_any_result(tmp_path):
    runs = tmp_path / "runs"
    make_run(runs / "sweep" / "x=1")
    make_run(runs / "failed", first_seed=9, status="failed", reason="step 3: <script>alert(1)</script>")
    make_run(runs / "stopped", status="interrupted", reason="interrupted from the keyboard")
    make_run(runs / "going", status="running")
    (make_run(runs / "broken") / "summary.json").write_text("{")
    make_run(runs / "other", env__size=9, commit="b" * 40)
    (runs / "sweep" / "sweep.csv").write_text(
        'job,status,reason\nx=1,finished,\n"x=2,y=3",failed,x=2: at most 1\n../../etc,x,\n'
    )
    page, rows = made([runs], tmp_path / "report")
    first = page.index("<h2>oprl_maze")
    for text in (
        "unreadable",
        "failed",
        "missing",
        "interrupted",
        "running",
        "x=2: at most 1",
        "x=2,y=3",
        "summary.json is not",
    ):
        assert 0 < page.index(text, page.index("Look at this first")) < first
    assert "2 missing" in page and "aaaaaaaaaaaa" in page and "bbbbbbbbbbbb" in page
    assert "<script" not in page and "&lt;script&gt;" in page
    assert {row["unfinished_seeds"] for row in rows if row["env.size"] == "8"} == {"4"}  # seeds 9 to 12
    assert page.count("<figure>") >= 8 and "http" not in page.replace("http-equiv", "")


def test_a_run_that_changed_on_the_way_is_marked(tmp_path):
    folders = [make_run(tmp_path / "runs" / name, first_seed=seed) for seed, name in enumerate("abcd")]
    difference = "config differs: optimizer.lr 0.1 -> 0.2"
    for folder, resumed in zip(folders[1:], ([], [{"step": 9, "differences": [difference]}], 5), strict=True):
        path = folder / "environment.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "resumed": resumed}))
    assert [run.environment.get("changed on the way") for run in load([tmp_path / "runs"])] == [
        None, None, difference, None
    ]  # fmt: skip
    page, _ = made([tmp_path / "runs"], tmp_path / "report")
    assert 0 < page.index("optimizer.lr 0.1 -&gt; 0.2") < page.index("<h2>oprl_maze")


def test_a_run_that_was_killed_is_told_from_one_that_goes_on(tmp_path):
    folders = [make_run(tmp_path / name, status="running") for name in ("going", "killed", "unknown")]
    for folder in folders[:2]:
        (folder / ".lock").write_text("1\n")
    with (folders[0] / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        going, killed, unknown = map(read_run, folders)
    assert (going.status, going.reason) == ("running", "still running")
    assert killed.status == "interrupted" and killed.reason.startswith("was killed")
    assert (unknown.status, unknown.reason) == ("running", "still running, or killed")
    with (folders[1] / ".lock").open() as lock:  # looking took nothing
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_run_in_the_folder_of_a_sweep_is_not_dropped(tmp_path):
    sweep = make_run(tmp_path / "sweep")
    make_run(sweep / "seed=7", first_seed=7)
    (sweep / "sweep.csv").write_text("job,overrides,status,reason\nseed=7,,finished,\nseed=8,,waiting,\n")
    runs = load([tmp_path])
    assert [(run.path.name, run.status) for run in runs] == [
        ("sweep", "finished"),
        ("seed=7", "finished"),
        ("seed=8", "missing"),
    ]


def test_links_are_not_followed_but_told(tmp_path, capsys):
    elsewhere = make_run(tmp_path / "elsewhere" / "a", noise=1)
    inside = make_run(tmp_path / "runs" / "x" / "b")
    (tmp_path / "runs" / "away").symlink_to(elsewhere)
    (tmp_path / "runs" / "again").symlink_to(inside)  # met before the folder that it leads to
    (tmp_path / "runs" / "gone").symlink_to(tmp_path / "nowhere")
    runs = load([tmp_path / "runs"])
    assert [(run.path.name, run.status) for run in runs] == [("b", "finished"), ("away", "linked")]
    page, _ = made([tmp_path / "runs"], tmp_path / "report")
    assert "1 finished run of 1" in page and "1 linked" in page
    out, err = capsys.readouterr()
    assert "1 run\n" in out and "links not followed: 1;" in err
    assert [run.status for run in load([tmp_path / "runs", elsewhere])] == ["finished", "finished"]
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "away").symlink_to(elsewhere)
    assert report.main([str(tmp_path / "only")]) == report.FAILED
    assert "no run in" in capsys.readouterr().err
    assert len(load([tmp_path / "only" / "away"])) == 1  # typed itself, a link is a path like any other


def test_runs_are_only_read(tmp_path):
    make_run(tmp_path / "runs" / "a")
    before = fingerprint(tmp_path / "runs")
    made([tmp_path / "runs"], tmp_path / "report")
    assert fingerprint(tmp_path / "runs") == before
    assert report.main([str(tmp_path / "runs"), "-o", str(tmp_path / "runs" / "a" / "report")]) == report.REFUSED
    assert fingerprint(tmp_path / "runs") == before


def test_one_seed_and_nothing_finished(tmp_path):
    make_run(tmp_path / "one" / "a", seeds=1)
    page, _ = made([tmp_path / "one"], tmp_path / "report")
    assert "nan" not in re.sub(r"<style>.*</style>", "", page)
    make_run(tmp_path / "none" / "a", status="failed")
    page, rows = made([tmp_path / "none"], tmp_path / "report")
    assert "no finished run" in page and rows[0]["seeds"] == "0"


def test_what_is_typed_wrong(tmp_path, capsys):
    assert report.main([str(tmp_path / "nothing")]) == report.REFUSED
    assert "there is no such folder" in capsys.readouterr().err
    assert report.main([str(tmp_path)]) == report.FAILED
    assert "no run in" in capsys.readouterr().err
    assert report.main([]) == report.REFUSED
    assert report.main(["--help"]) == 0
    make_run(tmp_path / "a")
    (tmp_path / "file").write_text("")
    assert report.main([str(tmp_path / "a"), "-o", str(tmp_path / "file")]) == report.FAILED
    assert "cannot be written" in capsys.readouterr().err


def test_it_starts_without_torch_and_draws_without_matplotlib(tmp_path):
    make_run(tmp_path / "a")
    code = (
        "import sys; from prefrl_cli.cli.report import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'matplotlib', 'hydra', 'omegaconf', 'PIL'} & set(sys.modules);"
        "assert not heavy, heavy; sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a"), "-o", str(tmp_path / "out")], check=True)


def test_a_run_of_prefrl_train(tmp_path):
    code = "import sys; from prefrl_cli.cli.train import main; sys.exit(main(sys.argv[1:]))"
    options = [
        "experiment=oprl_maze",
        "steps=1",
        "num_seeds=2",
        "env.size=5",
        f"output_dir={tmp_path / 'run'}",
        "quiet=true",
    ]
    subprocess.run([sys.executable, "-c", code, *options], check=True, timeout=120)
    page, rows = made([tmp_path / "run"], tmp_path / "report")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())["metrics"]
    assert {row["metric"]: float(row["mean"]) for row in rows} == pytest.approx(
        {name: found["mean"] for name, found in summary.items()}
    )
    assert "Look at this first" not in page


# Files that nobody should trust


def test_metrics_are_read_as_python_reads_them(tmp_path):
    folder = make_run(tmp_path / "a", seeds=3, steps=7, every=3)
    table = read_metrics(folder, [0, 1, 2])
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, values in table.columns.items():
        np.testing.assert_array_equal(values.ravel(), [float(row[name] or "nan") for row in rows])
    assert table.steps.tolist() == list(range(8))
    with (folder / "metrics.csv").open("a") as file:
        file.write("8,0,,,,,0.5,")  # a torn step
    assert read_metrics(folder, [0, 1, 2]).steps.tolist() == list(range(8))


def test_long_metrics_keep_their_evaluations_and_the_last_step(tmp_path, monkeypatch):
    monkeypatch.setattr("prefrl_cli.report.metrics._ROWS", 20)
    folder = make_run(tmp_path / "a", seeds=4, steps=21, every=5)
    assert read_metrics(folder, [0, 1, 2, 3]).steps.tolist() == [0, 5, 8, 10, 15, 16, 20, 21]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "does not begin"), ("step,seed,a\n", "no complete step"), ("step,seed,a\n0,0\n0,1\n", "cells are wanted"),
     ("step,seed,a\n0,0,x\n0,1,1\n", "could not convert"), ("step,seed,a\n0,0,1\n0,2,1\n", "does not list the seeds"),
     ("step,seed,a\n1,0,1\n1,1,1\n0,0,1\n0,1,1\n", "do not increase"), ("step,seed,a,a\n", "different names")],
)  # fmt: skip
def test_wrong_metrics(tmp_path, text, reason):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(UnreadableError, match=reason):
        read_metrics(tmp_path, [0, 1])


@pytest.mark.parametrize("name", ["status.json", "config.yaml", "metrics.csv", "summary.json"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "missing"])
def test_a_file_that_is_no_plain_file(tmp_path, name, kind):
    folder, secret = make_run(tmp_path / "run"), tmp_path / "secret"
    (folder / name).rename(secret)
    if kind == "link":
        (folder / name).symlink_to(secret)
    elif kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    run = read_run(folder)
    assert run.status == "unreadable" and run.reason.startswith(name), run.reason


@pytest.mark.parametrize(
    "text",
    [
        "experiment: !!python/object/apply:os.system ['touch {}']",
        "experiment: !!python/name:os.system",
        "[" * 100_000,
        "x0: &x0 [x, x]\n" + "\n".join(f"x{n + 1}: &x{n + 1} [*x{n}, *x{n}]" for n in range(30)),
        "x0: &x0 {k: v}\n" + "\n".join(f"x{n + 1}: &x{n + 1} {{p: *x{n}, q: *x{n}}}" for n in range(30)),
        "experiment: 9" + "9" * 10_000,
        "? [1, {a: b}]\n: 1",
    ],
)  # fmt: skip
def test_hostile_configurations(tmp_path, text):
    folder = make_run(tmp_path / "run")
    (folder / "config.yaml").write_text(text.replace("{}", str(tmp_path / "ran")))
    run = read_run(folder)
    assert run.status == "unreadable" and run.reason.startswith("config.yaml"), run.reason
    assert not (tmp_path / "ran").exists()


def test_texts_of_a_run_are_escaped_everywhere(tmp_path):
    evil = '"><script>alert(1)</script>\x00'
    for size in (8, 9):
        folder = make_run(
            tmp_path / "runs" / f"<b onclick=x>{size}", experiment=evil, env__size=size, **{"=cmd|'x'": evil}
        )
        (folder / "overrides.yaml").write_text(evil)
        for name in ("summary.json", "metrics.csv", "environment.json"):
            text = (folder / name).read_text().replace("success_mean", "<i>x</i>").replace("3.11.7", f"<u>{size}")
            (folder / name).write_text(text)
    page, _ = made([tmp_path / "runs"], tmp_path / "report")
    for tag in ("<script", "<b onclick", "<i>x", "<u>", "\x00"):
        assert tag not in page
    assert "&lt;script&gt;" in page and "&lt;i&gt;x" in page


@pytest.fixture(scope="module")
def good_run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("good") / "run", seeds=2, steps=3, every=1)


FILES = ("status.json", "config.yaml", "metrics.csv", "summary.json", "environment.json")


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_mutated_runs_never_end_the_report(good_run, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("bad") / "run"
    folder.mkdir()
    broken = data.draw(st.sampled_from(FILES))
    for name in FILES:
        content = (good_run / name).read_bytes()
        if name == broken:
            start = data.draw(st.integers(0, len(content)))
            length = data.draw(st.integers(0, 40))
            patch = data.draw(
                st.binary(max_size=12)
                | st.sampled_from(
                    [
                        b"1e999",
                        b"NaN",
                        b"null",
                        b"[]",
                        b"{}",
                        b"-1",
                        b"\n",
                        b"!!python/name:os.system",
                        b"9" * 5000,
                        b'"',
                        b"true",
                    ]
                )
            )
            content = content[:start] + patch + content[start + length :]
        (folder / name).write_bytes(content)
    assert report.main([str(folder), "-o", str(folder.parent / "report")]) == 0
