"""Statistics against SciPy, NumPy and published check values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from prefrl_cli.stats.aggregates import count, interquartile_mean, mean, quantiles
from prefrl_cli.stats.intervals import bootstrap_interval, difference_interval, probability_of_improvement


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(3).gamma(2.0, size=37)


def test_rliable_check_values() -> None:
    """The values that Agarwal et al. test their library with: four and three runs of two tasks."""
    x = np.array([[1, 2], [2, 2], [1, 1], [2, 1]])
    y = np.array([[1, 1], [2, 2], [3, 3]])
    assert interquartile_mean(x.ravel()) == 1.5
    assert np.mean([probability_of_improvement(x[:, task], y[:, task]) for task in range(2)]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("number", range(1, 14))
def test_interquartile_mean_is_the_trimmed_mean_of_scipy(number: int) -> None:
    values = np.random.default_rng(number).normal(size=(5, number))
    np.testing.assert_allclose(
        interquartile_mean(values), stats.trim_mean(values, 0.25, axis=1), rtol=1e-12, atol=1e-15
    )


def test_the_interquartile_mean_ignores_outliers_and_the_mean_does_not() -> None:
    values = [0.0, 1.0, 1.0, 1e9]
    assert interquartile_mean(values) == 1.0
    assert mean(values) > 1e8


def test_nan_is_left_out_row_by_row() -> None:
    rows = np.array([[1.0, np.nan, 3.0, 8.0, 5.0], [np.nan] * 5, [2.0, 2.0, 2.0, 2.0, 7.0]])
    assert count(rows).tolist() == [4, 0, 5]
    np.testing.assert_allclose(mean(rows), [4.25, np.nan, 3.0])
    np.testing.assert_allclose(interquartile_mean(rows), [4.0, np.nan, 2.0])
    assert bootstrap_interval(rows[0]) == bootstrap_interval([1.0, 3.0, 8.0, 5.0])


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_bootstrap_equals_scipy(scores: np.ndarray, statistic) -> None:
    theirs = stats.bootstrap(
        (scores,),
        (lambda x, axis: stats.trim_mean(x, 0.25, axis=axis)) if statistic is interquartile_mean else np.mean,
        n_resamples=700, confidence_level=0.9, method="percentile", rng=np.random.default_rng(5),
    ).confidence_interval  # fmt: skip
    ours = bootstrap_interval(scores, statistic, level=0.9, resamples=700, seed=5)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("paired", [True, False])
def test_difference_equals_scipy(scores: np.ndarray, paired: bool) -> None:
    other = (scores + np.random.default_rng(1).normal(0.2, 0.1, len(scores)))[: None if paired else 20]
    theirs = stats.bootstrap(
        (other, scores), lambda a, b, axis: a.mean(axis) - b.mean(axis),
        paired=paired, n_resamples=700, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    np.testing.assert_allclose(difference_interval(other, scores, paired, resamples=700), theirs, rtol=1e-12)


def test_pairing_narrows_the_interval_of_a_difference(scores: np.ndarray) -> None:
    better = scores + 0.1 + 0.01 * np.sin(np.arange(len(scores)))
    low, high = difference_interval(better, scores, paired=True)
    assert 0.09 < low < 0.1 < high < 0.11
    low, high = difference_interval(better, scores, paired=False)
    assert low < 0 < high


def test_pairs_with_a_missing_side_are_left_out() -> None:
    first, second = [1.0, np.nan, 5.0, 2.0], [0.0, 4.0, np.nan, 0.5]
    assert difference_interval(first, second, True) == difference_interval([1.0, 2.0], [0.0, 0.5], True)
    assert difference_interval(first, second, True) == (1.0, 1.5)


def test_an_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(size=(200, 40))
    ends = np.array([bootstrap_interval(row, resamples=300) for row in draws])
    covered = ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean()
    assert 0.88 <= covered <= 0.98


def test_one_seed_has_a_mean_but_no_interval() -> None:
    assert mean([3.0]) == interquartile_mean([3.0]) == 3.0
    assert np.isnan(bootstrap_interval([3.0])).all()
    assert np.isnan(bootstrap_interval([3.0, np.nan])).all()
    assert np.isnan(difference_interval([3.0], [2.0], paired=True)).all()
    assert np.isnan(difference_interval([3.0, 4.0], [2.0], paired=False)).all()
    assert np.isnan([mean([]), interquartile_mean([np.nan]), *bootstrap_interval([])]).all()


def test_the_same_scores_give_the_same_interval_whatever_numpy_drew_before(scores: np.ndarray) -> None:
    first = bootstrap_interval(scores)
    np.random.seed(9)
    assert bootstrap_interval(scores) == first
    assert bootstrap_interval(scores, seed=1) != first


def test_probability_of_improvement_is_mann_whitney() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.integers(0, 6, 30), generator.integers(0, 5, 21)
    expected = stats.mannwhitneyu(x, y).statistic / (len(x) * len(y))
    assert probability_of_improvement(x, y) == pytest.approx(expected)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)
    assert probability_of_improvement([1.0, np.nan], [1.0, 0.0]) == 0.75
    assert np.isnan(probability_of_improvement([np.nan], [1.0]))


def test_quantiles_are_those_of_numpy_with_and_without_nan() -> None:
    values = np.random.default_rng(0).normal(size=(40, 11))
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    values[7, 1:] = np.nan
    levels = (0.0, 0.1, 0.5, 0.9, 1.0)
    np.testing.assert_allclose(quantiles(values, levels), np.nanquantile(values, levels, axis=1), rtol=1e-13)
    assert np.isnan(quantiles([[np.nan, np.nan]], (0.5,))).all()


def test_quantiles_take_infinite_values_as_values() -> None:
    assert quantiles([1.0, 2.0, np.inf], (0.0, 0.5, 1.0)).tolist() == [1.0, 2.0, np.inf]
    assert quantiles([np.inf, np.inf], (0.3,)).tolist() == [np.inf]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([1, 2], level=95), "level=95: a share between 0 and 1"),
        (lambda: bootstrap_interval([1, 2], resamples=0), "resamples=0: at least 1"),
        (lambda: bootstrap_interval([[1, 2]]), r"scores of shape \[1, 2\]: one number a seed"),
        (lambda: difference_interval([1, 2], [1, 2, 3], paired=True), "paired scores of 2 and 3 seeds"),
    ],
)
def test_errors_name_the_value(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
