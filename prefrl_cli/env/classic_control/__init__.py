"""Gymnasium's classic control as physics of our own, for many episodes at once."""
