"""The report's numbers, against SciPy and plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report_speed import make_run
from scipy import stats
from test_report import made

from prefrl_cli.report.configurations import Curve
from prefrl_cli.report.page import digits
from prefrl_cli.report.sections import thinned
from prefrl_cli.stats.aggregates import mean
from prefrl_cli.stats.intervals import bootstrap_interval, improvement, mean_band, performance_profile, share_interval


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
