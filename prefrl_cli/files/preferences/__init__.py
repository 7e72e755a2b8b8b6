"""Preferences as files: our own two formats, a run's record of its questions, and what others publish."""
