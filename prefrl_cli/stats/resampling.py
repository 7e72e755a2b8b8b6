"""The one resampler: weights of the Bayesian bootstrap (Rubin 1981), and what is drawn to test a difference."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 8000  # with 2,000 the ends of an interval are uncertain by a tenth of its width
END = 1.0  # seeds at the one or the other end of a metric's range: benchmarks/coverage.py tells why
END_OF_DIFFERENCE = 0.8  # where the two ends lie farther apart

_SHUFFLES = 9999  # so that the least p value is 0.0001
_ALL_SIGNS = 13  # pairs of seeds up to which each way of exchanging them is tried


@lru_cache(maxsize=8)  # the same for every metric over as many seeds
def weights(seeds: int, at_end: float = 0.0, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """What each seed counts in each resample; not to be changed.

    A seed's weight is drawn from the standard exponential distribution, so that a resample is one draw of what
    the distribution of all seeds may be. Two more columns stand for what the sample may have missed: a seed at the
    least value that a metric can have, in every second resample, and at the largest in the others. Where all scores
    lie at the ends this is the mid-P interval of a share (Lancaster 1961): half of the resamples are of the beta
    distribution that Clopper and Pearson's low end is from, half of that of its high end.

    Args:
        seeds: R.
        at_end: how many seeds the end of the range is worth, on average; 0 for a metric without a range.
        resamples: B.
        seed: of a generator of its own, so that the same scores always have the same interval.

    Returns:
        `[B, R + 2]`, rows that sum to 1: the seeds, the low end, the high end.
    """
    shapes = np.append(np.ones(seeds), [at_end, at_end])
    drawn = np.random.default_rng(seed).standard_gamma(shapes, (resamples, seeds + 2))
    drawn[::2, seeds + 1] = drawn[1::2, seeds] = 0.0
    drawn /= drawn.sum(1, keepdims=True)
    drawn.flags.writeable = False
    return drawn


@lru_cache(maxsize=16)
def exchanges(pairs: int) -> NDArray[np.float64]:
    """Signs, one row a way of exchanging the two sides of each pair, `[B, pairs]`; the first row exchanges none."""
    if pairs <= _ALL_SIGNS:
        bits = (np.arange(2**pairs)[:, None] >> np.arange(pairs)) & 1
    else:
        bits = np.random.default_rng(0).integers(0, 2, (1 + _SHUFFLES, pairs))
        bits[0] = 0
    return np.where(bits == 0, 1.0, -1.0)


@lru_cache(maxsize=16)
def divisions(first: int, second: int) -> NDArray[np.float64]:
    """Ways of dividing `first + second` seeds, one a row, as what each counts in the difference of the two means.

    Returns:
        `[B, first + second]`; the first row is the division as it was.
    """
    as_it_was = np.append(np.full(first, 1 / first), np.full(second, -1 / second))
    others = np.random.default_rng(0).permuted(np.tile(as_it_was, (_SHUFFLES, 1)), axis=1)
    return np.vstack([as_it_was, others])
