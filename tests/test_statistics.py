"""Statistics against SciPy, brute force and published check values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from prefrl_cli.core.metric import Metric
from prefrl_cli.stats.aggregates import count, few_seeds, interquartile_mean, mean, quantiles, worst_tenth
from prefrl_cli.stats.families import chance_of_difference, chance_text, holm
from prefrl_cli.stats.intervals import (
    difference_interval,
    improvement,
    interquartile_interval,
    mean_band,
    mean_interval,
    performance_profile,
    probability_of_improvement,
    share_interval,
    share_of_seeds_that_improve,
    student,
)
from prefrl_cli.stats.resampling import RESAMPLES, weights
from prefrl_cli.stats.summary import record

SHARE = (0.0, 1.0)


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
    assert mean_interval(rows[0]) == mean_interval([1.0, 3.0, 8.0, 5.0])


def test_the_mean_of_a_metric_without_a_range_has_the_t_interval_of_scipy(scores: np.ndarray) -> None:
    theirs = stats.ttest_1samp(scores, 0.0).confidence_interval()
    np.testing.assert_allclose(mean_interval(scores), theirs, rtol=1e-7)
    for freedom in (1, 2, 3.7, 15, 63, 1000):
        assert student(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-6)
    assert np.isnan(student(0))


def test_the_mean_of_a_metric_with_a_range_is_resampled_with_a_seed_more_at_one_of_its_ends() -> None:
    scores = np.random.default_rng(4).beta(9, 1, size=20)
    generator = np.random.default_rng(8)  # another one: the ends agree but for what 8,000 draws leave open
    drawn = [generator.dirichlet(np.ones(21), 200_000) @ np.append(scores, end) for end in SHARE]
    np.testing.assert_allclose(mean_interval(scores, SHARE), np.quantile(drawn, [0.025, 0.975]), atol=0.004)
    shifted = np.array(mean_interval(3.0 * scores - 1.0, (-1.0, 2.0)))
    np.testing.assert_allclose(shifted, 3.0 * np.array(mean_interval(scores, SHARE)) - 1.0, rtol=1e-12)


@pytest.mark.parametrize("number", [4, 8, 16, 32, 64, 128])
def test_the_mean_of_seeds_that_fail_or_reach_everything_has_the_interval_of_their_share(number: int) -> None:
    """Exact: each number of failed seeds has its chance, at any share of failures."""
    successes = np.arange(number + 1)
    ends = np.array([mean_interval([1.0] * each + [0.0] * (number - each), SHARE) for each in successes])
    exact = np.array([share_interval(each, number) for each in successes])
    assert (np.abs(ends - exact) < 0.06 * np.diff(exact)).all()  # what 8,000 draws leave open
    for share in np.linspace(0.0, 1.0, 301):
        holds = (ends[:, 0] <= share + 1e-9) & (share - 1e-9 <= ends[:, 1])
        assert stats.binom.pmf(successes, number, share) @ holds > 0.9


@pytest.mark.parametrize("number", [2, 8, 64, 128])
def test_seeds_that_are_all_alike_have_not_shown_that_none_can_fail(number: int) -> None:
    ones = np.ones(number)
    low, high = mean_interval(ones, SHARE)
    assert high == 1.0 and 0.5 / number < 1.0 - low < 5.0 / number
    assert share_interval(number, number) == (pytest.approx(0.05 ** (1 / number)), 1.0)
    low, high = difference_interval(ones, ones - 0.5, True, SHARE)
    assert low < 0.5 < high
    chance, low, high = improvement(ones, ones - 0.5, True)
    assert chance == high == 1.0 and low < 1.0 - 0.25 / number
    chance, low, high = share_of_seeds_that_improve(ones, ones - 0.5)
    assert chance == high == 1.0 and low == pytest.approx(0.05 ** (1 / number))
    profile = performance_profile(ones, [0.5])
    assert profile.middle == profile.high == 1.0 and profile.low == pytest.approx(0.05 ** (1 / number))


@pytest.mark.parametrize("paired", [True, False])
def test_a_difference_without_a_range_has_the_t_interval_of_scipy(scores: np.ndarray, paired: bool) -> None:
    other = (scores + np.random.default_rng(1).normal(0.2, 0.1, len(scores)))[: None if paired else 20]
    if paired:
        theirs = stats.ttest_rel(other, scores).confidence_interval()
    else:
        theirs = stats.ttest_ind(other, scores, equal_var=False).confidence_interval()
    np.testing.assert_allclose(difference_interval(other, scores, paired), theirs, rtol=1e-7)


@pytest.mark.parametrize("paired", [True, False])
def test_a_difference_of_metrics_with_a_range_allows_for_a_seed_that_one_side_has_missed(paired: bool) -> None:
    generator = np.random.default_rng(6)
    x, y = generator.beta(9, 1, size=24), generator.beta(5, 1, size=24)
    # What one side may have missed: x at 0 beside the best y, or y at 1 beside the worst x; and the other way round.
    ends = min(-y.max(), x.min() - 1.0), max(1.0 - y.min(), x.max())
    draws = np.zeros((400_000, 26))
    draws[:, :25] = generator.dirichlet([*np.ones(24), 0.8], 400_000)
    draws[::2, 24:] = draws[::2, :23:-1]  # of every second the other end
    if paired:
        slow = draws @ np.append(x - y, ends)
    else:
        mine, theirs = (generator.dirichlet(np.ones(24), 400_000) for _ in range(2))
        slow = draws[:, :24].sum(1) * (mine @ x - theirs @ y) + draws[:, 24:] @ ends
    np.testing.assert_allclose(difference_interval(x, y, paired, SHARE), np.quantile(slow, [0.025, 0.975]), atol=0.015)
    shifted = np.array(difference_interval(3.0 * x - 1.0, 3.0 * y - 1.0, paired, (-1.0, 2.0)))
    np.testing.assert_allclose(shifted, 3.0 * np.array(difference_interval(x, y, paired, SHARE)), rtol=1e-12)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("number", [8, 16, 64])
def test_the_interval_of_a_difference_holds_whatever_share_of_one_side_fails(number: int, paired: bool) -> None:
    """Each number of failed seeds has its chance, so this is exact; all or nothing, the hardest case."""
    shares, holds = np.linspace(0.0, 0.5, 101), np.zeros(101)
    for failed in range(number + 1):
        ones, others = np.ones(number), np.repeat([0.0, 1.0], [failed, number - failed])
        low, high = difference_interval(ones, others, paired, SHARE)
        back = difference_interval(others, ones, paired, SHARE)
        both = (low <= shares) & (shares <= high) & (back[0] <= -shares) & (-shares <= back[1])
        holds += stats.binom.pmf(failed, number, shares) * both
    assert holds.min() >= 0.9 and holds[[0, 6, 12, 50]].min() >= 0.92  # 0, 3, 6 and 25 %


@pytest.mark.parametrize("paired", [True, False])
def test_where_one_side_always_wins_the_difference_reaches_no_further_than_one_side_can_fall(paired: bool) -> None:
    generator = np.random.default_rng(7)
    x, y = generator.uniform(0.8, 1.0, 16), generator.uniform(0.0, 0.1, 16)
    low, high = difference_interval(x, y, paired, SHARE)
    value = x.mean() - y.mean()
    assert 0.1 < value - low < 0.3  # an upset of both sides at once, a difference of -1, would reach about twice as far
    seen = np.array([weights(16)[:, :16] @ x, weights(16, seed=0 if paired else 1)[:, :16] @ y])
    assert high >= np.quantile(seen[0] - seen[1], 0.975) > value


def test_pairing_narrows_the_interval_of_a_difference(scores: np.ndarray) -> None:
    better = scores + 0.1 + 0.01 * np.sin(np.arange(len(scores)))
    low, high = difference_interval(better, scores, paired=True)
    assert 0.09 < low < 0.1 < high < 0.11
    low, high = difference_interval(better, scores, paired=False)
    assert low < 0 < high


def test_pairs_with_a_missing_side_are_left_out() -> None:
    first, second = [1.0, np.nan, 5.0, 2.0], [0.0, 4.0, np.nan, 0.5]
    assert difference_interval(first, second, True) == difference_interval([1.0, 2.0], [0.0, 0.5], True)


@pytest.mark.parametrize("fails", [0.0, 0.06, 0.25])
def test_intervals_hold_the_mean_about_as_often_as_they_say_even_where_seeds_fail(fails: float) -> None:
    generator = np.random.default_rng(0)
    draws = np.where(generator.random((300, 16)) < fails, 0.0, generator.uniform(0.8, 1.0, (300, 16)))
    ends = np.array([mean_interval(row, SHARE) for row in draws])
    truth = 0.9 * (1.0 - fails)
    assert ((ends[:, 0] <= truth) & (ends[:, 1] >= truth)).mean() >= 0.92


def test_the_interquartile_interval_is_that_of_the_weighted_middle_half() -> None:
    scores, drawn = np.random.default_rng(3).gamma(2.0, size=9), weights(9)
    slow = []
    for row in drawn[:, :9]:
        fine = np.repeat(np.sort(scores), np.round(20_000 * row[np.argsort(scores)]).astype(int))
        slow.append(fine[len(fine) // 4 : len(fine) - len(fine) // 4].mean())
    np.testing.assert_allclose(interquartile_interval(scores), np.quantile(slow, [0.025, 0.975]), rtol=1e-3)
    assert interquartile_interval(np.ones(64), SHARE) == (1.0, 1.0)  # that a quarter could fail is ruled out by these
    assert interquartile_interval(np.ones(4), SHARE)[0] < 0.8  # and not by these


def test_one_seed_has_a_mean_but_no_interval() -> None:
    assert mean([3.0]) == interquartile_mean([3.0]) == 3.0
    for span in (None, (0.0, 4.0)):
        assert np.isnan([mean_interval([3.0], span), mean_interval([3.0, np.nan], span)]).all()
        assert np.isnan([interquartile_interval([3.0], span), mean_interval([], span)]).all()
        assert np.isnan(difference_interval([3.0], [2.0], True, span)).all()
        assert np.isnan(difference_interval([3.0, 4.0], [2.0], False, span)).all()
    assert np.isnan([mean([]), interquartile_mean([np.nan]), chance_of_difference([1.0], [2.0], True)]).all()


def test_the_same_scores_give_the_same_interval_whatever_numpy_drew_before(scores: np.ndarray) -> None:
    first = interquartile_interval(scores)
    weights.cache_clear()
    np.random.seed(9)
    assert interquartile_interval(scores) == first


def test_values_beyond_a_declared_range_widen_it() -> None:
    low, high = mean_interval([0.5, 2.0, 0.5], SHARE)
    assert low < 1.0 < high <= 2.0
    assert np.isnan(mean_interval([0.5, np.inf], SHARE)).all() and np.isnan(mean_interval([0.5, np.inf])).all()


def test_no_mean_passes_the_one_end_that_a_metric_has() -> None:
    """A count of labels has a least value and no largest: Student's interval stops there, and its other end stands."""
    labels = [0.0, 0.0, 0.0, 30.0]
    low, high = mean_interval(labels)
    assert low < 0.0 < high and mean_interval(labels, (0.0, None)) == (0.0, high)
    assert mean_interval(labels, (None, 30.0)) == (low, min(high, 30.0))
    assert mean_interval([-1.0, *labels], (0.0, None))[0] == 0.0  # a record of others may hold what cannot be
    assert record(np.array(labels), Metric("labels_used", low=0.0))["ci95"] == [0.0, high]


def test_a_band_is_the_interval_at_each_place() -> None:
    values = np.random.default_rng(1).beta(3, 1, size=(5, 9))
    values[1, :4] = np.nan
    for span in (None, SHARE):
        band = mean_band(values, span, RESAMPLES)
        for row in (0, 2, 3, 4) if span else range(5):
            assert (band.low[row], band.high[row]) == pytest.approx(mean_interval(values[row], span))
    few = mean_interval(values[1], SHARE)
    assert (band.low[1], band.high[1]) == pytest.approx(few, abs=0.05)  # other draws of the five that are there
    assert np.isnan(mean_band(values[:, :1]).low).all()


def test_a_share_has_the_mid_p_interval() -> None:
    for number in (1, 4, 9, 64, 300):
        for successes in {0, 1, number // 3, number - 1, number}:
            low, high = share_interval(successes, number)
            above = stats.binom.sf(successes, number, low) + 0.5 * stats.binom.pmf(successes, number, low)
            below = stats.binom.cdf(successes - 1, number, high) + 0.5 * stats.binom.pmf(successes, number, high)
            assert (low == 0.0) if successes == 0 else above == pytest.approx(0.025)
            assert (high == 1.0) if successes == number else below == pytest.approx(0.025)
    assert share_interval(0, 0) == (0.0, 1.0)
    assert share_interval(3.5, 8) == (share_interval(3, 8)[0], share_interval(4, 8)[1])


@pytest.mark.parametrize("number", [4, 16, 128])
def test_the_interval_of_a_share_holds_any_share_in_92_of_100_cases(number: int) -> None:
    ends = np.array([share_interval(successes, number) for successes in range(number + 1)])
    for share in np.linspace(0.005, 0.995, 199):
        holds = (ends[:, 0] <= share) & (share <= ends[:, 1])
        assert stats.binom.pmf(np.arange(number + 1), number, share) @ holds >= 0.92


def test_the_worst_tenth_is_the_mean_of_the_worst_seeds() -> None:
    scores = np.random.default_rng(2).permutation(np.arange(25.0))
    assert (worst_tenth(scores, 1), worst_tenth(scores, -1)) == (1.0, 23.0)  # three of 25
    assert worst_tenth([5.0, np.nan, 3.0], 1) == 3.0 and np.isnan(worst_tenth(scores, 0))
    assert np.isnan(worst_tenth([np.nan], 1))


def test_chance_of_difference_tries_each_exchange() -> None:
    generator = np.random.default_rng(5)
    x, y = generator.normal(0.4, 1.0, 9), generator.normal(0.0, 1.0, 9)
    signs = np.array(list(itertools.product([1, -1], repeat=9)))
    slow = (abs(signs @ (x - y)) >= abs((x - y).sum()) - 1e-12).mean()
    assert chance_of_difference(x, y, True) == pytest.approx(slow)
    theirs = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert chance_of_difference(x, np.zeros(9), True) == pytest.approx(theirs.pvalue)
    theirs = stats.permutation_test((x, y[:5]), lambda a, b: a.mean() - b.mean(), n_resamples=np.inf)
    assert chance_of_difference(x, y[:5], False) == pytest.approx(theirs.pvalue, abs=0.02)
    many = generator.normal(0.3, 1.0, 40)
    assert chance_of_difference(many, np.zeros(40), True) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.02)
    assert chance_of_difference(np.arange(64.0), np.arange(64.0) - 1, True) == 0.0001
    assert chance_of_difference(x, x, True) == chance_of_difference(np.ones(4), np.ones(3), False) == 1.0


def test_holm_corrects_a_family() -> None:
    chances = [0.01, 0.04, np.nan, 0.03, 0.005]
    assert holm(chances) == pytest.approx([0.03, 0.06, np.nan, 0.06, 0.02], nan_ok=True)
    assert holm([]) == [] and holm([0.7, 0.6]) == [1.0, 1.0]
    assert [chance_text(chance) for chance in (0.0004, 0.0312, 0.312, np.nan)] == ["< 0.001", "0.031", "0.31", "–"]


def test_improvement_resamples_both_sides_with_what_they_may_have_missed() -> None:
    generator = np.random.default_rng(2)
    x, y = generator.integers(0, 6, 12).astype(float), generator.integers(0, 6, 12).astype(float)
    chance, low, high = improvement(x, y, paired=True)
    assert chance == pytest.approx(stats.mannwhitneyu(x, y).statistic / 144)
    x_more, y_more = np.append(x, [-np.inf, np.inf]), np.append(y, [np.inf, -np.inf])
    slow = []
    for row in weights(12, 0.5):
        at = [(a, b, row[i] * row[j]) for i, a in enumerate(x_more) for j, b in enumerate(y_more)]
        slow.append(sum(weight * ((a > b) + 0.5 * (a == b)) for a, b, weight in at))
    assert (low, high) == pytest.approx(np.quantile(slow, [0.025, 0.975]))
    independent = improvement(x, x, paired=False)
    assert independent[0] == 0.5 and independent[1] < 0.4 < 0.6 < independent[2]


def test_half_of_a_tie_is_an_improvement() -> None:
    share, low, high = share_of_seeds_that_improve([1.0, 2.0, 3.0, 4.0], [0.0, 2.0, 5.0, 1.0])
    assert share == 0.625 and (low, high) == (share_interval(2, 4)[0], share_interval(3, 4)[1])


def test_a_profile_is_the_share_of_seeds_at_each_threshold() -> None:
    scores = np.array([0.2, 0.5, 0.5, 0.9])
    found = performance_profile(scores, [0.0, 0.5, 0.51, 0.9, 1.0])
    assert found.middle.tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]
    assert (found.low[1], found.high[1]) == share_interval(3, 4)
    assert performance_profile(scores, [0.1, 0.5], lower=True).middle.tolist() == [0.0, 0.75]


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
    assert np.isnan(quantiles(np.zeros((3, 0)), (0.25, 0.5))).all() and quantiles([], (0.5,)).shape == (1,)


def test_quantiles_take_infinite_values_as_values() -> None:
    assert quantiles([1.0, 2.0, np.inf], (0.0, 0.5, 1.0)).tolist() == [1.0, 2.0, np.inf]
    assert quantiles([np.inf, np.inf], (0.3,)).tolist() == [np.inf]


def test_errors_name_the_value() -> None:
    with pytest.raises(ValueError, match=r"scores of shape \[1, 2\]: one number a seed"):
        mean_interval([[1, 2]])
    with pytest.raises(ValueError, match="paired scores of 2 and 3 seeds"):
        difference_interval([1, 2], [1, 2, 3], paired=True)


def test_what_is_said_of_few_seeds():
    assert few_seeds(0) is None and few_seeds(16) is None
    assert few_seeds(1) == "One seed is an illustration, no evidence: type num_seeds=16 or more."
    assert few_seeds(2) == few_seeds(15) == "With fewer than 16 seeds these numbers are an illustration, no evidence."
