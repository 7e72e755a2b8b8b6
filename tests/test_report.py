"""`prefrl-report`: what it pools, compares and tells; that it only reads."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from report_speed import make_run

from prefrl_cli.cli import report
from prefrl_cli.cli.command import FAILED, REFUSED
from prefrl_cli.report.configurations import configurations, varying
from prefrl_cli.report.results import compare, results
from prefrl_cli.report.runs import load, read_run
from prefrl_cli.report.sections import main_charts
from prefrl_cli.run.earlier.results import metric_of
from prefrl_cli.stats.agreement import reliability
from prefrl_cli.stats.intervals import improvement


def made(paths: list[Path], output: Path) -> tuple[str, list[dict[str, str]]]:
    assert report.main([*map(str, paths), "-o", str(output)]) == 0
    with (output / "report.csv").open(newline="") as file:
        return (output / "report.html").read_text(), list(csv.DictReader(file))


def fingerprint(folder: Path) -> dict[str, tuple[str, int]]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


# What is pooled, compared and told


def test_seeds_of_one_configuration_are_pooled_and_a_seed_counts_once(tmp_path):
    make_run(tmp_path / "a", seeds=4)
    make_run(
        tmp_path / "b",
        first_seed=2,
        seeds=4,
        noise=1,
        device="cuda",
        threads=2,
        quiet=True,
        checkpoint={"every": 7},
        preferences={"save": "asked.npz"},
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


def test_of_a_seed_that_is_there_twice_the_run_counts_that_was_started_first(tmp_path):
    """Whatever the folders are called: their names have the local time."""
    for name, started, noise in (("a", "2026-10-25T01:10:00Z", 1), ("b", "2026-10-25T00:50:00Z", 0)):
        make_run(tmp_path / name, seeds=4, noise=noise)
        status = json.loads((tmp_path / name / "status.json").read_text())
        (tmp_path / name / "status.json").write_text(json.dumps({**status, "started": started}))
    (one,) = configurations(load([tmp_path]))
    (told,) = one.repeated
    assert str(tmp_path / "a") in told
    np.testing.assert_array_equal(one.scores["success_mean"], read_run(tmp_path / "b").scores["success_mean"])


def test_the_same_seeds_twice_with_other_results_are_told(tmp_path, capsys):
    make_run(tmp_path / "a", seeds=3)
    make_run(tmp_path / "b", seeds=3)
    make_run(tmp_path / "c", first_seed=1, seeds=2, noise=1, threads=2)
    folder = make_run(tmp_path / "d", seeds=3)
    rows = (folder / "metrics.csv").read_text().splitlines()
    at = next(number for number, row in enumerate(rows) if row.startswith("7,2,"))
    rows[at] = "7,2," + ",".join("9" if cell else "" for cell in rows[at].split(",")[2:])
    (folder / "metrics.csv").write_text("\n".join([*rows, ""]))
    (one,) = configurations(load([tmp_path]))
    same, other, on_the_way = one.repeated
    assert "differ" not in same and one.differing == 2
    assert re.search(r"the results differ: \w+ of seed 1 and 1 more: [\d.]+, here [\d.]+, first in \S*/a", other), other
    assert "from step 7 on, though not in the end" in on_the_way
    page, _ = made([tmp_path], tmp_path / "report")
    assert "the results differ" in page[: page.index("<section><h2>oprl_maze")]
    assert "2 runs have other results than earlier ones of the same options and seeds" in capsys.readouterr().err


def test_an_option_that_follows_from_a_choice_is_no_column_and_a_record_that_names_classes_shows_choices(tmp_path):
    none = {"_target_": "prefrl_cli.shaping.NoShaping"}
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", shaping=none)
    make_run(tmp_path / "c", shaping=none, env__size=16)
    names = varying(configurations(load([tmp_path])))
    assert names == {"env.size": ["8", "8", "16"], "shaping": ["potential", "none", "none"]}


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
    paired = compare(a, b, metric_of("success_mean", {}))
    assert paired.seeds == "4 shared of 6 and 4"
    assert paired.difference.value == pytest.approx(np.mean(a.scores["success_mean"][2:] - b.scores["success_mean"]))
    assert compare(a, c, metric_of("success_mean", {})).seeds == "6 and 4, not the same"
    assert compare(a, b, metric_of("nothing", {})) is None
    (experiment,) = results(load([tmp_path])).experiments
    assert len(experiment.comparisons["success_mean"]) == 3
    lower = compare(a, b, metric_of("greedy_steps", {}))
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


def test_where_every_seed_has_failed_success_is_none_and_the_others_are_better(tmp_path):
    make_run(tmp_path / "runs" / "a")
    lost = make_run(tmp_path / "runs" / "b", env__size=9, status="failed", reason="step 3: no number")
    status = json.loads((lost / "status.json").read_text())
    failed = {str(seed): {"step": 3, "reason": "no number"} for seed in range(4)}
    (lost / "status.json").write_text(json.dumps({**status, "failed_seeds": failed}))
    page, rows = made([tmp_path / "runs"], tmp_path / "report")
    found = {row["metric"]: row for row in rows if row["env.size"] == "9"}
    assert [found["solved"][name] for name in ("mean", "seeds", "failed_seeds")] == ["0.0", "4", "4"]
    assert (found["greedy_steps"]["mean"], found["greedy_steps"]["seeds"]) == ("", "0")
    (pair,) = results(load([tmp_path / "runs"])).experiments[0].comparisons["success_mean"]
    assert (pair.first.failed, pair.second.failed, pair.better.value) == ([], [0, 1, 2, 3], 1.0)
    assert "nan" not in re.sub(r"<style>.*</style>", "", page)


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
    (folders[1] / "status.json").write_text('{"status": "running", "step": 0}')  # as it stands until a run ends
    with (folders[1] / "metrics.csv").open("a") as table:
        table.write("11,0,")  # cut short
    assert read_run(folders[1]).step == 10
    for rows in ("", "step,seed\n", "x" * 70_000):
        (folders[1] / "metrics.csv").write_text(rows)
        assert read_run(folders[1]).step == 0
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
    assert report.main([str(tmp_path / "only")]) == FAILED
    assert "no run in" in capsys.readouterr().err
    assert len(load([tmp_path / "only" / "away"])) == 1  # typed itself, a link is a path like any other


def test_runs_are_only_read(tmp_path):
    make_run(tmp_path / "runs" / "a")
    before = fingerprint(tmp_path / "runs")
    made([tmp_path / "runs"], tmp_path / "report")
    assert fingerprint(tmp_path / "runs") == before
    assert report.main([str(tmp_path / "runs"), "-o", str(tmp_path / "runs" / "a" / "report")]) == REFUSED
    assert fingerprint(tmp_path / "runs") == before


def test_how_good_a_person_s_answers_are_is_told_where_one_taught(tmp_path):
    make_run(tmp_path / "runs" / "a")
    assert "agrees with oneself" not in made([tmp_path / "runs"], tmp_path / "report")[0]
    name = "<b>anna</b>"
    done = [
        SimpleNamespace(kind=kind, seed=0, number=number, label=float(kind == "left"), repeats=again, rater=name,
                        seconds=2.0 + number, undone=False, guess=0.75)
        for number in range(10) for kind, again in (("left" if number < 7 else "right", False), ("left", True))
    ]  # fmt: skip
    summary = tmp_path / "runs" / "a" / "summary.json"
    told = json.loads(summary.read_text()) | {"answers": reliability(done)}
    summary.write_text(json.dumps(told))
    page, _ = made([tmp_path / "runs"], tmp_path / "with")
    cells = [re.sub(r" ?<small>.*?</small>", "", cell) for cell in re.findall(r'<td class="[kn]">(.*?)</td>', page)]
    first = cells.index("&lt;b&gt;anna&lt;/b&gt;")
    # Ten answers and as many again; of these 17 left, none equal, and 6.5 s each, twice as long in the second half.
    assert cells[first + 1 : first + 7] == ["20", "0.85", "0.00", "0.00", "6.50", "2.25"]
    # Seven of ten the same twice: an error rate of (1 - sqrt(0.4)) / 2; seven of ten guessed.
    assert cells[first + 7 : first + 16] == ["0.70", "10", "0.184", "–", "0", "–", "0.70", "10", "0"]
    assert "<b>anna" not in page
    for wrong in (
        [],
        {"raters": [1]},
        {"raters": {"x": 3}},
        {"raters": {"x": {"left": {"ci95": [2, "y"]}}}, "model": 1},
    ):
        summary.write_text(json.dumps(told | {"answers": wrong}))
        made([tmp_path / "runs"], tmp_path / f"wrong {len(str(wrong))}")


def test_one_seed_and_nothing_finished(tmp_path):
    make_run(tmp_path / "one" / "a", seeds=1)
    page, _ = made([tmp_path / "one"], tmp_path / "report")
    assert "nan" not in re.sub(r"<style>.*</style>", "", page)
    found = [one.mean for of in results(load([tmp_path / "one"])).experiments[0].metrics.values() for one in of]
    kinds = {bool(np.isnan(one.low)) for one in found}
    assert kinds == {True, False} and "Of one seed\nnothing but a share has an interval" in page
    make_run(tmp_path / "none" / "a", status="failed")
    page, rows = made([tmp_path / "none"], tmp_path / "report")
    assert "no finished run" in page and rows[0]["seeds"] == "0"
    make_run(tmp_path / "none" / "b", env__size=9)  # one configuration has results, the other has none
    page, rows = made([tmp_path / "none"], tmp_path / "report")
    assert {row["configuration"]: row["seeds"] for row in rows} == {"1": "0", "2": "4"}
    assert "nan" not in re.sub(r"<style>.*</style>", "", page)


def test_what_is_typed_wrong(tmp_path, capsys):
    assert report.main([str(tmp_path / "nothing")]) == REFUSED
    assert "there is no such folder" in capsys.readouterr().err
    assert report.main([str(tmp_path)]) == FAILED
    assert "no run in" in capsys.readouterr().err
    assert report.main([]) == REFUSED
    assert report.main(["--help"]) == 0
    make_run(tmp_path / "a")
    (tmp_path / "file").write_text("")
    assert report.main([str(tmp_path / "a"), "-o", str(tmp_path / "file")]) == FAILED
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


# What it looks like


def apart(first, second, seen):
    """How far two colours are apart in CIELAB, to an eye that sees them through a matrix of Machado et al. 2009."""
    found = []
    for text in (first, second):
        colour = np.array([int(text[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        linear = np.clip(seen @ np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4), 0, 1)
        mixed = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
        x, y, z = np.cbrt(mixed / [0.9505, 1.0, 1.089])
        found.append(np.array([116 * y, 500 * (x - y), 200 * (y - z)]))
    return np.linalg.norm(found[0] - found[1])


@pytest.mark.parametrize("half", [0, 1], ids=["light", "dark"])
def test_no_two_colours_are_alike_even_to_a_colour_blind_eye(half):
    style = Path(report.__file__).parents[1].joinpath("report", "page.css").read_text()
    names = [re.findall(rf"--c{number}: (#\w{{6}})", style)[half] for number in range(6)]
    deuteranopia = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    for seen, least in ((np.eye(3), 35), (np.array(deuteranopia), 15)):
        assert min(apart(one, other, seen) for one, other in itertools.combinations(names, 2)) > least


def test_the_page_begins_with_its_contents(tmp_path):
    make_run(tmp_path / "runs" / "a", split=True)
    make_run(tmp_path / "runs" / "b", experiment="other", split=True)
    page, _ = made([tmp_path / "runs"], tmp_path)
    links = re.findall(r'<a href="#([\w-]+)">(.*?)</a>', page)
    assert links == [("experiment-1", "oprl_maze"), ("experiment-2", "other"), ("runs", "All runs"),
                     ("method", "How to read this")]  # fmt: skip
    assert all(page.count(f'id="{anchor}"') == 1 for anchor, _ in links)


def test_one_long_run_does_not_squeeze_the_others(tmp_path):
    for steps, size in ((20, 8), (30, 9), (300, 10)):
        make_run(tmp_path / str(size), steps=steps, env__size=size, split=True)
    (experiment,) = results(load([tmp_path])).experiments
    first = main_charts(experiment)[0]
    assert "1 goes on to about 3,000" in first  # in the order of their names
    assert ">300</text>" in first and ">1,000</text>" not in first and "episodes</text>" in first


def test_pairs_that_are_the_same_are_a_sentence(tmp_path):
    make_run(tmp_path / "runs" / "a", split=True)
    make_run(tmp_path / "runs" / "b", env__size=9, split=True)
    page, _ = made([tmp_path / "runs"], tmp_path)
    assert "The same in every seed of every pair: success over all episodes," in page
    assert "0.500 <small>[0.500, 0.500]" not in page and "Comparison: labels used" not in page
