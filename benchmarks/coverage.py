"""How often a 95 % interval over seeds holds the truth, and how wide it is: the simulation that chose the methods.

    python benchmarks/coverage.py                      # all of it, about an hour
    python benchmarks/coverage.py means differences    # two of the kinds of numbers, some minutes
    python benchmarks/coverage.py --repetitions 4000   # finer: of 1,000 samples a share of 0.95 is known to 0.014
    python benchmarks/coverage.py differences --seed 2  # other samples

A sample has 4 to 128 seeds, of which each fails with some chance; a failed one scores between 0 and 0.1. The others
score

- `tight`: 0.9, give or take 0.02;
- `skewed`: 0.97 at best and an exponential tail of 0.07 below it;
- `all or nothing`: 1;
- `spread`: a beta distribution between 0 and 1 with mean 0.5.

In pairs a seed's luck is shared by both sides: it makes out 0.7 of the variance of each. Both sides fail as often, or
the second alone does, or all of its seeds do. Each row of a table is a
method; a cell is the share of samples whose interval holds the true value, and after it the mean width. The first
method is the one that prefrl uses, called as everywhere else; those after it are there to be compared. Below a table
stands for each number of seeds the worst of its cells, and the mean width over all of them.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from prefrl_cli.stats import intervals
from prefrl_cli.stats.aggregates import interquartile_mean
from prefrl_cli.stats.resampling import RESAMPLES

Array = NDArray[np.float64]
Method = Callable[..., Array]  # samples -> the ends of their intervals, [2, N]

SEEDS = (4, 8, 16, 32, 64, 128)
FAILING = (0.0, 0.03, 0.06, 0.25, 0.5)
SPAN = (0.0, 1.0)
DRAWS = 2000  # of the bootstrap
MEANS = {"tight": 0.9, "skewed": 0.9, "all or nothing": 1.0, "spread": 0.5}
SHARED = 0.7  # of the variance of a pair
SIDES = [(share, share) for share in FAILING[:4]] + [(0.0, share) for share in FAILING[1:4]]
APART = [(share, 1.0) for share in (0.0, 0.06, 0.25)]
FAILED = 0.05  # the mean score of a failed seed
NORMAL_95 = 1.959963984540054

_LUCK = np.linspace(-9.0, 9.0, 18_001)
_RANKS = np.array([math.erfc(-luck / math.sqrt(2.0)) / 2.0 for luck in _LUCK])


def scored(kind: str, luck: Array) -> Array:
    """Scores of seeds that do not fail, from their luck, which is standard normal."""
    if kind == "tight":
        return 0.9 + 0.02 * luck
    if kind == "all or nothing":
        return np.ones_like(luck)
    rank = np.interp(luck, _LUCK, _RANKS)
    if kind == "skewed":
        return np.clip(0.97 + 0.07 * np.log(rank), 0.0, 1.0)
    # Of a beta distribution with both parameters 2 the rank is 3 x^2 - 2 x^3, which has this root.
    return 0.5 - np.sin(np.arcsin(1.0 - 2.0 * rank) / 3.0)


def sample(
    random: np.random.Generator, kind: str, failing: float, shape: tuple[int, int], luck: Array | float = 0.0
) -> Array:
    """Scores `[N, R]` of N samples of R seeds; their luck is what they share with others and their own."""
    own = random.standard_normal(shape)
    if isinstance(luck, np.ndarray):
        own = luck + math.sqrt(1.0 - SHARED) * own
    return np.where(random.random(shape) < failing, 2.0 * FAILED * random.random(shape), scored(kind, own))


def one_side(random: np.random.Generator, kind: str, failing: float, number: int, seeds: int) -> tuple[Array]:
    """Samples of one configuration."""
    return (sample(random, kind, failing, (number, seeds)),)


def pairs(
    random: np.random.Generator,
    kind: str,
    failing: tuple[float, float],
    better: float,
    number: int,
    seeds: int,
    shared: float = SHARED,
) -> tuple[Array, Array]:
    """Samples of two configurations, of which the second scores less by `better`."""
    luck = math.sqrt(SHARED) * random.standard_normal((number, seeds)) if shared else 0.0
    first, second = (sample(random, kind, share, (number, seeds), luck) for share in failing)
    return first, np.clip(second - better, 0.0, 1.0)


@lru_cache(maxsize=16)
def counts(seeds: int, seed: int = 0) -> Array:
    """How often each seed is drawn in each resample of the bootstrap, `[B, seeds]`."""
    return np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1.0 / seeds), DRAWS).astype(float)


def percentile(samples: Array, statistic: Callable[[Array], Array] | None = None) -> Array:
    """The percentile bootstrap, the most used one; of the mean where no statistic is given."""
    seeds = samples.shape[1]
    if statistic is None:
        return np.quantile(samples @ counts(seeds).T / seeds, [0.025, 0.975], axis=1)
    drawn = np.random.default_rng(0).integers(0, seeds, (DRAWS, seeds))
    return np.array([np.quantile(statistic(row[drawn]), [0.025, 0.975]) for row in samples]).T


def percentile_of_two(left: Array, right: Array) -> Array:
    """The percentile bootstrap of the difference of two means of other seeds."""
    means = [side @ counts(side.shape[1], seed).T / side.shape[1] for seed, side in enumerate((left, right))]
    return np.quantile(means[0] - means[1], [0.025, 0.975], axis=1)


def banded(samples: Array, span: intervals.Span) -> Array:
    """Ours of means."""
    band = intervals.mean_band(samples, span, RESAMPLES)
    return np.array([band.low, band.high])


def one_by_one(interval: Callable[..., tuple[float, ...]]) -> Method:
    """A method that takes one sample at a time."""
    return lambda *sides: np.array([interval(*rows)[-2:] for rows in zip(*sides, strict=True)]).T


def wilson(successes: int, number: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    square = NORMAL_95**2
    middle = (successes + square / 2) / (number + square)
    half = NORMAL_95 * math.sqrt(successes * (number - successes) / number + square / 4) / (number + square)
    return max(0.0, middle - half), min(1.0, middle + half)


class Table:
    """A Markdown table of one kind of number, and its worst cells."""

    def __init__(self, title: str, methods: dict[str, Method], seeds: tuple[int, ...]) -> None:
        self.methods, self.seeds = methods, seeds
        self.worst = dict.fromkeys(methods, (2.0, ""))
        self.cells: dict[str, list[list[float]]] = {name: [] for name in methods}  # of each row and number of seeds
        print(f"\n### {title}\n\n| scores | failing | method | {' | '.join(f'{number} seeds' for number in seeds)} |")
        print("| --- " * (3 + len(seeds)) + "|")

    def row(self, words: str, failing: str, truth: float, draw: Callable[[int], tuple[Array, ...]]) -> None:
        """One line a method; `draw` gives samples of so many seeds."""
        samples = [draw(number) for number in self.seeds]
        for name, method in self.methods.items():
            cells = []
            for number, sides in zip(self.seeds, samples, strict=True):
                low, high = method(*sides)
                holds = float(((low <= truth + 1e-9) & (truth - 1e-9 <= high)).mean())
                where = f"{words}, {failing} failing, {number} seeds"
                self.worst[name] = min(self.worst[name], (holds, where))
                cells.append(f"{holds:.3f}, {(high - low).mean():.3f}")
                self.cells[name].append([holds, float((high - low).mean())])
            print(f"| {words} | {failing} | {name} | {' | '.join(cells)} |", flush=True)

    def end(self) -> None:
        """The worst cell of each method, for each number of seeds and over all."""
        print(f"\n| worst cell, mean width | {' | '.join(f'{number} seeds' for number in self.seeds)} |")
        print("| --- " * (1 + len(self.seeds)) + "|")
        for name, cells in self.cells.items():
            rows = np.array(cells).reshape(-1, len(self.seeds), 2)
            worst, width = rows[..., 0].min(0), rows[..., 1].mean(0)
            print(
                f"| {name} | {' | '.join(f'{one:.2f}, {wide:.2f}' for one, wide in zip(worst, width, strict=True))} |"
            )
        print()
        for name, (holds, where) in self.worst.items():
            print(f"- {name}: at worst {holds:.3f} ({where})")


def shares(seeds: tuple[int, ...]) -> None:
    """Exact: each number of successes has its chance."""
    print(f"\n### Shares of seeds\n\n| failing | method | {' | '.join(f'{number} seeds' for number in seeds)} |")
    print("| --- " * (2 + len(seeds)) + "|")
    methods = {"mid-P": intervals.share_interval, "Wilson": wilson}
    every = sorted({*FAILING, *np.linspace(0.0, 0.5, 251)})
    worst = dict.fromkeys(methods, 2.0)
    for name, method in methods.items():
        ends = {number: np.array([method(k, number) for k in range(number + 1)]).T for number in seeds}
        for failing in every:
            cells = []
            for number in seeds:
                low, high = ends[number]
                succeeded = np.arange(number + 1)
                ways = np.array([math.comb(number, int(k)) for k in succeeded], dtype=np.float64)
                chance = ways * (1.0 - failing) ** succeeded * failing ** (number - succeeded)
                holds = chance @ ((low <= 1.0 - failing + 1e-12) & (1.0 - failing - 1e-12 <= high))
                worst[name] = min(worst[name], holds)
                cells.append(f"{holds:.3f}, {chance @ (high - low):.3f}")
            if failing in FAILING:
                print(f"| {failing:.0%} | {name} | {' | '.join(cells)} |")
    print("\n" + "\n".join(f"- {name}: at worst {holds:.3f}, over all shares" for name, holds in worst.items()))


def means(random: np.random.Generator, number: int, seeds: tuple[int, ...]) -> None:
    methods = {"prefrl": lambda x: banded(x, SPAN), "bootstrap": percentile, "t": lambda x: banded(x, None)}
    table = Table("Means of a metric between 0 and 1", methods, seeds)
    for kind, middle in MEANS.items():
        for share in FAILING:
            draw = partial(one_side, random, kind, share, number)
            table.row(kind, f"{share:.0%}", share * FAILED + (1.0 - share) * middle, draw)
    table.end()


def differences(random: np.random.Generator, number: int, seeds: tuple[int, ...]) -> None:
    methods = {
        "prefrl": one_by_one(partial(intervals.difference_interval, paired=True, span=SPAN)),
        "a seed at -1 or at 1": lambda x, y: banded(x - y, (-1.0, 1.0)),
        "bootstrap": lambda x, y: percentile(x - y),
        "t": lambda x, y: banded(x - y, None),
    }
    table = Table("Paired differences of such means", methods, seeds)
    for kind, middle in MEANS.items():
        for both in SIDES + APART:
            truth = (both[1] - both[0]) * (middle - FAILED)
            table.row(kind, f"{both[0]:.0%} and {both[1]:.0%}", truth, partial(pairs, random, kind, both, 0.0, number))
    table.end()


def differences_of_other_seeds(random: np.random.Generator, number: int, seeds: tuple[int, ...]) -> None:
    unpaired = partial(intervals.difference_interval, paired=False)
    methods = {"prefrl": one_by_one(partial(unpaired, span=SPAN)), "bootstrap": percentile_of_two}
    table = Table("Differences of such means, not paired", methods, seeds)
    for kind, middle in MEANS.items():
        for both in SIDES + APART:
            truth = (both[1] - both[0]) * (middle - FAILED)
            words = f"{both[0]:.0%} and {both[1]:.0%}"
            table.row(kind, words, truth, partial(pairs, random, kind, both, 0.0, number, shared=0.0))
    table.end()


def improvements(random: np.random.Generator, number: int, seeds: tuple[int, ...], paired: bool) -> None:
    methods = {"prefrl": one_by_one(partial(intervals.improvement, paired=paired)), "bootstrap": improved(paired)}
    table = Table(f"P(improvement), {'the same' if paired else 'other'} seeds on both sides", methods, seeds)
    for kind in ("tight", "skewed", "all or nothing"):
        for both in SIDES[::2]:
            for better in (0.0, 0.02):
                draw = partial(pairs, random, kind, both, better, shared=SHARED if paired else 0.0)
                left, right = (side[0] for side in draw(1, 400_000))
                truth = intervals.probability_of_improvement(left, random.permutation(right))
                words = f"{kind}, better by {better:g}" if better else kind
                table.row(words, f"{both[0]:.0%} and {both[1]:.0%}", truth, partial(draw, number))
    table.end()


def improved(paired: bool) -> Method:
    """The percentile bootstrap of P(improvement)."""

    def interval(left: Array, right: Array) -> tuple[float, float]:
        wins = (left[:, None] > right) + 0.5 * (left[:, None] == right)
        drawn = counts(len(left)), counts(len(right), seed=0 if paired else 1)
        low, high = np.quantile(((drawn[0] @ wins) * drawn[1]).sum(1) / wins.size, [0.025, 0.975])
        return float(low), float(high)

    return one_by_one(interval)


def profiles(random: np.random.Generator, number: int, seeds: tuple[int, ...]) -> None:
    for threshold in (0.5, 0.9, 0.95):

        def ends(samples: Array, at: float = threshold) -> Array:
            found = [intervals.performance_profile(row, [at]) for row in samples]
            return np.array([(one.low[0], one.high[0]) for one in found]).T

        methods = {"prefrl": ends, "bootstrap": lambda x, at=threshold: percentile((x >= at).astype(float))}
        table = Table(f"Performance profile at a score of {threshold}", methods, seeds)
        for kind in ("tight", "skewed", "all or nothing"):
            for share in FAILING:
                truth = float((sample(random, kind, share, (1, 1_000_000)) >= threshold).mean())
                table.row(kind, f"{share:.0%}", truth, partial(one_side, random, kind, share, number))
        table.end()


def interquartile_means(random: np.random.Generator, number: int, seeds: tuple[int, ...]) -> None:
    ours = one_by_one(partial(intervals.interquartile_interval, span=SPAN))
    methods = {"prefrl": ours, "bootstrap": lambda x: percentile(x, interquartile_mean)}
    table = Table("Interquartile means of a metric between 0 and 1", methods, seeds)
    for kind in MEANS:
        for share in FAILING:
            truth = float(interquartile_mean(sample(random, kind, share, (1, 2_000_000))[0]))
            table.row(kind, f"{share:.0%}", truth, partial(one_side, random, kind, share, number))
    table.end()


def means_without_a_range(random: np.random.Generator, number: int, seeds: tuple[int, ...]) -> None:
    methods = {"prefrl": lambda x: banded(x, None), "bootstrap": percentile}
    table = Table("Means of a metric without a range", methods, (2, *seeds))
    draws: dict[str, tuple[float, Callable[[tuple[int, int]], Array]]] = {
        "normal": (0.0, random.standard_normal),
        "exponential": (1.0, random.standard_exponential),
        "lognormal, sigma 1": (math.exp(0.5), lambda shape: random.lognormal(0.0, 1.0, shape)),
    }
    for words, (truth, draw) in draws.items():
        table.row(words, "0%", truth, lambda r, draw=draw: (draw((number, r)),))
    for share in FAILING[1:4]:

        def ten_times(r: int, share: float = share) -> tuple[Array]:
            return (np.where(random.random((number, r)) < share, 10.0, random.normal(1.0, 0.2, (number, r))),)

        table.row("1, give or take 0.2; failed 10", f"{share:.0%}", 1.0 + 9.0 * share, ten_times)
    table.end()


KINDS = {
    "shares": lambda random, number, seeds: shares(seeds),
    "means": means,
    "differences": differences,
    "differences_of_other_seeds": differences_of_other_seeds,
    "improvements": partial(improvements, paired=True),
    "improvements_of_other_seeds": partial(improvements, paired=False),
    "profiles": profiles,
    "interquartile_means": interquartile_means,
    "means_without_a_range": means_without_a_range,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}; all where none is given")
    parser.add_argument("--repetitions", type=int, default=1000, help="samples a cell; default 1000")
    parser.add_argument("--seed", type=int, default=1, help="of the samples; default 1")
    parser.add_argument(
        "--quick", action="store_true", help="few samples of few seeds, of shares, means and differences"
    )
    given = parser.parse_args()
    if wrong := set(given.kinds) - set(KINDS):
        parser.error(f"{', '.join(sorted(wrong))}: no kind of number; try {', '.join(KINDS)}")
    number, seeds = (10, SEEDS[:2]) if given.quick else (given.repetitions, SEEDS)
    random = np.random.default_rng(given.seed)
    for kind in given.kinds or (list(KINDS)[:3] if given.quick else KINDS):
        KINDS[kind](random, number, seeds)


if __name__ == "__main__":
    main()
