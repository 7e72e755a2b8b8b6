"""prefrl: preference learning for reinforcement learning, many seeds at once."""
