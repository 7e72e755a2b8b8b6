"""Statistics over seeds, with NumPy alone."""
