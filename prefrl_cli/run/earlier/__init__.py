"""Runs that are there: going on with one, what it says, and what it has learned."""
