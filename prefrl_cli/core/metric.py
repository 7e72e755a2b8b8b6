"""What a metric is: declared once, where it is computed, and read by everything that shows or compares it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Direction = Literal["higher", "lower", "none"]
Role = Literal["result", "verdict", "cost", "axis"]

_MOST_NAMED = 10


@dataclass(frozen=True)
class Metric:
    """One number a seed, of a training step or of an evaluation.

    Attributes:
        name: of its column.
        unit: such as `share of episodes`; empty for none.
        direction: which values are better; `none` where no value is, and then nothing is called an improvement.
        headline: whether it is among those that are shown and compared first, in the order of their declaration.
        label: in words; empty for the name with spaces.
        low: the least value there is, if there is one.
        high: the largest, if there is one.
        failed: what a seed counts as that failed while it trained; none leaves it out.
        binary: whether a seed has 0 or 1, so that a mean is a share of the seeds.
        role: `verdict` is whether a seed has reached what it should; `cost` is what a result takes, such as labels;
            `axis` is what curves of training are drawn over.
        note: what the name alone does not say, a sentence.
    """

    name: str
    unit: str = ""
    direction: Direction = "none"
    headline: bool = False
    label: str = ""
    low: float | None = None
    high: float | None = None
    failed: float | None = None
    binary: bool = False
    role: Role = "result"
    note: str = ""

    @property
    def words(self) -> str:
        """The label, or the name with spaces."""
        return self.label or self.name.replace("_", " ")

    @property
    def sign(self) -> int:
        """1 where higher values are better, -1 where lower ones are, 0 where none are."""
        return {"higher": 1, "lower": -1, "none": 0}[self.direction]

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return (self.low, self.high) == (0.0, 1.0)

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """Its least and its largest value, as far as it has them."""
        return self.low, self.high

    @property
    def span(self) -> tuple[float, float] | None:
        """Its range, where it has a least and a largest value."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def counted(self, scores: NDArray[np.floating], failed: NDArray[np.bool_]) -> NDArray[np.floating]:
        """Scores `[..., R]` in which failed seeds, `[..., R]`, count as the metric says, or have no value."""
        return np.where(failed, np.nan if self.failed is None else self.failed, scores)

    def declaration(self) -> dict[str, Any]:
        """Every attribute but the name, as a record holds it."""
        return {one.name: getattr(self, one.name) for one in fields(self)[1:]}


def by_name(metrics: Iterable[Metric], names: Iterable[str] = ()) -> dict[str, Metric]:
    """Metrics by their names; of `names` that nobody has declared nothing is known but the name."""
    found = {metric.name: metric for metric in metrics}
    return found | {name: Metric(name) for name in names if name not in found}


def from_declaration(name: str, given: Mapping[str, Any], known: Metric | None = None) -> Metric:
    """A metric from a record that anybody may have written: what does not fit is left as it is in `known`.

    Args:
        name: of the metric.
        given: what `declaration` gave, among other things.
        known: for a record that does not declare its metrics; none for one of which nothing is known.
    """
    plain = known or Metric(name)
    allowed: dict[str, Any] = {"direction": get_args(Direction), "role": get_args(Role)}
    values: dict[str, Any] = {}
    for one in fields(Metric)[1:]:
        value = given.get(one.name, getattr(plain, one.name))
        if one.name in allowed:
            fits = isinstance(value, str) and value in allowed[one.name]
        elif one.name in ("headline", "binary"):
            fits = isinstance(value, bool)
        elif one.name in ("low", "high", "failed"):
            fits = value is None or (type(value) in (int, float) and abs(value) < 1e300)
        else:
            fits = isinstance(value, str) and len(value) <= 200
        values[one.name] = value if fits else getattr(plain, one.name)
    return Metric(name, **values)


def seed_words(seeds: Sequence[int]) -> str:
    """`seed 3`, or `seeds 3, 4 and 12 more`."""
    more = f" and {len(seeds) - _MOST_NAMED} more" if len(seeds) > _MOST_NAMED else ""
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds[:_MOST_NAMED]))}{more}"
