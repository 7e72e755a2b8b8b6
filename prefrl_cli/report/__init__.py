"""Runs in; one page and one table out, or the table and the chart of a study. Never imports torch."""
