"""The report's numbers, against SciPy and plain loops."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from report_speed import make_run
from scipy import stats
from test_report import made

from prefrl_cli.report.configurations import Curve
from prefrl_cli.report.page import digits
from prefrl_cli.report.sections import thinned
from prefrl_cli.report.svg import Series, chart, number
from prefrl_cli.stats.intervals import Band, interquartile_interval, mean_interval
from prefrl_cli.stats.summary import plain


def test_the_table_has_the_values_of_scipy(tmp_path):
    make_run(tmp_path / "runs" / "a", seeds=11)
    _, rows = made([tmp_path / "runs"], tmp_path / "report")
    (row,) = [row for row in rows if row["metric"] == "success_mean"]
    scores = np.array(json.loads((tmp_path / "runs/a/summary.json").read_text())["metrics"]["success_mean"]["per_seed"])
    assert float(row["mean"]) == pytest.approx(scores.mean())
    assert float(row["iqm"]) == pytest.approx(stats.trim_mean(scores, 0.25))
    assert float(row["median"]) == pytest.approx(np.median(scores))
    assert float(row["worst_tenth"]) == pytest.approx(np.sort(scores)[:2].mean())  # two of eleven
    for name, interval in (("mean", mean_interval), ("iqm", interquartile_interval)):
        assert [float(row[f"{name}_low"]), float(row[f"{name}_high"])] == pytest.approx(interval(scores, (0.0, 1.0)))


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
     (14.000000000000002, 2e-15, "14"), (14.01, 0.0, "14.0"), (60.0, 3.0, "60.0"),
     (2077.0, 5e-13, "2,077"), (7.995e-14, 0.45, "0.00"), (7.995e-14, 0.0, "0.00"),
     (-3e-15, 1e-15, "0.00"), (5e-6, 0.0, "5.00e−06"), (0.0, 2e-5, "0"),
     (float("nan"), 0.0, "–"), (float("inf"), 0.0, "∞"), (12345.6, 0.0, "12,346"), (-2.5, 0.0, "−2.50")],
)  # fmt: skip
def test_digits(value, scale, text):
    assert digits(value, scale) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(7676.0, "7676"), (10_064.2, "10064"), (999_999.4, "999999"), (-5297.3, "-5297"), (1_234_567.0, "1.235e+06"),
     (999.96, "1000"), (0.071934, "0.07193"), (-0.00123456, "-0.001235"), (2e-5, "2e-05"), (7.995e-14, "0"),
     (-3e-15, "0"), (0.0, "0"), (244.0, "244"), (float("inf"), "inf"), (float("nan"), "-"), (None, "-")],
)  # fmt: skip
def test_plain_numbers_have_no_exponent_where_a_person_reads_them(value, text):
    assert plain(value) == text


def test_a_tick_has_the_minus_sign_of_the_tables():
    assert [number(tick, (-1500, -1250)) for tick in (-1500, -1250)] == ["−1,500", "−1,250"]
    assert number(-0.25, (-0.25, 0.0)) == "−0.25" and number(-1e-13, (-0.5, 0.0)) == "0.0"
    assert number(-2e-5, (-2e-5, 0.0)) == "−2e−05"


def test_the_last_number_below_a_chart_stands_under_its_tick_and_inside():
    for last, shown in ((40.0, "40"), (4000.0, "4,000"), (400_000.0, "400,000")):
        x = np.array([0.0, last])
        svg = chart("a", "b", "c", [Series(0, "d", x, Band(x, x, x))])
        ((place, anchor),) = re.findall(rf'<text x="([\d.]+)" y="24\d" text-anchor="(\w+)">{shown}</text>', svg)
        half = 3.2 * len(shown)
        assert float(place) + (half if anchor == "middle" else 0) <= 440
        assert anchor == ("middle" if last < 1e5 else "end")
