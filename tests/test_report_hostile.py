"""The report of runs that are broken or hostile."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_speed import make_run
from test_report import made

from prefrl_cli.cli import report
from prefrl_cli.files.read import UnreadableError
from prefrl_cli.report.metrics import read_metrics
from prefrl_cli.report.runs import read_run


def test_metrics_are_read_as_python_reads_them(tmp_path):
    folder = make_run(tmp_path / "a", seeds=3, steps=7, every=3)
    table, evaluations = read_metrics(folder, [0, 1, 2])
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, values in table.columns.items():
        np.testing.assert_array_equal(values.ravel(), [float(row[name] or "nan") for row in rows[3:]])
    assert table.steps.tolist() == list(range(1, 8)) and evaluations.steps.tolist() == [0, 3, 6, 7]
    for name, values in evaluations.columns.items():  # an earlier version had them in the same file, under other names
        old = {"preference_accuracy": "label_accuracy"}.get(name, name)
        cells = [float(row[f"evaluation/{old}"] or "nan") for row in rows if int(row["step"]) in (0, 3, 6, 7)]
        np.testing.assert_array_equal(values.ravel(), cells)
    with (folder / "metrics.csv").open("a") as file:
        file.write("8,0,,,,,0.5,")  # a torn step
    assert read_metrics(folder, [0, 1, 2])[0].steps.tolist() == list(range(1, 8))


def test_two_files_say_what_one_of_an_earlier_version_says(tmp_path):
    for one, other in zip(
        read_metrics(make_run(tmp_path / "old", seeds=3, steps=7, every=3), [0, 1, 2]),
        read_metrics(make_run(tmp_path / "new", seeds=3, steps=7, every=3, split=True), [0, 1, 2]),
        strict=True,
    ):
        assert one.steps.tolist() == other.steps.tolist() and list(one.columns) == list(other.columns)
        for name, values in one.columns.items():
            np.testing.assert_array_equal(values, other.columns[name])


def test_long_metrics_keep_their_evaluations_and_the_last_step(tmp_path, monkeypatch):
    monkeypatch.setattr("prefrl_cli.report.metrics._ROWS", 20)
    folder = make_run(tmp_path / "a", seeds=4, steps=21, every=5)
    assert read_metrics(folder, [0, 1, 2, 3])[0].steps.tolist() == [5, 8, 10, 15, 16, 20, 21]
    folder = make_run(tmp_path / "b", seeds=4, steps=21, every=5, split=True)
    table, evaluations = read_metrics(folder, [0, 1, 2, 3])
    assert table.steps.tolist() == [1, 9, 17, 21] and evaluations.steps.tolist() == [0, 5, 10, 15, 20, 21]


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


BIG = 64 << 20


@pytest.mark.parametrize(
    ("head", "rest", "times", "reason"),
    [
        (b"", b"\n", BIG, "does not begin with step, seed"),
        (b"step,seed,a\n", b"\n", 100_000, "3 cells are wanted in a row, 1 were found"),
        (b"step,seed,a\n", b"\n", BIG, "more than 200,000 steps"),
        (b"step,seed,a\n", b"9", BIG, "a row of 65,536 bytes"),
        (b"step,seed,a\n0,0,", b"9", 1 << 17, "a row of 65,536 bytes"),
        (b'step,seed,a\n0,0,"', b"\n0,0,1", 1 << 17, "could not convert"),
        (b"step,seed", b",a", 1 << 20, "does not begin"),
        (b"step,seed,a\n", b"\0", BIG, "a row of 65,536 bytes"),
        (b"step,seed\n", b"0,0\n", 300_000, "more than 200,000 steps"),
    ],
)
def test_metrics_of_any_size_are_answered_from_their_beginning(head, rest, times, reason, tmp_path, monkeypatch):
    monkeypatch.setattr("prefrl_cli.report.metrics._MOST_STEPS", 200_000)
    folder = make_run(tmp_path / "run", seeds=1)
    (folder / "metrics.csv").write_bytes(head + rest * times)
    run = read_run(folder)
    assert run.status == "unreadable" and reason in run.reason, run.reason


def test_metrics_are_read_in_parts(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "a", seeds=3, steps=21, every=5)
    whole, _ = read_metrics(folder, [0, 1, 2])
    monkeypatch.setattr("prefrl_cli.report.metrics._AT_ONCE", 7)
    monkeypatch.setattr("prefrl_cli.report.metrics._CELLS_AT_ONCE", 20)
    parts, _ = read_metrics(folder, [0, 1, 2])
    assert parts.steps.tolist() == whole.steps.tolist()
    for name, values in whole.columns.items():
        np.testing.assert_array_equal(parts.columns[name], values)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yaml", "seed: 0x" + "F" * 5000),
        ("config.yaml", "experiment: a\nseed: 1\nseed: 2"),
        ("config.yaml", "experiment: a\nseed: 2020-13-45"),
        ("summary.json", '{"a": ' + "9" * 100_000 + "}"),
        ("summary.json", "[" * 1_000_000),
        ("summary.json", '{"a": "' + "x" * (17 << 20) + '"}'),
        ("status.json", '{"status": "finished", "step": 1e999, "step": NaN' + " " * 100),
    ],
)
def test_files_that_would_keep_a_reader_busy(name, text, tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / name).write_text(text)
    run = read_run(folder)
    assert run.status == "unreadable" and run.reason.startswith(name), run.reason


NAMES = [
    "..",
    ".",
    "",
    "/etc",
    "../run",
    "a/b",
    "\0",
    "x" * 300,
    "é" * 200,
    "link",
    "file",
    "twice",
    "twice",
    "\x1b[31m",
]


@pytest.mark.parametrize("name", [*NAMES, None])
def test_any_name_in_the_table_of_a_sweep_is_listed(name, tmp_path):
    """Each alone, and all of them together; what has results is reported all the same."""
    sweep = tmp_path / "sweep"
    make_run(sweep / "good")
    (sweep / "file").write_text("")
    (sweep / "link").symlink_to(tmp_path)
    names = NAMES if name is None else [name]
    rows = ["job,overrides,status,reason", "good,,finished,", *(f'"{one}",,failed,why' for one in names)]
    (sweep / "sweep.csv").write_text("\n".join([*rows, ""]))
    page, table = made([sweep], tmp_path / "report")
    assert f"{len(names)} missing" in page and table[0]["seeds"] == "4"
    assert all(letter.isprintable() or letter == "\n" for letter in page)


def test_a_table_of_a_sweep_without_end(tmp_path):
    make_run(tmp_path / "sweep" / "good")
    for text in (
        "\n" * (15 << 20),
        "x" * (17 << 20),
        'job\n"' + "x\n" * 30_000,
        'job\n"' + "x" * 200_000,
        "job\n" + "".join(f"{n}\n" for n in range(21_000)),
    ):
        (tmp_path / "sweep" / "sweep.csv").write_text(text)
        page, table = made([tmp_path / "sweep"], tmp_path / "report")
        assert "1 unreadable" in page or "row 1 of sweep.csv has no name of a folder" in page
        assert "sweep.csv" in page and table[0]["seeds"] == "4"


@pytest.fixture(scope="module")
def good_run(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("good") / "run", seeds=2, steps=3, every=1)


FILES = ("status.json", "config.yaml", "metrics.csv", "summary.json", "environment.json")


@settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))
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
