"""What a report says of how its figures were made."""

METHOD = """<h2 id="method">How to read this</h2><ul class="soft">
<li>Runs whose options differ only in seeds, threads, device, output, checkpoints and loggers are one
configuration.</li>
<li>IQM: mean of the middle half of the seeds. Intervals: 95 % percentile bootstrap over seeds, 2,000 resamples; of
shares of seeds that solved it, Wilson's. One seed has no interval.</li>
<li>Curves: mean over seeds, band: 95 % bootstrap interval of that mean; of long runs each point is a mean over steps.
Against labels: both means at each step, so that all seeds stay in; a line goes straight up where training went on
without new labels.</li>
<li>A seed whose numbers were no longer finite has failed. Wherever success is counted it has none; compared with
another seed it is the worse one; other means are of the seeds that did not fail.</li>
<li>Probability of improvement: chance that a seed of the first is better than a seed of the second, ties half; 0.5 is
no difference. Where both have the same seeds, these are drawn together.</li>
<li>Performance profile: share of seeds that reach each score, with 95 % bands.</li></ul>"""
