"""What a figure is, as data, and how it is drawn."""
