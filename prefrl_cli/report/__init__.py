"""Runs in, one page and one table out; never imports torch."""
