"""R networks at once: the arithmetic of their layers, and whether a seed alone gets what it gets among others."""
