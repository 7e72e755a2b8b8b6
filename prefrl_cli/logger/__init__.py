"""Trackers beside metrics.csv."""
