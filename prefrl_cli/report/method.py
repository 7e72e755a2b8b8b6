"""What a report says of how its figures were made."""

METHOD = """<h2 id="method">How to read this</h2><ul class="soft">
<li>Runs whose options differ only in seeds, threads, device, output, checkpoints and loggers are one
configuration.</li>
<li>IQM: mean of the middle half of the seeds. Worst tenth: mean of the worst tenth of the seeds, at least one. A mean
that is well above the median, or below it, comes from a few seeds.</li>
<li>Intervals are 95 %, over seeds. Means of a metric with a range: Bayesian bootstrap, 2,000 resamples, with half a
seed at each end of the range, since a few good seeds have not shown that none can fail; without a range: Student's t,
which misses what fails rarely. Shares of seeds: mid-P. One seed has no interval; fewer than 16 are an
illustration.</li>
<li>Curves: mean over seeds, band: 95 % interval of that mean; of long runs each point is a mean over steps.
Against labels: both means at each step, so that all seeds stay in; a line goes straight up where training went on
without new labels.</li>
<li>A seed whose numbers were no longer finite has failed. Wherever success is counted it has none; compared with
another seed it is the worse one; other means are of the seeds that did not fail.</li>
<li>Probability of improvement: chance that a seed of the first is better than a seed of the second, ties half; 0.5 is
no difference. It is not paired: seeds better is, the share of shared seeds that are better in the first, ties
half.</li>
<li>p: chance of so large a difference of the means if there were none, by exchanging the two sides of each seed (of
seeds that are not shared, all of them) at random; corrected by Holm's method for the pairs of its table.</li>
<li>Performance profile: share of seeds that reach each score, with a 95 % interval at each.</li></ul>"""
