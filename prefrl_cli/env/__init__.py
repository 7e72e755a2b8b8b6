"""The worlds in which policies act."""
