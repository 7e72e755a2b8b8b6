"""The arithmetic of the layers of R networks at once."""
