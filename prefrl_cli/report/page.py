"""The report as one HTML page; every text that comes from a run is escaped here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from prefrl_cli.charts.svg import swatch
from prefrl_cli.core.metric import Metric
from prefrl_cli.files.texts import html
from prefrl_cli.report.configurations import Configuration, seed_text
from prefrl_cli.report.look import STYLE
from prefrl_cli.report.method import METHOD
from prefrl_cli.report.results import MOST_IN_PAIRS, Comparison, Experiment, Results
from prefrl_cli.report.sections import evaluation_charts, main_charts, training_charts
from prefrl_cli.stats.aggregates import few_seeds
from prefrl_cli.stats.families import chance_text
from prefrl_cli.stats.summary import Estimate, brackets, digits, value_text

_ORDER = ("failed", "unreadable", "missing", "interrupted", "running", "linked")
_MOST_FAILED = 100  # seeds that are named
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(found: Results) -> str:
    """The whole page."""
    body = [
        "<h1>prefrl report</h1>",
        _summary(found),
        _contents(found),
        _attention(found),
        *(f'<a id="{_anchor(place)}"></a>{_experiment(one)}' for place, one in enumerate(found.experiments)),
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


def _anchor(place: int) -> str:
    return f"experiment-{place + 1}"


def _contents(found: Results) -> str:
    """Links to the parts of the page."""
    parts = [(_anchor(place), _text(one.name)) for place, one in enumerate(found.experiments)]
    parts += [("runs", "All runs"), ("method", "How to read this")]
    links = (f'<li><a href="#{anchor}">{words}</a></li>' for anchor, words in parts)
    return f"<nav><ul>{''.join(links)}</ul></nav>"


def _interval(estimate: Estimate) -> str:
    ends = brackets(estimate)
    return value_text(estimate) + (f" <small>{ends}</small>" if ends else "")


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
        there = [place for place, metric in enumerate(metrics) if metric.seeds]
        if not there:
            lines.append(f"{_text(experiment.name)}: no finished run.")
            continue
        metric = experiment.declared[experiment.headline]
        best = max(there, key=lambda place: (metric.sign or 1) * metrics[place].mean.value)
        also, chosen = "", experiment.configurations[best]
        for name in experiment.of_role("verdict"):
            verdict = experiment.metrics[name][best]
            if verdict.seeds:
                also += f"; {_words(verdict.metric)} by {verdict.mean.value:.0%} of these seeds"
        one = f"{_words(metric)} {_interval(metrics[best].mean)}"
        if len(there) > 1:
            end = "lowest" if metric.sign < 0 else "highest"
            one += f" with {_label(experiment, best)}, the {end} of {len(there)} means"
        for number, what in ((len(chosen.failed), "failed"), (len(chosen.unfinished), "more did not finish")):
            also += f'; <span class="warn">{number} {what}</span>' if number else ""
        over = f"{_over(metrics[best].seeds, chosen)} seed{'s' * (len(chosen.seeds) > 1)}"
        lines.append(f"{_text(experiment.name)}: {one}, over {over}{also}.")
    every = [metric for one in found.experiments for several in one.metrics.values() for metric in several]
    if note := few_seeds(min((metric.seeds for metric in every if metric.seeds > 1), default=0)):
        lines.append(note)
    return f'<ul class="summary">{"".join(f"<li>{line}</li>" for line in lines)}</ul>'


def _words(metric: Metric) -> str:
    return _text(metric.words)


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
    first = [experiment.headline] if experiment.metrics else []
    columns = [*experiment.of_role("verdict"), *first, *experiment.of_role("cost")]
    for name in dict.fromkeys(columns):
        metric = experiment.declared[name]
        head.append((_words(metric) + (f", {_text(metric.unit)}" if metric.binary else ""), "n"))
    rows = []
    for place, one in enumerate(experiment.configurations):
        row = [f"{swatch(place)}<b>{one.name}</b>", *(_text(values[place]) for values in experiment.options.values())]
        row.append(_seeds(one))
        row += [_interval(experiment.metrics[name][place].mean) for name in dict.fromkeys(columns)]
        rows.append(row)
    return _table(
        head, rows, "Configurations; columns are the options that vary. Means over seeds, 95 % intervals in brackets."
    )


def _seeds(one: Configuration) -> str:
    failed = f'<br><span class="warn">{len(one.failed)} failed</span>' if one.failed else ""
    left = f'<br><span class="warn">{len(one.unfinished)} unfinished</span>' if one.unfinished else ""
    return f'<span title="{_text(seed_text(one.seeds))}">{len(one.seeds)}</span>{failed}{left}'


def _evaluation(experiment: Experiment) -> str:
    several = experiment.configurations
    rows = []
    for name, metrics in experiment.metrics.items():
        for place, metric in enumerate(metrics):
            declared = experiment.declared[name]
            first = _words(declared) + (" <small>lower is better</small>" if declared.sign < 0 else "")
            row = [
                first if place == 0 else "",
                f"{swatch(place)}<b>{several[place].name}</b>",
                _over(metric.seeds, several[place]),
            ]
            alone = [value_text(metric.mean._replace(value=value)) for value in (metric.median, metric.worst_tenth)]
            rows.append([*row, _interval(metric.mean), *alone, _interval(metric.iqm)])
    head = [("metric", "k"), ("", "k"), ("seeds", "n"), ("mean", "n"), ("median", "n"), ("worst tenth", "n")]
    head.append(("IQM", "n"))
    said = "Final evaluation over the seeds, with 95 % intervals of the mean and the interquartile mean."
    return f"<h3>Evaluation</h3>{_table(head, rows, said)}" if rows else ""


def _over(seeds: int, one: Configuration) -> str:
    """How many seeds a metric is over, and of how many where some failed."""
    return f"{seeds} of {len(one.seeds)}" if one.failed else str(seeds)


def _comparisons(experiment: Experiment) -> str:
    parts = []
    for name, pairs in experiment.comparisons.items():
        metric = experiment.declared[name]
        table = _pairs(metric, pairs)
        shown = name == experiment.headline
        parts.append(table if shown else f"<details><summary>Comparison: {_words(metric)}</summary>{table}</details>")
    if experiment.same:
        words = ", ".join(_words(experiment.declared[name]) for name in experiment.same)
        parts.append(f'<p class="soft">The same in every seed of every pair: {words}.</p>')
    few = len(experiment.configurations) > MOST_IN_PAIRS
    said = (
        '<p class="soft">There are many: the configuration with the best mean against each other one.</p>'
        if few
        else ""
    )
    return f"<h3>Comparisons</h3>{said}{''.join(parts)}" if parts else ""


def _pairs(metric: Metric, pairs: Sequence[Comparison]) -> str:
    chance = f"P(first is {metric.direction})"
    head = [("first", "k"), ("second", "k"), ("seeds", "n"), ("first − second", "n"), ("seeds better", "n")]
    head += [(chance, "n"), (f"p of {len(pairs)}" if len(pairs) > 1 else "p", "n")]
    rows = [
        [
            *(f"<b>{side.name}</b>" for side in (one.first, one.second)),
            one.seeds,
            *map(_interval, (one.difference, one.improved, one.better)),
            _text(chance_text(one.corrected)),
        ]
        for one in pairs
    ]
    said = (
        f"{_words(metric)}: difference of the means, share of the shared seeds that are better, and probability of"
        " improvement; pairs that are the same left out."
    )
    return _table(head, rows, said[:1].upper() + said[1:])


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
    title = f'<h2 id="runs">All runs</h2><details><summary>{_plural(len(rows), "run")}</summary>'
    return f"{title}{_table(head, rows)}</details>"
