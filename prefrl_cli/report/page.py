"""The report as one HTML page; every text that comes from a run is escaped here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from prefrl_cli.charts.svg import swatch
from prefrl_cli.files.texts import html
from prefrl_cli.report.configurations import Configuration, seed_text
from prefrl_cli.report.look import STYLE
from prefrl_cli.report.method import METHOD
from prefrl_cli.report.results import Comparison, Estimate, Experiment, Metric, Results, lower_is_better
from prefrl_cli.report.sections import evaluation_charts, main_charts, training_charts
from prefrl_cli.stats.aggregates import few_seeds

_ORDER = ("failed", "unreadable", "missing", "interrupted", "running", "linked")
_MOST_FAILED = 100  # seeds that are named
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(found: Results) -> str:
    """The whole page."""
    body = [
        "<h1>prefrl report</h1>",
        _summary(found),
        _attention(found),
        *(_experiment(one) for one in found.experiments),
        _runs(found),
        METHOD,
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>prefrl report</title><style>{STYLE}</style></head>\n<body>\n{chr(10).join(filter(None, body))}\n"
        "</body></html>\n"
    )


def digits(value: float, scale: float = 0.0) -> str:
    """A number with the digits that a person compares.

    Args:
        value: NaN is a dash.
        scale: the width of its interval, whose first two digits are the last that say something; 0 for none.
    """
    if math.isnan(value):
        return "–"
    size = abs(value)
    if math.isinf(value) or size >= 1e6 or 0 < max(size, scale) < 1e-4:
        return f"{value:.2e}".replace("inf", "∞").replace("-", "−")
    decimals = 3 if size < 1 else 2 if size < 10 else 1 if size < 1000 else 0
    if scale > 0 and math.isfinite(scale):
        decimals = min(max(1 - math.floor(math.log10(scale)), 0), 6)
    elif size in (0.0, 1.0):
        decimals = 2
    text = f"{value:,.{decimals}f}"
    return (text.lstrip("-") if float(text.replace(",", "")) == 0 else text).replace("-", "−")


def _interval(estimate: Estimate) -> str:
    value, low, high = estimate
    if math.isnan(low):
        return digits(value)
    scale = high - low
    return f"{digits(value, scale)} <small>[{digits(low, scale)}, {digits(high, scale)}]</small>"


def _text(text: object) -> str:
    """Escaped, in one line, of bounded length."""
    return html(text)


def _path(path: Path) -> str:
    try:
        path = path.resolve().relative_to(Path.cwd())
    except (ValueError, OSError):
        pass
    return _text(path)


def _table(head: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table in a box that scrolls by itself; head: title and kind of each column, `n` for numbers."""
    kinds = [kind for _, kind in head]
    titles = "".join(f'<th class="{kind}" scope="col">{title}</th>' for title, kind in head)
    lines = "".join(
        f"<tr>{''.join(f'<td class={kind!r}>{cell}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>"
        for row in rows
    )
    # Above the box, where it does not scroll away; a box that scrolls can be reached with the keyboard.
    said = f'<p class="soft">{caption}</p>' if caption else ""
    return f'{said}<div class="scroll" tabindex="0"><table><tr>{titles}</tr>{lines}</table></div>'


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _summary(found: Results) -> str:
    number = sum(len(one.configurations) for one in found.experiments)
    statuses = Counter(run.status for run in found.runs)
    runs = len(found.runs) - statuses["linked"]
    lines = [
        f"{_plural(statuses['finished'], 'finished run')} of {runs}, {_plural(number, 'configuration')}"
        f" of {_plural(len(found.experiments), 'experiment')}."
    ]
    for experiment in found.experiments:
        metrics = experiment.metrics.get(experiment.headline, [])
        sign = 1 if lower_is_better(experiment.headline) else -1
        there = [place for place, metric in enumerate(metrics) if metric.seeds]
        if not there:
            lines.append(f"{_text(experiment.name)}: no finished run.")
            continue
        best = min(there, key=lambda place: sign * metrics[place].mean.value)
        also, chosen = "", experiment.configurations[best]
        if experiment.solved is not None and not math.isnan(experiment.solved[best].value):
            also = f"; {experiment.solved[best].value:.0%} of these seeds solve it"
        one = f"{_words(experiment.headline)} {_interval(metrics[best].mean)}"
        if len(there) > 1:
            one += f" with {_label(experiment, best)}, the {'highest' if sign < 0 else 'lowest'} of {len(there)} means"
        for number, what in ((len(chosen.failed), "failed"), (len(chosen.unfinished), "more did not finish")):
            also += f'; <span class="warn">{number} {what}</span>' if number else ""
        over = f"{_over(metrics[best].seeds, chosen)} seed{'s' * (len(chosen.seeds) > 1)}"
        lines.append(f"{_text(experiment.name)}: {one}, over {over}{also}.")
    every = [metric for one in found.experiments for several in one.metrics.values() for metric in several]
    if note := few_seeds(min((metric.seeds for metric in every if metric.seeds > 1), default=0)):
        lines.append(note)
    return f'<ul class="summary">{"".join(f"<li>{line}</li>" for line in lines)}</ul>'


def _words(metric: str) -> str:
    return _text(metric.replace("_", " "))


def _label(experiment: Experiment, place: int) -> str:
    """A configuration by its number and what sets it apart: of several options, where it is not as most are."""
    own = {name: values[place] for name, values in experiment.options.items() if values[place] != "-"}
    most = len(experiment.configurations) / 2
    rare = [name for name, value in own.items() if len(own) == 1 or experiment.options[name].count(value) <= most]
    differs = ", ".join(f"{name}={own[name]}" for name in rare) or ("the most common of each option" if own else "")
    return f"<b>{experiment.configurations[place].name}</b>" + (f" ({_text(differs)})" if differs else "")


def _attention(found: Results) -> str:
    """What keeps the figures from being the whole story, before any figure."""
    parts = []
    without = [run for run in found.runs if run.status in _ORDER and not run.failed]
    troubled = sorted(without, key=lambda run: _ORDER.index(run.status))
    if troubled:
        counts = Counter(run.status for run in troubled)
        said = ", ".join(f"{number} {status}" for status, number in counts.items())
        rows = [
            [f'<span class="warn">{run.status}</span>', str(run.step or ""), _text(run.reason or "–"), _path(run.path)]
            for run in troubled
        ]
        head = [("status", "k"), ("step", "n"), ("reason", "w"), ("run", "w")]
        parts.append(_table(head, rows, f"Without results, in no figure below: {said}."))
    failed = [(run, seed, why) for run in found.runs for seed, why in run.failed.items()]
    if failed:
        rows = [[str(seed), _text(why), _path(run.path)] for run, seed, why in failed[:_MOST_FAILED]]
        said = f"Seeds that failed: {len(failed)}. Wherever success is counted they have none; see below."
        parts.append(_table([("seed", "n"), ("reason", "w"), ("run", "w")], rows, said))
    every = [one for experiment in found.experiments for one in experiment.configurations]
    repeated = [f"<li>Configuration {one.name}: {_text(line)}</li>" for one in every for line in one.repeated]
    if repeated:
        parts.append(f"<h3>Seeds that were run twice</h3><ul>{''.join(repeated)}</ul>")
    if len(found.codes) > 1:
        names = list(found.codes[0])
        number = Counter(found.marks)
        rows = [
            [f"<b>{mark}</b>", str(number[mark]), *(_text(code[name]) for name in names)]
            for mark, code in zip(sorted(set(found.marks) - {""}, key=lambda m: (len(m), m)), found.codes, strict=True)
        ]
        head = [("code", "k"), ("runs", "n"), *((_text(name), "k") for name in names)]
        parts.append(_table(head, rows, "Runs of different code or versions; differences may be due to these."))
    return f'<section class="attention"><h2>Look at this first</h2>{"".join(parts)}</section>' if parts else ""


def _experiment(experiment: Experiment) -> str:
    several = experiment.configurations
    parts = [f"<section><h2>{_text(experiment.name)}</h2>", _configurations(experiment)]
    legend = "".join(
        f"<li>{swatch(place)}{_label(experiment, place)}</li>" for place, one in enumerate(several) if one.seeds
    )
    for title, pictures, is_open in (
        ("Main curves", main_charts(experiment), True),
        ("Learning curves of the evaluation", evaluation_charts(experiment), True),
        ("Curves of training", training_charts(experiment), False),
    ):
        if pictures:
            several_lines = f'<ul class="legend">{legend}</ul>' if legend.count("<li>") > 1 else ""
            inside = f'{several_lines}<div class="charts">{"".join(pictures)}</div>'
            plain = f"<h3>{title}</h3>{inside}"
            parts.append(plain if is_open else f"<details><summary>{title}</summary>{inside}</details>")
    parts.append(_evaluation(experiment))
    parts.append(_comparisons(experiment))
    return "".join(parts) + "</section>"


def _configurations(experiment: Experiment) -> str:
    options = [_text(name).replace(".", ".<wbr>") for name in experiment.options]  # may break there on a small screen
    head = [("", "k"), *((name, "k") for name in options), ("seeds", "n")]
    head += [("share of seeds that solve it", "n")] * (experiment.solved is not None)
    head += [(_words(experiment.headline), "n"), ("labels used", "n")][: 2 if _labels(experiment) else 1]
    rows = []
    for place, one in enumerate(experiment.configurations):
        row = [f"{swatch(place)}<b>{one.name}</b>", *(_text(values[place]) for values in experiment.options.values())]
        row.append(_seeds(one))
        if experiment.solved is not None:
            row.append(_interval(experiment.solved[place]))
        row.append(_interval(experiment.metrics[experiment.headline][place].mean) if experiment.metrics else "–")
        if labels := _labels(experiment):
            row.append(_interval(labels[place].mean))
        rows.append(row)
    return _table(
        head, rows, "Configurations; columns are the options that vary. Means over seeds, 95 % intervals in brackets."
    )


def _labels(experiment: Experiment) -> list[Metric]:
    return experiment.metrics.get("labels_used", [])


def _seeds(one: Configuration) -> str:
    failed = f'<br><span class="warn">{len(one.failed)} failed</span>' if one.failed else ""
    left = f'<br><span class="warn">{len(one.unfinished)} unfinished</span>' if one.unfinished else ""
    return f'<span title="{_text(seed_text(one.seeds))}">{len(one.seeds)}</span>{failed}{left}'


def _evaluation(experiment: Experiment) -> str:
    several = experiment.configurations
    rows = []
    for name, metrics in experiment.metrics.items():
        for place, metric in enumerate(metrics):
            first = _words(name) + (" <small>lower is better</small>" if lower_is_better(name) else "")
            row = [
                first if place == 0 else "",
                f"{swatch(place)}<b>{several[place].name}</b>",
                _over(metric.seeds, several[place]),
            ]
            rows.append([*row, _interval(metric.iqm), _interval(metric.mean)])
    head = [("metric", "k"), ("", "k"), ("seeds", "n"), ("IQM", "n"), ("mean", "n")]
    said = "Final evaluation: interquartile mean and mean over the seeds, with 95 % bootstrap intervals."
    return f"<h3>Evaluation</h3>{_table(head, rows, said)}" if rows else ""


def _over(seeds: int, one: Configuration) -> str:
    """How many seeds a metric is over, and of how many where some failed."""
    return f"{seeds} of {len(one.seeds)}" if one.failed else str(seeds)


def _comparisons(experiment: Experiment) -> str:
    parts = []
    for name, pairs in experiment.comparisons.items():
        table = _pairs(name, pairs)
        shown = name == experiment.headline
        parts.append(table if shown else f"<details><summary>Comparison: {_words(name)}</summary>{table}</details>")
    number = len(experiment.configurations)
    few = all(len(pairs) < number * (number - 1) / 2 for pairs in experiment.comparisons.values())
    said = (
        '<p class="soft">There are many: the configuration with the best mean against each other one.</p>'
        if few
        else ""
    )
    return f"<h3>Comparisons</h3>{said}{''.join(parts)}" if parts else ""


def _pairs(name: str, pairs: Sequence[Comparison]) -> str:
    chance = f"P(first is {'lower' if lower_is_better(name) else 'higher'})"
    head = [("first", "k"), ("second", "k"), ("seeds", "n"), (chance, "n"), ("first − second", "n")]
    rows = [
        [
            *(f"<b>{side.name}</b>" for side in (one.first, one.second)),
            one.seeds,
            *map(_interval, (one.better, one.difference)),
        ]
        for one in pairs
    ]
    return _table(head, rows, f"{_words(name).capitalize()}: probability of improvement and difference of the means.")


def _runs(found: Results) -> str:
    names = {id(run): one.name for e in found.experiments for one in e.configurations for run in one.runs}
    several = len(found.codes) > 1
    head = [("configuration", "k"), ("status", "k"), ("seeds", "k"), ("steps", "n"), ("seconds", "n")]
    head += [("code", "k")] * several + [("run", "w")]
    rows = []
    for run, mark in zip(found.runs, found.marks, strict=True):
        seconds = "–" if run.seconds is None else digits(run.seconds)
        seeds = _text(seed_text(run.seeds).split(" ", 1)[1]) if run.seeds else "–"
        row = [names.get(id(run), "–"), run.status, seeds, str(run.step), seconds]
        rows.append([*row, *([mark] if several else []), _path(run.path)])
    return f"<h2>All runs</h2><details><summary>{_plural(len(rows), 'run')}</summary>{_table(head, rows)}</details>"
