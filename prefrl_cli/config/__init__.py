"""From what was typed to an algorithm."""
