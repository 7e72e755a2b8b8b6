"""Bytes on a disk that others may have touched."""
