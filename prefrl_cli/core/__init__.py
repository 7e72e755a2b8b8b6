"""Tensors with the seed axis, and the types that all parts share."""
