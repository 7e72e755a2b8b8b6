"""What may be typed after `prefrl-train`, and how its help tells it."""
