"""The error of a worker that is gone, told without torch."""

from __future__ import annotations


class WorkerLostError(Exception):
    """A worker has ended without a word; the message is one line."""
