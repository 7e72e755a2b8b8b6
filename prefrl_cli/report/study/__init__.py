"""A question as rows of runs, with its table and chart."""
