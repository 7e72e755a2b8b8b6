"""What may be typed: the help, and which of Hydra's own options count."""
